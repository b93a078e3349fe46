"""softsgx policy and softsgx audit, as they are typed."""

import json
from pathlib import Path
from struct import pack

import click
import pytest
from click.testing import CliRunner, Result

from softsgx.cli.failure import Failure
from softsgx.cli.group import cli
from softsgx.crypto.sha256 import sha256
from softsgx.platform.audit import Who
from softsgx.platform.errors import PlatformError
from softsgx.platform.platform import Platform
from tests.crypto.signer import Owner

SPECIMENS = sorted((Path(__file__).parents[1] / "vectors" / "sigstructs").glob("*.hex"))
HEX = "ab" * 32


@pytest.fixture(scope="session")
def sigstructs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Real SIGSTRUCTs, one of each signer."""
    place = tmp_path_factory.mktemp("sigstructs")
    by_signer: dict[bytes, tuple[str, bytes]] = {}
    for path in SPECIMENS:
        raw = bytes.fromhex(path.read_text())
        by_signer.setdefault(sha256(raw[128:512]), (path.stem, raw))
    for stem, raw in by_signer.values():
        (place / stem).write_bytes(raw)
    return sorted(place.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    Platform.create(tmp_path / "p")
    return tmp_path / "p"


def type_(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], standalone_mode=False)


def ok(*words: object) -> str:
    result = type_(*words)
    assert result.exception is None, result.exception
    return result.output


def failed(*words: object) -> str:
    result = type_(*words)
    assert isinstance(result.exception, Failure | PlatformError), result
    return str(result.exception)


def policy(place: Path, word: str, *words: object) -> str:
    return ok("policy", word, *words, "--platform", place)


def test_show_says_that_there_is_no_second_factor(place: Path) -> None:
    shown = policy(place, "show")
    assert "the permissions of the platform's files are the only factor" in shown
    assert "signing      empty: as Linux has it" in shown


def test_allow_remove_and_lock(place: Path, sigstructs: list[Path]) -> None:
    policy(
        place,
        "allow",
        "signing",
        HEX,
        "--min-isvsvn",
        3,
        "--no-debug",
        "--comment",
        "Al",
    )
    policy(place, "allow", "launch", sigstructs[0], "--expires", "2031-01-02")
    shown = json.loads(policy(place, "show", "--json"))
    (entry,) = shown["lists"]["signing"]
    assert entry == {"mrsigner": HEX, "min_isvsvn": 3, "debug": False, "comment": "Al"}
    assert shown["lists"]["launch"][0]["expires"] == "2031-01-02"
    assert shown["serial"] == 2
    policy(place, "lock", "signing")
    refused = failed("policy", "remove", "signing", HEX, "--platform", place)
    assert refused == "signing is locked until the platform is reset"
    policy(place, "remove", "launch", sigstructs[0])
    ok("platform", "reset", place)
    policy(place, "remove", "signing", HEX)
    assert "owner" in policy(place, "show")


def test_what_expired_is_shown(place: Path) -> None:
    policy(place, "allow", "signing", HEX, "--expires", "2020-01-02")
    shown = policy(place, "show")
    assert "signing      1 entry\n" in shown
    assert f"  {HEX}  expires 2020-01-02  EXPIRED\n" in shown
    policy(place, "allow", "signing", HEX, "--expires", "9999-01-02")
    assert policy(place, "show").count("EXPIRED") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("remove", "signing", HEX), f"signing has no entry of {HEX}"),
        (("allow", "signing", "FILE"), "no SIGSTRUCT in it"),
        (("apply", "FILE"), "FILE: line 1: not TOML"),
        (("check", "FILE"), "FILE: line 1: not TOML"),
        (("owner", "FILE"), "FILE: not an OpenSSH public key"),
        (("import", "FILE"), "4 bytes are too few for a white list"),
        (("test", "FILE"), "FILE: no SIGSTRUCT in it"),
    ],
)
def test_mistakes_are_one_line(
    place: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    file = tmp_path / "FILE"
    file.write_text("junk")
    typed = [file if word == "FILE" else word for word in words]
    where = [] if words[0] == "check" else ["--platform", place]
    said = failed("policy", *typed, *where)
    assert message in said
    assert "\n" not in said


def test_two_signers_in_a_file_are_one_too_many(
    place: Path, tmp_path: Path, sigstructs: list[Path]
) -> None:
    first, second, *_ = sigstructs
    both = tmp_path / "both"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    said = failed("policy", "allow", "signing", both, "--platform", place)
    assert said.endswith("2 signers in it, and one is needed")


def test_test_and_explain_say_what_would_happen(
    place: Path, sigstructs: list[Path]
) -> None:
    file = sigstructs[0]
    policy(place, "allow", "signing", HEX)
    result = type_("policy", "test", file, "--platform", place)
    assert (result.return_value, result.output) == (1, f"deny   {file}@0x0\n")
    result = type_("policy", "explain", file, "--json", "--platform", place)
    assert result.return_value == 1
    (explained,) = json.loads(result.output)
    assert explained["verdict"] == "deny"
    assert explained["rule"] == "signing"
    policy(place, "allow", "signing", file)
    result = type_("policy", "test", file, "--platform", place)
    assert (result.return_value, result.output) == (0, f"allow  {file}@0x0\n")


def test_test_by_a_file_needs_no_platform(
    tmp_path: Path, sigstructs: list[Path]
) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(f'version = 1\nmode = "audit"\n[[signing]]\nmrsigner = "{HEX}"\n')
    result = type_("policy", "explain", sigstructs[0], "--policy", file)
    assert result.return_value == 0
    assert "waived" in result.output


def test_an_owner_signs(place: Path, tmp_path: Path) -> None:
    owner = Owner()
    key, file, signature = (tmp_path / name for name in ("key.pub", "p.toml", "p.sig"))
    key.write_text(owner.key.line + " me@here\n")
    ok("policy", "owner", key, "--platform", place)
    assert owner.key.fingerprint in policy(place, "show")
    said = failed("policy", "allow", "signing", HEX, "--platform", place)
    assert "the owner must sign" in said
    file.write_text(policy(place, "allow", "signing", HEX, "--toml"))
    assert json.loads(policy(place, "show", "--json"))["serial"] == 0
    assert "has not signed it" in failed("policy", "apply", file, "--platform", place)
    signature.write_text(owner.sign(file.read_bytes()))
    policy(place, "apply", file, "--signature", signature)
    assert json.loads(policy(place, "show", "--json"))["serial"] == 1
    heir = Owner()
    key.write_text(heir.key.line)
    text = policy(place, "owner", key, "--to-sign")
    signature.write_text(owner.sign(text.encode()))
    assert heir.key.fingerprint in policy(place, "owner", key, "--signature", signature)


def test_a_white_list_is_imported(place: Path, tmp_path: Path) -> None:
    entries = b"".join(
        pack(">BB6x32s32s", provision, 0, bytes([provision + 1]) * 32, bytes(32))
        for provision in (0, 1)
    )
    file = tmp_path / "list"
    file.write_bytes(pack(">HIH384sI", 1, 3, 2, b"key", 3) + entries)
    said = policy(place, "import", file)
    assert "no signature was given" in said
    assert "serial 1 holds: signing 2, launch 0, provisioning 1, dynamic 0" in said
    policy(place, "import", file)
    shown = json.loads(policy(place, "show", "--json"))["lists"]
    assert len(shown["signing"]) == 2
    assert [one["mrsigner"] for one in shown["provisioning"]] == ["02" * 32]
    assert shown["signing"][0]["comment"].endswith("list, version 3")


def test_the_log_is_read_and_checked(place: Path) -> None:
    ok("platform", "enable", place)
    policy(place, "allow", "signing", HEX)
    assert "3 lines, all in place" in ok("audit", "verify", "--platform", place)
    told = ok("audit", "tail", "--platform", place)
    assert [line.split()[1] for line in told.splitlines()] == [
        *("new", "enable", "policy")
    ]
    told = ok("audit", "tail", "--event", "policy", "--json", "--platform", place)
    assert json.loads(told)["signing"] == 1
    assert ok("audit", "tail", "-n", 1, "--platform", place).count("\n") == 1
    assert "enable by uid" in ok("platform", "show", place)
    log = place / "audit.jsonl"
    log.write_text(log.read_text().replace("enable", "disable"))
    said = failed("audit", "verify", "--platform", place)
    assert said.endswith("line 2: it was changed")


def test_platforms_are_listed_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    one = Platform.create(tmp_path / "softsgx" / "one")
    assert one.identity in ok("platform", "list")
    assert json.loads(ok("platform", "list", "--json"))[0]["state"] == "off"
    ok("platform", "delete", one.directory, "--yes")
    assert ok("platform", "list") == ""
    assert list((tmp_path / "softsgx").iterdir()) == []


def test_a_name_is_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    ok("platform", "new", "one")
    ok("platform", "new", "./two")
    assert [one["name"] for one in json.loads(ok("platform", "list", "--json"))] == [
        "one"
    ]
    assert "signing" in ok("policy", "show", "--platform", "one")
    assert "signing" in ok("policy", "show", "--platform", "./two")
    assert "no platform here" in failed("policy", "show", "--platform", "three")
    for word, message in (
        ("two", "no platform is named two; for the directory, write ./two"),
        (".", "'.' is no name; a directory has a slash in it"),
        ("a b", "'a b' is no name"),
    ):
        error = type_("policy", "show", "--platform", word).exception
        assert isinstance(error, click.BadParameter)
        assert message in str(error)
    ok("platform", "new", "two")
    ok("platform", "delete", "two", "--yes")
    assert (tmp_path / "two").is_dir()


def test_a_broken_platform_is_listed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for name in ("bad", "good"):
        ok("platform", "new", name)
    (tmp_path / "softsgx" / "bad" / "seed").chmod(0o644)
    bad, good = ok("platform", "list").splitlines()
    assert bad.split()[:2] == ["bad", "?"]
    assert bad.endswith("others may read it; chmod 600 it")
    assert good.split()[2] == "off"


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("signing", "signing and launch are empty: every signer may launch"),
        ("launch", "signing and launch are empty: every signer may launch"),
        ("dynamic", "every enclave may map and protect pages after INIT"),
        ("provisioning", None),
    ],
)
def test_who_opens_what_a_list_closed_is_warned(
    place: Path, name: str, warning: str | None
) -> None:
    policy(place, "allow", name, HEX)
    policy(place, "allow", name, "cd" * 32)
    assert "warning" not in policy(place, "remove", name, HEX)
    said = policy(place, "remove", name, "cd" * 32)
    assert ("warning" in said) is (warning is not None)
    assert (warning or "") in said
    told = ok("audit", "tail", "-n", 1, "--json", "--platform", place)
    assert (warning or "") in json.loads(told)["reason"]


def test_the_log_is_shown_as_words(place: Path) -> None:
    who = Who(pid=7, uid=1, exe="/a\nb\x1b[2J", cgroup="/c")
    log = Platform.open(place).policies().log
    log.append("init", who, verdict="deny", mrsigner=HEX, reason="no\nno")
    log.append("init", who, verdict="allow", mrsigner="cd" * 32)
    told = ok("audit", "tail", "--mrsigner", HEX, "--platform", place)
    (line,) = told.splitlines()
    assert "exe='/a\\nb\\x1b[2J'" in line
    assert line.endswith(": 'no\\nno'")
    assert ok("audit", "tail", "--uid", 3, "--platform", place) == ""
    both = ok("audit", "tail", "-n", 2, "--platform", place).splitlines()
    assert [" verdict=deny" in one for one in both] == [True, False]


def test_what_has_no_end_is_not_read() -> None:
    said = failed("policy", "check", "/dev/zero")
    assert said == "/dev/zero: more than 67108864 bytes"


def test_explain_with_a_token(
    place: Path, tmp_path: Path, sigstructs: list[Path]
) -> None:
    token = tmp_path / "token"
    token.write_bytes(b"\1" + bytes(303))
    policy(place, "allow", "launch", HEX)
    words = ("policy", "test", sigstructs[0], "--json", "--platform", place)
    assert type_(*words).return_value == 1
    result = type_(*words, "--token", token)
    assert result.return_value == 0
    assert json.loads(result.output)[0]["rule"] == "launch"
    token.write_bytes(b"short")
    said = failed(*words, "--token", token)
    assert said == f"{token}: not an EINITTOKEN of 304 bytes"


def test_a_signer_that_is_neither_a_digest_nor_a_file_is_said(place: Path) -> None:
    result = type_("policy", "allow", "signing", "nofile", "--platform", place)
    assert isinstance(result.exception, click.BadParameter)
    said = "'nofile': 64 hex digits, or a file with a SIGSTRUCT, are expected"
    assert result.exception.message == said
