"""What CPUID says under softsgx: the machine's own answer, and the model's over it."""

from dataclasses import replace
from itertools import product

import pytest

from softsgx.arch.cpuid import LEAF_FEATURES, LEAF_SGX
from softsgx.machine.model import Model
from softsgx.native import lib
from softsgx.native.abi import MAX_OVERLAYS
from softsgx.platform.models import MODELS as NAMED
from softsgx.runner.cpuid import constants, overlays, view
from tests.support import changed

MODELS = [
    Model(),
    changed(Model(), {"sgx2": False, "aexnotify": False, "edeccssa": False}),
    changed(Model(), {"flc": False, "kss": False}),
    changed(Model(), {"epc_bytes": 1 << 36}),
    NAMED["icelake-server"],
]
NAMES = ["own", "sgx1", "locked", "large", "named"]
ALL = pytest.mark.parametrize("model", MODELS, ids=NAMES)
ICELAKE = NAMED["icelake-server"]

Regs = tuple[int, int, int, int]
NOTHING = (0, 0, 0, 0)
AMD: dict[tuple[int, int], Regs] = {
    (0, 0): (0x1C, 0x6874_7541, 0x444D_4163, 0x6974_6E65),
    (1, 0): (0xB00F21, 0x0102_0800, 0xFFFA_3203, 0x178B_FBFF),
    (7, 0): (1, 0xF1BF_07AB, 0x405FC6, 0x110),
    (0xB, 1): (5, 2, 0x201, 1),
    (0xD, 0): (0xE7, 0x980, 0x988, 0),
    (0xD, 2): (0x100, 0x240, 0, 0),
    (0xD, 5): (0x40, 0x340, 0, 0),
    (0xD, 6): (0x200, 0x380, 0, 0),
    (0xD, 7): (0x400, 0x580, 0, 0),
    (0xD, 9): (8, 0x980, 0, 0),
    (0x8000_0000, 0): (0x8000_0021, 0x6874_7541, 0x444D_4163, 0x6974_6E65),
    (0x8000_0001, 0): (0xB00F21, 0x4000_0000, 0x4003F3, 0x2FD3_FBFF),
    (0x8000_0006, 0): (0x4080_2040, 0x6080_4040, 0x0400_8140, 0xC00_9140),
    (0x8000_0008, 0): (0x30_3030, 0x5002_0005, 0x7001, 0),
    (0x8000_001D, 0): (0x121, 0x2C0_003F, 0x3F, 0),
    (0x8000_001D, 1): (0x4163, 0x3C0_003F, 0x7FFF, 1),
    (0x8000_001E, 0): (1, 1, 0, 0),
}
AMD_EXTENDED = range(0x8000_0000, 0x8000_0022)
INTEL = AMD | {(2, 0): (0xFEFF01, 0xF0, 0, 0), (4, 0): (0x121, 1, 2, 3)}


def amd(leaf: int, subleaf: int) -> Regs:
    return AMD.get((leaf, subleaf), NOTHING)


def intel(leaf: int, subleaf: int) -> Regs:
    return INTEL.get((leaf, subleaf), NOTHING)


def text(*words: int) -> str:
    raw = b"".join(word.to_bytes(4, "little") for word in words)
    return raw.rstrip(b"\0").decode()


@ALL
@pytest.mark.parametrize("subleaf", range(6))
def test_leaf_12h_is_the_models_alone(model: Model, subleaf: int) -> None:
    assert view(model, LEAF_SGX, subleaf) == model.cpuid(LEAF_SGX, subleaf)


@ALL
def test_leaf_7_only_gains_bits(model: Model) -> None:
    native = lib.cpuid(LEAF_FEATURES, 0)
    added = model.cpuid(LEAF_FEATURES, 0)
    assert view(model, LEAF_FEATURES, 0) == tuple(
        n | a for n, a in zip(native, added, strict=True)
    )
    assert view(model, LEAF_FEATURES, 0)[1] & 1 << 2
    assert bool(added[2] & 1 << 30) == model.flc


@ALL
def test_the_highest_leaf_reaches_to_sgx(model: Model) -> None:
    low = {**AMD, (0, 0): (0x10, 1, 2, 3)}
    assert view(model, 0, 0, amd).eax == 0x1C
    assert view(model, 0, 0, lambda *at: low.get(at, NOTHING)).eax == LEAF_SGX


def test_a_model_without_a_name_changes_nothing_but_sgx() -> None:
    touched = {0, LEAF_FEATURES, LEAF_SGX}
    for leaf, subleaf in product({*range(0x20), *AMD_EXTENDED} - touched, range(3)):
        assert view(Model(), leaf, subleaf, amd) == amd(leaf, subleaf)
    assert view(Model(), 0, 0, amd)[1:] == amd(0, 0)[1:]
    assert view(Model(), LEAF_FEATURES, 1, amd) == amd(LEAF_FEATURES, 1)


def test_a_model_without_sgx_takes_away_the_machines() -> None:
    def has_sgx(leaf: int, _: int) -> Regs:
        return (0x20, 1, 2, 3) if leaf == 0 else (5, 0xF, 1 << 30 | 1, 2)

    model = changed(Model(), {"sgx1": False})
    assert view(model, LEAF_FEATURES, 0, has_sgx) == (5, 0xB, 1, 2)
    assert view(model, LEAF_SGX, 0, has_sgx) == NOTHING
    assert view(model, 0, 0, has_sgx) == (0x20, 1, 2, 3)


def test_a_named_processor_is_intels() -> None:
    eax, ebx, ecx, edx = view(ICELAKE, 0, 0, amd)
    assert text(ebx, edx, ecx) == "GenuineIntel"
    assert eax == 0x1C
    assert view(ICELAKE, 1, 0, amd) == (0x606A6, *AMD[1, 0][1:])
    brand = [word for n in range(3) for word in view(ICELAKE, 0x8000_0002 + n, 0, amd)]
    assert ICELAKE.identity
    assert text(*brand) == ICELAKE.identity.brand


def test_the_signature_of_families_above_15_is_extended() -> None:
    assert ICELAKE.identity
    who = replace(ICELAKE.identity, family=26, model=2, stepping=1)
    assert who.signature == 0xB00F21


def test_extended_state_lies_where_intels_processors_have_it() -> None:
    assert view(ICELAKE, 0xD, 0, amd) == (0xE7, 2688, 2688, 0)
    assert view(ICELAKE, 0xD, 2, amd) == AMD[0xD, 2]
    places = {n: view(ICELAKE, 0xD, n, amd) for n in (5, 6, 7)}
    assert {n: regs[1] for n, regs in places.items()} == {5: 1088, 6: 1152, 7: 1664}
    assert all(places[n][::2] == AMD[0xD, n][::2] for n in places)
    assert view(ICELAKE, 0xD, 9, amd) == AMD[0xD, 9]


def test_state_that_is_supported_but_not_enabled_has_its_place_too() -> None:
    def with_pkru(leaf: int, subleaf: int) -> Regs:
        return (
            (0x2E7, 0x980, 0x988, 0)
            if (leaf, subleaf) == (0xD, 0)
            else amd(leaf, subleaf)
        )

    assert view(ICELAKE, 0xD, 9, with_pkru)[1] == 2688
    assert view(ICELAKE, 0xD, 0, with_pkru) == (0x2E7, 2688, 2696, 0)


def test_caches_of_an_amd_machine_are_told_intels_way() -> None:
    assert view(ICELAKE, 2, 0, amd).eax & 0xFF == 1
    assert 0xFF in view(ICELAKE, 2, 0, amd).eax.to_bytes(4, "little")
    assert view(ICELAKE, 4, 0, amd) == (0x121 | 1 << 26, 0x2C0_003F, 0x3F, 0)
    assert view(ICELAKE, 4, 1, amd) == (0x4163 | 1 << 26, 0x3C0_003F, 0x7FFF, 1)
    assert view(ICELAKE, 4, 2, amd) == NOTHING


def test_caches_of_an_intel_machine_are_its_own() -> None:
    for leaf, subleaf in ((2, 0), (4, 0), (4, 1), (0xB, 1)):
        assert view(ICELAKE, leaf, subleaf, intel) == intel(leaf, subleaf)


def test_a_machine_that_tells_no_caches_has_none() -> None:
    def bare(leaf: int, subleaf: int) -> Regs:
        return (0x8000_0008, 0, 0, 0) if leaf == 0x8000_0000 else amd(leaf, subleaf)

    assert view(ICELAKE, 4, 0, bare) == NOTHING


def test_a_named_processor_has_no_leaves_of_amd() -> None:
    assert view(ICELAKE, 0x8000_0000, 0, amd) == (0x8000_0008, 0, 0, 0)
    assert view(ICELAKE, 0x8000_0001, 0, amd) == (0, 0, 0x121, 0x2C10_0800)
    assert view(ICELAKE, 0x8000_0006, 0, amd) == (0, 0, 0x0400_8140, 0)
    assert view(ICELAKE, 0x8000_0008, 0, amd) == (0x3030, 0, 0, 0)
    for leaf in range(0x8000_0009, 0x8000_0030):
        assert view(ICELAKE, leaf, 0, amd) == NOTHING
    assert view(ICELAKE, 0x4000_0000, 0, amd) == amd(0x4000_0000, 0)


@pytest.mark.parametrize("name", sorted(NAMED))
def test_no_model_claims_what_the_machine_cannot_execute(name: str) -> None:
    for host in (amd, intel, lib.cpuid):
        for leaf, subleaf in ((1, 0), (7, 0), (7, 1), (0xD, 1), (0x8000_0001, 0)):
            seen = view(NAMED[name], leaf, subleaf, host)
            sgx = NAMED[name].cpuid(leaf, subleaf)
            native = host(leaf, subleaf)
            for reg in (2, 3) if leaf != 7 else (1, 2, 3):
                assert not seen[reg] & ~sgx[reg] & ~native[reg]


@pytest.mark.parametrize("name", sorted(NAMED))
def test_they_fit_where_the_agent_looks(name: str) -> None:
    for host in (amd, intel, lib.cpuid):
        changes = overlays(NAMED[name], host, tsc_khz=1)
        assert len([*constants(changes, host), *changes]) <= MAX_OVERLAYS


@pytest.mark.parametrize("name", sorted(NAMED))
def test_constants_are_what_a_program_sees(name: str) -> None:
    for host in (amd, intel, lib.cpuid):
        for whole in constants(overlays(NAMED[name], host), host):
            assert whole.keep_eax == whole.keep_ebx == 0
            assert whole.keep_ecx == whole.keep_edx == 0
            seen = view(NAMED[name], whole.leaf, whole.subleaf, host)
            added = (whole.add_eax, whole.add_ebx, whole.add_ecx, whole.add_edx)
            assert added == seen


def test_nothing_of_one_processors_own_is_constant() -> None:
    found = constants(overlays(ICELAKE, intel), intel)
    assert not {1, 2, 4, 0xB, 0x1F} & {whole.leaf for whole in found}


def test_a_leaf_that_the_machine_has_not_is_not_constant() -> None:
    def small(leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        return (leaf & 0x8000_0000 | 6, subleaf, 0, 0)

    found = {whole.leaf for whole in constants([], small)}
    assert found == {0, *range(0x8000_0000, 0x8000_0007)}


@pytest.mark.parametrize("name", NAMED)
def test_enclaves_may_use_the_state_that_the_machine_shows(name: str) -> None:
    avx512 = 0xE7
    assert amd(LEAF_FEATURES, 0)[1] & 1 << 16
    assert view(NAMED[name], LEAF_SGX, 1, amd).ecx & avx512 == avx512


STEADY = AMD | {(0x8000_0007, 0): (0, 0, 0, 0x7100)}
KHZ = 2_596_120


def steady(leaf: int, subleaf: int) -> Regs:
    return STEADY.get((leaf, subleaf), NOTHING)


@pytest.mark.parametrize("khz", [KHZ, 1_700_000, 3_000_001, 4_900_000, 10_000])
def test_the_counters_rate_is_the_machines(khz: int) -> None:
    denominator, numerator, crystal, _ = view(ICELAKE, 0x15, 0, steady, tsc_khz=khz)
    assert denominator == 1
    assert abs(crystal * numerator - khz * 1000) <= numerator / 2
    assert view(ICELAKE, 0x16, 0, steady, tsc_khz=khz)[:2] == (round(khz / 1000),) * 2


@pytest.mark.parametrize("leaf", [0x15, 0x16])
def test_a_rate_that_is_not_constant_or_known_is_not_told(leaf: int) -> None:
    assert view(ICELAKE, leaf, 0, amd, tsc_khz=KHZ) == NOTHING
    assert view(ICELAKE, leaf, 0, steady) == NOTHING
    assert view(Model(), leaf, 0, steady, tsc_khz=KHZ) == NOTHING
    old = {**STEADY, (0x8000_0000, 0): (0x8000_0006, 0, 0, 0)}
    told = view(ICELAKE, leaf, 0, lambda *at: old.get(at, NOTHING), tsc_khz=KHZ)
    assert told == NOTHING


@pytest.mark.parametrize(
    ("crystal", "base", "keeps"), [(1, 0, True), (0, 9, True), (0, 0, False)]
)
def test_what_the_machine_says_of_its_counter_holds(
    crystal: int, base: int, *, keeps: bool
) -> None:
    native = {**STEADY, (0x15, 0): (2, 216, crystal, 0), (0x16, 0): (base, 0, 0, 0)}
    host = lambda *at: native.get(at, NOTHING)  # noqa: E731 -- as short as it is
    seen = view(ICELAKE, 0x15, 0, host, tsc_khz=KHZ)
    assert (seen == native[0x15, 0]) == keeps


def test_leaves_between_the_machines_last_and_the_rate_are_empty() -> None:
    def short(leaf: int, subleaf: int) -> Regs:
        if leaf == 0:
            return (0xD, 1, 2, 3)
        return (7, 7, 7, 7) if 0xD < leaf < 0x20 else steady(leaf, subleaf)

    assert view(ICELAKE, 0, 0, short, tsc_khz=KHZ).eax == 0x16
    assert view(ICELAKE, 0, 0, short).eax == LEAF_SGX
    for leaf in (0xE, 0x11, 0x13, 0x14):
        assert view(ICELAKE, leaf, 0, short, tsc_khz=KHZ) == NOTHING
    assert view(ICELAKE, LEAF_SGX, 0, short, tsc_khz=KHZ) != NOTHING


def test_the_counter_is_measured_as_the_clock_has_it() -> None:
    one, other = lib.tsc_khz(), lib.tsc_khz()
    assert one > 100_000
    assert abs(one - other) <= one / 10_000


@pytest.mark.parametrize("model", [Model(), NAMED["icelake-server"]])
def test_a_processor_for_guests_says_so(model: Model) -> None:
    plain = view(model, 1, 0, amd)
    there = view(replace(model, vmx=True), 1, 0, amd)
    assert plain.ecx & 1 << 5 == 0
    assert there == plain._replace(ecx=plain.ecx | 1 << 5)
