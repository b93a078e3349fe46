"""What the facts about a machine mean for softsgx, in words.  Pure."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from softsgx.native.probe import KILLED, Attempt, Extended, Facts

OLDEST_KERNEL = (5, 11)
PLENTY_OF_MAPS = 1 << 20
FEW_FILES = 1024

_COMPONENTS = (
    (0x3, "x87 and SSE"),
    (0x4, "AVX"),
    (0x18, "MPX"),
    (0xE0, "AVX-512"),
    (0x200, "PKRU"),
    (0x60000, "AMX"),
)


class State(StrEnum):
    """How it stands with one thing."""

    OK = "ok"
    LIMITED = "limited"
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing: how it stands, what that means, and how to get what is missing."""

    id: str
    state: State
    text: str
    remedy: str = ""


def findings(facts: Facts) -> list[Finding]:
    """Judge the facts; what is MISSING keeps programs from running."""
    return [
        _native(facts),
        _kernel(facts),
        *_start(facts),
        *_supervise(facts),
        _cpuid(facts),
        _fsgsbase(facts),
        _extended(facts.extended),
        *_limits(facts),
        _device(facts),
    ]


def is_usable(found: list[Finding]) -> bool:
    """Say whether `softsgx run` can work."""
    return all(finding.state is not State.MISSING for finding in found)


def plan(facts: Facts) -> dict[str, str]:
    """Say what `softsgx run` will use here, a word or two for each part."""
    return {
        "programs": "injection at exec, seccomp, agent in the process",
        "device": "trapped opens of the model's device; no node, no root",
        "calls": "seccomp listener"
        + (", same-processor wake-up" if facts.sync_wake_up.works else ""),
        "cpuid": "faulting" if facts.cpuid_faulting.works else "rewriting",
        "enclave memory": "one memfd for each enclave, run natively",
    }


def _need(name: str, attempt: Attempt, good: str, bad: str, remedy: str) -> Finding:
    if attempt.works:
        return Finding(id=name, state=State.OK, text=good)
    text = f"{bad} ({attempt})"
    return Finding(id=name, state=State.MISSING, text=text, remedy=remedy)


def _want(name: str, attempt: Attempt, good: str, bad: str, remedy: str) -> Finding:
    if attempt.works:
        return Finding(id=name, state=State.OK, text=good)
    text = f"{bad} ({attempt})"
    return Finding(id=name, state=State.LIMITED, text=text, remedy=remedy)


def _native(facts: Facts) -> Finding:
    if not facts.unbuilt:
        text = "agent, vDSO image and library are built"
        return Finding(id="native", state=State.OK, text=text)
    return Finding(
        id="native",
        state=State.MISSING,
        text=f"not built: {', '.join(facts.unbuilt)}",
        remedy="make build (needs gcc and make)",
    )


def _kernel(facts: Facts) -> Finding:
    oldest = ".".join(str(part) for part in OLDEST_KERNEL)
    if facts.machine != "x86_64":
        return Finding(
            id="kernel",
            state=State.MISSING,
            text=f"this is {facts.machine}; enclaves are x86-64 code",
            remedy="run softsgx on an x86-64 machine",
        )
    if _version(facts.kernel) < OLDEST_KERNEL:
        return Finding(
            id="kernel",
            state=State.MISSING,
            text=f"Linux {facts.kernel} is older than {oldest}",
            remedy=f"boot Linux {oldest} or newer",
        )
    return Finding(id="kernel", state=State.OK, text=f"Linux {facts.kernel}, x86-64")


def _version(release: str) -> tuple[int, int]:
    major, _, rest = release.partition(".")
    minor = "".join(digit for digit in rest.partition(".")[0] if digit.isdigit())
    return (int(major) if major.isdigit() else 0, int(minor or 0))


def _start(facts: Facts) -> Iterator[Finding]:
    yield _need(
        "ptrace",
        facts.ptrace,
        "a program can be stopped at its start",
        "no program can be stopped at its start",
        _ptrace_remedy(facts),
    )
    yield _need(
        "process-memory",
        facts.process_vm,
        "a child's memory can be read",
        "a child's memory cannot be read",
        "in a container, allow process_vm_readv (cap SYS_PTRACE)",
    )
    yield _need(
        "enclave-memory",
        facts.memfd_exec,
        "shared memory can hold code",
        "shared memory cannot hold code",
        "sysctl vm.memfd_noexec=0; SELinux: allow execmem",
    )


def _ptrace_remedy(facts: Facts) -> str:
    if facts.yama == 3:
        return "kernel.yama.ptrace_scope is 3 until the next boot: set it to 1 or 2"
    return "in a container, add cap SYS_PTRACE, or a seccomp profile with ptrace"


def _supervise(facts: Facts) -> Iterator[Finding]:
    yield _need(
        "seccomp",
        facts.seccomp_filter,
        "filters can be installed",
        "filters cannot be installed",
        "a kernel with CONFIG_SECCOMP_FILTER; in a container, allow seccomp",
    )
    yield _need(
        "listener",
        facts.seccomp_listener,
        "a seccomp listener is free",
        "no seccomp listener is free",
        _listener_remedy(facts.seccomp_listener),
    )
    yield _want(
        "sync-wake-up",
        facts.sync_wake_up,
        "calls to the supervisor wake it on the same processor",
        "calls to the supervisor cost some ten times more",
        "Linux 6.6 or newer",
    )
    yield _want(
        "wait-killable",
        facts.wait_killable,
        "signals do not interrupt calls to the supervisor",
        "a signal makes a call to the supervisor start again",
        "Linux 5.19 or newer",
    )
    yield _want(
        "pidfd-getfd",
        facts.pidfd_getfd,
        "a child's open files can be looked at",
        "a child's open files cannot be looked at",
        "in a container, allow pidfd_getfd (cap SYS_PTRACE)",
    )


def _listener_remedy(attempt: Attempt) -> str:
    if attempt.errno == errno.EBUSY:
        return "a container manager, or a softsgx above, holds it: run outside"
    if attempt.errno == KILLED:
        return "a seccomp filter above forbids it: change the container's profile"
    return "Linux 5.5 or newer, with CONFIG_SECCOMP_FILTER"


def _cpuid(facts: Facts) -> Finding:
    if facts.cpuid_faulting.works:
        text = "CPUID faults, and is answered by the platform"
    else:
        text = f"CPUID cannot fault here ({facts.cpuid_faulting}): it is rewritten"
    return Finding(id="cpuid", state=State.OK, text=text)


def _fsgsbase(facts: Facts) -> Finding:
    if facts.fsgsbase:
        text = "FS and GS bases are written directly"
        return Finding(id="fsgsbase", state=State.OK, text=text)
    return Finding(
        id="fsgsbase",
        state=State.LIMITED,
        text="FS and GS bases are written by system call, at each entry and exit",
        remedy="Linux 5.9 or newer, without `nofsgsbase`",
    )


def _extended(extended: Extended) -> Finding:
    if not extended.size:
        text = "extended state is unknown: no ptrace"
        return Finding(id="xsave", state=State.LIMITED, text=text)
    names = [name for mask, name in _COMPONENTS if extended.xcr0 & mask == mask]
    text = f"{', '.join(names)}; XCR0 {extended.xcr0:#x}, {extended.size} bytes"
    return Finding(id="xsave", state=State.OK, text=text)


def _limits(facts: Facts) -> Iterator[Finding]:
    maps = facts.max_map_count
    few = maps is not None and maps < PLENTY_OF_MAPS
    yield Finding(
        id="maps",
        state=State.LIMITED if few else State.OK,
        text=f"vm.max_map_count is {maps}"
        + ("; changing permissions page by page may need more" if few else ""),
        remedy=f"sysctl vm.max_map_count={PLENTY_OF_MAPS}" if few else "",
    )
    short = facts.nofile_soft < FEW_FILES
    yield Finding(
        id="files",
        state=State.LIMITED if short else State.OK,
        text=f"{facts.nofile_soft} open files, at most {facts.nofile_hard}",
        remedy=f"ulimit -n {facts.nofile_hard}" if short else "",
    )
    low = facts.mmap_min_addr
    yield Finding(
        id="low-memory",
        state=State.LIMITED if low else State.OK,
        text=f"nothing is mapped below {low}"
        + ("; an enclave whose base is 0 begins there" if low else ""),
        remedy="sysctl vm.mmap_min_addr=0, for such enclaves only" if low else "",
    )


def _device(facts: Facts) -> Finding:
    if facts.device is None:
        text = (
            "no real SGX here; opens of /dev/sgx_enclave, or of /dev/isgx under"
            " locked launch control, are trapped, without root"
        )
    else:
        can = "may" if facts.device_openable else "may not"
        text = f"real SGX at {facts.device}, which you {can} open; softsgx uses its own"
    return Finding(id="device", state=State.OK, text=text)
