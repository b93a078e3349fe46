"""Processor models by name, for people who want a certain generation's SGX."""

from dataclasses import replace
from types import MappingProxyType

from softsgx.machine.model import Model

DEFAULT_CPU = "full"

_AVX512 = 0xE7
_PKRU = 1 << 9
_AMX = 0b11 << 17
"""Extended state that enclaves may use; a run has only what its processor has too."""

_CLIENT = Model(
    sgx2=False,
    kss=False,
    aexnotify=False,
    edeccssa=False,
    exinfo=False,
    max_size_64=36,
    epc_bytes=128 << 20,
)

MODELS = MappingProxyType(
    {
        "full": Model(xfrm=_AVX512 | _PKRU | _AMX),
        "skylake": replace(_CLIENT, flc=False),
        "coffeelake": _CLIENT,
        "geminilake": replace(_CLIENT, sgx2=True, exinfo=True),
        "icelake": Model(
            xfrm=_AVX512 | _PKRU,
            aexnotify=False,
            edeccssa=False,
            epc_bytes=2 << 30,
        ),
        "sapphirerapids": Model(xfrm=_AVX512 | _PKRU | _AMX, epc_bytes=2 << 30),
    }
)
"""From everything at once to SGX1 under locked launch control; EPC sizes are typical.

Linux offers /dev/sgx_enclave on all of them but `skylake`.
"""
