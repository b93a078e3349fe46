"""Hot twins: runs of leaves over many pages, faster than leaf by leaf.

SDM: "EADD—Add a Page to an Uninitialized Enclave" and
"EEXTEND—Extend Uninitialized Enclave Measurement by 256 Bytes".
The leaves are the specification; property tests hold these equal to them, over the
whole machine and MRENCLAVE.  Operands are EPC page numbers, and the contents are in
the pages already.
"""

from collections import Counter
from dataclasses import dataclass, replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import Fault
from softsgx.arch.pageinfo import Pageinfo
from softsgx.arch.secinfo import PageType
from softsgx.encls.eadd import eadd
from softsgx.machine.epcm import EpcmBits, EpcmEntry, has_address
from softsgx.machine.machine import Machine
from softsgx.machine.memory import FlatMemory, epc_address
from softsgx.machine.processor import Processor

_PAGEINFO, _SECINFO, _SOURCE = 0x1000, 0x2000, 0x3000
"""Where a run's own memory holds the operands of a leaf."""


def eadd_run(  # noqa: PLR0913, PLR0917 -- the operands of an EADD, and how many pages
    machine: Machine,
    secs_page: int,
    first: int,
    count: int,
    enclaveaddress: int,
    secinfo: bytes,
    measured: bool,  # noqa: FBT001 -- whether each page gets its sixteen EEXTENDs
) -> int:
    """Add pages first..first+count-1 from *enclaveaddress* on; return how many.

    Fewer than *count* if the next one would fault; raises if the first one does.
    """
    adding = _Adding(machine, secs_page, secinfo, measured)
    # The first page goes by the leaf, which checks all that the others share.
    adding.one(first, enclaveaddress)
    if machine.epcm[first].pt == PageType.TCS:
        return 1 + adding.each(first + 1, count - 1, enclaveaddress + PAGE_SIZE)
    rest = adding.room(first + 1, count - 1, enclaveaddress + PAGE_SIZE)
    if rest:
        adding.many(first, rest)
    return 1 + rest


def eremove_run(machine: Machine, secs_page: int, first: int, count: int) -> None:
    """Remove a run of EPC pages, all of one enclave or free.

    ENCLAVE_ACT, with nothing removed, while a thread is inside.
    SDM: "EREMOVE—Remove a page from the EPC".
    """
    enclave = machine.enclaves[secs_page]
    states = machine.epcm.states(first, count)
    owners = machine.epcm.owners(first, count)
    in_use = Counter(zip(states, owners, strict=True))
    del in_use[0, 0]
    if any(owner != secs_page or not has_address(state) for state, owner in in_use):
        raise ValueError("a page of another enclave, or a SECS, in the run")
    if enclave.inside and in_use:
        raise LeafFailed(SgxError.ENCLAVE_ACT)
    enclave.children -= in_use.total()
    machine.epcm.fill(first, count, EpcmEntry())


@dataclass(frozen=True)
class _Adding:
    """Pages that go into one enclave with one SECINFO."""

    machine: Machine
    secs_page: int
    secinfo: bytes
    measured: bool

    def one(self, page: int, linaddr: int) -> None:
        """Add a page by the leaf."""
        memory = FlatMemory(self.machine.epc.limit)
        lp = Processor.kernel(memory)
        secs = epc_address(self.secs_page)
        memory.put(_SECINFO, self.secinfo)
        memory.put(_SOURCE, bytes(self.machine.epc.page(page)))
        pageinfo = Pageinfo(
            linaddr=linaddr, srcpge=_SOURCE, secinfo=_SECINFO, secs=secs
        )
        memory.put(_PAGEINFO, bytes(pageinfo))
        lp.regs.rbx, lp.regs.rcx = _PAGEINFO, epc_address(page)
        eadd(self.machine, lp)
        if self.measured:
            # What EEXTEND checks is true of what EADD has just added.
            enclave = self.machine.enclaves[self.secs_page]
            offset = linaddr - enclave.secs.baseaddr
            enclave.measurement.eextend_page(offset, self.machine.epc.page(page))

    def each(self, first: int, count: int, linaddr: int) -> int:
        """Add pages by the leaf until one faults; return how many were added."""
        for done in range(count):
            try:
                self.one(first + done, linaddr + done * PAGE_SIZE)
            except Fault:
                return done
        return count

    def room(self, first: int, count: int, linaddr: int) -> int:
        """Return how many pages there are up to ELRANGE's end or one in use."""
        secs = self.machine.enclaves[self.secs_page].secs
        count = min(count, (secs.baseaddr + secs.size - linaddr) // PAGE_SIZE)
        if count <= 0:
            return 0
        states = self.machine.epcm.states(first, count)
        if not any(states):
            return count
        in_use = (at for at, word in enumerate(states) if word & EpcmBits.VALID)
        return next(in_use, count)

    def many(self, model: int, count: int) -> None:
        """Add the pages after page *model*, which was just added, all at once."""
        machine, first = self.machine, model + 1
        enclave = machine.enclaves[self.secs_page]
        entry = machine.epcm[model]
        linaddr = entry.enclaveaddress + PAGE_SIZE
        offset = linaddr - enclave.secs.baseaddr
        if self.measured:
            views = machine.epc.views(first, count)
            enclave.measurement.eadd_eextend_run(
                offset, self.secinfo, views, machine.lay_out
            )
        else:
            enclave.measurement.eadd_run(offset, count, self.secinfo)
        enclave.children += count
        machine.epcm.fill(first, count, replace(entry, enclaveaddress=linaddr))
