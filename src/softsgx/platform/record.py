"""platform.toml: everything of a platform that is no secret, versioned."""

from dataclasses import dataclass, replace
from functools import partial

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.cpuid import BRAND_LENGTH, Identity
from softsgx.arch.msr import INTEL_LEPUBKEYHASH, FeatureControl
from softsgx.machine.model import Model
from softsgx.machine.package import OPTED_IN, OPTED_IN_FLEXIBLE
from softsgx.platform.errors import PlatformError

VERSION = 1

CPUSVN = bytes([1, 1] + [0] * 14)

_HEAD = """\
# A softsgx platform.  Change it with `softsgx platform`, or while nothing runs on it.
"""
_LATER_FLAGS = ("enclv", "oversub", "vmx")
_FLAGS = (
    *("sgx1", "sgx2", "kss", "flc", "aexnotify", "edeccssa", "exinfo"),
    *_LATER_FLAGS,
)
_NUMBERS = ("xfrm", "max_size_64", "max_size_not64", "epc_bytes")
_SIGNATURE = ("family", "model", "stepping")
_SIGNATURE_LIMITS = (0x10E, 0x100, 0x10)
_MAX_EPC = 1 << 40


@dataclass(frozen=True, kw_only=True)
class Record:
    """Model and MSRs as they are out of reset; 16 and 32 bytes."""

    model: Model
    feature_control: FeatureControl = FeatureControl.LOCK
    lepubkeyhash: bytes = INTEL_LEPUBKEYHASH
    cpusvn: bytes = CPUSVN
    ownerepoch: bytes = bytes(16)

    @property
    def is_on(self) -> bool:
        """Say whether IA32_FEATURE_CONTROL lets enclaves run."""
        return self.feature_control & OPTED_IN == OPTED_IN


def switched(model: Model, *, on: bool) -> FeatureControl:
    """Return IA32_FEATURE_CONTROL of a platform that is on or off."""
    if not on:
        return FeatureControl.LOCK
    return OPTED_IN_FLEXIBLE if model.flc else OPTED_IN


def encode_record(record: Record) -> bytes:
    """Return the file's bytes."""
    model = record.model
    lines = [_HEAD + f"version = {VERSION}", "", "[model]"]
    lines += [f"{name} = {str(getattr(model, name)).lower()}" for name in _FLAGS]
    lines += [f"{name} = {getattr(model, name)}" for name in _NUMBERS]
    if model.identity:
        lines += ["", "[identity]"]
        lines += [f"{name} = {getattr(model.identity, name)}" for name in _SIGNATURE]
        lines += [f'brand = "{model.identity.brand}"']
    lines += [
        "",
        "[package]",
        f'cpusvn = "{record.cpusvn.hex()}"',
        f'ownerepoch = "{record.ownerepoch.hex()}"',
        "",
        "[msr]",
        f"feature_control = {int(record.feature_control):#x}",
        f'lepubkeyhash = "{record.lepubkeyhash.hex()}"',
        "",
    ]
    return "\n".join(lines).encode()


def decode_record(raw: bytes) -> Record:
    """Read the file's bytes; PlatformError names the line that is wrong."""
    import tomllib  # noqa: PLC0415 -- an ephemeral platform has nothing to parse

    try:
        table = tomllib.loads(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PlatformError(f"not TOML: {error}") from error
    version = table.get("version")
    if version != VERSION:
        raise PlatformError(f"version {version!r}, this softsgx knows {VERSION}")
    model = _model(_table(table, "model"))
    if "identity" in table:
        model = replace(model, identity=_identity(_table(table, "identity")))
        check_model(model)
    package, msr = _table(table, "package"), _table(table, "msr")
    return Record(
        model=model,
        feature_control=FeatureControl(_number(msr, "feature_control", 1 << 64)),
        lepubkeyhash=_bytes(msr, "lepubkeyhash", 32),
        cpusvn=_bytes(package, "cpusvn", 16),
        ownerepoch=_bytes(package, "ownerepoch", 16),
    )


def check_model(model: Model) -> None:
    """Raise PlatformError for a model that no processor could be."""
    if model.epc_bytes % PAGE_SIZE or not 0 < model.epc_bytes <= _MAX_EPC:
        wanted = "whole pages of 4 KiB, up to 1 TiB, are needed"
        raise PlatformError(f"{model.epc_bytes} bytes of EPC: {wanted}")
    if not model.is_xfrm_legal(model.xfrm):
        raise PlatformError(f"xfrm {model.xfrm:#x}: not a mask that XSETBV takes")
    if not 12 <= model.max_size_64 <= 56 or not 12 <= model.max_size_not64 <= 31:
        raise PlatformError("max_size_64 is 12 to 56, max_size_not64 12 to 31")
    brand = model.identity.brand if model.identity else ""
    plain = brand.isascii() and brand.isprintable() and not {*brand} & {'"', "\\"}
    if len(brand) > BRAND_LENGTH or not plain:
        raise PlatformError(f"brand: at most {BRAND_LENGTH} plain characters")


def _model(table: dict[str, object]) -> Model:
    unknown = set(table) - {*_FLAGS, *_NUMBERS}
    if unknown:
        raise PlatformError(f"[model] has an unknown {sorted(unknown)[0]}")
    # A platform that was made before there were such flags is without them.
    table = {**dict.fromkeys(_LATER_FLAGS, False), **table}
    model = Model(
        sgx1=_flag(table, "sgx1"),
        sgx2=_flag(table, "sgx2"),
        kss=_flag(table, "kss"),
        flc=_flag(table, "flc"),
        aexnotify=_flag(table, "aexnotify"),
        edeccssa=_flag(table, "edeccssa"),
        exinfo=_flag(table, "exinfo"),
        enclv=_flag(table, "enclv"),
        oversub=_flag(table, "oversub"),
        vmx=_flag(table, "vmx"),
        xfrm=_number(table, "xfrm", 1 << 63),
        max_size_64=_number(table, "max_size_64", 64),
        max_size_not64=_number(table, "max_size_not64", 64),
        epc_bytes=_number(table, "epc_bytes", _MAX_EPC + 1),
    )
    check_model(model)
    return model


def _identity(table: dict[str, object]) -> Identity:
    unknown = set(table) - {*_SIGNATURE, "brand"}
    if unknown:
        raise PlatformError(f"[identity] has an unknown {sorted(unknown)[0]}")
    brand = table.get("brand")
    if not isinstance(brand, str):
        raise PlatformError(f"brand = {brand!r}: text is needed")
    family, model, stepping = map(
        partial(_number, table), _SIGNATURE, _SIGNATURE_LIMITS
    )
    return Identity(family=family, model=model, stepping=stepping, brand=brand)


def _table(parent: dict[str, object], name: str) -> dict[str, object]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise PlatformError(f"no table [{name}]")
    return value


def _flag(table: dict[str, object], name: str) -> bool:
    value = table.get(name)
    if not isinstance(value, bool):
        raise PlatformError(f"{name} = {value!r}: true or false is needed")
    return value


def _number(table: dict[str, object], name: str, limit: int) -> int:
    value = table.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < limit:
        raise PlatformError(f"{name} = {value!r}: a number below {limit} is needed")
    return value


def _bytes(table: dict[str, object], name: str, size: int) -> bytes:
    value = table.get(name)
    try:
        raw = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise PlatformError(f"{name} = {value!r}: {size} bytes in hex are needed")
    return raw
