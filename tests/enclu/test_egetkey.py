from dataclasses import replace

import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.key import Keyname, Keypolicy, Keyrequest
from softsgx.arch.leaves import Enclu
from softsgx.arch.secs import AttributeFlags, Attributes, Miscselect
from softsgx.machine.package import Package
from softsgx.machine.processor import RFLAGS_ARITHMETIC, RFLAGS_ZF
from tests.enclu.world import (
    BASE,
    DATA,
    DATA2,
    EPCM_READ,
    EPCM_WRITE,
    FLAGS,
    NOT_REGULAR_AND_USABLE,
    READ_ONLY,
    SIZE,
    World,
    Zeros,
    inside_world,
    new_world,
)

KEYREQUEST, OUTPUT = DATA, DATA2 + 16
EVERY_ATTRIBUTE = int(
    FLAGS
    | AttributeFlags.KSS
    | AttributeFlags.PROVISIONKEY
    | AttributeFlags.EINITTOKENKEY
)
BEYOND = bytes(15) + b"\1"
SEALING = Keyname.SEAL_KEY


def keyed_world(flags: int = EVERY_ATTRIBUTE) -> World:
    world = inside_world()
    world.change_secs(
        attributes=Attributes(flags=AttributeFlags(flags), xfrm=3),
        miscselect=Miscselect.EXINFO,
    )
    world.enclave.isvfamilyid, world.enclave.isvextprodid = b"f" * 16, b"x" * 16
    return world


def request(name: int = SEALING, **fields: object) -> Keyrequest:
    base = replace(Keyrequest.zero(), keyname=int(name), keyid=b"k" * 32)
    return replace(base, **fields)  # type: ignore[arg-type]


def code(world: World, asked: Keyrequest) -> int:
    world.put(KEYREQUEST, asked)
    world.call(Enclu.EGETKEY, KEYREQUEST, OUTPUT)
    return world.lp.regs.rax


def key(world: World, asked: Keyrequest) -> bytes:
    assert code(world, asked) == 0
    return world.bytes_at(OUTPUT, 16)


# what the keys depend on


def test_egetkey_gives_five_different_keys() -> None:
    world = keyed_world()
    assert len({key(world, request(name)) for name in Keyname}) == 5


@pytest.mark.parametrize("name", list(Keyname))
def test_egetkey_gives_the_same_key_on_the_same_platform(name: Keyname) -> None:
    assert key(keyed_world(), request(name)) == key(keyed_world(), request(name))


@pytest.mark.parametrize("name", list(Keyname))
def test_egetkey_gives_another_key_on_another_platform(name: Keyname) -> None:
    world = keyed_world()
    here = key(world, request(name))
    world.machine.package = Package.from_seed(b"another", Zeros())
    assert key(world, request(name)) != here


def changes_key(name: Keyname, before: World, after: World, **fields: object) -> bool:
    asked = request(name, **fields)
    return key(before, asked) != key(after, asked)


@pytest.mark.parametrize(
    ("name", "depends"),
    [
        (Keyname.EINITTOKEN_KEY, True),
        (Keyname.PROVISION_KEY, False),
        (Keyname.PROVISION_SEAL_KEY, False),
        (Keyname.REPORT_KEY, True),
        (Keyname.SEAL_KEY, True),
    ],
)
def test_the_owner_epoch_counts_for(name: Keyname, *, depends: bool) -> None:
    other = keyed_world()
    other.machine.package.ownerepoch = b"o" * 16
    assert changes_key(name, keyed_world(), other) == depends


@pytest.mark.parametrize(
    ("name", "depends"),
    [
        (Keyname.EINITTOKEN_KEY, True),
        (Keyname.PROVISION_KEY, False),
        (Keyname.PROVISION_SEAL_KEY, False),
        (Keyname.REPORT_KEY, True),
        (Keyname.SEAL_KEY, True),
    ],
)
def test_the_requests_keyid_counts_for(name: Keyname, *, depends: bool) -> None:
    world = keyed_world()
    other = key(world, request(name, keyid=b"other" + bytes(27)))
    assert (key(world, request(name)) != other) == depends


@pytest.mark.parametrize(
    ("name", "policy", "depends"),
    [
        (Keyname.EINITTOKEN_KEY, 0, False),
        (Keyname.PROVISION_KEY, 0, False),
        (Keyname.PROVISION_SEAL_KEY, 0, False),
        (Keyname.REPORT_KEY, 0, True),
        (Keyname.SEAL_KEY, 0, False),
        (Keyname.SEAL_KEY, Keypolicy.MRSIGNER, False),
        (Keyname.SEAL_KEY, Keypolicy.MRENCLAVE, True),
    ],
)
def test_mrenclave_counts_for(name: Keyname, policy: int, *, depends: bool) -> None:
    other = keyed_world()
    other.change_secs(mrenclave=b"o" * 32)
    asked = {"keypolicy": Keypolicy(policy)}
    assert changes_key(name, keyed_world(), other, **asked) == depends


@pytest.mark.parametrize(
    ("name", "policy", "depends"),
    [
        (Keyname.EINITTOKEN_KEY, 0, True),
        (Keyname.PROVISION_KEY, 0, True),
        (Keyname.PROVISION_SEAL_KEY, 0, True),
        (Keyname.REPORT_KEY, 0, False),
        (Keyname.SEAL_KEY, 0, False),
        (Keyname.SEAL_KEY, Keypolicy.MRENCLAVE, False),
        (Keyname.SEAL_KEY, Keypolicy.MRSIGNER, True),
    ],
)
def test_mrsigner_counts_for(name: Keyname, policy: int, *, depends: bool) -> None:
    other = keyed_world()
    other.change_secs(mrsigner=b"o" * 32)
    asked = {"keypolicy": Keypolicy(policy)}
    assert changes_key(name, keyed_world(), other, **asked) == depends


@pytest.mark.parametrize(
    ("name", "policy", "depends"),
    [
        (Keyname.EINITTOKEN_KEY, 0, True),
        (Keyname.PROVISION_KEY, 0, True),
        (Keyname.PROVISION_KEY, Keypolicy.NOISVPRODID, True),
        (Keyname.PROVISION_SEAL_KEY, 0, True),
        (Keyname.PROVISION_SEAL_KEY, Keypolicy.NOISVPRODID, False),
        (Keyname.REPORT_KEY, 0, False),
        (Keyname.SEAL_KEY, 0, True),
        (Keyname.SEAL_KEY, Keypolicy.NOISVPRODID, False),
    ],
)
def test_isvprodid_counts_for(name: Keyname, policy: int, *, depends: bool) -> None:
    other = keyed_world()
    other.change_secs(isvprodid=99)
    asked = {"keypolicy": Keypolicy(policy)}
    assert changes_key(name, keyed_world(), other, **asked) == depends


@pytest.mark.parametrize("name", [Keyname.SEAL_KEY, Keyname.PROVISION_SEAL_KEY])
@pytest.mark.parametrize(
    ("bit", "field", "value"),
    [
        (Keypolicy.ISVFAMILYID, "isvfamilyid", b"o" * 16),
        (Keypolicy.ISVEXTPRODID, "isvextprodid", b"o" * 16),
        (Keypolicy.CONFIGID, "configid", b"o" * 64),
    ],
)
def test_the_kss_identity_counts_if_the_policy_says_so(
    name: Keyname, bit: Keypolicy, field: str, value: bytes
) -> None:
    other = keyed_world()
    if field == "configid":
        other.change_secs(configid=value)
    else:
        setattr(other.enclave, field, value)
    assert changes_key(name, keyed_world(), other, keypolicy=bit)
    assert not changes_key(name, keyed_world(), other)


@pytest.mark.parametrize("name", [Keyname.SEAL_KEY, Keyname.PROVISION_SEAL_KEY])
def test_configsvn_counts_with_configid_only(name: Keyname) -> None:
    world = keyed_world()
    with_it = {"keypolicy": Keypolicy.CONFIGID}
    assert key(world, request(name)) == key(world, request(name, configsvn=1))
    one = key(world, request(name, configsvn=1, **with_it))
    assert one != key(world, request(name, configsvn=2, **with_it))


@pytest.mark.parametrize("bit", list(Keypolicy))
def test_every_policy_bit_makes_another_seal_key(bit: Keypolicy) -> None:
    world = keyed_world()
    assert key(world, request()) != key(world, request(keypolicy=bit))


@pytest.mark.parametrize("name", [n for n in Keyname if n != Keyname.REPORT_KEY])
@pytest.mark.parametrize("field", ["isvsvn", "cpusvn"])
def test_the_requested_versions_count(name: Keyname, field: str) -> None:
    world = keyed_world()
    old = {"isvsvn": 6, "cpusvn": b"\1" + bytes(15)}[field]
    newer = request(name, isvsvn=7, cpusvn=world.machine.package.cpusvn)
    older = replace(newer, **{field: old})  # type: ignore[arg-type]
    assert key(world, newer) != key(world, older)


def test_a_report_key_ignores_the_requested_versions() -> None:
    world = keyed_world()
    plain = key(world, request(Keyname.REPORT_KEY))
    asked = request(Keyname.REPORT_KEY, isvsvn=99, cpusvn=b"\xff" * 16, configsvn=99)
    assert key(world, asked) == plain


@pytest.mark.parametrize("bit", [AttributeFlags.INIT, AttributeFlags.DEBUG])
def test_init_and_debug_always_count(bit: AttributeFlags) -> None:
    other = keyed_world(EVERY_ATTRIBUTE ^ bit)
    assert changes_key(SEALING, keyed_world(), other)


def test_other_attributes_count_under_the_mask_only() -> None:
    other = keyed_world(EVERY_ATTRIBUTE & ~AttributeFlags.PROVISIONKEY)
    masked = Attributes(flags=AttributeFlags.PROVISIONKEY, xfrm=0)
    assert not changes_key(SEALING, keyed_world(), other)
    assert changes_key(SEALING, keyed_world(), other, attributemask=masked)


def test_xfrm_counts_under_the_mask_only() -> None:
    other = keyed_world()
    flags = other.secs.attributes.flags
    other.change_secs(attributes=Attributes(flags=flags, xfrm=7))
    masked = Attributes(flags=AttributeFlags(0), xfrm=4)
    assert not changes_key(SEALING, keyed_world(), other)
    assert changes_key(SEALING, keyed_world(), other, attributemask=masked)


def test_miscselect_counts_under_the_mask_only() -> None:
    other = keyed_world()
    other.change_secs(miscselect=Miscselect(0))
    assert not changes_key(SEALING, keyed_world(), other)
    masked = {"miscmask": Miscselect.EXINFO}
    assert changes_key(SEALING, keyed_world(), other, **masked)


# error codes


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


@pytest.mark.parametrize("offset", [7, 78, 511])
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
