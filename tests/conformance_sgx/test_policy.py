"""The owner's policy under programs that run: refused, listed, watched, raced."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from softsgx.crypto.sha256 import sha256
from softsgx.launch.policy import ListName
from tests.conformance.here import new_platform, softsgx
from tests.conformance.run import SOFTSGX, Outcome, run
from tests.conformance_sgx.build import BUILT, HERE, Program
from tests.crypto.signer import Owner

pytestmark = [pytest.mark.runner, pytest.mark.slow]
KEYS = Program("report_key", "dynamic")
RACE = Program("sigstruct_race", "dynamic", HERE / "policy")
SIG, ELF = BUILT / "enclave" / "3.sig", BUILT / "enclave" / "3.elf"
HEX = "ab" * 32
ROUNDS = 40


@pytest.fixture
def place(tmp_path: Path) -> Path:
    KEYS.binary()
    return new_platform(tmp_path / "p")


def policy(place: Path, *words: str | Path) -> str:
    return softsgx("policy", *words, "--platform", place)


def launch(place: Path) -> Outcome:
    command = [SOFTSGX, "run", "--platform", str(place), "--", str(KEYS.binary())]
    return run(command, BUILT)


def inits(place: Path) -> list[dict[str, object]]:
    told = softsgx("audit", "tail", "-n", "10000", "--json", "--platform", place)
    records = [json.loads(line) for line in told.splitlines()]
    return [record for record in records if record["event"] == "init"]


def test_an_unlisted_signer_is_refused_until_it_is_listed(place: Path) -> None:
    assert launch(place).code == 0
    policy(place, "allow", "signing", HEX)
    refused = launch(place)
    assert refused.code != 0
    assert "Operation not permitted" in refused.stderr
    said = [one for one in refused.stderr.splitlines() if one.startswith("softsgx: ")]
    assert len(said) == 1
    assert said[0].endswith("may not launch enclaves here: the signer is not listed")
    policy(place, "allow", "signing", SIG)
    assert launch(place).code == 0
    verdicts = [(one["verdict"], one["rule"]) for one in inits(place)]
    assert verdicts == [
        ("allow", "default"),
        ("deny", "signing"),
        ("allow", "signing[1]"),
    ]
    assert "all in place" in softsgx("audit", "verify", "--platform", place)


@pytest.mark.parametrize(
    "sabotage",
    [
        "rm audit.jsonl",
        "rm audit.head",
        "rm audit.jsonl; mkdir audit.jsonl",
        "mv audit.jsonl other; ln -s other audit.jsonl",
        "echo junk >> audit.jsonl",
        "rm state.json",
        "rm state.json; rm -r policies audit.*",
    ],
)
def test_a_program_that_takes_files_away_launches_nothing(
    place: Path, sabotage: str
) -> None:
    policy(place, "allow", "signing", SIG)
    script = f"{KEYS.binary()} > /dev/null && cd {place} && {{ {sabotage}; }} || exit 9"
    script += f"; exec {KEYS.binary()}"
    command = [SOFTSGX, "run", "--platform", str(place), "--", "sh", "-c", script]
    done = run(command, BUILT)
    assert done.code not in (0, 9)
    # Memory rules that cannot be read are all enforced: it may end before its INIT.
    refusals = ("Operation not permitted\n", "Permission denied\n")
    assert done.stderr.endswith(refusals)


def test_what_is_only_watched_passes(place: Path, tmp_path: Path) -> None:
    policy(place, "allow", "signing", HEX)
    file = tmp_path / "policy.toml"
    text = policy(place, "show", "--toml").replace('"enforce"', '"audit"', 1)
    file.write_text(text)
    policy(place, "apply", file)
    assert launch(place).code == 0
    (record,) = inits(place)
    assert (record["verdict"], record["rule"]) == ("waived", "signing")


def test_a_policy_that_another_hand_changed_stops_every_launch(place: Path) -> None:
    policy(place, "allow", "signing", SIG)
    state = place / "state.json"
    state.write_text(state.read_text().replace('"locks": []', '"locks":  []'))
    assert launch(place).code == 0  # the same words are the same state
    state.write_text(state.read_text().replace('"digest": "', '"digest": "0'))
    refused = launch(place)
    assert refused.code != 0
    assert "changed by another hand" in refused.stderr


def test_a_program_that_races_its_sigstruct_gets_no_other_verdict(
    place: Path, tmp_path: Path
) -> None:
    key, other = tmp_path / "key.pem", tmp_path / "other.sig"
    softsgx("sign", "--new-key", key)
    softsgx("sign", ELF, "--key", key, "--out", other)
    policy(place, "allow", "signing", SIG)
    binary = str(RACE.binary())
    command = [SOFTSGX, "run", "--platform", str(place), "--", binary]
    done = run([*command, str(SIG), str(other), str(ROUNDS)], BUILT)
    assert done.code == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == ROUNDS
    ours, theirs = (sha256(path.read_bytes()[128:512]).hex() for path in (SIG, other))
    # 1 is EPERM: refused, or torn and no signature of anybody's
    assert set(said) <= {"1", f"0 {ours}"}
    judged = Counter((one["mrsigner"], one["verdict"]) for one in inits(place))
    assert judged[theirs, "allow"] == judged[ours, "deny"] == 0
    assert sum(judged.values()) == ROUNDS
    assert said.count(f"0 {ours}") <= judged[ours, "allow"]


def use_files(place: Path, *options: str, link: str = "dynamic") -> Outcome:
    binary = str(Program("key_files", link, HERE / "policy").binary())
    run_on = [SOFTSGX, "run", "--platform", str(place), *options, "--"]
    return run([*run_on, binary, shutil.which("printf") or ""], BUILT)


@pytest.mark.parametrize(
    ("link", "mode"),
    [
        ("dynamic", ()),
        ("dynamic", ("--exact",)),
        ("static", ()),
        ("static-pie", ("--exact",)),
    ],
)
def test_the_lists_are_files_of_securityfs(
    place: Path, link: str, mode: tuple[str, ...]
) -> None:
    done = use_files(place, *mode, link=link)
    assert (done.code, done.stderr) == (0, "")
    holds = json.loads(policy(place, "show", "--json"))
    assert holds["locked"] == ["launch"]
    counts = {name: len(entries) for name, entries in holds["lists"].items()}
    assert counts == {"signing": 1, "launch": 1, "provisioning": 0, "dynamic": 0}
    told = softsgx("audit", "tail", "--json", "--platform", place).splitlines()
    changes = [json.loads(line) for line in told]
    made = [one for one in changes if one["event"] in {"policy", "lock"}]
    assert {Path(one["exe"]).name for one in made} >= {"key_files", "printf"}
    assert made[-1]["event"] == "lock"
    assert Path(made[-1]["exe"]).name == "key_files"


def test_the_files_decide_who_launches(place: Path) -> None:
    files = "/sys/kernel/security/sgx"
    write = f"echo {HEX} > {files}/signing_keys; "
    again = f"echo clear > {files}/signing_keys; "
    for first, code in (("", 0), (write, 1), (again, 0)):
        script = f"{first}exec {KEYS.binary()} 2>&1 >/dev/null"
        command = [SOFTSGX, "run", "--platform", str(place), "--", "sh", "-c", script]
        assert bool(run(command, BUILT).code) is bool(code)


def test_python_writes_them_and_a_key_of_the_owner_forbids_it(
    place: Path, tmp_path: Path
) -> None:
    path = "/sys/kernel/security/sgx/provisioning_keys"
    script = f"open({path!r}, 'w').write('{HEX}\\n'); print(open({path!r}).read())"
    command = [SOFTSGX, "run", "--platform", str(place), "--"]
    done = run([*command, "python3", "-c", script], BUILT)
    assert (done.stdout, done.stderr) == (f"{HEX}\n\n", "")
    key = tmp_path / "key.pub"
    key.write_text(Owner().key.line)
    softsgx("policy", "owner", key, "--platform", place)
    done = run([*command, "python3", "-c", script], BUILT)
    assert "PermissionError: [Errno 1]" in done.stderr
    done = run([*command, "cat", path], BUILT)
    assert (done.code, done.stdout) == (0, f"{HEX}\n")


SANDBOXED = """
import ctypes, errno, os, struct, sys
path = "/sys/kernel/security/sgx/signing_keys"
early = os.open(path, os.O_WRONLY) if sys.argv[1:] else None
code = struct.pack("<HBBI", 0x20, 0, 0, 0)  # the call's number
code += struct.pack("<HBBI", 0x15, 0, 1, 18)  # pwrite64
code += struct.pack("<HBBI", 6, 0, 0, 0x50000 | errno.EXDEV)
code += struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000)
kept = ctypes.create_string_buffer(code)
given = struct.pack("<HxxxxxxQ", 4, ctypes.addressof(kept))
program = ctypes.create_string_buffer(given)
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == libc.prctl(22, 2, program) == 0
fd = os.open(path, os.O_WRONLY) if early is None else early
null = os.open("/dev/null", os.O_WRONLY)
for call in (
    lambda: os.pwrite(null, b"x", 0),
    lambda: os.pwrite(fd, b"clear\\n", 0),
    lambda: os.write(fd, b"clear\\n"),
):
    try:
        print(call())
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [((), ["EXDEV", "EXDEV", "EPERM"]), (("early",), ["EXDEV", "EXDEV", "6"])],
)
def test_a_filter_of_the_programs_own_is_not_weakened(
    place: Path, words: tuple[str, ...], said: list[str]
) -> None:
    command = [SOFTSGX, "run", "--platform", str(place), "--", "python3", "-c"]
    done = run([*command, SANDBOXED, *words], BUILT)
    assert (done.stdout.split(), done.stderr) == (said, "")


def test_without_a_platform_that_is_on_there_are_no_such_files(place: Path) -> None:
    look = ["ls", "/sys/kernel/security/sgx"]
    on = run([SOFTSGX, "run", "--platform", str(place), "--", *look], BUILT)
    assert on.stdout.split() == sorted(f"{name}_keys" for name in ListName)
    softsgx("platform", "disable", place)
    for options in (("--platform", str(place)), ()):
        off = run([SOFTSGX, "run", *options, "--", *look], BUILT)
        assert off.code == 2
        assert "No such file" in off.stderr
