"""softsgx guest: what it prints, and its refusals."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from softsgx.cli.guest import command
from softsgx.cli.platform import command as platform_command
from softsgx.cli.policy import command as policy_command
from softsgx.platform.platform import Platform


@pytest.fixture
def place(tmp_path: Path) -> Path:
    CliRunner().invoke(platform_command, ["new", str(tmp_path / "p"), "--epc", "8M"])
    return tmp_path / "p"


def guest(place: Path, *words: str) -> Result:
    words = (*words, "--platform", str(place))
    return CliRunner().invoke(command, words, standalone_mode=False)


def test_a_guest_is_made_started_shown_and_deleted(place: Path) -> None:
    made = guest(place, "new", "one", "--epc", "4M", "--kvm", "6.1")
    assert made.output == "one: off, 4096 KiB of EPC\n"
    assert guest(place, "start", "one").output == "one: on, 4096 KiB of EPC\n"
    assert guest(place, "list").output == "one: on, 4096 KiB of EPC\n"
    shown = json.loads(guest(place, "show", "one", "--json").output)
    assert shown["state"] == "on"
    assert (shown["epc_bytes"], shown["lepubkeyhash"]) == (4 << 20, "writable")
    assert shown["kvm"] == "6.1"
    assert json.loads(guest(place, "list", "--json").output) == [shown]
    assert "sgx2             yes\n" in guest(place, "show", "one").output
    assert "kvm              6.1\n" in guest(place, "show", "one").output
    assert guest(place, "reset", "one").output == "one: on, 4096 KiB of EPC\n"
    assert guest(place, "stop", "one").output == "one: off, 4096 KiB of EPC\n"
    assert guest(place, "delete", "one").output == "one: deleted\n"
    assert guest(place, "list").output == ""


@pytest.mark.parametrize(
    ("cpu", "word", "kept"),
    [
        ("full", None, "writable"),
        ("full", "own", "own"),
        ("full", "AB" * 32, "ab" * 32),
        ("skylake", None, "own"),
        ("skylake", "own", "own"),
    ],
)
def test_its_launch_key(tmp_path: Path, cpu: str, word: str | None, kept: str) -> None:
    place = tmp_path / "p"
    CliRunner().invoke(platform_command, ["new", str(place), "--cpu", cpu])
    guest(place, "new", "one", *(("--lepubkeyhash", word) if word else ()))
    shown = json.loads(guest(place, "show", "one", "--json").output)
    assert shown["lepubkeyhash"] == kept


@pytest.mark.parametrize("word", ["writable", "ab" * 32])
def test_a_locked_processor_gives_no_choice(tmp_path: Path, word: str) -> None:
    place = tmp_path / "p"
    CliRunner().invoke(platform_command, ["new", str(place), "--cpu", "skylake"])
    refused = guest(place, "new", "one", "--lepubkeyhash", word)
    why = "guest one: the platform's processor has no launch control"
    assert str(refused.exception) == f"{why}: only its own launch key is there"


def test_odd_sizes_are_refused(place: Path) -> None:
    refused = guest(place, "new", "one", "--epc", "4097")
    assert (
        str(refused.exception) == "4097 bytes of EPC: whole pages of 4 KiB are needed"
    )
    assert guest(place, "list").output == ""


def test_provisioning_is_asked_for_and_given(place: Path) -> None:
    made = guest(place, "new", "one", "--epc", "4M", "--provisioning")
    hint = "`softsgx policy guest one --provisioning yes`"
    assert made.stderr == f"softsgx: one has no PROVISIONKEY until {hint}\n"

    def shown() -> object:
        return json.loads(guest(place, "show", "one", "--json").output)["provisioning"]

    assert shown() == "asked"
    words = ["guest", "one", "--provisioning", "yes", "--platform", str(place)]
    given = CliRunner().invoke(policy_command, words, standalone_mode=False)
    why = "guests.one: its enclaves may have PROVISIONKEY"
    assert given.stderr == f"softsgx: warning: {why}\n"
    assert shown() == "yes"
    assert guest(place, "new", "two", "--epc", "4M").stderr == ""
    assert "provisioning     no" in guest(place, "show", "two").output
    words = ["guest", "..", "--platform", str(place)]
    refused = CliRunner().invoke(policy_command, words, standalone_mode=False)
    assert str(refused.exception) == "'..' is no name of a guest"


def test_the_policy_shows_what_guests_have_leave_for(place: Path) -> None:
    for words in (
        ["guest", "one", "--provisioning", "yes", "--launch", "guest"],
        ["guest", "two", "--provisioning", "no"],
    ):
        CliRunner().invoke(policy_command, [*words, "--platform", str(place)])
    show = ["show", "--platform", str(place)]
    table = CliRunner().invoke(policy_command, show).output
    assert "guest        one: PROVISIONKEY, lists of the guest\n" in table
    assert "two" not in table
    shown = json.loads(CliRunner().invoke(policy_command, [*show, "--json"]).output)
    given = {"provisioning": True, "launch": "guest", "oversubscribe": False}
    assert shown["guests"] == {"one": given}


def test_a_guest_is_moved_with_the_keys_of_its_own(place: Path, tmp_path: Path) -> None:
    other, file, secret = (tmp_path / name for name in ("q", "guest", "passphrase"))
    CliRunner().invoke(platform_command, ["new", str(other), "--epc", "8M"])
    secret.write_text("correct horse\n")
    guest(place, "new", "one", "--epc", "4M", "--keys", "separate")
    guest(place, "new", "two", "--epc", "4M")
    guest(place, "start", "one")
    words = ("--passphrase-file", str(secret))
    sent = guest(place, "export", "one", "-o", str(file), *words)
    assert sent.output == f"{file}: one: on, 4096 KiB of EPC\n"
    assert file.stat().st_mode & 0o777 == 0o600
    came = guest(other, "import", str(file), "moved", *words)
    assert came.output == "moved: off, 4096 KiB of EPC\n"

    def shown(where: Path, name: str) -> dict[str, str]:
        words: dict[str, str] = json.loads(guest(where, "show", name, "--json").output)
        return words

    one, moved, two = shown(place, "one"), shown(other, "moved"), shown(place, "two")
    assert moved["keys"] == one["keys"] == "separate"
    assert moved["identity"] == one["identity"]
    assert one["identity"].startswith("softsgx-guest-")
    assert (two["keys"], two["identity"]) == ("shared", Platform.open(place).identity)
    assert guest(other, "import", str(file), *words).output.startswith("one: off")
    file.write_bytes(b"softsgx platform 1\n")
    refused = guest(other, "import", str(file), "again")
    why = "neither an export of a guest nor a domain's XML"
    assert str(refused.exception) == f"{file}: {why}"


LIBVIRT = """\
<memory model='sgx-epc'>
  <target>
    <size unit='KiB'>4096</size>
    <node>0</node>
  </target>
</memory>
"""
QEMU = (
    "-object memory-backend-epc,id=mem1,size=4096K,prealloc=on"
    " -M sgx-epc.0.memdev=mem1,sgx-epc.0.node=0"
)


def test_a_guest_in_the_words_of_others(place: Path) -> None:
    guest(place, "new", "one", "--epc", "4M")
    shown = json.loads(guest(place, "show", "one", "--json").output)
    qmp = {key: shown[key] for key in ("sgx", "sgx1", "sgx2", "flc", "sections")}
    assert qmp == {
        "sgx": False,
        "sgx1": True,
        "sgx2": True,
        "flc": False,
        "sections": [{"node": 0, "size": 4 << 20}],
    }
    CliRunner().invoke(platform_command, ["enable", str(place)])
    shown = json.loads(guest(place, "show", "one", "--json").output)
    assert (shown["sgx"], shown["flc"]) == (True, True)
    assert guest(place, "show", "one", "--libvirt").output == LIBVIRT
    assert guest(place, "show", "one", "--qemu").output == f"-cpu host {QEMU}\n"
    both = guest(place, "show", "one", "--qemu", "--json")
    assert "only one at a time" in str(both.exception)
    guest(place, "new", "two", "--epc", "4M", "--lepubkeyhash", "ab" * 32)
    fixed = guest(place, "show", "two", "--qemu")
    assert fixed.stdout == f"-cpu host,-sgxlc {QEMU}\n"
    why = "hardware's guest without sgxlc has Intel's launch key, not this one's"
    assert fixed.stderr == f"softsgx: two: {why}\n"


def test_a_guest_comes_from_a_domains_xml(place: Path, tmp_path: Path) -> None:
    file = tmp_path / "domain.xml"
    features = (
        "<feature name='sgx-provisionkey'/><feature policy='disable' name='sgxlc'/>"
    )
    rest = f"<cpu>{features}</cpu><devices>{LIBVIRT}</devices></domain>"
    file.write_text(f"<?xml version='1.0'?>\n<domain><name>vm-1</name>{rest}")
    assert guest(place, "import", str(file)).output == "vm-1: off, 4096 KiB of EPC\n"
    shown = json.loads(guest(place, "show", "vm-1", "--json").output)
    assert shown["provisioning"] == "asked"
    assert shown["lepubkeyhash"].startswith("acb77012")
    assert guest(place, "show", "vm-1", "--qemu").stderr == ""
    assert guest(place, "import", str(file), "other").output.startswith("other: off")
    file.write_text(f"<domain>{rest}")
    assert str(guest(place, "import", str(file)).exception) == (
        f"{file}: '' is no name of a guest"
    )
    file.write_text("<network/>")
    refused = guest(place, "import", str(file))
    assert str(refused.exception) == f"{file}: <network> is no <domain>"


def test_a_reset_of_the_platform_ends_its_guests(place: Path) -> None:
    guest(place, "new", "one", "--epc", "4M")
    guest(place, "start", "one")
    reset = ["reset", str(place)]
    done = CliRunner().invoke(platform_command, reset, standalone_mode=False)
    assert done.output.endswith("reset\n")
    assert guest(place, "list").output == "one: off, 4096 KiB of EPC\n"
