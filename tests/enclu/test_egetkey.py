import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.key import Keyname, Keypolicy
from softsgx.arch.leaves import Enclu
from softsgx.arch.secs import AttributeFlags
from softsgx.machine.processor import RFLAGS_ARITHMETIC, RFLAGS_ZF
from tests.enclu.keys import (
    BEYOND,
    EVERY_ATTRIBUTE,
    KEYREQUEST,
    OUTPUT,
    code,
    key,
    keyed_world,
    request,
)
from tests.enclu.world import (
    BASE,
    EPCM_READ,
    EPCM_WRITE,
    FLAGS,
    NOT_REGULAR_AND_USABLE,
    READ_ONLY,
    SIZE,
    new_world,
)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        (Keyname.EINITTOKEN_KEY, AttributeFlags.EINITTOKENKEY),
        (Keyname.PROVISION_KEY, AttributeFlags.PROVISIONKEY),
        (Keyname.PROVISION_SEAL_KEY, AttributeFlags.PROVISIONKEY),
    ],
)
def test_egetkey_refuses_without_the_attribute(
    name: Keyname, missing: AttributeFlags
) -> None:
    world = keyed_world(EVERY_ATTRIBUTE & ~missing)
    assert code(world, request(name)) == SgxError.INVALID_ATTRIBUTE


NOT_REPORT = [name for name in Keyname if name != Keyname.REPORT_KEY]


@pytest.mark.parametrize("name", NOT_REPORT)
def test_egetkey_refuses_a_cpusvn_beyond_the_present(name: Keyname) -> None:
    asked = request(name, cpusvn=BEYOND)
    assert code(keyed_world(), asked) == SgxError.INVALID_CPUSVN


@pytest.mark.parametrize("name", NOT_REPORT)
def test_egetkey_refuses_an_isvsvn_beyond_the_enclaves(name: Keyname) -> None:
    assert code(keyed_world(), request(name, isvsvn=7)) == 0
    assert code(keyed_world(), request(name, isvsvn=8)) == SgxError.INVALID_ISVSVN


@pytest.mark.parametrize("name", [Keyname.SEAL_KEY, Keyname.PROVISION_SEAL_KEY])
def test_egetkey_refuses_a_configsvn_beyond_the_enclaves(name: Keyname) -> None:
    assert code(keyed_world(), request(name, configsvn=3)) == 0
    assert code(keyed_world(), request(name, configsvn=4)) == SgxError.INVALID_ISVSVN


@pytest.mark.parametrize("name", [Keyname.EINITTOKEN_KEY, Keyname.PROVISION_KEY])
def test_egetkey_does_not_look_at_configsvn_for(name: Keyname) -> None:
    assert code(keyed_world(), request(name, configsvn=4)) == 0


@pytest.mark.parametrize("name", [5, 0xFFFF])
def test_egetkey_refuses_an_unknown_name(name: int) -> None:
    assert code(keyed_world(), request(name)) == SgxError.INVALID_KEYNAME


def test_egetkey_refuses_attribute_then_cpusvn_then_isvsvn() -> None:
    poor = keyed_world(EVERY_ATTRIBUTE & ~AttributeFlags.PROVISIONKEY)
    asked = request(Keyname.PROVISION_KEY, cpusvn=BEYOND, isvsvn=99)
    assert code(poor, asked) == SgxError.INVALID_ATTRIBUTE
    assert code(keyed_world(), asked) == SgxError.INVALID_CPUSVN
    later = request(Keyname.PROVISION_KEY, isvsvn=99)
    assert code(keyed_world(), later) == SgxError.INVALID_ISVSVN
    assert code(keyed_world(), request(5, cpusvn=BEYOND)) == SgxError.INVALID_KEYNAME


def test_egetkey_that_fails_sets_zf_and_writes_nothing() -> None:
    world = keyed_world()
    world.put(OUTPUT, b"\xaa" * 16)
    rip = world.lp.regs.rip
    world.lp.regs.rflags |= RFLAGS_ARITHMETIC
    code(world, request(5))
    assert world.lp.regs.rflags & RFLAGS_ARITHMETIC == RFLAGS_ZF
    assert world.bytes_at(OUTPUT, 16) == b"\xaa" * 16
    assert world.lp.regs.rip == rip + 3


def test_egetkey_writes_16_bytes_and_clears_the_flags() -> None:
    world = keyed_world()
    world.lp.regs.rflags |= RFLAGS_ARITHMETIC
    key(world, request())
    assert world.bytes_at(OUTPUT - 16, 16) == bytes(16)
    assert world.bytes_at(OUTPUT + 16, 16) == bytes(16)
    assert not world.lp.regs.rflags & RFLAGS_ARITHMETIC


# faults


@pytest.mark.parametrize("offset", [6, 7, 78, 511])
def test_egetkey_faults_when_keyrequest_has_reserved_bytes(offset: int) -> None:
    world = keyed_world()
    world.put(KEYREQUEST, request())
    world.put(KEYREQUEST + offset, b"\1")
    with pytest.raises(GeneralProtection, match="KEYREQUEST"):
        world.call(Enclu.EGETKEY, KEYREQUEST, OUTPUT)


@pytest.mark.parametrize("bit", [6, 15])
def test_egetkey_faults_when_keypolicy_has_reserved_bits(bit: int) -> None:
    with pytest.raises(GeneralProtection, match="KEYPOLICY"):
        code(keyed_world(), request(keypolicy=Keypolicy(1 << bit)))


@pytest.mark.parametrize(
    "fields",
    [
        {"keypolicy": Keypolicy.NOISVPRODID},
        {"keypolicy": Keypolicy.CONFIGID},
        {"keypolicy": Keypolicy.ISVFAMILYID},
        {"keypolicy": Keypolicy.ISVEXTPRODID},
        {"configsvn": 1},
    ],
)
def test_egetkey_faults_when_kss_is_asked_for_and_off(
    fields: dict[str, object],
) -> None:
    with pytest.raises(GeneralProtection, match="KSS"):
        code(keyed_world(int(FLAGS)), request(**fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rbx", "rcx", "rule"),
    [
        (KEYREQUEST + 256, OUTPUT, "RBX"),
        (KEYREQUEST, OUTPUT + 8, "RCX"),
        (BASE + SIZE, OUTPUT, "RBX"),
        (KEYREQUEST, BASE - 16, "RCX"),
    ],
)
def test_egetkey_faults_when_an_operand_is_misplaced(
    rbx: int, rcx: int, rule: str
) -> None:
    with pytest.raises(GeneralProtection, match=rule):
        keyed_world().call(Enclu.EGETKEY, rbx, rcx)


@pytest.mark.parametrize("address", [KEYREQUEST, OUTPUT])
@pytest.mark.parametrize("rule", NOT_REGULAR_AND_USABLE)
def test_egetkey_faults_when_an_operands_page_is(address: int, rule: str) -> None:
    world = keyed_world()
    world.change_epcm(address, **NOT_REGULAR_AND_USABLE[rule])
    with pytest.raises(PageFault) as caught:
        code(world, request())
    expected = EPCM_WRITE if address == OUTPUT else EPCM_READ
    assert (caught.value.address, caught.value.error_code) == (address, expected)


def test_egetkey_faults_when_the_request_is_not_readable() -> None:
    world = keyed_world()
    world.change_epcm(KEYREQUEST, r=False)
    with pytest.raises(PageFault):
        code(world, request())


def test_egetkey_faults_when_the_output_is_not_writable() -> None:
    with pytest.raises(PageFault):
        keyed_world().call(Enclu.EGETKEY, KEYREQUEST, READ_ONLY)


@pytest.mark.parametrize(("absent", "code_"), [(KEYREQUEST, 4), (OUTPUT, 6)])
def test_egetkey_of_an_absent_page_is_the_page_tables_fault(
    absent: int, code_: int
) -> None:
    world = keyed_world()
    world.memory.absent.add(absent & -4096)
    with pytest.raises(PageFault) as caught:
        code(world, request())
    assert (caught.value.address, caught.value.error_code) == (absent, code_)


def test_egetkey_checks_both_operands_before_it_judges_the_request() -> None:
    world = keyed_world()
    world.put(KEYREQUEST, request(keypolicy=Keypolicy(1 << 15)))
    with pytest.raises(GeneralProtection, match="RCX"):
        world.call(Enclu.EGETKEY, KEYREQUEST, OUTPUT + 8)


def test_egetkey_faults_outside() -> None:
    with pytest.raises(GeneralProtection, match="side"):
        new_world().call(Enclu.EGETKEY, KEYREQUEST, OUTPUT)
