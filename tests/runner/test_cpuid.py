"""What CPUID says under softsgx: the machine's own answer, and the model's over it."""

from itertools import product

import pytest

from softsgx.arch.cpuid import LEAF_FEATURES, LEAF_SGX
from softsgx.machine.model import Model
from softsgx.native import lib
from softsgx.native.abi import MAX_OVERLAYS
from softsgx.runner.cpuid import overlays
from tests.support import changed

MODELS = [
    Model(),
    changed(Model(), {"sgx2": False, "aexnotify": False, "edeccssa": False}),
    changed(Model(), {"flc": False, "kss": False}),
    changed(Model(), {"epc_bytes": 1 << 36}),
]
ALL = pytest.mark.parametrize("model", MODELS, ids=["full", "sgx1", "locked", "large"])


def answer(model: Model, leaf: int, subleaf: int) -> tuple[int, ...]:
    """Do what the agent does: the first overlay that fits, over the native answer."""
    native = lib.cpuid(leaf, subleaf)
    for view in overlays(model):
        if view.leaf == leaf and (view.anysub or view.subleaf == subleaf):
            keep = (view.keep_eax, view.keep_ebx, view.keep_ecx, view.keep_edx)
            add = (view.add_eax, view.add_ebx, view.add_ecx, view.add_edx)
            return tuple(n & k | a for n, k, a in zip(native, keep, add, strict=True))
    return native


@ALL
@pytest.mark.parametrize("subleaf", range(6))
def test_leaf_12h_is_the_models_alone(model: Model, subleaf: int) -> None:
    assert answer(model, LEAF_SGX, subleaf) == tuple(model.cpuid(LEAF_SGX, subleaf))


@ALL
def test_leaf_7_only_gains_bits(model: Model) -> None:
    native = lib.cpuid(LEAF_FEATURES, 0)
    added = model.cpuid(LEAF_FEATURES, 0)
    assert answer(model, LEAF_FEATURES, 0) == tuple(
        n | a for n, a in zip(native, added, strict=True)
    )
    assert answer(model, LEAF_FEATURES, 0)[1] & 1 << 2
    assert bool(added[2] & 1 << 30) == model.flc


@ALL
def test_the_highest_leaf_reaches_to_sgx(model: Model) -> None:
    native = lib.cpuid(0, 0)
    highest, *vendor = answer(model, 0, 0)
    assert highest == max(native[0], LEAF_SGX)
    assert tuple(vendor) == native[1:]


@ALL
def test_everything_else_is_the_machines(model: Model) -> None:
    touched = {0, LEAF_FEATURES, LEAF_SGX}
    for leaf, subleaf in product(set(range(0x20)) - touched, range(3)):
        assert not [v for v in overlays(model) if v.leaf == leaf]
        del subleaf
    assert not [v for v in overlays(model) if v.leaf == LEAF_FEATURES and v.subleaf]


def test_a_model_without_sgx_changes_nothing() -> None:
    assert overlays(changed(Model(), {"sgx1": False})) == []


@ALL
def test_they_fit_where_the_agent_looks(model: Model) -> None:
    assert len(overlays(model)) <= MAX_OVERLAYS
