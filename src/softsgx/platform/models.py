"""Processor models by name, for people who want a certain generation's SGX."""

from types import MappingProxyType

from softsgx.machine.model import Model

DEFAULT_CPU = "full"

_SKYLAKE = Model(
    sgx2=False,
    kss=False,
    flc=False,
    aexnotify=False,
    edeccssa=False,
    exinfo=False,
    epc_bytes=128 << 20,
)

MODELS = MappingProxyType(
    {
        "full": Model(),
        "skylake": _SKYLAKE,
        "coffeelake": Model(
            sgx2=False,
            kss=False,
            aexnotify=False,
            edeccssa=False,
            exinfo=False,
            epc_bytes=128 << 20,
        ),
        "geminilake": Model(
            kss=False, aexnotify=False, edeccssa=False, epc_bytes=128 << 20
        ),
        "icelake": Model(
            aexnotify=False, edeccssa=False, max_size_64=56, epc_bytes=2 << 30
        ),
        "sapphirerapids": Model(max_size_64=56, epc_bytes=2 << 30),
    }
)
"""From everything at once to SGX1 under locked launch control; EPC sizes are typical.

Linux offers /dev/sgx_enclave on all of them but `skylake`.
"""
