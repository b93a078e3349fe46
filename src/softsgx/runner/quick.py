"""A run without options, as most are: it starts with what an earlier one found out.

The agent's configuration follows from the model, this machine and the files of
softsgx.  Making it takes longer than all else in a short run, so it is kept, under a
key of all that it follows from.
"""

import os

from softsgx import __version__
from softsgx.native import lib
from softsgx.runner.kept import Kept
from softsgx.runner.start import is_program, program, start

TYPE_CHECKING = False
if TYPE_CHECKING:  # what takes long to import is not, here
    from collections.abc import Iterator

    from softsgx.native.notify import Listener
    from softsgx.runner.execs import Execs
    from softsgx.runner.loop import Loop
    from softsgx.runner.supervisor import Sgx, Supervisor
    from softsgx.runner.task.turn import Turn

_KEPT = "agent-config-1"
_CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_ROOMS = (
    *("arch", "machine", "native", "platform"),
    *("runner", "runner/code", "runner/task", "runner/vfs"),
)
_DIRECTORIES = ("/", "/dev", "/proc", "/sys", *_CGROUPS)
_WITHOUT_APIC_ID = 0x00FF_FFFF


def quick_run(argv: list[str]) -> int | None:
    """Do what `run` does without options; None if this needs the long way."""
    if not is_program(program(argv[0])):
        return None
    word = Kept(_KEPT).get(_key())
    if word is None:
        return None
    rewrite, size, digits = word.split(":")
    if len(digits) != 2 * int(size):
        return None
    config = bytes.fromhex(digits)

    def sgx(loop: "Loop", turn: "Turn") -> "Sgx":
        # Imported when the program turns out to use SGX.
        from softsgx.runner.run import plain_sgx  # noqa: PLC0415 -- see above

        return plain_sgx(loop, turn, config)

    def supervise(
        listener: "Listener", loop: "Loop", turn: "Turn", execs: "Execs"
    ) -> "Supervisor":
        # Imported when C hands a call over.
        from softsgx.runner.supervisor import Supervisor  # noqa: PLC0415 -- see above

        return Supervisor(listener, loop, turn, execs, sgx)

    return start(argv, config, supervise, rewrite_cpuid=rewrite == "rewrite")


def keep_config(config: bytes, *, rewrite_cpuid: bool) -> None:
    """Keep the agent's configuration of a run without options."""
    kind = "rewrite" if rewrite_cpuid else "fault"
    Kept(_KEPT).keep(_key(), f"{kind}:{len(config)}:{config.hex()}")


def _key() -> str:
    """Return all that the configuration follows from, in short."""
    boot = _text("/proc/sys/kernel/random/boot_id").strip()
    abilities = _text("/proc/self/status").partition("CapEff:")[2].split(maxsplit=1)[0]
    numbers = f"{_number(_places())} {_number(_processor())} {_number(_ourselves())}"
    return f"{__version__} {boot} {os.geteuid()} {abilities} {numbers}"


def _number(facts: "Iterator[int]") -> str:
    return f"{hash(tuple(facts)):x}"


def _text(path: str) -> str:
    with open(path) as file:  # noqa: PTH123 -- for speed
        return file.read()


def _places() -> "Iterator[int]":
    """Yield what tells the directories with device nodes from others of their name."""
    for path in (*_DIRECTORIES, "/dev/sgx_enclave", "/proc/self/ns/mnt"):
        try:
            status = os.stat(path)  # noqa: PTH116 -- for speed
        except OSError:
            yield 0
        else:
            yield from (status.st_dev, status.st_ino)


def _processor() -> "Iterator[int]":
    """Yield what tells this processor from another; a machine can be moved."""
    yield lib.xcr0()
    for leaf in (0, 1, 7):
        for number, value in enumerate(lib.cpuid(leaf, 0)):
            yield value & _WITHOUT_APIC_ID if (leaf, number) == (1, 1) else value


def _ourselves() -> "Iterator[int]":
    """Yield what changes when a file of ours does."""
    here = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 -- for speed
    found = []
    for room in _ROOMS:
        with os.scandir(f"{here}/{room}") as entries:
            for entry in entries:
                if not entry.name.startswith("__"):
                    status = entry.stat()
                    found.append((status.st_ino, status.st_mtime_ns, status.st_size))
    for facts in sorted(found):
        yield from facts
