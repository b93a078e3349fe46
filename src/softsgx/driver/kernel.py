"""The driver's own logical processor: ENCLS leaves as calls with Python operands."""

from collections.abc import Callable, Sequence

from softsgx import encls
from softsgx.arch.errors import LeafFailed
from softsgx.arch.leaves import Encls
from softsgx.arch.pageinfo import Pageinfo
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.encls.run import eadd_run
from softsgx.encls.swap import Image, In, Out, eblock_run, eldu_run, ewb_run
from softsgx.machine.machine import Machine
from softsgx.machine.memory import FlatMemory, epc_address
from softsgx.machine.processor import Processor

_PAGEINFO, _SECINFO, _PAGE, _TOKEN = 0x1000, 0x2000, 0x3000, 0x5000
"""Where the kernel's memory holds a leaf's operands."""

Execute = Callable[[Machine, Processor, int], None]
"""The instruction ENCLS; in a guest some of its leaves are intercepted."""


class Kernel:
    """Ring 0.  EPC pages are numbers; a fault is raised, an error code returned."""

    def __init__(self, machine: Machine, execute: Execute = encls.execute):
        self._machine, self._execute = machine, execute
        self._memory = FlatMemory(machine.epc.limit)
        self._lp = Processor.kernel(self._memory, processor=-1)

    def ecreate(self, page: int, secs: bytes) -> None:
        """ENCLS[ECREATE]: make *page* a SECS."""
        self._memory.put(_PAGE, secs)
        self._pageinfo(0, _PAGE, bytes(Secinfo.SIZE), 0)
        self._leaf(Encls.ECREATE, rbx=_PAGEINFO, rcx=epc_address(page))

    def einit(self, secs: int, sigstruct: bytes, token: bytes) -> int:
        """ENCLS[EINIT]."""
        self._memory.put(_PAGE, sigstruct)
        self._memory.put(_TOKEN, token)
        return self._leaf(Encls.EINIT, rbx=_PAGE, rcx=epc_address(secs), rdx=_TOKEN)

    def eextend(self, secs: int, page: int, offset: int) -> None:
        """ENCLS[EEXTEND]: measure 256 bytes of a page."""
        chunk = epc_address(page) + offset
        self._leaf(Encls.EEXTEND, rbx=epc_address(secs), rcx=chunk)

    def eaug(self, page: int, secs: int, linaddr: int) -> None:
        """ENCLS[EAUG]."""
        self._pageinfo(linaddr, 0, None, epc_address(secs))
        self._leaf(Encls.EAUG, rbx=_PAGEINFO, rcx=epc_address(page))

    def emodpr(self, page: int, permissions: int) -> int:
        """ENCLS[EMODPR]."""
        self._memory.put(_SECINFO, bytes(Secinfo(flags=SecinfoFlags(permissions))))
        return self._leaf(Encls.EMODPR, rbx=_SECINFO, rcx=epc_address(page))

    def emodt(self, page: int, page_type: int) -> int:
        """ENCLS[EMODT]."""
        self._memory.put(_SECINFO, bytes(Secinfo(flags=SecinfoFlags.of(page_type))))
        return self._leaf(Encls.EMODT, rbx=_SECINFO, rcx=epc_address(page))

    def etrack(self, secs: int) -> int:
        """ENCLS[ETRACK]."""
        return self._leaf(Encls.ETRACK, rcx=epc_address(secs))

    def eremove(self, page: int) -> int:
        """ENCLS[EREMOVE]."""
        return self._leaf(Encls.EREMOVE, rcx=epc_address(page))

    def epa(self, page: int) -> None:
        """ENCLS[EPA]: make *page* a version array."""
        self._leaf(Encls.EPA, rbx=PageType.VA, rcx=epc_address(page))

    def eblock_run(self, pages: Sequence[int]) -> int:
        """ENCLS[EBLOCK] of pages in order; return how many it blocked."""
        try:
            return eblock_run(self._machine, pages)
        except LeafFailed:
            return 0

    def ewb_run(self, outs: list[Out]) -> list[Image]:
        """ENCLS[EWB] of pages in order; return the images of those that went."""
        images: list[Image] = []
        while len(images) < len(outs):
            try:
                images += ewb_run(self._machine, outs[len(images) :])
            except LeafFailed:
                break
        return images

    def eldu_run(self, loads: list[In]) -> list[bytes]:
        """ENCLS[ELDU] of pages in order; return the contents of those that came.

        The caller puts them in place.  A failure is raised if it is the first's.
        """
        return eldu_run(self._machine, loads)

    def edbgrd(self, page: int, offset: int) -> int:
        """ENCLS[EDBGRD]: return the 8 bytes at an offset."""
        self._leaf(Encls.EDBGRD, rcx=epc_address(page) + offset)
        return self._lp.regs.rbx

    def edbgwr(self, page: int, offset: int, value: int) -> None:
        """ENCLS[EDBGWR]: write 8 bytes at an offset."""
        self._leaf(Encls.EDBGWR, rbx=value, rcx=epc_address(page) + offset)

    def eadd_run(
        self,
        secs: int,
        run: tuple[int, int],
        linaddr: int,
        secinfo: bytes,
        *,
        measured: bool,
    ) -> None:
        """ENCLS[EADD], and EEXTEND of all of it, of a run with its contents in place.

        A fault is the first page's; that a later one would fault is our bug.
        """
        first, count = run
        done = eadd_run(self._machine, secs, first, count, linaddr, secinfo, measured)
        if done != count:
            raise AssertionError(f"EADD of a run of {count} pages stopped after {done}")

    def kick(self, secs: int) -> None:
        """Have every thread inside leave and come back, as an interrupt does.

        Linux sends one after ETRACK for the stale translations to go; here they go
        when the caller changes the native mappings, before any thread runs on.
        """
        state = self._machine.enclaves[secs]
        for processor in list(state.inside):
            state.enter(processor)

    def _pageinfo(
        self, linaddr: int, srcpge: int, secinfo: bytes | None, secs: int
    ) -> None:
        if secinfo is not None:
            self._memory.put(_SECINFO, secinfo)
        where = 0 if secinfo is None else _SECINFO
        info = Pageinfo(linaddr=linaddr, srcpge=srcpge, secinfo=where, secs=secs)
        self._memory.put(_PAGEINFO, bytes(info))

    def _leaf(self, leaf: Encls, *, rbx: int = 0, rcx: int = 0, rdx: int = 0) -> int:
        regs = self._lp.regs
        regs.rax, regs.rbx, regs.rcx, regs.rdx = leaf, rbx, rcx, rdx
        self._execute(self._machine, self._lp, leaf)
        return regs.rax
