"""The device's numbers and structures, by their exact names in <asm/sgx.h>."""
# ruff: noqa: N801 -- the header's names

from softsgx.arch.layout import Layout, at

SGX_MAGIC = 0xA4

SGX_IOC_ENCLAVE_CREATE = 0x4008A400
SGX_IOC_ENCLAVE_CREATE_BACKED = 0x4010A400
SGX_IOC_ENCLAVE_ADD_PAGES = 0xC030A401
SGX_IOC_ENCLAVE_INIT = 0x4008A402
SGX_IOC_ENCLAVE_INIT_TOKEN = 0x4010A402
SGX_IOC_ENCLAVE_PROVISION = 0x4008A403
SGX_IOC_VEPC_REMOVE_ALL = 0x0000A404
SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS = 0xC028A405
SGX_IOC_ENCLAVE_MODIFY_TYPES = 0xC028A406
SGX_IOC_ENCLAVE_REMOVE_PAGES = 0xC018A407

SGX_PAGE_MEASURE = 1 << 0
"""The one flag of ADD_PAGES; Linux ignores the other bits."""

PROT_NONE = 0
PROT_READ = 1
PROT_WRITE = 2
PROT_EXEC = 4
PROT_RWX = PROT_READ | PROT_WRITE | PROT_EXEC
"""mmap's protections; R, W and X of SECINFO.FLAGS have the same values."""

PROT_SEM = 0x8
PROT_GROWSDOWN = 0x0100_0000
PROT_GROWSUP = 0x0200_0000

MAP_SHARED = 0x01
MAP_PRIVATE = 0x02
MAP_SHARED_VALIDATE = 0x03
MAP_TYPE = 0x0F
MAP_FIXED = 0x10
MAP_GROWSDOWN = 0x100
MAP_HUGETLB = 0x4_0000
MAP_OLD_FLAGS = 0x7C07_F973
"""Flags from before MAP_SHARED_VALIDATE: the only ones that it takes for a device."""

TASK_SIZE = (1 << 47) - 4096
"""The end of a process's addresses, in bytes."""


# fmt: off
class sgx_enclave_create(Layout, size=8):
    """SGX_IOC_ENCLAVE_CREATE: the address of a SECS."""

    src:         int = at( 0, 8)


class sgx_enclave_create_backed(Layout, size=16):
    """CREATE with the file for evicted pages that was wished for in 2020, or 0."""

    src:         int = at( 0, 8)
    backing_fd:  int = at( 8, 8)


class sgx_enclave_add_pages(Layout, size=48):
    """SGX_IOC_ENCLAVE_ADD_PAGES: bytes throughout; *count* is written back."""

    src:         int = at( 0, 8)
    offset:      int = at( 8, 8)
    length:      int = at(16, 8)
    secinfo:     int = at(24, 8)
    flags:       int = at(32, 8)
    count:       int = at(40, 8)


class sgx_enclave_init(Layout, size=8):
    """SGX_IOC_ENCLAVE_INIT: the address of a SIGSTRUCT."""

    sigstruct:   int = at( 0, 8)


class sgx_enclave_init_token(Layout, size=16):
    """INIT as posted in 2020: a SIGSTRUCT's address, and an EINITTOKEN's or 0."""

    sigstruct:   int = at( 0, 8)
    token:       int = at( 8, 8)


class sgx_enclave_provision(Layout, size=8):
    """SGX_IOC_ENCLAVE_PROVISION: an open /dev/sgx_provision."""

    fd:          int = at( 0, 8)


class sgx_enclave_restrict_permissions(Layout, size=40):
    """SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS: *result* is an SGX error code."""

    offset:      int = at( 0, 8)
    length:      int = at( 8, 8)
    permissions: int = at(16, 8)
    result:      int = at(24, 8)
    count:       int = at(32, 8)


class sgx_enclave_modify_types(Layout, size=40):
    """SGX_IOC_ENCLAVE_MODIFY_TYPES: *result* is an SGX error code."""

    offset:      int = at( 0, 8)
    length:      int = at( 8, 8)
    page_type:   int = at(16, 8)
    result:      int = at(24, 8)
    count:       int = at(32, 8)


class sgx_enclave_remove_pages(Layout, size=24):
    """SGX_IOC_ENCLAVE_REMOVE_PAGES: bytes throughout; *count* is written back."""

    offset:      int = at( 0, 8)
    length:      int = at( 8, 8)
    count:       int = at(16, 8)
# fmt: on
