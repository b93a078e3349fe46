"""Where the driver asks the owner: before EINIT, and about executable memory.

The driver asks, translates into an errno, and keeps no policy; the gate decides and
writes down what it decided, before anything happens.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Protocol

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.einittoken import VALID, Einittoken
from softsgx.arch.secs import AttributeFlags
from softsgx.arch.sigstruct import Sigstruct
from softsgx.driver.encl import Encl
from softsgx.driver.errnos import NotDynamicError, refuse
from softsgx.driver.mm import Mm
from softsgx.driver.protocols import Task
from softsgx.driver.uapi import PROT_EXEC, PROT_WRITE
from softsgx.launch.decide import decide
from softsgx.launch.decision import Decision, Refusal
from softsgx.launch.memory import (
    Breach,
    Load,
    MemoryRules,
    decide_init,
    decide_load,
    decide_map,
)
from softsgx.launch.policy import Policy
from softsgx.launch.request import Request

REFUSAL_ERRNOS = {Refusal.ATTRIBUTE: errno.EACCES, Refusal.SIGNER: errno.EPERM}
"""What INIT answers, as the posted patches did."""


Wait = Callable[[Callable[[], None]], None]
"""Does what may take long: others may come between."""


def at_once(do: Callable[[], None]) -> None:
    """Do it while nobody comes between."""
    do()


class Gate(Protocol):
    """The owner's policy as the driver sees it."""

    @property
    def memory(self) -> MemoryRules:
        """The rules for executable memory that hold now."""

    def judge(self, task: Task, request: Request) -> Decision:
        """Decide about an INIT, and write it down, while others may come between."""

    def failed(
        self, task: Task, request: Request, decision: Decision, why: str
    ) -> None:
        """Write down that EINIT refused an enclave all the same."""

    def note(self, mm: Mm, breaches: list[Breach], wait_for: Wait = at_once) -> None:
        """Write down what breaks memory rules, and *wait_for* that."""

    def note_static(self, mm: Mm, why: str) -> None:
        """Write down that an enclave wants to map pages after INIT and may not."""

    def lost(self, encl: Encl, why: str) -> None:
        """Write down that a page of an enclave came back as another one."""

    def stuck(self, encl: Encl, why: str) -> None:
        """Tell that pages of an enclave cannot leave: their file takes no more."""


def _be_silent(line: str) -> None:
    del line


class StockGate:
    """The gate of a platform without a policy: Linux, and *complain* is its log."""

    memory = MemoryRules()
    _policy = Policy()

    def __init__(self, complain: Callable[[str], None] = _be_silent):
        self._complain = complain

    def judge(self, task: Task, request: Request) -> Decision:
        """Decide as Linux does."""
        del task
        return decide(self._policy, request)

    def failed(
        self, task: Task, request: Request, decision: Decision, why: str
    ) -> None:
        """Write nothing, as Linux does."""

    def note(self, mm: Mm, breaches: list[Breach], wait_for: Wait = at_once) -> None:
        """Write nothing: without rules nothing is broken."""

    def note_static(self, mm: Mm, why: str) -> None:
        """Write nothing: without a list every enclave is dynamic."""

    def lost(self, encl: Encl, why: str) -> None:
        """Say so, as Linux does in its log."""
        self._complain(lost_line(encl, why))

    def stuck(self, encl: Encl, why: str) -> None:
        """Say so."""
        self._complain(stuck_line(encl, why))


def lost_line(encl: Encl, why: str) -> str:
    """Return what a user is told when a page came back as another one."""
    return f"pid {owner_of(encl)}: a page of an enclave is lost: {why}"


def stuck_line(encl: Encl, why: str) -> str:
    """Return what a user is told when the backing file takes no more."""
    return (
        f"pid {owner_of(encl)}: pages of an enclave stay in the EPC: its backing file"
        f" takes no more: {why}"
    )


def owner_of(encl: Encl) -> int:
    """Return the process that an enclave is known by; 0: none maps it now."""
    return min((mm.owner for mm in encl.mms), default=0)


def request_of(encl: Encl, sigstruct: Sigstruct, token: bytes) -> Request:
    """Return what is asked when an enclave is to launch; *token*: zeros for none."""
    given = Einittoken.from_bytes(token)
    return Request.of(
        sigstruct,
        AttributeFlags(encl.attributes),
        _today(),
        has_provision_fd=bool(encl.attributes_mask & AttributeFlags.PROVISIONKEY),
        token=given if given.valid & VALID else None,
        is_locked=encl.by_address,
    )


def check_init(gate: Gate, task: Task, sigstruct: int) -> None:
    """Refuse with EACCES a SIGSTRUCT that lies where none may."""
    rules = gate.memory
    if rules == StockGate.memory:
        return
    source = task.source(sigstruct)
    from_file = source is not None and source.is_file and source.is_executable
    breaches = decide_init(rules, from_file=from_file)
    _check(gate, task.mm, breaches, task.wait_for)


def check_load(
    gate: Gate, task: Task, source: tuple[int, int], prot: int, *, measured: bool
) -> None:
    """Refuse with EACCES what may not be added so; *source*: an address, and pages."""
    rules = gate.memory
    if rules == StockGate.memory or not prot & PROT_EXEC:
        return
    load = Load(
        writable=bool(prot & PROT_WRITE),
        executable=True,
        measured=measured,
        from_file=_is_from_file(task, *source),
    )
    _check(gate, task.mm, decide_load(rules, load), task.wait_for)


def _is_from_file(task: Task, src: int, pages: int) -> bool:
    at, end = src, src + pages * PAGE_SIZE
    while at < end:
        source = task.source(at)
        if source is None or not source.is_file:
            return False
        at = source.end
    return not task.is_modified(src, pages)


def check_map(gate: Gate, mm: Mm, prot: int) -> None:
    """Refuse with EACCES a mapping that may not be."""
    writable, executable = bool(prot & PROT_WRITE), bool(prot & PROT_EXEC)
    _check(gate, mm, decide_map(gate.memory, writable=writable, executable=executable))


@contextmanager
def noting_static(gate: Gate, mm: Mm) -> Iterator[None]:
    """Have written down that a mapping is refused to who is not on the dynamic list."""
    try:
        yield
    except NotDynamicError as error:
        gate.note_static(mm, error.strerror)
        raise


def _check(
    gate: Gate, mm: Mm, breaches: list[Breach], wait_for: Wait = at_once
) -> None:
    if not breaches:
        return
    gate.note(mm, breaches, wait_for)
    for breach in breaches:
        if breach.is_refused:
            raise refuse(errno.EACCES, f"{breach.permission}: {breach.reason}")


def _today() -> date:
    return datetime.now(UTC).date()
