from dataclasses import replace

import pytest

from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.key import Keyname, Keyrequest
from softsgx.arch.leaves import Enclu
from softsgx.arch.report import MACED, Report
from softsgx.arch.secs import AttributeFlags, Attributes, Miscselect
from softsgx.arch.targetinfo import Targetinfo
from softsgx.crypto.cmac import aes_cmac
from softsgx.machine.keys import targetinfo_of
from tests.enclu.world import (
    BASE,
    DATA,
    DATA2,
    DATA3,
    EPCM_READ,
    EPCM_WRITE,
    NOT_REGULAR_AND_USABLE,
    READ_ONLY,
    SIZE,
    World,
    inside_world,
    new_world,
)

TARGETINFO, REPORTDATA, OUTPUT = DATA, DATA2 + 128, DATA3
SAID = bytes(range(64))


def reporting_world() -> World:
    world = inside_world()
    world.change_secs(miscselect=Miscselect.EXINFO)
    world.enclave.isvfamilyid, world.enclave.isvextprodid = b"f" * 16, b"x" * 16
    world.put(TARGETINFO, targetinfo_of(world.secs))
    world.put(REPORTDATA, SAID)
    return world


def report(world: World) -> Report:
    world.call(Enclu.EREPORT, TARGETINFO, REPORTDATA, OUTPUT)
    return Report.from_bytes(world.bytes_at(OUTPUT, Report.SIZE))


def report_key(world: World, keyid: bytes) -> bytes:
    """Get the key as the enclave of *world* itself would, to verify reports for it."""
    request = replace(Keyrequest.zero(), keyname=Keyname.REPORT_KEY, keyid=keyid)
    world.put(DATA, request)
    world.call(Enclu.EGETKEY, DATA, DATA3 + 0x800)
    assert world.lp.regs.rax == 0
    return world.bytes_at(DATA3 + 0x800, 16)


def test_ereport_tells_who_the_enclave_is() -> None:
    world = reporting_world()
    made, secs = report(world), world.secs
    assert made.reportdata == SAID
    assert made.cpusvn == world.machine.package.cpusvn
    assert made.keyid == world.machine.package.report_keyid
    for name in (
        *("attributes", "miscselect", "mrenclave", "mrsigner", "isvprodid", "isvsvn"),
        *("configid", "configsvn"),
    ):
        assert getattr(made, name) == getattr(secs, name), name


def test_ereport_tells_the_kss_identity() -> None:
    made = report(reporting_world())
    assert (made.isvfamilyid, made.isvextprodid) == (b"f" * 16, b"x" * 16)


def test_ereport_writes_432_bytes_and_no_more() -> None:
    world = reporting_world()
    world.put(OUTPUT, b"\xaa" * 512)
    made = report(world)
    assert Report.reserved_is_zero(bytes(made))
    assert world.bytes_at(OUTPUT, Report.SIZE) == bytes(made)
    assert world.bytes_at(OUTPUT + Report.SIZE, 80) == b"\xaa" * 80


def test_ereport_macs_with_the_key_that_the_target_gets() -> None:
    world = reporting_world()
    made = report(world)
    key = report_key(world, made.keyid)
    assert made.mac == aes_cmac(key, bytes(made)[:MACED])


@pytest.mark.parametrize(
    "change",
    [
        {"measurement": bytes(32)},
        {"attributes": Attributes(flags=AttributeFlags.INIT, xfrm=7)},
        {"miscselect": Miscselect(0)},
        {"configid": bytes(64)},
        {"configsvn": 9},
    ],
)
def test_ereport_for_another_target_has_another_mac(change: dict[str, object]) -> None:
    world = reporting_world()
    own = report(world)
    target = replace(targetinfo_of(world.secs), **change)  # type: ignore[arg-type]
    world.put(TARGETINFO, target)
    assert report(world).mac != own.mac


def test_ereport_leaves_rax_and_flags_and_goes_on() -> None:
    world = reporting_world()
    rip, flags = world.lp.regs.rip, 0x8D7
    world.lp.regs.rflags = flags
    report(world)
    assert (world.lp.regs.rax, world.lp.regs.rflags) == (Enclu.EREPORT, flags)
    assert world.lp.regs.rip == rip + 3


@pytest.mark.parametrize(
    ("rbx", "rcx", "rdx", "rule"),
    [
        (TARGETINFO + 256, REPORTDATA, OUTPUT, "RBX"),
        (TARGETINFO, REPORTDATA + 64, OUTPUT, "RCX"),
        (TARGETINFO, REPORTDATA, OUTPUT + 128, "RDX"),
        (BASE + SIZE, REPORTDATA, OUTPUT, "RBX"),
        (TARGETINFO, BASE + SIZE, OUTPUT, "RCX"),
        (TARGETINFO, REPORTDATA, BASE - 512, "RDX"),
    ],
)
def test_ereport_faults_when_an_operand_is_misplaced(
    rbx: int, rcx: int, rdx: int, rule: str
) -> None:
    with pytest.raises(GeneralProtection, match=rule):
        reporting_world().call(Enclu.EREPORT, rbx, rcx, rdx)


@pytest.mark.parametrize("offset", [48, 49, 56, 128, 511])
def test_ereport_faults_when_targetinfo_has_reserved_bytes(offset: int) -> None:
    assert not any(bytes(Targetinfo.zero())[offset:])
    world = reporting_world()
    world.put(TARGETINFO + offset, b"\1")
    with pytest.raises(GeneralProtection, match="TARGETINFO"):
        report(world)


@pytest.mark.parametrize("address", [TARGETINFO, REPORTDATA, OUTPUT])
@pytest.mark.parametrize("rule", NOT_REGULAR_AND_USABLE)
def test_ereport_faults_when_an_operands_page_is(address: int, rule: str) -> None:
    world = reporting_world()
    world.change_epcm(address, **NOT_REGULAR_AND_USABLE[rule])
    with pytest.raises(PageFault) as caught:
        report(world)
    code = EPCM_WRITE if address == OUTPUT else EPCM_READ
    assert (caught.value.address, caught.value.error_code) == (address, code)


@pytest.mark.parametrize("address", [TARGETINFO, REPORTDATA])
def test_ereport_faults_when_an_input_is_not_readable(address: int) -> None:
    world = reporting_world()
    world.change_epcm(address, r=False)
    with pytest.raises(PageFault) as caught:
        report(world)
    assert caught.value.address == address


def test_ereport_faults_when_the_output_is_not_writable() -> None:
    world = reporting_world()
    with pytest.raises(PageFault) as caught:
        world.call(Enclu.EREPORT, TARGETINFO, REPORTDATA, READ_ONLY)
    assert (caught.value.address, caught.value.error_code) == (READ_ONLY, EPCM_WRITE)


@pytest.mark.parametrize(
    ("absent", "code"), [(TARGETINFO, 4), (REPORTDATA, 4), (OUTPUT, 6)]
)
def test_ereport_of_an_absent_page_is_the_page_tables_fault(
    absent: int, code: int
) -> None:
    world = reporting_world()
    world.memory.absent.add(absent & -4096)
    with pytest.raises(PageFault) as caught:
        report(world)
    assert (caught.value.address, caught.value.error_code) == (absent, code)


def test_ereport_checks_targetinfo_whole_before_reportdata() -> None:
    world = reporting_world()
    world.put(TARGETINFO + 511, b"\1")
    with pytest.raises(GeneralProtection, match="TARGETINFO"):
        world.call(Enclu.EREPORT, TARGETINFO, REPORTDATA + 1, OUTPUT)


def test_ereport_faults_outside() -> None:
    with pytest.raises(GeneralProtection, match="side"):
        new_world().call(Enclu.EREPORT, TARGETINFO, REPORTDATA, OUTPUT)
