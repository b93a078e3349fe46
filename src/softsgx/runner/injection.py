"""What the agent is told when it is put into a process."""

from dataclasses import dataclass

from softsgx.driver.cpu import Cpu
from softsgx.native.abi import (
    MAX_LISTED,
    MAX_OVERLAYS,
    Config,
    ConfigFlag,
    Listed,
    Overlay,
)
from softsgx.native.images import images
from softsgx.native.numbers import AGENT_BASE, VDSO_OFFSET
from softsgx.runner.cpuid import constants, overlays
from softsgx.runner.tsc import tsc_khz


@dataclass(frozen=True)
class Abilities:
    """What the machine can do that matters to the agent."""

    fsgsbase: bool
    cpuid_faulting: bool
    privileged: bool
    """Softsgx may look at a process that is not dumpable."""


def agent_config(
    cpu: Cpu,
    device: int,
    listed: list[tuple[int, int]],
    abilities: Abilities,
    *,
    exact: bool,
) -> bytes:
    """Return the head of the agent's data: configuration, CPUID, vDSO addresses."""
    khz = tsc_khz() if cpu.model.identity else 0
    changes = overlays(cpu.model, tsc_khz=khz)
    views = [*constants(changes), *changes]
    flags = _flags(cpu, abilities, exact=exact)
    head = Config(
        flags=int(flags),
        overlays=len(views),
        shmdev=device,
        tier=1,
        sites=0,
        blocked=0,
        pending=0,
        masked=0,
        filtered=0,
        entry=0,
        stack=0,
        pid=0,
        bare=0,
    )
    built = images()
    vdso = AGENT_BASE + VDSO_OFFSET
    padding = bytes(Overlay.SIZE) * (MAX_OVERLAYS - len(views))
    places = (built.enclu, built.fault, built.restorer)
    words = (*(vdso + place for place in places), int(abilities.fsgsbase))
    return (
        bytes(head)
        + b"".join(map(bytes, views))
        + padding
        + b"".join(word.to_bytes(8, "little") for word in words)
        + _directories(listed)
    )


def _flags(cpu: Cpu, abilities: Abilities, *, exact: bool) -> ConfigFlag:
    flags = ConfigFlag(0)
    if exact:
        flags |= ConfigFlag.EXACT
    else:
        flags |= ConfigFlag.PATCH
    if not abilities.privileged:
        flags |= ConfigFlag.KEEP_DUMPABLE
    if abilities.cpuid_faulting:
        flags |= ConfigFlag.CPUID_FAULTING
    else:
        flags |= ConfigFlag.REWRITE_CPUID
    if not cpu.model.sgx2:
        flags |= ConfigFlag.NO_RDTSC
    return flags


def _directories(places: list[tuple[int, int]]) -> bytes:
    raw = b"".join(bytes(Listed(dev=dev, ino=ino)) for dev, ino in places[:MAX_LISTED])
    return raw.ljust(MAX_LISTED * Listed.SIZE, b"\0")
