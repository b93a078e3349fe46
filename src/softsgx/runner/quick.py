"""A run without options, as most are: it starts with what an earlier one found out.

The agent's configuration follows from the model, this machine and the files of
softsgx.  Making it takes longer than all else in a short run, so it is kept, under a
key of all that it follows from.
"""

import os
import sys

from softsgx.native import kept_config
from softsgx.runner.kept import CODE_PLACES, Kept
from softsgx.runner.start import Begun, is_program, program, start

TYPE_CHECKING = False
if TYPE_CHECKING:  # what takes long to import is not, here
    from collections.abc import Callable, Iterator

    from softsgx.native.notify import Listener
    from softsgx.runner.execs import Execs
    from softsgx.runner.loop import Loop
    from softsgx.runner.supervisor import Sgx, Supervisor
    from softsgx.runner.task.turn import Turn

_KEPT = "agent-config-2"
"""native/start/kept.c reads it too."""

_COMMAND, _SCRIPT = "softsgx", "softsgx-python"
"""What people call, and what it becomes when it needs Python; see native/start."""

_CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_ROOMS = (
    *("arch", "machine", "native", "platform"),
    *("runner", "runner/code", "runner/task", "runner/vfs"),
)
_DIRECTORIES = ("/", "/dev", "/proc", "/sys", *_CGROUPS)


def quick_run(argv: list[str]) -> int | None:
    """Do what `run` does without options; None if this needs the long way."""
    if not is_program(program(argv[0])):
        return None
    found = kept_config.recall(_checker(), Kept(_KEPT).lines)
    if found is None:
        return None
    config, rewrite = found
    return start(argv, config, _supervise(config), rewrite_cpuid=rewrite)


def handed_run(fd: int, argv: list[str]) -> int | None:
    """Go on with a run that began without Python; None if *fd* tells of none."""
    # Imported when such a run has come to need Python.
    from softsgx.native.handed import take  # noqa: PLC0415 -- see above

    told = take(fd)
    if told is None:
        return None
    begun = Begun(told.head.pid, told.head.listener, told.head.errors)
    begun.status = told.head.status if told.head.has_ended else None
    begun.calls, begun.starts = told.calls, told.starts
    rewrite = bool(told.head.rewrite)
    supervise = _supervise(told.config)
    return start(argv, told.config, supervise, rewrite_cpuid=rewrite, begun=begun)


def _supervise(
    config: bytes,
) -> "Callable[[Listener, Loop, Turn, Execs], Supervisor]":
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

    return supervise


def keep_config(config: bytes, *, rewrite_cpuid: bool) -> None:
    """Keep the agent's configuration of a run without options."""
    root = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 -- for speed
    places = [*_DIRECTORIES, "/dev/sgx_enclave", "/proc/self/ns/mnt"]
    ours = sorted(_ourselves(root))
    files = CODE_PLACES if rewrite_cpuid else ""
    word = kept_config.word_of(config, files, places, root, ours)
    key = kept_config.key_of(_checker())
    if word and key:
        Kept(_KEPT).keep(key, word)


def _checker() -> str:
    """Return the file whose code looks whether a line of its own holds, before us."""
    directory, _, name = sys.argv[0].rpartition("/")
    command = f"{directory}/{_COMMAND}"
    is_there = name == _SCRIPT and os.path.exists(command)  # noqa: PTH110 -- for speed
    return command if is_there else kept_config.LIBRARY


def _ourselves(root: str) -> "Iterator[str]":
    """Yield our files below *root*; one more matters to none that is as it was."""
    yield "__init__.py"
    for room in _ROOMS:
        with os.scandir(f"{root}/{room}") as entries:
            for entry in entries:
                if entry.is_file() and not entry.name.startswith("__"):
                    yield f"{room}/{entry.name}"
