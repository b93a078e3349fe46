"""`softsgx run --trace` and `-c`: every ioctl and leaf, in words, like strace."""

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO

from softsgx.driver.device import File
from softsgx.driver.driver import Driver
from softsgx.machine.trace import AsynchronousExit, Event, LeafExecuted
from softsgx.runner import words
from softsgx.runner.task.process import UserTask

_INTERRUPT = 0x100
"""The vector of an exit for an interrupt or a signal, which no exception has."""


@dataclass
class _Count:
    calls: int = 0
    errors: int = 0
    seconds: float = 0.0


class Tracer:
    """Prints events as they happen and counts them; *out* None only counts.

    A leaf's time is what passed since the call that it belongs to began, or since the
    leaf before it in the same call.
    """

    def __init__(self, out: TextIO | None) -> None:
        self._out = out
        self._counts: dict[str, _Count] = {}
        self._task: UserTask | None = None
        self._mark = 0.0

    def begin(self, task: UserTask) -> None:
        """Take note of a call of the agent's: what follows is its doing."""
        self._task = task
        self._mark = time.perf_counter()

    def event(self, event: Event) -> None:
        """Take one event of the machine: a leaf that was executed, an exit."""
        now = time.perf_counter()
        spent, self._mark = now - self._mark, now
        match event:
            case LeafExecuted():
                self._leaf(event, spent)
            case AsynchronousExit():
                self._count("AEX", spent, failed=False)
                self._print(f"AEX({_cause(event)})", "0", spent)
        self._mark = time.perf_counter()

    def ioctl(
        self,
        driver: Driver,
        file: File,
        task: UserTask,
        fd: int,
        cmd: int,
        arg: int,
    ) -> int:
        """Run an ioctl, and print it with its arguments, results and time."""
        name = words.ioctl_name(cmd)
        before = words.ioctl_argument(task.copy_from_user, cmd, arg)
        began = time.perf_counter()
        result, failed, value = "0", False, 0
        try:
            value = driver.ioctl(file, task, cmd, arg)
            result = words.ioctl_value(value)
        except OSError as error:
            result, failed = words.errno_of(error), True
            raise
        finally:
            spent = time.perf_counter() - began
            after = words.ioctl_results(task.copy_from_user, cmd, arg)
            self._count(name, spent, failed=failed)
            self._print(f"ioctl({fd}, {name}, {before}{after})", result, spent)
        return value

    def print_summary(self, out: TextIO) -> None:
        """Print the table of `-c`: what took longest comes first."""
        total = _Count()
        for count in self._counts.values():
            total.calls += count.calls
            total.errors += count.errors
            total.seconds += count.seconds
        rule = " ".join(["-" * 6, "-" * 11, "-" * 11, "-" * 9, "-" * 9, "-" * 32])
        lines = ["% time     seconds  usecs/call     calls    errors what", rule]
        for name, count in sorted(self._counts.items(), key=_longest_first):
            lines.append(_row(name, count, total))
        lines += [rule, _row("total", total, total)]
        with suppress(OSError):
            out.write("\n".join(lines) + "\n")
            out.flush()

    def _leaf(self, event: LeafExecuted, spent: float) -> None:
        name = f"{type(event.leaf).__name__.upper()}[{event.leaf.name}]"
        values = (event.rbx, event.rcx, event.rdx)
        operands = words.leaf_operands(self._read, event.leaf, values)
        result = "0"
        if event.fault is not None:
            result = f"? {event.fault}"
        elif event.error is not None:
            result = f"{int(event.error)} {words.error_code(event.error)}"
        self._count(name, spent, failed=result != "0")
        self._print(f"{name}({operands})", result, spent)

    def _read(self, address: int, size: int) -> bytes:
        if self._task is None:
            raise OSError("nobody's memory")
        return self._task.copy_from_user(address, size)

    def _count(self, name: str, seconds: float, *, failed: bool) -> None:
        count = self._counts.setdefault(name, _Count())
        count.calls += 1
        count.errors += failed
        count.seconds += seconds

    def _print(self, what: str, result: str, seconds: float) -> None:
        if self._out is None:
            return
        who = f"[pid {self._task.tid}] " if self._task else ""
        try:
            self._out.write(f"softsgx: {who}{what} = {result} <{seconds:.6f}>\n")
            self._out.flush()
        except OSError:
            # A reader that is gone, a disk that is full: the program goes on.
            self._out = None


def _cause(event: AsynchronousExit) -> str:
    if event.vector >= _INTERRUPT:
        return "interrupt"
    where = f", address={event.address:#x}" if event.vector == 14 else ""
    return f"vector={event.vector}, error={event.error_code:#x}{where}"


def _longest_first(item: tuple[str, _Count]) -> tuple[float, str]:
    return -item[1].seconds, item[0]


def _row(name: str, count: _Count, total: _Count) -> str:
    share = 100 * count.seconds / total.seconds if total.seconds else 0.0
    each = count.seconds * 1e6 / count.calls if count.calls else 0.0
    errors = str(count.errors or "")
    return (
        f"{share:6.2f} {count.seconds:11.6f} {each:11.0f} {count.calls:9d} "
        f"{errors:>9} {name}"
    )
