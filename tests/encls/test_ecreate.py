from dataclasses import replace

import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.arch.secs import AttributeFlags, Attributes, Miscselect, Secs
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.memory import epc_address
from softsgx.machine.model import Model
from tests.support import BASE, SIZE, Ring0, make_machine, make_secs, refuses

MODE64 = AttributeFlags.MODE64BIT


@pytest.fixture
def ring0() -> Ring0:
    return Ring0(make_machine())


def operands(ring0: Ring0, **pageinfo: int) -> tuple[int, int]:
    """Good operands, but for the fields of PAGEINFO that are given."""
    good = {
        "srcpge": ring0.source(bytes(make_secs())),
        "secinfo": ring0.secinfo(SecinfoFlags(0)),
    }
    return ring0.pageinfo(**good | pageinfo), epc_address(0)


def attributes(flags: AttributeFlags = MODE64, xfrm: int = 3) -> Attributes:
    return Attributes(flags=flags, xfrm=xfrm)


def test_makes_a_secs_page(ring0: Ring0) -> None:
    ring0.ecreate(5)
    assert ring0.machine.epcm[5] == EpcmEntry(valid=True, pt=PageType.SECS)
    enclave = ring0.machine.enclaves[5]
    assert enclave.secs == make_secs()
    assert (enclave.children, enclave.epoch, enclave.inside) == (0, 0, {})


def test_gives_each_enclave_an_id_of_its_own(ring0: Ring0) -> None:
    ring0.ecreate(1)
    ring0.ecreate(2)
    assert ring0.enclave(1).eid != ring0.enclave(2).eid


def test_clears_the_identity_that_einit_will_set(ring0: Ring0) -> None:
    filled = b"\xaa" * 32
    ring0.ecreate(
        0, make_secs(mrenclave=filled, mrsigner=filled, isvprodid=1, isvsvn=2)
    )
    assert ring0.enclave().secs == make_secs()


def test_leaves_rax_and_flags_alone(ring0: Ring0) -> None:
    ring0.lp.regs.rflags = 0x8D7
    rbx, rcx = operands(ring0)
    ring0.leaf(Encls.ECREATE, rbx, rcx)
    assert (ring0.lp.regs.rax, ring0.lp.regs.rflags) == (Encls.ECREATE, 0x8D7)


@pytest.mark.parametrize("bad", [16, 1 << 47])
def test_faults_when_rbx_is_not_aligned_or_canonical(ring0: Ring0, bad: int) -> None:
    rbx, rcx = operands(ring0)
    with refuses(ring0.machine, GeneralProtection, "RBX"):
        ring0.leaf(Encls.ECREATE, rbx + bad, rcx)


def test_faults_when_rcx_is_not_page_aligned(ring0: Ring0) -> None:
    rbx, rcx = operands(ring0)
    with refuses(ring0.machine, GeneralProtection, "RCX"):
        ring0.leaf(Encls.ECREATE, rbx, rcx + 8)


def test_faults_when_rcx_is_outside_the_epc(ring0: Ring0) -> None:
    rbx, _ = operands(ring0)
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.leaf(Encls.ECREATE, rbx, epc_address(ring0.machine.epc.pages))


def test_faults_when_pageinfo_is_not_mapped(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "nothing mapped"):
        ring0.leaf(Encls.ECREATE, 0x9000, epc_address(0))


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("srcpge", 0x3008, "SRCPGE"),
        ("secinfo", 0x2020, "SECINFO"),
        ("linaddr", 0x1000, "LINADDR"),
        ("secs", 0x1000, "LINADDR or SECS"),
    ],
)
def test_faults_on_a_bad_field_of_pageinfo(
    ring0: Ring0, field: str, value: int, why: str
) -> None:
    rbx, rcx = operands(ring0, **{field: value})
    with refuses(ring0.machine, GeneralProtection, why):
        ring0.leaf(Encls.ECREATE, rbx, rcx)


@pytest.mark.parametrize("flags", [1 << 6, 1 << 7, 1 << 16, 1 << 63])
def test_faults_on_reserved_secinfo_flags(ring0: Ring0, flags: int) -> None:
    rbx, rcx = operands(ring0)
    ring0.secinfo(SecinfoFlags(flags))
    with refuses(ring0.machine, GeneralProtection, "reserved bits of SECINFO"):
        ring0.leaf(Encls.ECREATE, rbx, rcx)


def test_faults_on_reserved_secinfo_bytes(ring0: Ring0) -> None:
    rbx, rcx = operands(ring0)
    ring0.secinfo(0, bytes(55) + b"\1")
    with refuses(ring0.machine, GeneralProtection, "reserved bits of SECINFO"):
        ring0.leaf(Encls.ECREATE, rbx, rcx)


def test_faults_when_secinfo_is_not_of_a_secs(ring0: Ring0) -> None:
    rbx, rcx = operands(ring0)
    ring0.secinfo(SecinfoFlags.of(PageType.REG))
    with refuses(ring0.machine, GeneralProtection, "not of a SECS"):
        ring0.leaf(Encls.ECREATE, rbx, rcx)


def test_faults_when_the_page_is_in_use(ring0: Ring0) -> None:
    ring0.ecreate()
    with refuses(ring0.machine, PageFault, "in use"):
        ring0.ecreate()


def fault_of(secs: Secs | bytes, why: str, **model: object) -> None:
    ring0 = Ring0(make_machine(model))
    with refuses(ring0.machine, GeneralProtection, why):
        ring0.ecreate(0, secs)


@pytest.mark.parametrize("xfrm", [0, 1, 2, 4])
def test_faults_when_xfrm_lacks_x87_or_sse(xfrm: int) -> None:
    fault_of(make_secs(attributes=attributes(xfrm=xfrm)), "x87 or SSE")


@pytest.mark.parametrize(
    "xfrm",
    [
        pytest.param(3 | 1 << 3, id="half of MPX"),
        pytest.param(3 | 0b111 << 5, id="AVX-512 without AVX"),
        pytest.param(7 | 0b011 << 5, id="part of AVX-512"),
        pytest.param(3 | 1 << 18, id="half of AMX"),
    ],
)
def test_faults_when_xsetbv_would_refuse_xfrm(xfrm: int) -> None:
    everything = 0xFF | 0b11 << 17
    secs = make_secs(attributes=attributes(xfrm=xfrm), ssaframesize=4)
    fault_of(secs, "XSETBV", xfrm=everything)


def test_faults_on_xfrm_that_the_model_lacks() -> None:
    secs = make_secs(attributes=attributes(xfrm=7 | 0b111 << 5))
    fault_of(secs, "ATTRIBUTES sets", xfrm=7)
    Ring0(make_machine({"xfrm": 0xE7})).ecreate(0, secs)


@pytest.mark.parametrize("field", ["cet_attributes", "cet_leg_bitmap_offset"])
def test_faults_on_cet_fields(field: str) -> None:
    fault_of(make_secs(**{field: 0x10}), "CET")


def test_faults_on_miscselect_that_the_model_lacks() -> None:
    secs = make_secs(miscselect=Miscselect.EXINFO)
    fault_of(secs, "MISCSELECT", exinfo=False)
    fault_of(make_secs(miscselect=Miscselect.CPINFO), "MISCSELECT")
    Ring0(make_machine()).ecreate(0, secs)


def frame_machine(spare: int) -> Model:
    """A model on which XFRM 7 leaves *spare* bytes of a page besides GPRSGX."""
    model = Model()
    components = ((2, 576, 4096 - 184 - 576 - spare),)
    return replace(model, xsave=replace(model.xsave, components=components))


@pytest.mark.parametrize(
    ("spare", "miscselect", "fits"),
    [
        (0, 0, True),
        (-1, 0, False),
        (16, Miscselect.EXINFO, True),
        (15, Miscselect.EXINFO, False),
    ],
)
def test_the_ssa_frame_must_hold_xsave_gprsgx_and_misc(
    spare: int, miscselect: int, *, fits: bool
) -> None:
    machine = make_machine()
    machine.model = replace(frame_machine(spare), epc_bytes=machine.model.epc_bytes)
    secs = make_secs(attributes=attributes(xfrm=7), miscselect=Miscselect(miscselect))
    ring0 = Ring0(machine)
    if fits:
        ring0.ecreate(0, secs)
        return
    with refuses(machine, GeneralProtection, "SSAFRAMESIZE"):
        ring0.ecreate(0, secs)


def test_faults_when_ssaframesize_is_zero() -> None:
    fault_of(make_secs(ssaframesize=0), "SSAFRAMESIZE")


def test_faults_when_base_is_not_canonical() -> None:
    fault_of(make_secs(baseaddr=1 << 47), "BASEADDR is not canonical")


def test_faults_when_a_32_bit_base_is_over_4_gib() -> None:
    flags = AttributeFlags(0)
    for base in (BASE, 1 << 47):
        secs = make_secs(attributes=attributes(flags), baseaddr=base)
        fault_of(secs, "over 4 GiB")
    ring0 = Ring0(make_machine())
    ring0.ecreate(0, make_secs(attributes=attributes(flags), baseaddr=0x1000_0000))


@pytest.mark.parametrize(
    ("flags", "limit"), [(MODE64, "max_size_64"), (AttributeFlags(0), "max_size_not64")]
)
def test_faults_when_the_size_reaches_the_limit(
    flags: AttributeFlags, limit: str
) -> None:
    for size, fits in ((1 << 30, False), (1 << 29, True)):
        secs = make_secs(baseaddr=0, size=size, attributes=attributes(flags))
        if fits:
            Ring0(make_machine({limit: 30})).ecreate(0, secs)
        else:
            fault_of(secs, "limit", **{limit: 30})


@pytest.mark.parametrize("size", [0, PAGE_SIZE, 3 * PAGE_SIZE, 0x2001])
def test_faults_when_size_is_no_power_of_two_from_8192_on(size: int) -> None:
    fault_of(make_secs(baseaddr=0, size=size), "power of two")


def test_takes_the_smallest_size() -> None:
    Ring0(make_machine()).ecreate(0, make_secs(size=2 * PAGE_SIZE))


def test_faults_when_base_is_not_aligned_to_size() -> None:
    fault_of(make_secs(baseaddr=BASE + SIZE // 2), "not aligned to SIZE")


@pytest.mark.parametrize(
    "flag",
    [AttributeFlags.INIT, 1 << 3, AttributeFlags.CET, 1 << 8, 1 << 9, 1 << 63],
)
def test_faults_on_attributes_that_no_model_has(flag: int) -> None:
    fault_of(
        make_secs(attributes=attributes(AttributeFlags(MODE64 | flag))),
        "ATTRIBUTES sets",
    )


@pytest.mark.parametrize(
    ("flag", "feature"),
    [(AttributeFlags.KSS, "kss"), (AttributeFlags.AEXNOTIFY, "aexnotify")],
)
def test_faults_on_attributes_that_this_model_lacks(
    flag: AttributeFlags, feature: str
) -> None:
    secs = make_secs(attributes=attributes(MODE64 | flag))
    fault_of(secs, "ATTRIBUTES sets", **{feature: False})
    Ring0(make_machine()).ecreate(0, secs)


@pytest.mark.parametrize("offset", [33, 47, 96, 127, 160, 191, 262, 4095])
def test_faults_on_reserved_bytes_of_secs(offset: int) -> None:
    raw = bytearray(bytes(make_secs()))
    raw[offset] = 1
    fault_of(bytes(raw), "reserved bytes of SECS")


@pytest.mark.parametrize(
    "config", [{"configid": b"\1" + bytes(63)}, {"configsvn": 1}], ids=str
)
def test_faults_on_configuration_without_kss(config: dict[str, object]) -> None:
    fault_of(make_secs(**config), "without KSS")
    kss = attributes(MODE64 | AttributeFlags.KSS)
    Ring0(make_machine()).ecreate(0, make_secs(attributes=kss, **config))


def test_measures_frame_size_and_size() -> None:
    one, other = Ring0(make_machine()), Ring0(make_machine())
    one.ecreate()
    other.ecreate(0, make_secs(ssaframesize=2))
    assert one.enclave().measurement.digest() != other.enclave().measurement.digest()
    assert one.enclave().measurement.blocks == 1
    assert Secinfo.SIZE == 64
