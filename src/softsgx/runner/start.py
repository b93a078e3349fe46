"""Start a program, serve it, end as it ended: what every run needs, and no more.

What stands behind the devices is made when something of the program first asks for it:
most programs under softsgx, compilers and shells around an SGX program, never do.
"""

import os
import stat
import sys
from _thread import stack_size

from softsgx.native import lib, plain
from softsgx.native.attend import all_descriptors, attend, hear
from softsgx.runner.crew import Crew
from softsgx.runner.kept import CODE_PLACES, Kept
from softsgx.runner.loop import Loop
from softsgx.runner.plain_tree import PlainTree
from softsgx.runner.task.turn import Turn

TYPE_CHECKING = False
if TYPE_CHECKING:  # what takes long to import is not, here
    from collections.abc import Callable

    from softsgx.native.notify import Listener
    from softsgx.runner.execs import Execs
    from softsgx.runner.supervisor import Supervisor

    Supervise = Callable[[Listener, Loop, Turn, Execs], Supervisor]

_STACK = 8 << 20
"""Bytes of our threads' stacks, whatever limit the program was given (`ulimit -s`)."""

_LAST_WORDS = 0.2
"""Seconds in which what is still to be said about a program that ended is said."""


class Begun:
    """A program that runs under the filter, and what is known of it.

    *errors*: the pipe on which an execve that failed reports its errno.
    """

    __slots__ = ("calls", "errors", "listener", "pid", "starts", "status")

    def __init__(self, pid: int, listener: int, errors: int) -> None:
        self.pid = pid
        self.listener = listener
        self.errors = errors
        self.status: int | None = None
        """How it ended, if it did."""

        self.calls: list[bytes] = []
        """Received before, and not yet carried out."""

        self.starts = b""
        """Programs on their way from their execve to their first call."""


def start(
    argv: list[str],
    config: bytes,
    supervise: "Supervise",
    *,
    rewrite_cpuid: bool,
    ended: "Callable[[], None]" = lambda: None,
    begun: Begun | None = None,
) -> int:
    """Run a program; return its exit code, or die of the signal that it died of.

    *config* is the agent's, *supervise* makes what serves the tree when C does not do;
    *ended* is called at the end.  OSError: it could not be started; NotBuilt.
    """
    path = program(argv[0])
    kept = Kept(CODE_PLACES) if rewrite_cpuid else None
    files = plain.KnownFiles(kept.lines) if kept else None
    injector = lib.Injector(config)
    begun = _take(begun) if begun else _begin(path, argv)
    listener = begun.listener
    heard = hear()
    loop = Loop(last=listener)
    loop.owe(listener, begun.calls)
    turn = Turn()

    def make() -> "Supervisor":
        # Imported when there is more to do than to begin programs.
        from softsgx.native import notify  # noqa: PLC0415 -- see above
        from softsgx.runner import execs  # noqa: PLC0415 -- see above
        from softsgx.runner.code import host_code  # noqa: PLC0415 -- see above

        scanner = host_code.TextScanner(kept, files) if kept else None
        code = host_code.HostCode(scanner)
        calls = notify.Listener(listener)
        made = execs.Execs(calls, code, injector, complain, os.getpid())
        return supervise(calls, loop, turn, made)

    tree = PlainTree(listener, loop, make)
    plain.begin(listener, injector, files)
    plain.put_starts(listener, begun.starts)
    crew = Crew(turn, loop, tree)
    stack_size(_STACK)
    crew.start()
    status = begun.status
    if status is None:
        status = attend(begun.pid, heard, crew.over_fd)
    crew.raise_failure()
    _check_started(begun.errors, path)
    crew.settle(_LAST_WORDS)
    with turn:
        ended()
    if tree.has_callers() and crew.leave():
        _serve_on(Crew(turn, loop, tree))
    return _end_like(os.waitpid(begun.pid, 0)[1] if status is None else status)


def _begin(path: str, argv: list[str]) -> Begun:
    begun = Begun(*lib.launch(path, argv, _environment()))
    all_descriptors()
    return begun


def _take(begun: Begun) -> Begun:
    """Have the program of one who was this process before."""
    lib.adopt(begun.pid)
    return begun


def _environment() -> list[bytes]:
    """Return the strings that we were given; Python may have added LC_CTYPE."""
    with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 -- for speed
        return file.read().split(b"\0")[:-1]


def is_program(path: str) -> bool:
    """Say whether there is a file that we may execute."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- every start comes by here
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode) and os.access(path, os.X_OK)


def program(name: str) -> str:
    """Return the path of a program that is named as in a shell."""
    places = [] if "/" in name else os.get_exec_path()
    paths = (f"{place}/{name}" for place in places)
    return next((path for path in paths if is_program(path)), name)


def complain(message: str) -> None:
    """Say on stderr what the user must know, while the program runs."""
    try:
        sys.stderr.write(f"softsgx: {message}\n")
        sys.stderr.flush()
    except OSError:
        pass  # nobody listens


def _serve_on(crew: Crew) -> None:
    """Go on in the background for those that the program left; the user may go on."""
    if os.fork():
        return
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    try:
        crew.start()
        os.eventfd_read(crew.over_fd)
    finally:
        os._exit(0)


def _check_started(pipe: int, path: str) -> None:
    """Raise the OSError of an execve that failed."""
    with os.fdopen(pipe, "rb") as file:
        os.set_blocking(file.fileno(), False)
        report = file.read(4) or b""
    if len(report) == 4:
        number = -int.from_bytes(report, "little", signed=True)
        raise OSError(number, os.strerror(number), path)


def _end_like(status: int) -> int:
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    # Imported when a program did not end by itself.
    from softsgx.runner.dying import die_of  # noqa: PLC0415 -- see above

    sys.stdout.flush()
    sys.stderr.flush()
    return die_of(os.WTERMSIG(status))
