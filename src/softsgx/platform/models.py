"""Processor models by name, for people who want a certain generation's SGX."""

from dataclasses import dataclass, replace
from types import MappingProxyType

from softsgx.arch.cpuid import Identity
from softsgx.machine.model import Model

DEFAULT_CPU = "full"

_XFRM = 0xE7 | 1 << 9 | 0b11 << 17
"""AVX, AVX-512, PKRU and AMX: a run has only what its processor has too.

All models have it: CPUID shows the machine's features, whatever the name, and enclaves
take into XFRM what CPUID shows.
"""


@dataclass(frozen=True)
class Named:
    """A model and what to say about it in a line."""

    model: Model
    words: str


def _cpu(number: int, stepping: int, name: str) -> Identity:
    """Return one of family 6; its brand says that this is no hardware."""
    brand = f"Intel(R) {name} (emulated)"
    return Identity(family=6, model=number, stepping=stepping, brand=brand)


_FULL = Model(
    xfrm=_XFRM,
    enclv=True,
    oversub=True,
    identity=_cpu(0x8F, 8, "Processor, every feature"),
)
_SKYLAKE = Model(
    xfrm=_XFRM,
    flc=False,
    sgx2=False,
    kss=False,
    aexnotify=False,
    edeccssa=False,
    exinfo=False,
    max_size_64=36,
    epc_bytes=128 << 20,
    identity=_cpu(0x5E, 3, "Core(TM) Skylake"),
)
_COFFEELAKE = replace(
    _SKYLAKE, flc=True, identity=_cpu(0x9E, 12, "Core(TM) Coffee Lake")
)
_GEMINILAKE = replace(
    _COFFEELAKE,
    sgx2=True,
    exinfo=True,
    identity=_cpu(0x7A, 1, "Pentium(R) Gemini Lake"),
)
_ICELAKE_CLIENT = Model(
    xfrm=_XFRM,
    aexnotify=False,
    edeccssa=False,
    enclv=True,
    oversub=True,
    max_size_64=47,
    epc_bytes=128 << 20,
    identity=_cpu(0x7E, 5, "Core(TM) Ice Lake"),
)
_ICELAKE = Model(
    xfrm=_XFRM,
    aexnotify=False,
    edeccssa=False,
    epc_bytes=2 << 30,
    identity=_cpu(0x6A, 6, "Xeon(R) Ice Lake"),
)
_SAPPHIRERAPIDS = Model(
    xfrm=_XFRM,
    epc_bytes=2 << 30,
    identity=_cpu(0x8F, 8, "Xeon(R) Sapphire Rapids"),
)

CPUS = MappingProxyType(
    {
        "full": Named(_FULL, "everything softsgx knows"),
        "skylake-client": Named(_SKYLAKE, "SGX1, locked launch control: /dev/isgx"),
        "coffeelake-client": Named(_COFFEELAKE, "SGX1, FLC"),
        "geminilake": Named(_GEMINILAKE, "SGX2, FLC; no KSS"),
        "icelake-client": Named(
            _ICELAKE_CLIENT, "SGX2, FLC, KSS, and ENCLV for guests"
        ),
        "icelake-server": Named(_ICELAKE, "SGX2, FLC, KSS"),
        "sapphirerapids": Named(
            _SAPPHIRERAPIDS, "SGX2, FLC, KSS, AEX-Notify, EDECCSSA"
        ),
        "host": Named(
            replace(_FULL, identity=None), "this machine's own name, with all of SGX"
        ),
    }
)
"""From everything at once to SGX1 under locked launch control; EPC sizes are typical.

Linux offers /dev/sgx_enclave on all of them but `skylake-client`, which has /dev/isgx.
"""

SHORT_NAMES = MappingProxyType(
    {
        "skylake": "skylake-client",
        "coffeelake": "coffeelake-client",
        "icelake": "icelake-server",
    }
)

MODELS = MappingProxyType(
    {name: cpu.model for name, cpu in CPUS.items()}
    | {short: CPUS[name].model for short, name in SHORT_NAMES.items()}
)
"""Models by every name that --cpu takes."""
