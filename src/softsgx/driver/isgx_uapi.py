"""The numbers and structures of /dev/isgx, by the names in its driver's sgx_user.h."""
# ruff: noqa: N801 -- the header's names

from softsgx.arch.layout import Layout, at

SGX_IOC_ENCLAVE_CREATE = 0x4008A400
SGX_IOC_ENCLAVE_ADD_PAGE = 0x401AA401
SGX_IOC_ENCLAVE_INIT = 0x4018A402

SGX_IOC_ENCLAVE_EMODPR = 0x4018A409
SGX_IOC_ENCLAVE_MKTCS = 0x4010A40A
SGX_IOC_ENCLAVE_TRIM = 0x4010A40B
SGX_IOC_ENCLAVE_NOTIFY_ACCEPT = 0x4010A40C
SGX_IOC_ENCLAVE_PAGE_REMOVE = 0x4008A40D
"""For processors with SGX2."""


# fmt: off
class sgx_enclave_create(Layout, size=8):
    """SGX_IOC_ENCLAVE_CREATE: the address of a SECS."""

    src:        int = at( 0, 8)


class sgx_enclave_add_page(Layout, size=26):
    """SGX_IOC_ENCLAVE_ADD_PAGE: *mrmask* has a bit for each 256 bytes to measure."""

    addr:       int = at( 0, 8)
    src:        int = at( 8, 8)
    secinfo:    int = at(16, 8)
    mrmask:     int = at(24, 2)


class sgx_enclave_init(Layout, size=24):
    """SGX_IOC_ENCLAVE_INIT: an address in the enclave, a SIGSTRUCT, an EINITTOKEN."""

    addr:       int = at( 0, 8)
    sigstruct:  int = at( 8, 8)
    einittoken: int = at(16, 8)
# fmt: on
