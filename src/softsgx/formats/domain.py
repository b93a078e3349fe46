"""A guest with SGX in libvirt's XML, and as options of QEMU.

Only what concerns SGX is read and written; the rest of a domain is the virtual
machine's that there is not.
"""

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from softsgx.formats.image import FormatError

_KIB, _KB = 1 << 10, 1000
_UNITS: dict[str, int] = {"b": 1, "bytes": 1} | {
    unit: base**power
    for power, letter in enumerate("kmgt", 1)
    for unit, base in ((letter, _KIB), (f"{letter}ib", _KIB), (f"{letter}b", _KB))
}
_NUMBER = re.compile(r"[0-9]{1,18}")
_WITH, _WITHOUT = ("force", "require"), ("disable", "forbid")
PROVISIONKEY, LAUNCH_CONTROL = "sgx-provisionkey", "sgxlc"
"""Names of CPUID's bits, which QEMU and libvirt share."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """What a domain says of SGX; *has_lc*: the processor has SGX_LC."""

    name: str
    epc_bytes: int
    provisioning: bool = False
    has_lc: bool = True


def read_domain(raw: bytes) -> Domain:
    """Read a libvirt domain with one EPC; FormatError says what is wrong."""
    try:
        domain: Element = fromstring(raw, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise FormatError(f"not XML that can be trusted: {error}") from error
    if domain.tag != "domain":
        raise FormatError(f"<{domain.tag}> is no <domain>")
    found = [
        one for one in domain.findall("devices/memory") if one.get("model") == "sgx-epc"
    ]
    if len(found) != 1:
        said = "<memory model='sgx-epc'>, and a guest here has one"
        raise FormatError(f"{len(found)} elements {said}")
    return Domain(
        name=(domain.findtext("name") or "").strip(),
        epc_bytes=_size(found[0].find("target/size")),
        provisioning=_policy(domain, PROVISIONKEY) in _WITH,
        has_lc=_policy(domain, LAUNCH_CONTROL) not in _WITHOUT,
    )


def _size(element: Element | None) -> int:
    """Return bytes; libvirt counts memory in KiB unless told."""
    if element is None:
        raise FormatError("the EPC has no <target><size>")
    unit, text = element.get("unit", "KiB"), (element.text or "").strip()
    if unit.lower() not in _UNITS or not _NUMBER.fullmatch(text):
        raise FormatError(f"<size unit={unit!r}>{text}</size> is no size of memory")
    return int(text) * _UNITS[unit.lower()]


def _policy(domain: Element, name: str) -> str:
    """Return what a domain says of a processor's feature; libvirt's own default."""
    for feature in domain.findall("cpu/feature"):
        if feature.get("name") == name:
            return feature.get("policy", "require")
    return ""


def libvirt_elements(domain: Domain) -> str:
    """Return what a domain's XML has for such a guest: memory, and a processor."""
    features = [(PROVISIONKEY, "require")] if domain.provisioning else []
    features += [] if domain.has_lc else [(LAUNCH_CONTROL, "disable")]
    lines = [
        "<memory model='sgx-epc'>",
        "  <target>",
        f"    <size unit='KiB'>{domain.epc_bytes >> 10}</size>",
        "    <node>0</node>",
        "  </target>",
        "</memory>",
    ]
    if features:
        lines += ["<cpu mode='host-passthrough'>"]
        lines += [
            f"  <feature policy='{how}' name='{name}'/>" for name, how in features
        ]
        lines += ["</cpu>"]
    return "\n".join(lines)


def qemu_options(domain: Domain) -> str:
    """Return the options of QEMU for such a guest."""
    cpu = "host" + f",+{PROVISIONKEY}" * domain.provisioning
    cpu += "" if domain.has_lc else f",-{LAUNCH_CONTROL}"
    size = f"{domain.epc_bytes >> 10}K"
    return (
        f"-cpu {cpu} -object memory-backend-epc,id=mem1,size={size},prealloc=on"
        " -M sgx-epc.0.memdev=mem1,sgx-epc.0.node=0"
    )
