"""Keys in guests: the platform's, as on hardware, or the guest's own, which move."""

from pathlib import Path

import pytest

from softsgx.arch.report import Report
from softsgx.crypto.cmac import aes_cmac
from softsgx.crypto.compare import MismatchError
from softsgx.crypto.gcm import aes_gcm_decrypt, aes_gcm_encrypt
from tests.conformance_sgx.guests import guest, keys, new_platform, on, started

pytestmark = [pytest.mark.runner, pytest.mark.slow]
MAC_COVERS = 384
IV, SECRET = bytes(12), b"what an enclave keeps"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = new_platform(tmp_path / "p", "--epc", "32M")
    started(made, "shared")
    started(made, "own", "--keys", "separate")
    started(made, "other", "--keys", "separate")
    return made


def sealed(place: Path, name: str) -> bytes:
    """Return a blob that an enclave's sealing key locks."""
    return aes_gcm_encrypt(keys(place, name=name)["seal"], IV, b"", SECRET)


def opens(place: Path, name: str, blob: bytes) -> bool:
    """Say whether the same enclave opens it there."""
    try:
        plain = aes_gcm_decrypt(keys(place, name=name)["seal"], IV, b"", blob)
    except MismatchError:
        return False
    return plain == SECRET


def test_a_blob_opens_where_the_keys_are_the_same(place: Path) -> None:
    of_host, of_own = sealed(place, ""), sealed(place, "own")
    assert opens(place, "shared", of_host)
    assert not opens(place, "own", of_host)
    assert not opens(place, "", of_own)
    assert not opens(place, "other", of_own)
    guest(place, "stop", "own")
    guest(place, "start", "own")
    assert opens(place, "own", of_own)


@pytest.mark.parametrize(("name", "passes"), [("shared", True), ("own", False)])
def test_a_guests_report_for_one_of_the_hosts(
    name: str,
    passes: bool,  # noqa: FBT001 -- a column of the table
    place: Path,
) -> None:
    made = keys(place, "report", name=name)
    report = Report.from_bytes(made["report"])
    body = made["report"][:MAC_COVERS]
    assert aes_cmac(made["reportkey"], body) == report.mac
    # The host's key for that very report, as a quoting enclave would get it.
    hosts = keys(place, "report", report.keyid.hex(), name="")["reportkey"]
    assert (aes_cmac(hosts, body) == report.mac) is passes


def test_a_provisioning_enclave_with_own_keys_is_not_the_host(place: Path) -> None:
    started(place, "two", "--keys", "separate", "--provisioning")
    on(place, "policy", "guest", "two", "--provisioning", "yes")
    hosts = keys(place, "provision", name="")["provision"]
    assert keys(place, "provision", name="two")["provision"] != hosts


def test_a_guest_takes_its_keys_to_another_platform(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOFTSGX_PASSPHRASE", "correct horse")
    there = new_platform(tmp_path / "there", "--epc", "32M")
    blob = sealed(place, "own")
    for name in ("own", "shared"):
        file = tmp_path / f"{name}.guest"
        on(place, "guest", "export", name, "-o", file)
        on(there, "guest", "import", file, name)
        guest(there, "start", name)
    assert opens(there, "own", blob)
    assert not opens(there, "shared", sealed(place, "shared"))
