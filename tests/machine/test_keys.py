"""What a key depends on, and on what it does not; one field at a time."""

from dataclasses import replace

import pytest

from softsgx.arch.einittoken import Einittoken
from softsgx.arch.key import Keyname, Keypolicy, Keyrequest
from softsgx.arch.secs import AttributeFlags, Attributes, Miscselect
from softsgx.crypto.cmac import aes_cmac
from softsgx.machine.enclave import EnclaveState
from softsgx.machine.keys import (
    DOMAIN,
    PADDING,
    Keydependencies,
    derive_einittoken_key,
    derive_key,
    derive_report_key,
    derive_requested_key,
    masked_attributes,
    targetinfo_of,
)
from softsgx.machine.measurement import Measurement
from softsgx.machine.package import Fuses, Package
from tests.support import CountedEntropy, changed, make_secs

ALL_POLICIES = Keypolicy(0x3F)
MASK = Attributes(flags=AttributeFlags((1 << 64) - 1), xfrm=(1 << 64) - 1)

REQUEST = replace(
    Keyrequest.zero(),
    keyname=Keyname.SEAL_KEY,
    keypolicy=ALL_POLICIES & ~Keypolicy.NOISVPRODID,
    isvsvn=2,
    cpusvn=b"\1" * 16,
    attributemask=MASK,
    keyid=b"\2" * 32,
    miscmask=Miscselect.EXINFO,
    configsvn=3,
)

SECS = make_secs(
    attributes=Attributes(
        flags=AttributeFlags.INIT | AttributeFlags.MODE64BIT | AttributeFlags.KSS,
        xfrm=7,
    ),
    miscselect=Miscselect.EXINFO,
    mrenclave=b"\3" * 32,
    mrsigner=b"\4" * 32,
    configid=b"\5" * 64,
    isvprodid=6,
    isvsvn=7,
    configsvn=8,
)


def make_package(seed: bytes = b"seed") -> Package:
    return Package.from_seed(seed, CountedEntropy())


def make_enclave(**secs: object) -> EnclaveState:
    return EnclaveState(
        changed(SECS, secs),
        Measurement(),
        eid=1,
        isvfamilyid=b"\x0a" * 16,
        isvextprodid=b"\x0b" * 16,
    )


def key(
    name: Keyname,
    request: Keyrequest = REQUEST,
    enclave: EnclaveState | None = None,
    package: Package | None = None,
) -> bytes:
    request = replace(request, keyname=name)
    return derive_requested_key(
        package or make_package(), enclave or make_enclave(), request
    )


EACH = pytest.mark.parametrize("name", list(Keyname))
ALL, SEALS = set(Keyname), {Keyname.SEAL_KEY, Keyname.PROVISION_SEAL_KEY}
PROVISIONING = {Keyname.PROVISION_KEY, Keyname.PROVISION_SEAL_KEY}
NOT_REPORT = ALL - {Keyname.REPORT_KEY}


def test_the_domain_and_padding_have_their_sizes() -> None:
    assert (len(DOMAIN), len(PADDING)) == (32, 352)
    assert DOMAIN.startswith(b"softsgx")


def test_the_five_keys_differ() -> None:
    assert len({key(name) for name in Keyname}) == 5


@EACH
def test_a_key_is_stable_on_one_platform_and_differs_on_another(name: Keyname) -> None:
    assert key(name) == key(name, package=make_package())
    assert key(name) != key(name, package=make_package(b"other"))
    assert len(key(name)) == 16


def test_a_key_is_the_cmac_of_labelled_material() -> None:
    package = make_package()
    material = replace(Keydependencies.zero(), domain=DOMAIN)
    expected = aes_cmac(package.fuses.provisioning_root, bytes(material))
    assert derive_key(package, material) == expected
    assert bytes(material).startswith(b"softsgx software SGX key")


def differ(changed_key: dict[Keyname, bytes]) -> set[Keyname]:
    return {name for name in Keyname if changed_key[name] != key(name)}


@pytest.mark.parametrize(
    ("field", "value", "keys"),
    [
        ("ownerepoch", b"\1" * 16, ALL - PROVISIONING),
        ("cpusvn", b"\2" * 16, {Keyname.REPORT_KEY}),
        ("report_keyid", b"\1" * 32, set()),
        ("lepubkeyhash", b"\1" * 32, set()),
    ],
)
def test_what_of_the_package_goes_into_which_key(
    field: str, value: bytes, keys: set[Keyname]
) -> None:
    package = make_package()
    setattr(package, field, value)
    assert differ({name: key(name, package=package) for name in Keyname}) == keys


def test_which_keys_need_the_seal_fuses() -> None:
    package = make_package()
    package.fuses = Fuses(package.fuses.provisioning_root, bytes(16))
    changed_key = {name: key(name, package=package) for name in Keyname}
    assert differ(changed_key) == ALL - {Keyname.PROVISION_KEY}


@pytest.mark.parametrize(
    ("field", "value", "keys"),
    [
        ("mrenclave", b"\1" * 32, {Keyname.SEAL_KEY, Keyname.REPORT_KEY}),
        ("mrsigner", b"\1" * 32, NOT_REPORT),
        ("isvprodid", 1, NOT_REPORT),
        ("isvsvn", 9, set()),
        ("configid", b"\1" * 64, SEALS | {Keyname.REPORT_KEY}),
        ("configsvn", 1, {Keyname.REPORT_KEY}),
        ("miscselect", Miscselect(0), ALL),
        ("attributes", Attributes(flags=SECS.attributes.flags, xfrm=3), ALL),
        (
            "attributes",
            Attributes(flags=SECS.attributes.flags | AttributeFlags.DEBUG, xfrm=7),
            ALL,
        ),
    ],
)
def test_what_of_the_enclave_goes_into_which_key(
    field: str, value: object, keys: set[Keyname]
) -> None:
    enclave = make_enclave(**{field: value})
    assert differ({name: key(name, enclave=enclave) for name in Keyname}) == keys


@pytest.mark.parametrize("field", ["isvfamilyid", "isvextprodid"])
def test_product_names_go_into_the_seal_keys(field: str) -> None:
    enclave = make_enclave()
    setattr(enclave, field, bytes(16))
    assert differ({name: key(name, enclave=enclave) for name in Keyname}) == SEALS


@pytest.mark.parametrize(
    ("field", "value", "keys"),
    [
        ("isvsvn", 1, NOT_REPORT),
        ("cpusvn", bytes(16), NOT_REPORT),
        (
            "keyid",
            bytes(32),
            {Keyname.SEAL_KEY, Keyname.REPORT_KEY, Keyname.EINITTOKEN_KEY},
        ),
        ("miscmask", Miscselect(0), NOT_REPORT),
        ("miscmask", Miscselect.EXINFO | Miscselect.CPINFO, SEALS | PROVISIONING),
        ("attributemask", Attributes(flags=MASK.flags, xfrm=3), NOT_REPORT),
        ("configsvn", 1, SEALS),
    ],
)
def test_what_of_the_request_goes_into_which_key(
    field: str, value: object, keys: set[Keyname]
) -> None:
    request = changed(REQUEST, {field: value})
    assert differ({name: key(name, request) for name in Keyname}) == keys


@pytest.mark.parametrize("policy", list(Keypolicy))
def test_every_policy_bit_changes_the_seal_key(policy: Keypolicy) -> None:
    request = replace(REQUEST, keypolicy=REQUEST.keypolicy ^ policy)
    assert key(Keyname.SEAL_KEY, request) != key(Keyname.SEAL_KEY)


UNSELECTED = [
    (Keypolicy.MRENCLAVE, {"mrenclave": bytes(32)}),
    (Keypolicy.MRSIGNER, {"mrsigner": bytes(32)}),
    (Keypolicy.CONFIGID, {"configid": bytes(64)}),
]


@pytest.mark.parametrize(("policy", "secs"), UNSELECTED)
def test_what_a_policy_leaves_out_does_not_matter(
    policy: Keypolicy, secs: dict[str, bytes]
) -> None:
    without = replace(REQUEST, keypolicy=REQUEST.keypolicy & ~policy)
    name = Keyname.SEAL_KEY
    assert key(name, without) == key(name, without, make_enclave(**secs))
    assert key(name) != key(name, REQUEST, make_enclave(**secs))


def test_noisvprodid_leaves_the_product_out_of_the_seal_keys() -> None:
    without = replace(REQUEST, keypolicy=REQUEST.keypolicy | Keypolicy.NOISVPRODID)
    other = make_enclave(isvprodid=99)
    for name in Keyname:
        same = key(name, without) == key(name, without, other)
        assert same == (name in SEALS or name == Keyname.REPORT_KEY)


def test_configsvn_counts_only_with_configid() -> None:
    without = replace(REQUEST, keypolicy=REQUEST.keypolicy & ~Keypolicy.CONFIGID)
    assert key(Keyname.SEAL_KEY, without) == key(
        Keyname.SEAL_KEY, replace(without, configsvn=0)
    )


def test_init_and_debug_are_in_every_mask() -> None:
    nothing = Attributes(flags=AttributeFlags(0), xfrm=0)
    flags = AttributeFlags.INIT | AttributeFlags.DEBUG | AttributeFlags.KSS
    secs = make_secs(attributes=Attributes(flags=flags, xfrm=7))
    request = replace(REQUEST, attributemask=nothing)
    expected = AttributeFlags.INIT | AttributeFlags.DEBUG
    assert masked_attributes(secs, request) == Attributes(flags=expected, xfrm=0)


def test_a_debug_enclave_has_other_seal_keys_whatever_the_mask() -> None:
    nothing = Attributes(flags=AttributeFlags(0), xfrm=0)
    request = replace(REQUEST, attributemask=nothing)
    flags = SECS.attributes.flags | AttributeFlags.DEBUG
    debug = make_enclave(attributes=Attributes(flags=flags, xfrm=7))
    assert key(Keyname.SEAL_KEY, request) != key(Keyname.SEAL_KEY, request, debug)


def test_a_report_verifies_with_the_targets_own_key() -> None:
    package, target = make_package(), make_enclave()
    made = derive_report_key(package, targetinfo_of(target.secs), REQUEST.keyid)
    assert made == key(Keyname.REPORT_KEY, enclave=target, package=package)


def test_einit_derives_the_key_that_the_launch_enclave_got() -> None:
    flags = AttributeFlags.INIT | AttributeFlags.EINITTOKENKEY
    launch = make_enclave(attributes=Attributes(flags=flags, xfrm=3))
    package = make_package()
    package.lepubkeyhash = launch.secs.mrsigner
    token = replace(
        Einittoken.zero(),
        cpusvnle=REQUEST.cpusvn,
        isvprodidle=launch.secs.isvprodid,
        isvsvnle=REQUEST.isvsvn,
        maskedmiscselectle=REQUEST.miscmask & launch.secs.miscselect,
        maskedattributesle=masked_attributes(launch.secs, REQUEST),
        keyid=REQUEST.keyid,
    )
    got = key(Keyname.EINITTOKEN_KEY, enclave=launch, package=package)
    assert derive_einittoken_key(package, token) == got
