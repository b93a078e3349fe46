"""What the agent is told when it is put into a process."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from softsgx.driver.device import ENCLAVE, PROVISION, nodes
from softsgx.machine.machine import Machine
from softsgx.native import lib
from softsgx.native.abi import (
    AGENT_BASE,
    MASKED_OFFSET,
    MAX_MASKED,
    MAX_OVERLAYS,
    MAX_SITES,
    VDSO_OFFSET,
    Config,
    ConfigFlag,
    Masked,
    Overlay,
)
from softsgx.runner.cpuid import overlays


@dataclass(frozen=True)
class Abilities:
    """What the machine can do that matters to the agent."""

    fsgsbase: bool
    cpuid_faulting: bool


def agent_config(
    machine: Machine, device: int, abilities: Abilities, *, exact: bool
) -> bytes:
    """Return the head of the agent's data: configuration, CPUID, vDSO addresses."""
    views = overlays(machine.model)
    flags = ConfigFlag(0)
    if exact:
        flags |= ConfigFlag.EXACT
    else:
        flags |= ConfigFlag.PATCH
    if abilities.cpuid_faulting:
        flags |= ConfigFlag.CPUID_FAULTING
    else:
        flags |= ConfigFlag.REWRITE_CPUID
    if not machine.model.sgx2:
        flags |= ConfigFlag.NO_RDTSC
    present = nodes(machine)
    if ENCLAVE in present:
        flags |= ConfigFlag.ENCLAVE_NODE
    if PROVISION in present:
        flags |= ConfigFlag.PROVISION_NODE
    head = Config(
        flags=int(flags),
        overlays=len(views),
        shmdev=device,
        tier=1,
        sites=0,
        blocked=0,
        pending=0,
        masked=0,
    )
    images = lib.images()
    vdso = AGENT_BASE + VDSO_OFFSET
    padding = bytes(Overlay.SIZE) * (MAX_OVERLAYS - len(views))
    words = (vdso + images.enclu, vdso + images.fault, int(abilities.fsgsbase))
    return (
        bytes(head)
        + b"".join(map(bytes, views))
        + padding
        + b"".join(word.to_bytes(8, "little") for word in words)
    )


def with_program(
    config: bytes, sites: Iterable[int], signals: tuple[int, int]
) -> bytes:
    """Return a configuration that knows rewritten CPUIDs and `hidden_signals`."""
    known = list(sites)[:MAX_SITES]
    head = Config.from_bytes(config[: Config.SIZE])
    blocked, pending = signals
    head = replace(head, sites=len(known), blocked=blocked, pending=pending)
    words = b"".join(address.to_bytes(8, "little") for address in known)
    return bytes(head) + config[Config.SIZE :] + words


def hidden_signals(tid: int) -> tuple[int, int]:
    """Return a thread's signals that only the agent knows as blocked, and pending."""
    data = lib.images().data
    try:
        head = Config.from_bytes(lib.read(tid, data, Config.SIZE))
        if not head.masked:
            return 0, 0
        table = lib.read(tid, data + MASKED_OFFSET, MAX_MASKED * Masked.SIZE)
    except OSError:
        return 0, 0  # no agent there yet
    for at in range(0, len(table), Masked.SIZE):
        masked = Masked.from_bytes(table[at : at + Masked.SIZE])
        if masked.tid == tid:
            return masked.blocked, masked.pending
    return 0, 0
