import pytest

from softsgx.arch.faults import GeneralProtection
from softsgx.machine.xsave import (
    INTEL_LAYOUT,
    XsaveLayout,
    check_xrstor,
    load_synthetic_state,
    xrstor,
    xsave,
    xstate_bv,
)

AVX = slice(576, 832)
PKRU = slice(2688, 2696)


def area(size: int = 2696, *, fill: int = 0, in_use: int = 0) -> bytearray:
    made = bytearray([fill]) * size
    made[512:576] = in_use.to_bytes(8, "little") + bytes(56)
    made[24:32] = (0x1F80).to_bytes(4, "little") + (0xFFFF).to_bytes(4, "little")
    return made


@pytest.mark.parametrize(
    ("xfrm", "size"),
    [(3, 576), (7, 832), (0x1F, 1088), (0xE7, 2688), (0x2E7, 2696), (0x60007, 11008)],
)
def test_an_areas_size_is_where_its_last_component_ends(xfrm: int, size: int) -> None:
    assert INTEL_LAYOUT.size(xfrm) == size


def test_the_layout_is_the_processors() -> None:
    assert XsaveLayout(((2, 576, 256), (9, 832, 8))).size(0x207) == 840


def test_xsave_writes_components_in_use() -> None:
    target = area(fill=0xAA)
    xsave(INTEL_LAYOUT, 7, area(fill=0x5A, in_use=7), target)
    assert target[0:24] == b"\x5a" * 24
    assert target[32:416] == b"\x5a" * 384
    assert target[AVX] == b"\x5a" * 256


def test_xsave_writes_init_for_components_not_in_use() -> None:
    target = area(fill=0xAA)
    xsave(INTEL_LAYOUT, 7, area(fill=0x5A), target)
    assert target[0:24] == b"\x7f\3" + bytes(22)
    assert not any(target[32:416])
    assert not any(target[AVX])


def test_xsave_leaves_components_outside_xfrm() -> None:
    target = area(fill=0xAA)
    xsave(INTEL_LAYOUT, 3, area(fill=0x5A, in_use=7), target)
    assert target[AVX] == b"\xaa" * 256
    assert xstate_bv(target) == 3


def test_xsave_leaves_the_bytes_that_are_software_own() -> None:
    target = area(fill=0xAA)
    target[512:576] = b"\xaa" * 64
    xsave(INTEL_LAYOUT, 3, area(fill=0x5A, in_use=3), target)
    assert target[416:512] == b"\xaa" * 96
    assert target[536:576] == b"\xaa" * 40


def test_xsave_clears_bytes_8_to_23_of_the_header() -> None:
    target = area(fill=0xAA)
    target[520:536] = b"\xaa" * 16
    xsave(INTEL_LAYOUT, 3, area(), target)
    assert target[520:536] == bytes(16)


def test_xsave_writes_mxcsr_even_if_sse_is_not_in_use() -> None:
    state, target = area(), area(fill=0xAA)
    state[24:28] = b"\x80\x3f\0\0"
    xsave(INTEL_LAYOUT, 3, state, target)
    assert target[24:28] == b"\x80\x3f\0\0"


def test_xrstor_loads_components_in_use_and_init_for_the_rest() -> None:
    state = area(fill=0xAA, in_use=7)
    xrstor(INTEL_LAYOUT, 7, area(fill=0x5A, in_use=2), state)
    assert state[0:24] == b"\x7f\3" + bytes(22)
    assert state[160:416] == b"\x5a" * 256
    assert not any(state[AVX])
    assert xstate_bv(state) == 2


def test_xrstor_leaves_components_outside_xfrm() -> None:
    state = area(fill=0xAA, in_use=0x207)
    xrstor(INTEL_LAYOUT, 7, area(fill=0x5A, in_use=7), state)
    assert state[PKRU] == b"\xaa" * 8
    assert xstate_bv(state) == 0x207


def test_xrstor_loads_mxcsr_even_if_sse_is_not_in_use() -> None:
    source, state = area(), area()
    source[24:28] = b"\x80\x3f\0\0"
    xrstor(INTEL_LAYOUT, 3, source, state)
    assert state[24:28] == b"\x80\x3f\0\0"


@pytest.mark.parametrize("mask", [0, 0xFFBF])
def test_mxcsr_is_judged_by_the_processors_mask(mask: int) -> None:
    source, state = area(), area()
    state[28:32] = mask.to_bytes(4, "little")
    source[24:28] = (0x1FC0).to_bytes(4, "little")
    with pytest.raises(GeneralProtection, match="MXCSR"):
        check_xrstor(3, source, state)
    source[24:28] = (0x1F80).to_bytes(4, "little")
    check_xrstor(3, source, state)
    source[24:28] = (0x1FC0).to_bytes(4, "little")
    state[28:32] = (0xFFFF).to_bytes(4, "little")
    check_xrstor(3, source, state)


def test_synthetic_state_leaves_components_outside_xfrm() -> None:
    state = area(fill=0xAA, in_use=0x207)
    load_synthetic_state(INTEL_LAYOUT, 7, state, 32)
    assert state[PKRU] == b"\xaa" * 8
    assert xstate_bv(state) == 0x200


def test_xsave_of_x87_alone_leaves_sse() -> None:
    target = area(fill=0xAA)
    xsave(INTEL_LAYOUT, 1, area(fill=0x5A, in_use=3), target)
    assert target[160:416] == b"\xaa" * 256
    assert xstate_bv(target) == 1
