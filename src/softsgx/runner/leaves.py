"""ENCLU, page faults and exits that the agent hands to the model.

The agent's thread is shown to the model as a logical processor: outside an enclave by
its registers, inside also by the TCS it entered through.  A context that fits no
enclave of the process was forged; the thread then faults as on a bad address.
"""

from softsgx import enclu
from softsgx.arch.addr import PAGE_SHIFT, PAGE_SIZE
from softsgx.arch.faults import (
    PFEC_I,
    PFEC_SGX,
    PFEC_U,
    PFEC_W,
    Fault,
    GeneralProtection,
    InvalidOpcode,
    PageFault,
)
from softsgx.arch.leaves import Enclu
from softsgx.arch.secinfo import PageType
from softsgx.arch.secs import XFRM_LEGACY
from softsgx.arch.tcs import Tcs
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.driver.fault import (
    SEGV_ACCERR,
    SEGV_MAPERR,
    Abort,
    Resolved,
    Signal,
    Wait,
)
from softsgx.driver.protocols import NotYetError
from softsgx.driver.user_linear import UserLinear
from softsgx.machine.aex import asynchronous_exit
from softsgx.machine.crossing import STAGE_ACTIVE, Frame
from softsgx.machine.fields import TCS_AEP, TCS_STAGE
from softsgx.machine.processor import Processor
from softsgx.native.abi import Debug, Outcome
from softsgx.runner.answers import Answer
from softsgx.runner.insiders import Insiders
from softsgx.runner.task.context import Context
from softsgx.runner.task.copied import CopiedMemory, LookFirst
from softsgx.runner.task.process import UserTask

_SIGILL, _SIGSEGV = 4, 11
_ILL_ILLOPN, _SI_KERNEL = 2, 0x80
_OPT_IN, _SAVE_TF = int(Debug.OPT_IN), int(Debug.SAVE_TF)
_STAGE = (1 << 32) - 1
"""Above it in TCS.STAGE is its owner."""
_MOST_OPERANDS = 4
"""Pages that may be missing when a leaf begins; the agent asks again after so many."""
_XSAVE_LIMIT = 16384
"""Most bytes of extended state that a thread may say it has; AMX needs 11008."""


class Forged(Exception):  # noqa: N818 -- the program's doing, not our defect
    """A context that no thread of this process can have."""


class Leaves:
    """The model's side of the agent's ENCLU, FAULT and AEX calls."""

    def __init__(self, driver: Driver, *, exact: bool, mask_pf_sgx: bool):
        self._driver = driver
        self._machine = driver.machine
        self._exact = exact
        self.insiders = Insiders(driver)
        self._mask = PFEC_SGX if mask_pf_sgx else 0

    def enclu(self, task: UserTask, context: Context, answer: Answer) -> None:
        """Execute the ENCLU at the context's RIP, again after each fault resolved.

        NotYetError.
        """
        try:
            for _ in range(_MOST_OPERANDS):
                self._enclu(task, context, answer)
                if context.outcome != Outcome.RETRY:
                    break
        except NotYetError:
            answer.put_off()
            raise
        # Others came between: what is said is what holds in the end.
        answer.protect_changes(self._driver)

    def _enclu(self, task: UserTask, context: Context, answer: Answer) -> None:
        leaf = context.regs.rax & 0xFFFF_FFFF
        moves = leaf in _XSAVE_LEAVES
        xsave = _xsave(task, context) if moves else bytearray()
        try:
            lp = self._execute(task, context, leaf, xsave)
        except PageFault as fault:
            at = (fault.address, fault.error_code)
            if task.is_lost(fault.address):
                self._lost(context)
            else:
                self._page_fault(task, context, answer, at, by_sgx=True)
            return
        except (Fault, Forged) as fault:
            if task.is_lost(context.tcs if context.inside else context.regs.rbx):
                self._lost(context)
            elif isinstance(fault, Fault):
                _faulted(context, fault)
            else:
                _faulted(context, GeneralProtection(str(fault)))
            return
        if leaf == Enclu.EACCEPTCOPY and not context.regs.rax:
            encl = self._driver.by_secs[lp.cr_active_secs]
            answer.code.copied(encl, context.regs.rdx, context.regs.rcx)
        self._count(lp, leaf)
        self._taken(task, context, lp)
        answer.note_changes(self._driver)
        if moves:
            _store_xsave(task, context, lp)

    def _count(self, lp: Processor, leaf: int) -> None:
        """Count a crossing; those that the agent makes natively it counts itself."""
        if leaf == Enclu.EENTER:
            self._driver.by_secs[lp.cr_active_secs].counts.entries += 1
        elif leaf == Enclu.EEXIT:
            self._driver.by_secs[lp.cr_active_secs].counts.exits += 1

    def _execute(
        self, task: UserTask, context: Context, leaf: int, xsave: bytearray
    ) -> Processor:
        """Execute a leaf without a pause: memory that it looks at is looked at first.

        A leaf that does not get through has changed nothing.
        """
        copies = CopiedMemory(task)
        while True:
            lp = self._processor(task, context, copies)
            lp.xsave = xsave
            try:
                enclu.execute(self._machine, lp, leaf)
            except LookFirst as place:
                copies.look(place)
            else:
                return lp

    def fault(self, task: UserTask, context: Context, answer: Answer) -> None:
        """Judge a page fault that the thread met, inside an enclave or at one."""
        if task.mm.find(context.address) is None:
            context.outcome = Outcome.FAULT  # None of ours: as the kernel said.
            if context.inside and task.is_lost(context.tcs):
                self._lost(context)
            elif task.is_lost(context.address):
                context.outcome = Outcome.ABORT
            return
        code = context.error & (PFEC_W | PFEC_I | 1) | PFEC_U
        at = (context.address, code)
        self._page_fault(task, context, answer, at, by_sgx=bool(context.inside))
        answer.protect_changes(self._driver)

    def _lost(self, context: Context) -> None:
        """Fault as at EPC pages that lost their power: their EPCM entries are gone."""
        context.outcome = Outcome.FAULT
        context.vector = PageFault.vector
        context.error = (PFEC_SGX & ~self._mask) | PFEC_U | 1
        context.address = context.tcs if context.inside else context.regs.rbx
        context.signo, context.sicode = _SIGSEGV, SEGV_ACCERR

    def aex(self, task: UserTask, context: Context) -> None:
        """Leave the enclave for the exception or interrupt in the context."""
        xsave = _xsave(task, context)
        try:
            lp = self._inside(task, context)
            tcs = Tcs.from_bytes(bytes(self._machine.epc.page(lp.cr_tcs_pa)))
            frame = self._frame(lp, tcs)
        except Forged as gone:
            # The enclave was torn down under the thread: nothing to save into.
            raise OSError(5, f"no state save area: {gone}") from gone
        lp.cr_xsave_page, lp.cr_gpr_pa = frame
        lp.xsave = xsave
        asynchronous_exit(
            self._machine, lp, context.vector, context.error, context.address
        )
        self._driver.by_secs[lp.cr_active_secs].counts.aex += 1
        self._taken(task, context, lp)
        _store_xsave(task, context, lp)

    # ---- the thread as a processor ----

    def _processor(
        self, task: UserTask, context: Context, copies: CopiedMemory
    ) -> Processor:
        memory = UserLinear(task.mm, copies, self._machine)
        lp = Processor(task.tid, memory, context.regs, xcr0=context.xcr0)
        if context.inside:
            self._put_inside(task, context, lp)
        return lp

    def _inside(self, task: UserTask, context: Context) -> Processor:
        if not context.inside:
            raise Forged("an exit from outside")
        return self._processor(task, context, CopiedMemory(task))

    def _put_inside(self, task: UserTask, context: Context, lp: Processor) -> None:
        encl = _enclave_of(task, context.tcs)
        page = self._driver.resident(encl, context.tcs) if encl else None
        if page is None:
            raise Forged("no TCS of this process")
        entry = self._machine.epcm[page.epc_page]
        tcs = self._machine.epc.page(page.epc_page)
        stage = TCS_STAGE.read(tcs) & _STAGE
        if not entry.valid or entry.pt != PageType.TCS or stage != STAGE_ACTIVE:
            raise Forged("not a TCS that a thread is inside through")
        secs = self._machine.enclaves[entry.enclavesecs].secs
        lp.enclave_mode = True
        lp.cr_active_secs = entry.enclavesecs
        lp.cr_elrange = (secs.baseaddr, secs.size)
        lp.cr_tcs_la, lp.cr_tcs_pa = context.tcs, page.epc_page
        lp.cr_save_fs, lp.cr_save_gs = context.savefs, context.savegs
        lp.cr_save_xcr0, lp.xcr0 = context.xcr0, secs.attributes.xfrm
        lp.cr_dbgoptin = bool(context.debug & _OPT_IN)
        lp.cr_save_tf = bool(context.debug & _SAVE_TF)

    def _frame(self, lp: Processor, tcs: Tcs) -> Frame:
        """Return the pages that entry kept for the exit, whatever is mapped by now."""
        secs = self._machine.enclaves[lp.cr_active_secs].secs
        size = PAGE_SIZE * secs.ssaframesize
        start = secs.baseaddr + tcs.ossa + size * tcs.cssa
        area = self._machine.model.xsave.size(secs.attributes.xfrm)
        addresses = [*range(start, start + area, PAGE_SIZE), start + size - PAGE_SIZE]
        encl = self._driver.by_secs[lp.cr_active_secs]
        pages = [self._driver.resident(encl, address) for address in addresses]
        if None in pages:
            raise Forged("the frame's pages were removed")
        *xsave, gpr = (page.epc_page for page in pages if page)
        return Frame(tuple(xsave), gpr)

    def _taken(self, task: UserTask, context: Context, lp: Processor) -> None:
        was_inside = bool(context.inside)
        context.take(lp)
        if lp.enclave_mode:
            context.aep = TCS_AEP.read(self._machine.epc.page(lp.cr_tcs_pa))
            if was_inside:
                return
            self.insiders.entered(lp, task.process.pid)
            if not self._exact:
                # The agent will take the thread out without telling us.
                self._machine.enclaves[lp.cr_active_secs].leave(lp.id)

    # ---- faults ----

    def _page_fault(
        self,
        task: UserTask,
        context: Context,
        answer: Answer,
        at: tuple[int, int],
        *,
        by_sgx: bool,
    ) -> None:
        """Have a fault *at* an address, with an error code, judged.

        *by_sgx*: an enclave's access or a leaf's, not one of plain host code.  Inside,
        the whole address goes back: the exit saves it before it hides its low bits.
        """
        address, error_code = at
        outcome = self._driver.fault(task.mm, address, error_code, from_enclave=by_sgx)
        answer.note_changes(self._driver)
        match outcome:
            case Abort():
                context.outcome = Outcome.ABORT
            case Wait():
                context.outcome = Outcome.WAIT
            case Resolved():
                context.outcome = Outcome.RETRY
                if context.vector:
                    self._let_access(task, context, answer, error_code)
            case Signal():
                context.outcome = Outcome.FAULT
                context.vector = outcome.vector
                context.error = outcome.error_code & ~self._mask
                context.address = address if context.inside else outcome.address
                context.signo = outcome.signo
                context.sicode = outcome.si_code
                if outcome.si_code == SEGV_MAPERR and task.mapped(address):
                    context.sicode = SEGV_ACCERR

    def _let_access(
        self, task: UserTask, context: Context, answer: Answer, error_code: int
    ) -> None:
        """Have a page natively ready that code met; a leaf's own accesses need none."""
        _met_natively(task, context, answer, error_code)
        start = context.address >> PAGE_SHIFT << PAGE_SHIFT
        answer.protect(self._driver, start, start + PAGE_SIZE)


_SW_BYTES, _SW_BYTES_END = 464, 512
"""Bytes of the FXSAVE image that are the kernel's, in a signal frame."""

_XSTATE_BV = 512
"""Where the XSAVE header begins: the lowest byte of XSTATE_BV."""

_XSAVE_LEAVES = frozenset({Enclu.ERESUME, Enclu.EDECCSSA})
"""Leaves that load extended state; the others leave it alone."""


def _met_natively(
    task: UserTask, context: Context, answer: Answer, error_code: int
) -> None:
    """Have a page that enclave code runs in, or writes to, made ready for that."""
    vma = task.mm.find(context.address)
    if vma is None:
        return
    if error_code & PFEC_I:
        answer.code.fetched(vma.encl, context.address, context.regs.rip)
    elif error_code & PFEC_W:
        answer.code.written(vma.encl, context.address, context.regs.rip)


def _xsave(task: UserTask, context: Context) -> bytearray:
    """Copy a thread's extended state in; nothing, if it says that it has none."""
    if not 0 < context.xsavesize <= _XSAVE_LIMIT:
        return bytearray()
    return bytearray(task.copy_from_user(context.xsave, context.xsavesize))


def _store_xsave(task: UserTask, context: Context, lp: Processor) -> None:
    if 0 < context.xsavesize <= _XSAVE_LIMIT:
        size = context.xsavesize
        if size > _XSTATE_BV:
            lp.xsave[_XSTATE_BV] |= XFRM_LEGACY  # as Linux does in every frame
        area = bytes(lp.xsave[:size])
        # The kernel's own words inside the legacy area stay as they are.
        task.caller.write(context.xsave, area[:_SW_BYTES])
        task.caller.write(context.xsave + _SW_BYTES_END, area[_SW_BYTES_END:])


def _enclave_of(task: UserTask, address: int) -> Encl | None:
    """Return the enclave at an address: the mapped one, or one that was mapped."""
    vma = task.mm.find(address)
    if vma is not None:
        return vma.encl
    return next((encl for encl in task.mm.encls if encl.covers(address)), None)


def _faulted(context: Context, fault: Fault) -> None:
    context.outcome = Outcome.FAULT
    context.vector = fault.vector
    context.error = 0
    context.address = 0
    context.signo, context.sicode = _SIGSEGV, _SI_KERNEL
    if isinstance(fault, InvalidOpcode):
        context.signo, context.sicode = _SIGILL, _ILL_ILLOPN
