from dataclasses import replace
from pathlib import Path

import pytest

from softsgx.arch.msr import FeatureControl
from softsgx.arch.targetinfo import Targetinfo
from softsgx.machine.keys import derive_report_key
from softsgx.machine.model import Model
from softsgx.platform import platform as platform_module
from softsgx.platform.errors import PlatformError
from softsgx.platform.models import CPUS, MODELS, SHORT_NAMES
from softsgx.platform.platform import Platform, read_secret
from softsgx.platform.record import Record, decode_record, encode_record


def test_an_ephemeral_platform_is_on_and_its_keys_are_its_own() -> None:
    one, other = Platform.ephemeral(), Platform.ephemeral()
    assert one.is_on
    assert one.directory is None
    assert one.machine().package.is_opted_in()
    assert one.machine().package.fuses != other.machine().package.fuses


def test_a_new_platform_is_off(tmp_path: Path) -> None:
    platform = Platform.create(tmp_path / "p")
    assert not platform.is_on
    assert not Platform.open(tmp_path / "p").machine().package.is_opted_in()


def test_a_platform_comes_back_as_it_was(tmp_path: Path) -> None:
    model = Model(sgx2=False, epc_bytes=8 << 20)
    made = Platform.create(tmp_path / "deep" / "p", model)
    opened = Platform.open(tmp_path / "deep" / "p")
    assert opened == made
    assert opened.identity == made.identity
    assert opened.machine().package.fuses == made.machine().package.fuses
    assert opened.machine().epc.pages == 2048


def test_a_report_of_one_run_is_verified_in_another(tmp_path: Path) -> None:
    here = Platform.create(tmp_path / "p").machine().package
    there = Platform.open(tmp_path / "p").machine().package
    assert here.cpusvn == there.cpusvn
    assert here.report_keyid != there.report_keyid
    keys = {
        derive_report_key(package, Targetinfo.zero(), here.report_keyid)
        for package in (here, there)
    }
    assert len(keys) == 1


def test_switching_lasts(tmp_path: Path) -> None:
    Platform.create(tmp_path / "p").switch(on=True)
    assert Platform.open(tmp_path / "p").is_on
    assert not Platform.open(tmp_path / "p").switch(on=False).is_on
    assert not Platform.open(tmp_path / "p").is_on


def test_a_model_without_flexible_launch_control_has_its_hash_locked() -> None:
    flexible = Platform.ephemeral(Model(flc=True)).record.feature_control
    locked = Platform.ephemeral(Model(flc=False)).record.feature_control
    assert flexible & FeatureControl.SGX_LC_ENABLE
    assert not locked & FeatureControl.SGX_LC_ENABLE
    assert locked & FeatureControl.LOCK


def test_the_seed_is_for_its_owner_only(tmp_path: Path) -> None:
    Platform.create(tmp_path / "p")
    seed = tmp_path / "p" / "seed"
    assert seed.stat().st_mode & 0o777 == 0o600
    seed.chmod(0o640)
    with pytest.raises(PlatformError, match="others may read it"):
        Platform.open(tmp_path / "p")


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_directory_that_others_may_write_to_is_no_platform(
    tmp_path: Path, mode: int
) -> None:
    Platform.create(tmp_path / "p")
    (tmp_path / "p").chmod(mode)
    with pytest.raises(PlatformError, match="others may write to it; chmod go-w it"):
        Platform.open(tmp_path / "p")
    (tmp_path / "p").chmod(0o755)
    Platform.open(tmp_path / "p")


def test_a_seed_of_another_size_is_refused(tmp_path: Path) -> None:
    Platform.create(tmp_path / "p")
    (tmp_path / "p" / "seed").write_bytes(bytes(33))
    with pytest.raises(PlatformError, match="not 32 bytes"):
        Platform.open(tmp_path / "p")


def test_a_platform_is_never_made_over_another(tmp_path: Path) -> None:
    before = Platform.create(tmp_path / "p")
    with pytest.raises(PlatformError, match="p: there is a platform already"):
        Platform.create(tmp_path / "p")
    assert Platform.open(tmp_path / "p") == before
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_no_platform_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="no platform here"):
        Platform.open(tmp_path / "nothing")


def test_a_failed_write_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = Platform.create(tmp_path / "p")

    def fail(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(PlatformError, match="No space left"):
        platform.switch(on=True)
    monkeypatch.undo()
    assert not Platform.open(tmp_path / "p").is_on
    names = sorted(path.name for path in (tmp_path / "p").iterdir())
    assert names == [
        *("audit.head", "audit.jsonl", platform_module.RECORD_NAME, "policies"),
        *(platform_module.SEED_NAME, "state.json"),
    ]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_named_model_survives_its_file(name: str) -> None:
    record = Platform.ephemeral(MODELS[name]).record
    assert decode_record(encode_record(record)) == record


def test_a_platform_of_an_older_softsgx_has_no_leaves_for_monitors() -> None:
    raw = encode_record(Record(model=MODELS["full"]))
    old = raw.replace(b"enclv = true\n", b"").replace(b"oversub = true\n", b"")
    model = decode_record(old).model
    assert len(old) < len(raw) - 25
    assert model == replace(MODELS["full"], enclv=False, oversub=False)


def test_a_platform_of_an_older_softsgx_has_this_machines_name() -> None:
    raw = encode_record(Platform.ephemeral(MODELS["icelake-server"]).record)
    head, _, rest = raw.partition(b"[identity]")
    old = head + rest[rest.index(b"[package]") :]
    assert decode_record(raw).model.identity is not None
    assert decode_record(old).model.identity is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("family = 6", "family = 1000", "family = 1000: a number below 270"),
        ('brand = "Intel', 'brand = 5 #"', "brand = 5: text is needed"),
        ('brand = "Intel', 'brand = "\\u00e9', "brand: at most 47 plain"),
        ('brand = "Intel', f'brand = "{"x" * 48}', "brand: at most 47 plain"),
        ("stepping = 6", "steps = 6", "unknown steps"),
    ],
)
def test_a_wrong_identity_is_named(old: str, new: str, message: str) -> None:
    raw = encode_record(Platform.ephemeral(MODELS["icelake-server"]).record).decode()
    assert old in raw
    with pytest.raises(PlatformError, match=message):
        decode_record(raw.replace(old, new).encode())


@pytest.mark.parametrize("short", sorted(SHORT_NAMES))
def test_a_short_name_is_the_same_processor(short: str) -> None:
    assert MODELS[short] is CPUS[SHORT_NAMES[short]].model


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version = 1", "version = 2", "version 2, this softsgx knows 1"),
        ("version = 1", "version = [", "not TOML"),
        ("[msr]", "[msrs]", r"no table \[msr\]"),
        ("sgx2 = true", "sgx2 = 1", "sgx2 = 1: true or false is needed"),
        ("sgx2 = true", "sgx3 = true", "unknown sgx3"),
        ("xfrm = 7", "xfrm = 4", "xfrm 0x4: not a mask"),
        ("xfrm = 7", "xfrm = -1", "xfrm = -1: a number below"),
        ("epc_bytes = 67108864", "epc_bytes = 100", "whole pages"),
        ("max_size_64 = 36", "max_size_64 = 60", "max_size_64 is 12 to 56"),
        ('cpusvn = "01', 'cpusvn = "zz', "cpusvn = 'zz.*: 16 bytes in hex are needed"),
    ],
)
def test_a_wrong_line_is_named(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    Platform.create(tmp_path / "p", Model(epc_bytes=64 << 20, max_size_64=36))
    path = tmp_path / "p" / "platform.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(PlatformError, match=message):
        Platform.open(tmp_path / "p")


def test_whoever_may_not_read_the_seed_hears_who_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*asked: object) -> None:
        raise PermissionError(13, f"Permission denied: {asked}")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PlatformError, match=r"seed: only its owner may read it$"):
        read_secret(tmp_path / "seed")
