import pytest

from softsgx.arch.cpuid import LEAF_FEATURES, LEAF_SGX
from softsgx.machine.model import EPC_PHYSICAL_BASE, Model


def test_leaf_7_shows_sgx_and_launch_control() -> None:
    assert Model().cpuid(LEAF_FEATURES, 0) == (0, 1 << 2, 1 << 30, 0)
    assert Model(flc=False).cpuid(LEAF_FEATURES, 0) == (0, 1 << 2, 0, 0)
    assert Model().cpuid(LEAF_FEATURES, 1) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("model", "eax", "ebx"),
    [
        (Model(), 0x803, 1),
        (Model(sgx2=False), 0x801, 1),
        (Model(edeccssa=False), 0x003, 1),
        (Model(exinfo=False), 0x803, 0),
        (Model(enclv=True), 0x823, 1),
        (Model(oversub=True), 0x843, 1),
    ],
)
def test_sub_leaf_0_shows_the_leaves_and_miscselect(
    model: Model, eax: int, ebx: int
) -> None:
    assert model.cpuid(LEAF_SGX, 0) == (eax, ebx, 0, 56 << 8 | 31)


@pytest.mark.parametrize(
    ("model", "flags"),
    [
        (Model(), 0x4B6),
        (Model(kss=False), 0x436),
        (Model(aexnotify=False), 0x0B6),
    ],
)
def test_sub_leaf_1_shows_what_attributes_may_be_set(model: Model, flags: int) -> None:
    assert model.cpuid(LEAF_SGX, 1) == (flags, 0, 7, 0)


def test_sub_leaf_2_shows_the_one_epc_section() -> None:
    size = 128 << 20
    regs = Model(epc_bytes=size).cpuid(LEAF_SGX, 2)
    assert regs.eax & 0xF == regs.ecx & 0xF == 1
    assert regs.ecx & 0xFFFFF000 | (regs.edx & 0xFFFFF) << 32 == size
    base = regs.eax & 0xFFFFF000 | (regs.ebx & 0xFFFFF) << 32
    assert base == EPC_PHYSICAL_BASE
    assert Model().cpuid(LEAF_SGX, 3) == (0, 0, 0, 0)


@pytest.mark.parametrize("leaf", [LEAF_FEATURES, LEAF_SGX])
@pytest.mark.parametrize("subleaf", range(4))
def test_without_sgx1_nothing_shows(leaf: int, subleaf: int) -> None:
    assert Model(sgx1=False).cpuid(leaf, subleaf) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("xfrm", "legal"),
    [
        (0x3, True),
        (0x7, True),
        (0x1, False),
        (0x2, False),
        (0x5, False),
        (0xB, False),
        (0x1B, True),
        (0xE7, True),
        (0xE3, False),
        (0x27, False),
        (0x203, True),
        (0x20003, False),
        (0x60003, True),
    ],
)
def test_which_xfrm_xsetbv_would_take(xfrm: int, *, legal: bool) -> None:
    assert Model().is_xfrm_legal(xfrm) == legal


def test_the_epc_is_counted_in_pages() -> None:
    assert Model(epc_bytes=64 << 20).epc_pages == 16384
