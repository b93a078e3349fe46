from dataclasses import replace

import pytest

from softsgx.arch.key import Keyname, Keypolicy
from softsgx.arch.secs import AttributeFlags, Attributes, Miscselect
from softsgx.machine.package import Package
from tests.enclu.keys import (
    EVERY_ATTRIBUTE,
    SEALING,
    key,
    keyed_world,
    request,
)
from tests.enclu.world import (
    World,
    Zeros,
)


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
