"""What the tables of the manual hold besides offsets."""

import pytest

from softsgx.arch.cpuid import EpcSection
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, InvalidOpcode, PageFault
from softsgx.arch.leaves import Encls, Enclu
from softsgx.arch.msr import INTEL_LEPUBKEYHASH
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.arch.secs import AttributeFlags
from softsgx.arch.sigstruct import Sigstruct, signed_part
from softsgx.arch.ssa import Exitinfo, ExitType


def test_unknown_combinations_of_bits_are_not_remembered() -> None:
    known = len(AttributeFlags._value2member_map_)
    for value in range(1 << 20, (1 << 20) + 1000):
        assert int(AttributeFlags(value)) == value
    assert len(AttributeFlags._value2member_map_) == known


def test_bits_keep_their_type_through_operators() -> None:
    both = AttributeFlags.INIT | AttributeFlags.DEBUG
    assert isinstance(both, AttributeFlags)
    assert isinstance(both & ~AttributeFlags.INIT, AttributeFlags)
    assert both & ~AttributeFlags.INIT == AttributeFlags.DEBUG
    assert repr(both)


def test_the_complement_of_bits_is_64_bits_wide() -> None:
    assert int(~AttributeFlags.INIT) == (1 << 64) - 2


def test_bits_take_no_text() -> None:
    with pytest.raises(TypeError, match="takes an integer"):
        AttributeFlags("INIT")  # type: ignore[arg-type]  # -- wrong on purpose


def test_secinfo_flags_hold_the_page_type() -> None:
    flags = SecinfoFlags.of(PageType.TRIM, SecinfoFlags.MODIFIED)
    assert int(flags) == 0x410
    assert (flags.page_type, flags.has_reserved) == (PageType.TRIM, False)


@pytest.mark.parametrize("bit", range(64))
def test_which_secinfo_flags_are_reserved(bit: int) -> None:
    assert SecinfoFlags(1 << bit).has_reserved == (bit in (6, 7) or bit > 15)


def test_exitinfo_of_a_page_fault() -> None:
    info = Exitinfo.of(14, ExitType.HARDWARE)
    assert int(info) == 0x8000_030E
    assert (info.vector, info.exit_type) == (14, 3)


def test_the_signature_covers_256_bytes() -> None:
    raw = bytearray(Sigstruct.SIZE)
    raw[127], raw[128], raw[899], raw[900], raw[1027], raw[1028] = 1, 2, 3, 4, 5, 6
    part = signed_part(bytes(raw))
    assert len(part) == 256
    assert [byte for byte in part if byte] == [1, 4, 5]


def test_an_epc_section_carries_its_type_in_the_low_bits() -> None:
    regs = EpcSection(base=0x12_3456_7000, size=0x9_8765_4000).regs()
    assert regs == (0x3456_7001, 0x12, 0x8765_4001, 0x9)


def test_an_empty_epc_section_ends_the_list() -> None:
    assert EpcSection(base=0x1000, size=0).regs() == (0, 0, 0, 0)


def test_intels_launch_key_hash_is_the_one_at_reset() -> None:
    words = [
        0xA6053E051270B7AC,
        0x6CFBE8BA8B3B413D,
        0xC4916D99F2B3735D,
        0xD4F8C05909F9BB3B,
    ]
    expected = b"".join(word.to_bytes(8, "little") for word in words)
    assert expected == INTEL_LEPUBKEYHASH


def test_numbers_of_leaves_and_codes_that_programs_see() -> None:
    assert [Encls.EAUG, Encls.EMODPR, Encls.EMODT] == [13, 14, 15]
    assert [Enclu.EENTER, Enclu.ERESUME, Enclu.EEXIT] == [2, 3, 4]
    codes = [SgxError.INVALID_EINITTOKEN, SgxError.PAGE_NOT_MODIFIABLE]
    assert [*codes, SgxError.UNMASKED_EVENT] == [16, 20, 128]


def test_faults_have_the_vector_and_say_why() -> None:
    assert (InvalidOpcode.vector, GeneralProtection.vector) == (6, 13)
    fault = PageFault(0x7000, 0x8007, "pending")
    assert (fault.vector, fault.error_code, fault.address) == (14, 0x8007, 0x7000)
    assert str(fault) == "#PF(0x8007) at 0x7000: pending"
    assert str(GeneralProtection("RBX")) == "#GP: RBX"
    assert str(InvalidOpcode()) == "#UD"
