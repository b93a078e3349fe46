"""How `softsgx bench` times a page's way out of the EPC and back, in the model."""

import os
import time
from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.secinfo import PageType
from softsgx.arch.secs import Secs
from softsgx.encls.swap import In, Out, eblock_run, eldu_run, ewb_run
from softsgx.machine.enclave import EnclaveState
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.machine import Machine
from softsgx.machine.measurement import Measurement
from softsgx.machine.model import Model
from softsgx.machine.package import Package

RUN = 16
"""Pages that Linux takes at a time."""

_SAMPLES, _ROUNDS = 9, 100
_BASE, _SECS, _VA, _FIRST = 0x7000_0000_0000, 0, 1, 2


class _Random:
    """Entropy of the kernel's."""

    def random(self, size: int) -> bytes:
        return os.urandom(size)


def page_swap_s() -> list[float]:
    """Return samples of the seconds of EBLOCK, EWB and ELDU of a page, in runs of 16.

    Pages lie apart in shared memory, as a driver's do; ETRACK's part is in it.
    """
    machine = _machine()
    return [_sample(machine) for _ in range(_SAMPLES)]


def _sample(machine: Machine) -> float:
    outs = [Out(_FIRST + at, _VA, at) for at in range(RUN)]
    pages = [out.page for out in outs]
    enclave = machine.enclaves[_SECS]
    start = time.thread_time()
    for _ in range(_ROUNDS):
        eblock_run(machine, pages)
        enclave.epoch += 1
        images = ewb_run(machine, outs)
        loads = [
            In(*out, *image, _BASE + out.slot * PAGE_SIZE, _SECS)
            for out, image in zip(outs, images, strict=True)
        ]
        for page, contents in zip(pages, eldu_run(machine, loads), strict=True):
            machine.epc.page(page)[:] = contents
        machine.epcm.touched.clear()
    return (time.thread_time() - start) / _ROUNDS / RUN


def _machine() -> Machine:
    """Return a machine with an enclave of 16 pages and a version array."""
    package = Package.from_seed(b"bench", _Random())
    machine = Machine.of(Model(epc_bytes=4 * RUN * PAGE_SIZE), package)
    secs = replace(Secs.zero(), baseaddr=_BASE, size=RUN * PAGE_SIZE)
    machine.enclaves[_SECS] = EnclaveState(secs, Measurement(), 1, children=RUN)
    machine.epcm[_SECS] = EpcmEntry(valid=True, pt=PageType.SECS)
    machine.epcm[_VA] = EpcmEntry(valid=True, pt=PageType.VA)
    memory = memoryview(bytearray(os.urandom(RUN * PAGE_SIZE)))
    for at in range(RUN):
        machine.epc.place(_FIRST + at, 1, memory, (RUN - 1 - at) * PAGE_SIZE)
        machine.epcm[_FIRST + at] = EpcmEntry(
            valid=True,
            r=True,
            w=True,
            pt=PageType.REG,
            enclavesecs=_SECS,
            enclaveaddress=_BASE + at * PAGE_SIZE,
        )
    return machine
