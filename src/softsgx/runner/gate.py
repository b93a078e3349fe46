"""The gate of a platform that lasts: its owner's policy, and the audit log."""

import errno
from collections.abc import Callable, Iterable
from dataclasses import replace

from softsgx.arch.secs import AttributeFlags
from softsgx.driver.encl import Encl
from softsgx.driver.errnos import refuse
from softsgx.driver.gate import Wait, at_once, lost_line, owner_of, stuck_line
from softsgx.driver.mm import Mm
from softsgx.driver.protocols import Task
from softsgx.launch.decide import decide
from softsgx.launch.decision import Decision, Refusal
from softsgx.launch.memory import Breach, MemoryRules
from softsgx.launch.request import Request
from softsgx.platform.audit import Who
from softsgx.platform.errors import PlatformError
from softsgx.platform.policies import Policies
from softsgx.runner.task.queue import Queue


class OwnersGate:
    """Decides by the policy that holds at that moment; without one it can read, no.

    *complain* tells the user, in a line, what was refused and why.
    """

    def __init__(self, policies: Policies, complain: Callable[[str], None]):
        self._policies = policies
        self._complain = complain
        self._queue = Queue()

    @property
    def memory(self) -> MemoryRules:
        """The rules for executable memory that hold now; all, if none can be read."""
        try:
            return self._policies.rule().policy.memory
        except PlatformError as error:
            self._complain(str(error))
            return MemoryRules.strictest()

    def judge(self, task: Task, request: Request) -> Decision:
        """Decide about an INIT; it goes no further if it cannot be written down."""
        try:
            decision = decide(self._policies.rule().policy, request)
            self._write(task, request, decision)
        except PlatformError as error:
            decision = Decision(
                rule="policy", reason=str(error), refusal=Refusal.SIGNER
            )
        if not decision.is_allowed:
            signer = request.mrsigner.hex()
            self._complain(
                f"pid {task.mm.owner}: an enclave of signer {signer} is refused:"
                f" {decision.reason}"
            )
        return decision

    def failed(
        self, task: Task, request: Request, decision: Decision, why: str
    ) -> None:
        """Write down that EINIT refused an enclave; tell who gave a token, too."""
        refused = replace(decision, refusal=Refusal.SIGNER, rule="EINIT", reason=why)
        try:
            self._write(task, request, refused, event="einit")
        except PlatformError as error:
            self._complain(str(error))
        if decision.takes_token:
            signer = request.mrsigner.hex()
            self._complain(
                f"pid {task.mm.owner}: EINIT refuses an enclave of signer {signer},"
                f" or its token: {why}"
            )

    def note(self, mm: Mm, breaches: list[Breach], wait_for: Wait = at_once) -> None:
        """Write down what breaks memory rules; EACCES if it cannot be written."""
        try:
            self._append("memory", mm, map(_said_of_breach, breaches), wait_for)
        except PlatformError as error:
            raise refuse(errno.EACCES, str(error)) from error
        for breach in breaches:
            if breach.is_refused:
                self._complain(f"pid {mm.owner}: refused: {breach.reason}")

    def note_static(self, mm: Mm, why: str) -> None:
        """Write down that an enclave wants to map pages after INIT and may not."""
        self._complain(f"pid {mm.owner}: a mapping is refused: {why}")
        try:
            self._policies.log.append(
                "map", Who.of(mm.owner), verdict="deny", rule="dynamic", reason=why
            )
        except PlatformError as error:
            self._complain(str(error))

    def lost(self, encl: Encl, why: str) -> None:
        """Write down that a page of an enclave came back as another one."""
        try:
            self._policies.log.append(
                "paging", Who.of(owner_of(encl)), verdict="deny", reason=why
            )
        except PlatformError as error:
            self._complain(str(error))
        self._complain(lost_line(encl, why))

    def stuck(self, encl: Encl, why: str) -> None:
        """Tell that pages of an enclave cannot leave: their file takes no more."""
        self._complain(stuck_line(encl, why))

    def _write(
        self, task: Task, request: Request, decision: Decision, event: str = "init"
    ) -> None:
        words = said_of(request, decision)
        self._append(event, task.mm, [words], task.wait_for)

    def _append(
        self, event: str, mm: Mm, lines: Iterable[dict[str, object]], wait_for: Wait
    ) -> None:
        """Write lines, those of each decision behind those of the one before."""
        who, mine = Who.of(mm.owner), self._queue.place()

        def write() -> None:
            with mine:
                for words in lines:
                    self._policies.log.append(event, who, **words)

        wait_for(write)


def _said_of_breach(breach: Breach) -> dict[str, object]:
    return {
        "permission": breach.permission,
        "verdict": "deny" if breach.is_refused else "waived",
        "rule": f"memory.{breach.rule}",
        "reason": breach.reason,
    }


def said_of(request: Request, decision: Decision) -> dict[str, object]:
    """Return what the log says of a decision about an enclave."""
    sigstruct = request.sigstruct
    return {
        "mrenclave": sigstruct.enclavehash.hex(),
        "mrsigner": request.mrsigner.hex(),
        "isvprodid": sigstruct.isvprodid,
        "isvsvn": sigstruct.isvsvn,
        "attributes": request.attributes.words(),
        "granted": AttributeFlags(decision.granted).words(),
        "verdict": _verdict(decision),
        "rule": decision.rule,
        "reason": decision.reason,
    }


def _verdict(decision: Decision) -> str:
    if not decision.is_allowed:
        return "deny"
    if decision.is_waived:
        return "waived"
    return "allow"
