"""What CPUID answers under softsgx, as changes to what the machine says."""

from dataclasses import replace

from softsgx.arch.cpuid import LEAF_FEATURES, LEAF_SGX, CpuidRegs
from softsgx.machine.model import Model
from softsgx.native import lib
from softsgx.native.abi import Overlay

_ALL = 0xFFFF_FFFF
_EPC_SUBLEAVES = 4


def overlays(model: Model) -> list[Overlay]:
    """Return the overlays of a model; the agent takes the first that fits."""
    if not model.sgx1:
        return []
    features = model.cpuid(LEAF_FEATURES, 0)
    return [
        _max_leaf(),
        _added(LEAF_FEATURES, 0, features),
        *(_replaced(sub, model.cpuid(LEAF_SGX, sub)) for sub in range(_EPC_SUBLEAVES)),
        _replaced(0, CpuidRegs(), anysub=True),
    ]


def _max_leaf() -> Overlay:
    """Highest basic leaf: the machine's own, but at least SGX's."""
    highest = max(lib.cpuid(0, 0)[0], LEAF_SGX)
    return replace(_added(0, 0, CpuidRegs(eax=highest)), keep_eax=0, anysub=1)


def _added(leaf: int, subleaf: int, regs: CpuidRegs) -> Overlay:
    return Overlay(
        leaf=leaf,
        subleaf=subleaf,
        anysub=0,
        keep_eax=_ALL,
        keep_ebx=_ALL,
        keep_ecx=_ALL,
        keep_edx=_ALL,
        add_eax=regs.eax,
        add_ebx=regs.ebx,
        add_ecx=regs.ecx,
        add_edx=regs.edx,
    )


def _replaced(subleaf: int, regs: CpuidRegs, *, anysub: bool = False) -> Overlay:
    return Overlay(
        leaf=LEAF_SGX,
        subleaf=subleaf,
        anysub=int(anysub),
        keep_eax=0,
        keep_ebx=0,
        keep_ecx=0,
        keep_edx=0,
        add_eax=regs.eax,
        add_ebx=regs.ebx,
        add_ecx=regs.ecx,
        add_edx=regs.edx,
    )
