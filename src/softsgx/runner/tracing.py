"""`softsgx run --trace` and `-c`: every ioctl and leaf, in words, like strace."""

import errno
import time
from dataclasses import dataclass, field
from typing import TextIO

from softsgx.arch.layout import Layout
from softsgx.driver import uapi
from softsgx.driver.device import Provision
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.driver.protocols import Task
from softsgx.machine.trace import AsynchronousExit, Event, LeafExecuted

_NAMES = {
    value: name
    for name, value in vars(uapi).items()
    if name.startswith("SGX_IOC_") and isinstance(value, int)
}


@dataclass
class _Count:
    calls: int = 0
    errors: int = 0
    seconds: float = 0.0


@dataclass
class Tracer:
    """Prints events as they happen and counts them; *out* None only counts."""

    out: TextIO | None
    counts: dict[str, _Count] = field(default_factory=dict)

    def event(self, event: Event) -> None:
        """Take one event of the machine: a leaf that was executed, an exit."""
        match event:
            case LeafExecuted():
                self._leaf(event)
            case AsynchronousExit():
                words = f"vector={event.vector}, error={event.error_code:#x}"
                self._print(event.processor, f"AEX({words}, {event.address:#x})", "")
                self._count("AEX", 0.0, failed=False)

    def ioctl(
        self, driver: Driver, file: Encl | Provision, task: Task, cmd: int, arg: int
    ) -> int:
        """Run an ioctl, and print it with its arguments, result and time."""
        name = _NAMES.get(cmd, f"{cmd:#x}")
        before = _arguments(task, cmd, arg)
        tid = getattr(task, "tid", 0)
        began = time.perf_counter()
        result = "0"
        failed = True
        try:
            value = driver.ioctl(file, task, cmd, arg)
            result, failed = str(value), False
        except OSError as error:
            code = errno.errorcode.get(error.errno or 0, str(error.errno))
            result = f"-1 {code} ({error.strerror})"
            raise
        else:
            return value
        finally:
            spent = time.perf_counter() - began
            self._count(name, spent, failed=failed)
            self._print(tid, f"ioctl({name}, {before})", f"{result} <{spent:.6f}>")

    def summary(self) -> str:
        """Return the table of `-c`."""
        rows = ["     calls    errors     seconds  what"]
        for name, count in sorted(self.counts.items(), key=_by_calls):
            rows.append(
                f"{count.calls:10d}{count.errors:10d}{count.seconds:12.6f}  {name}"
            )
        return "\n".join(rows)

    def _leaf(self, event: LeafExecuted) -> None:
        kind = type(event.leaf).__name__.upper()
        name = f"{kind}[{event.leaf.name}]"
        operands = f"rbx={event.rbx:#x}, rcx={event.rcx:#x}, rdx={event.rdx:#x}"
        result = "0"
        if event.fault is not None:
            result = str(event.fault)
        elif event.error is not None:
            result = f"{int(event.error)} SGX_{event.error.name}"
        self._count(name, 0.0, failed=result != "0")
        self._print(event.processor, f"{name}({operands})", result)

    def _count(self, name: str, seconds: float, *, failed: bool) -> None:
        count = self.counts.setdefault(name, _Count())
        count.calls += 1
        count.errors += failed
        count.seconds += seconds

    def _print(self, tid: int, what: str, result: str) -> None:
        if self.out is None:
            return
        who = f"[pid {tid}] " if tid > 0 else ""
        end = f" = {result}" if result else ""
        self.out.write(f"softsgx: {who}{what}{end}\n")
        self.out.flush()


def _by_calls(item: tuple[str, _Count]) -> tuple[int, str]:
    return -item[1].calls, item[0]


def _arguments(task: Task, cmd: int, arg: int) -> str:
    """Return an ioctl's structure in words."""
    kind = _STRUCTS.get(cmd)
    if kind is None:
        return f"{arg:#x}"
    try:
        params = kind.from_bytes(task.copy_from_user(arg, kind.SIZE))
    except OSError:
        return f"{arg:#x}"
    return (
        "{"
        + ", ".join(
            f"{cell.name}={getattr(params, cell.name):#x}" for cell in kind.cells()
        )
        + "}"
    )


_STRUCTS: dict[int, type[Layout]] = {
    uapi.SGX_IOC_ENCLAVE_CREATE: uapi.sgx_enclave_create,
    uapi.SGX_IOC_ENCLAVE_ADD_PAGES: uapi.sgx_enclave_add_pages,
    uapi.SGX_IOC_ENCLAVE_INIT: uapi.sgx_enclave_init,
    uapi.SGX_IOC_ENCLAVE_PROVISION: uapi.sgx_enclave_provision,
    uapi.SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS: uapi.sgx_enclave_restrict_permissions,
    uapi.SGX_IOC_ENCLAVE_MODIFY_TYPES: uapi.sgx_enclave_modify_types,
    uapi.SGX_IOC_ENCLAVE_REMOVE_PAGES: uapi.sgx_enclave_remove_pages,
}
