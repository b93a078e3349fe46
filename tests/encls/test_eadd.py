from dataclasses import replace

import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.arch.secs import AttributeFlags, Attributes
from softsgx.arch.tcs import Tcs, TcsFlags
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.measurement import Measurement
from softsgx.machine.memory import epc_address
from tests.support import (
    BASE,
    REG_RW,
    SIZE,
    TCS,
    Ring0,
    make_machine,
    make_secs,
    make_tcs,
    refuses,
)


@pytest.fixture
def ring0() -> Ring0:
    built = Ring0(make_machine())
    built.ecreate()
    return built


def operands(ring0: Ring0, **pageinfo: int) -> tuple[int, int]:
    """Good operands, but for the fields of PAGEINFO that are given."""
    good = {
        "linaddr": BASE,
        "srcpge": ring0.source(bytes(PAGE_SIZE)),
        "secinfo": ring0.secinfo(REG_RW),
        "secs": epc_address(0),
    }
    return ring0.pageinfo(**good | pageinfo), epc_address(1)


def test_copies_the_page_and_fills_its_entry(ring0: Ring0) -> None:
    contents = bytes(range(256)) * 16
    flags = SecinfoFlags.of(PageType.REG, SecinfoFlags.R | SecinfoFlags.X)
    ring0.eadd(7, 0x3000, flags, contents)
    assert bytes(ring0.machine.epc.page(7)) == contents
    assert ring0.machine.epcm[7] == EpcmEntry(
        valid=True,
        r=True,
        x=True,
        pt=PageType.REG,
        enclavesecs=0,
        enclaveaddress=BASE + 0x3000,
    )
    assert ring0.enclave().children == 1


def test_measures_offset_and_secinfo(ring0: Ring0) -> None:
    ring0.eadd(1, 0x3000)
    by_hand = Measurement()
    by_hand.ecreate(1, SIZE)
    by_hand.eadd(0x3000, REG_RW.to_bytes(8, "little") + bytes(56))
    assert ring0.enclave().measurement.digest() == by_hand.digest()


def test_clears_the_permissions_of_a_tcs_before_measuring(ring0: Ring0) -> None:
    other = Ring0(make_machine())
    other.ecreate()
    ring0.eadd(1, 0, SecinfoFlags.of(PageType.TCS, 0b111))
    other.eadd(1, 0, TCS)
    assert ring0.machine.snapshot() == other.machine.snapshot()
    assert ring0.machine.epcm[1] == EpcmEntry(
        valid=True, pt=PageType.TCS, enclaveaddress=BASE
    )


def test_makes_a_tcs_idle_and_not_debuggable(ring0: Ring0) -> None:
    flags = TcsFlags.DBGOPTIN | TcsFlags.AEXNOTIFY
    ring0.eadd(1, 0, TCS, make_tcs(stage=1, flags=flags, cssa=2, aep=3))
    tcs = Tcs.from_bytes(bytes(ring0.machine.epc.page(1)))
    clean = Tcs.from_bytes(make_tcs())
    assert tcs == replace(clean, flags=TcsFlags.AEXNOTIFY)


def test_faults_when_rbx_is_not_32_byte_aligned(ring0: Ring0) -> None:
    rbx, rcx = operands(ring0)
    with refuses(ring0.machine, GeneralProtection, "RBX"):
        ring0.leaf(Encls.EADD, rbx + 16, rcx)


def test_faults_when_rcx_is_not_page_aligned(ring0: Ring0) -> None:
    rbx, rcx = operands(ring0)
    with refuses(ring0.machine, GeneralProtection, "RCX"):
        ring0.leaf(Encls.EADD, rbx, rcx + 64)


def test_faults_when_rcx_is_outside_the_epc(ring0: Ring0) -> None:
    rbx, _ = operands(ring0)
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.leaf(Encls.EADD, rbx, 0x3000)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("srcpge", 0x3008, "SRCPGE"),
        ("secs", epc_address(0) + 8, "SECS"),
        ("secinfo", 0x2020, "SECINFO"),
        ("linaddr", BASE + 8, "LINADDR"),
    ],
)
def test_faults_when_a_field_of_pageinfo_is_not_aligned(
    ring0: Ring0, field: str, value: int, why: str
) -> None:
    rbx, rcx = operands(ring0, **{field: value})
    with refuses(ring0.machine, GeneralProtection, f"{why} .* aligned"):
        ring0.leaf(Encls.EADD, rbx, rcx)


def test_faults_when_the_secs_is_outside_the_epc(ring0: Ring0) -> None:
    rbx, rcx = operands(ring0, secs=0x3000)
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.leaf(Encls.EADD, rbx, rcx)


@pytest.mark.parametrize("bit", [6, 7, 16, 63])
def test_faults_on_reserved_secinfo_flags(ring0: Ring0, bit: int) -> None:
    with refuses(ring0.machine, GeneralProtection, "reserved bits of SECINFO"):
        ring0.eadd(1, 0, SecinfoFlags(REG_RW | 1 << bit))


def test_faults_on_reserved_secinfo_bytes(ring0: Ring0) -> None:
    rbx, rcx = operands(ring0)
    ring0.secinfo(REG_RW, b"\1" + bytes(55))
    with refuses(ring0.machine, GeneralProtection, "reserved bits of SECINFO"):
        ring0.leaf(Encls.EADD, rbx, rcx)


@pytest.mark.parametrize(
    "pt", [PageType.SECS, PageType.VA, PageType.TRIM, PageType.SS_FIRST, 9]
)
def test_faults_on_other_page_types(ring0: Ring0, pt: int) -> None:
    with refuses(ring0.machine, GeneralProtection, "neither of a TCS nor"):
        ring0.eadd(1, 0, SecinfoFlags.of(pt, SecinfoFlags.R), bytes(PAGE_SIZE))


def test_faults_when_the_page_is_in_use(ring0: Ring0) -> None:
    ring0.eadd(1, 0)
    with refuses(ring0.machine, PageFault, "in use"):
        ring0.eadd(1, PAGE_SIZE)


@pytest.mark.parametrize("secs", [1, 2], ids=["a REG page", "a free page"])
def test_faults_when_the_secs_is_none(ring0: Ring0, secs: int) -> None:
    ring0.eadd(1, 0)
    rbx, _ = operands(ring0, secs=epc_address(secs))
    with refuses(ring0.machine, PageFault, "not a SECS"):
        ring0.leaf(Encls.EADD, rbx, epc_address(3))


def test_faults_when_the_source_is_not_mapped(ring0: Ring0) -> None:
    rbx, rcx = operands(ring0, srcpge=0x9000)
    with refuses(ring0.machine, PageFault, "nothing mapped"):
        ring0.leaf(Encls.EADD, rbx, rcx)


@pytest.mark.parametrize("offset", [72, 80, 88, 4095])
def test_faults_on_reserved_bytes_of_a_tcs(ring0: Ring0, offset: int) -> None:
    raw = bytearray(make_tcs())
    raw[offset] = 1
    with refuses(ring0.machine, GeneralProtection, "reserved bytes of TCS"):
        ring0.eadd(1, 0, TCS, bytes(raw))


@pytest.mark.parametrize("limit", ["fslimit", "gslimit"])
def test_a_32_bit_tcs_limit_must_end_a_page(limit: str) -> None:
    built = Ring0(make_machine())
    built.ecreate(
        0,
        make_secs(
            baseaddr=0x1000_0000, attributes=Attributes(flags=AttributeFlags(0), xfrm=3)
        ),
    )
    with refuses(built.machine, GeneralProtection, "LIMIT"):
        built.eadd(1, 0, TCS, make_tcs(**{limit: 0xFFFF_EFFE}))
    built.eadd(1, 0, TCS, make_tcs(**{limit: 0xFFF}))


def test_a_64_bit_tcs_limit_may_be_anything(ring0: Ring0) -> None:
    ring0.eadd(1, 0, TCS, make_tcs(fslimit=0, gslimit=0))


def test_faults_on_a_page_writable_but_not_readable(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "writable but not readable"):
        ring0.eadd(1, 0, SecinfoFlags.of(PageType.REG, SecinfoFlags.W))


@pytest.mark.parametrize("permissions", [0, SecinfoFlags.X, SecinfoFlags.R])
def test_takes_a_page_that_is_not_writable(ring0: Ring0, permissions: int) -> None:
    ring0.eadd(1, 0, SecinfoFlags.of(PageType.REG, permissions))


@pytest.mark.parametrize("offset", [-PAGE_SIZE, SIZE])
def test_faults_outside_elrange(ring0: Ring0, offset: int) -> None:
    with refuses(ring0.machine, GeneralProtection, "outside ELRANGE"):
        ring0.eadd(1, offset)


def test_takes_the_last_page_of_elrange(ring0: Ring0) -> None:
    ring0.eadd(1, SIZE - PAGE_SIZE)


def test_faults_when_the_enclave_is_initialized(ring0: Ring0) -> None:
    ring0.einit()
    with refuses(ring0.machine, GeneralProtection, "is initialized"):
        ring0.eadd(1, 0)
