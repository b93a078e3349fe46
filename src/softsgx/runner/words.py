"""What a trace says: numbers as the names that a manual or a header gives them."""

import errno
from collections.abc import Callable
from typing import Any

from softsgx.arch.bits import Bits
from softsgx.arch.einittoken import VALID, Einittoken
from softsgx.arch.errors import SgxError
from softsgx.arch.key import Keyname, Keypolicy, Keyrequest
from softsgx.arch.layout import Layout
from softsgx.arch.leaves import Encls, Enclu, Enclv
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.arch.secs import Secs
from softsgx.arch.sigstruct import Sigstruct
from softsgx.driver import isgx_uapi, uapi

Read = Callable[[int, int], bytes]
"""Copies bytes of the program's memory, by address and size; OSError."""

_NAMES = {
    value: name
    for name, value in [*vars(isgx_uapi).items(), *vars(uapi).items()]
    if name.startswith("SGX_IOC_") and isinstance(value, int)
}
_LARGE_ERROR = 512


def bits(value: Bits) -> str:
    """Name the bits that are set, `R|W`; what has no name stays a number."""
    names = [bit.name for bit in type(value) if bit & value and bit.name]
    rest = int(value) & ~sum(type(value))
    return "|".join([*names, *([hex(rest)] if rest else [])]) or "0"


def page_type(value: int) -> str:
    """Name a page type."""
    known = value in PageType.__members__.values()
    return f"PT_{PageType(value).name}" if known else hex(value)


def secinfo(flags: SecinfoFlags) -> str:
    """Say permissions, state and type: `{R|W, PT_REG}`."""
    low = SecinfoFlags(int(flags) & ~0xFF00)
    return f"{{{bits(low)}, {page_type(flags.page_type)}}}"


def length(value: int) -> str:
    """Write a number of bytes, in KiB, MiB or GiB where it is round."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if value and value % (1 << shift) == 0:
            return f"{value >> shift} {unit}"
    return str(value)


def error_code(value: int) -> str:
    """Name what a leaf left in RAX."""
    known = value in SgxError.__members__.values()
    return f"SGX_{SgxError(value).name}" if value and known else str(value)


def errno_of(error: OSError) -> str:
    """Write an errno as strace does."""
    number = error.errno or 0
    if number == _LARGE_ERROR:
        return "? ERESTARTSYS (To be restarted)"
    name = errno.errorcode.get(number, str(number))
    return f"-1 {name} ({error.strerror})"


# ---- ioctls ----


def ioctl_name(cmd: int) -> str:
    """Name an ioctl."""
    return _NAMES.get(cmd & 0xFFFF_FFFF, hex(cmd))


def ioctl_value(value: int) -> str:
    """Write what an ioctl returned: 0, or of isgx an SGX error code or a number."""
    name = error_code(value)
    return name if name == str(value) else f"{value} {name}"


def ioctl_argument(read: Read, cmd: int, arg: int) -> str:
    """Write the structure that an ioctl is given."""
    kind = _STRUCTS.get(cmd & 0xFFFF_FFFF)
    if kind is None:
        return hex(arg)
    try:
        params = kind.from_bytes(read(arg, kind.SIZE))
    except OSError:
        return hex(arg)
    shown = (cell.name for cell in kind.cells() if cell.name not in _RESULTS)
    return "{" + ", ".join(_field(read, params, name) for name in shown) + "}"


def ioctl_results(read: Read, cmd: int, arg: int) -> str:
    """Write what an ioctl wrote back into its structure."""
    kind = _STRUCTS.get(cmd & 0xFFFF_FFFF)
    names = {cell.name for cell in kind.cells()} & _RESULTS if kind else set()
    if kind is None or not names:
        return ""
    try:
        params = kind.from_bytes(read(arg, kind.SIZE))
    except OSError:
        return ""
    return " => {" + ", ".join(_field(read, params, n) for n in sorted(names)) + "}"


def _field(read: Read, params: Layout, name: str) -> str:
    value: int = getattr(params, name)
    kind = _POINTERS.get((type(params), name))
    if kind is not None:
        return f"{name}={behind(read, value, kind)}"
    return f"{name}={_FIELDS.get(name, hex)(value)}"


def _page_flags(flags: int) -> str:
    return "SGX_PAGE_MEASURE" if flags == uapi.SGX_PAGE_MEASURE else hex(flags)


_STRUCTS: dict[int, type[Layout]] = {
    uapi.SGX_IOC_ENCLAVE_CREATE: uapi.sgx_enclave_create,
    uapi.SGX_IOC_ENCLAVE_CREATE_BACKED: uapi.sgx_enclave_create_backed,
    uapi.SGX_IOC_ENCLAVE_ADD_PAGES: uapi.sgx_enclave_add_pages,
    uapi.SGX_IOC_ENCLAVE_INIT: uapi.sgx_enclave_init,
    uapi.SGX_IOC_ENCLAVE_INIT_TOKEN: uapi.sgx_enclave_init_token,
    uapi.SGX_IOC_ENCLAVE_PROVISION: uapi.sgx_enclave_provision,
    uapi.SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS: uapi.sgx_enclave_restrict_permissions,
    uapi.SGX_IOC_ENCLAVE_MODIFY_TYPES: uapi.sgx_enclave_modify_types,
    uapi.SGX_IOC_ENCLAVE_REMOVE_PAGES: uapi.sgx_enclave_remove_pages,
    isgx_uapi.SGX_IOC_ENCLAVE_ADD_PAGE: isgx_uapi.sgx_enclave_add_page,
    isgx_uapi.SGX_IOC_ENCLAVE_INIT: isgx_uapi.sgx_enclave_init,
}
_RESULTS = {"count", "result"}
_POINTERS: dict[tuple[type[Layout], str], type[Layout]] = {
    (uapi.sgx_enclave_create, "src"): Secs,
    (uapi.sgx_enclave_create_backed, "src"): Secs,
    (uapi.sgx_enclave_add_pages, "secinfo"): Secinfo,
    (uapi.sgx_enclave_init, "sigstruct"): Sigstruct,
    (uapi.sgx_enclave_init_token, "sigstruct"): Sigstruct,
    (uapi.sgx_enclave_init_token, "token"): Einittoken,
    (isgx_uapi.sgx_enclave_add_page, "secinfo"): Secinfo,
    (isgx_uapi.sgx_enclave_init, "sigstruct"): Sigstruct,
    (isgx_uapi.sgx_enclave_init, "einittoken"): Einittoken,
}
_FIELDS: dict[str, Callable[[int], str]] = {
    "length": length,
    "count": length,
    "flags": _page_flags,
    "permissions": lambda value: bits(SecinfoFlags(value)),
    "page_type": page_type,
    "result": error_code,
    "fd": str,
    "backing_fd": str,
}

# ---- leaves ----


def leaf_operands(
    read: Read, leaf: Encls | Enclu | Enclv, values: tuple[int, int, int]
) -> str:
    """Write a leaf's operands RBX, RCX and RDX by their names."""
    words = []
    operands = _OPERANDS.get(leaf.name, ("rbx", "rcx", "rdx"))
    for name, value in zip(operands, values, strict=False):
        if not name:
            continue
        kind = _USER_POINTERS.get(name) if isinstance(leaf, Enclu) else None
        shown = behind(read, value, kind) if kind else hex(value)
        words.append(f"{name}={shown}")
    return ", ".join(words)


_OPERANDS: dict[str, tuple[str, ...]] = {
    "ECREATE": ("pageinfo", "secs"),
    "EADD": ("pageinfo", "page"),
    "EAUG": ("pageinfo", "page"),
    "EEXTEND": ("secs", "chunk"),
    "EINIT": ("sigstruct", "secs", "einittoken"),
    "EREMOVE": ("", "page"),
    "EDBGRD": ("", "address"),
    "EDBGWR": ("", "address"),
    "EBLOCK": ("", "page"),
    "ETRACK": ("", "secs"),
    "EMODPR": ("secinfo", "page"),
    "EMODT": ("secinfo", "page"),
    "EREPORT": ("targetinfo", "reportdata", "outputdata"),
    "EGETKEY": ("keyrequest", "outputdata"),
    "EENTER": ("tcs", "aep"),
    "ERESUME": ("tcs", "aep"),
    "EEXIT": ("target",),
    "EACCEPT": ("secinfo", "page"),
    "EMODPE": ("secinfo", "page"),
    "EACCEPTCOPY": ("secinfo", "page", "source"),
    "EDECCSSA": (),
}
_USER_POINTERS: dict[str, type[Layout]] = {"secinfo": Secinfo, "keyrequest": Keyrequest}

# ---- structures ----


def behind(read: Read, address: int, kind: type[Layout]) -> str:
    """Write the structure at an address; the address where nothing can be read."""
    try:
        value = kind.from_bytes(read(address, kind.SIZE))
    except OSError:
        return hex(address)
    show = _SHOWN.get(kind)
    return show(value) if show else hex(address)


def _secs(secs: Secs) -> str:
    attributes = f"{bits(secs.attributes.flags)}, xfrm={secs.attributes.xfrm:#x}"
    return (
        f"{{size={length(secs.size)}, baseaddr={secs.baseaddr:#x}, "
        f"attributes={{{attributes}}}, miscselect={bits(secs.miscselect)}, "
        f"ssaframesize={secs.ssaframesize}}}"
    )


def _sigstruct(sigstruct: Sigstruct) -> str:
    return (
        f"{{enclavehash={sigstruct.enclavehash.hex()[:16]}..., "
        f"attributes={{{bits(sigstruct.attributes.flags)}}}, "
        f"isvprodid={sigstruct.isvprodid}, isvsvn={sigstruct.isvsvn}}}"
    )


def _einittoken(token: Einittoken) -> str:
    if not token.valid & VALID:
        return f"{{valid={token.valid:#x}}}"
    made_by = f"isvprodidle={token.isvprodidle}, isvsvnle={token.isvsvnle}"
    return (
        f"{{valid={token.valid:#x}, mrenclave={token.mrenclave.hex()[:16]}..., "
        f"attributes={{{bits(token.attributes.flags)}}}, {made_by}}}"
    )


def _keyrequest(request: Keyrequest) -> str:
    known = request.keyname in Keyname.__members__.values()
    name = Keyname(request.keyname).name if known else hex(request.keyname)
    policy = bits(Keypolicy(request.keypolicy))
    return f"{{{name}, keypolicy={policy}, isvsvn={request.isvsvn}}}"


_SHOWN: dict[type[Layout], Callable[[Any], str]] = {
    Secinfo: lambda value: secinfo(value.flags),
    Secs: _secs,
    Sigstruct: _sigstruct,
    Einittoken: _einittoken,
    Keyrequest: _keyrequest,
}
