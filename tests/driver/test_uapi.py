import pytest

from softsgx.arch.layout import Layout
from softsgx.driver import uapi

WRITE, READ_WRITE = 1, 3


@pytest.mark.parametrize(
    ("number", "struct", "nr", "direction"),
    [
        ("CREATE", uapi.sgx_enclave_create, 0, WRITE),
        ("ADD_PAGES", uapi.sgx_enclave_add_pages, 1, READ_WRITE),
        ("INIT", uapi.sgx_enclave_init, 2, WRITE),
        ("PROVISION", uapi.sgx_enclave_provision, 3, WRITE),
        (
            "RESTRICT_PERMISSIONS",
            uapi.sgx_enclave_restrict_permissions,
            5,
            READ_WRITE,
        ),
        ("MODIFY_TYPES", uapi.sgx_enclave_modify_types, 6, READ_WRITE),
        ("REMOVE_PAGES", uapi.sgx_enclave_remove_pages, 7, READ_WRITE),
    ],
)
def test_ioctl_numbers_are_made_of_their_parts(
    number: str, struct: type[Layout], nr: int, direction: int
) -> None:
    made = direction << 30 | struct.SIZE << 16 | uapi.SGX_MAGIC << 8 | nr
    assert getattr(uapi, f"SGX_IOC_ENCLAVE_{number}") == made


def test_vepc_remove_all_has_no_argument() -> None:
    assert uapi.SGX_IOC_VEPC_REMOVE_ALL == uapi.SGX_MAGIC << 8 | 4
