import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from softsgx.cli.failure import Failure
from softsgx.cli.options import default_directory
from softsgx.cli.platform import command
from softsgx.platform.errors import PlatformError
from softsgx.platform.platform import Platform
from softsgx.service.places import Ownership


def platform(*arguments: object) -> Result:
    runner = CliRunner()
    return runner.invoke(command, [str(a) for a in arguments], standalone_mode=False)


def test_a_platform_is_made_off_and_switched(tmp_path: Path) -> None:
    where = tmp_path / "p"
    assert platform("new", where, "--epc", "8M", "--no-sgx2").output.endswith("off\n")
    assert Platform.open(where).model.epc_bytes == 8 << 20
    assert platform("enable", where).output.endswith("on\n")
    assert Platform.open(where).is_on
    assert platform("disable", where).output.endswith("off\n")
    assert not Platform.open(where).is_on


def test_what_it_is_can_be_shown(tmp_path: Path) -> None:
    where = tmp_path / "p"
    platform("new", where, "--cpu", "skylake")
    shown = json.loads(platform("show", where, "--json").output)
    assert shown["features"] == ["sgx1"]
    assert shown["state"] == "off"
    assert shown["identity"].startswith("softsgx-")
    table = platform("show", where).output
    assert f"state            {shown['state']}\n" in table
    assert f"xfrm             {shown['xfrm']:#x}\n" in table


@pytest.mark.parametrize(
    ("cpu", "devices"),
    [
        ("skylake", ["/dev/isgx"]),
        ("coffeelake", ["/dev/sgx_enclave", "/dev/sgx_provision"]),
    ],
)
def test_its_devices_are_shown(cpu: str, devices: list[str], tmp_path: Path) -> None:
    where = tmp_path / "p"
    platform("new", where, "--cpu", cpu)
    assert json.loads(platform("show", where, "--json").output)["devices"] == []
    platform("enable", where)
    assert json.loads(platform("show", where, "--json").output)["devices"] == devices
    assert f"devices          {' '.join(devices)}\n" in platform("show", where).output


def test_the_launch_key_of_a_locked_processor_is_chosen(tmp_path: Path) -> None:
    where, sig = tmp_path / "p", tmp_path / "one.sig"
    platform("new", where, "--cpu", "skylake", "--launch-key", "ab" * 32)
    shown = json.loads(platform("show", where, "--json").output)
    assert shown["lepubkeyhash"] == "ab" * 32
    sig.write_bytes(b"no SIGSTRUCT")
    refused = platform("new", tmp_path / "q", "--launch-key", sig)
    assert isinstance(refused.exception, Failure)
    assert not (tmp_path / "q").exists()


def test_the_processors_are_listed() -> None:
    rows = json.loads(platform("models", "--json").output)
    found = {row["name"]: row for row in rows}
    assert {"skylake-client", "icelake-server", "sapphirerapids", "host"} <= {*found}
    assert found["skylake-client"]["features"] == ["sgx1"]
    assert found["skylake-client"]["signature"] == "6-5e-3"
    assert found["host"]["signature"] == "own"
    table = platform("models").output
    assert all(name in table for name in found)


def test_a_platform_shows_its_processor(tmp_path: Path) -> None:
    platform("new", tmp_path / "p", "--cpu", "icelake-server")
    platform("new", tmp_path / "q", "--cpu", "host")
    shown = json.loads(platform("show", tmp_path / "p", "--json").output)
    assert "Ice Lake" in shown["processor"]
    shown = json.loads(platform("show", tmp_path / "q", "--json").output)
    assert shown["processor"] == "this machine's"


def test_the_seed_is_never_shown(tmp_path: Path) -> None:
    where = tmp_path / "p"
    platform("new", where)
    seed = (where / "seed").read_bytes().hex()
    for arguments in (("show", where), ("show", where, "--json"), ("enable", where)):
        assert seed not in platform(*arguments).output


def test_there_is_a_default_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "softsgx" / "default"
    assert platform("new").exception is None
    assert (tmp_path / "softsgx" / "default" / "platform.toml").exists()


@pytest.mark.parametrize("verb", ["show", "enable", "disable"])
def test_no_platform_is_a_failure(verb: str, tmp_path: Path) -> None:
    error = platform(verb, tmp_path / "none").exception
    assert isinstance(error, PlatformError)
    assert "no platform here" in str(error)


def test_a_platform_is_not_made_twice(tmp_path: Path) -> None:
    platform("new", tmp_path / "p")
    assert isinstance(platform("new", tmp_path / "p").exception, PlatformError)


@pytest.mark.parametrize("size", ["5", "0", "2T", "x", "-4096"])
def test_a_strange_epc_is_refused(size: str, tmp_path: Path) -> None:
    result = platform("new", tmp_path / "p", "--epc", size)
    assert result.exception is not None
    assert not (tmp_path / "p").exists()


def test_nobody_to_ask_is_no_leave_to_delete(tmp_path: Path) -> None:
    where = tmp_path / "p"
    platform("new", where)
    refused = platform("delete", where)
    said = f"{where}: not deleted; --yes deletes without asking"
    assert str(refused.exception) == said
    assert not Platform.open(where).is_on


def test_a_platform_that_a_daemon_serves_is_not_deleted(tmp_path: Path) -> None:
    where = tmp_path / "p"
    platform("new", where)
    daemon = Ownership(where)
    refused = platform("delete", where, "--yes")
    said = f"{where}: a daemon serves this platform already (pid {os.getpid()})"
    assert str(refused.exception) == f"{said}; stop it first"
    daemon.give_up()
    assert platform("delete", where, "--yes").exception is None
