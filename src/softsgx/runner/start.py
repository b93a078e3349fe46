"""Start a program, serve it, end as it ended: what every run needs, and no more.

What stands behind the devices is made when something of the program first asks for it:
most programs under softsgx, compilers and shells around an SGX program, never do.
"""

import errno
import os
import resource
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from select import POLLIN, poll

from softsgx.native import lib
from softsgx.native.notify import Listener
from softsgx.runner.crew import Crew
from softsgx.runner.execs import Execs
from softsgx.runner.host_code import KEPT, HostCode, TextScanner
from softsgx.runner.kept import Kept
from softsgx.runner.loop import Loop
from softsgx.runner.supervisor import Supervisor
from softsgx.runner.turn import Turn

Supervise = Callable[[Listener, Loop, Turn, Execs], Supervisor]

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_LAST_WORDS = 0.2
"""Seconds in which what is still to be said about a program that ended is said."""
_OF_THE_TERMINAL = (signal.SIGINT, signal.SIGQUIT)


def start(
    argv: list[str],
    config: bytes,
    supervise: Supervise,
    *,
    rewrite_cpuid: bool,
    ended: Callable[[], None] = lambda: None,
) -> int:
    """Run a program; return its exit code, or die of the signal that it died of.

    *config* is the agent's, *supervise* makes what serves the tree; *ended* is called
    at the end.  OSError: it could not be started; native.lib.NotBuilt: it is not built.
    """
    path = program(argv[0])
    code = HostCode(TextScanner(Kept(KEPT)) if rewrite_cpuid else None)
    injector = lib.Injector(config)
    pid, listener_fd, errors = lib.launch(path, argv, _environment())
    _use_all_descriptors()
    listener = Listener(listener_fd)
    loop = Loop(last=listener_fd)
    turn = Turn()
    execs = Execs(listener, code, injector, complain, os.getpid())
    supervisor = supervise(listener, loop, turn, execs)
    crew = Crew(turn, loop, supervisor)
    crew.start()
    child = _Child(pid)
    with child.signals():
        child.serve(crew.over_fd)
    crew.raise_failure()
    _check_started(errors, path)
    crew.settle(_LAST_WORDS)
    with turn:
        ended()
    if supervisor.has_callers() and crew.leave():
        _serve_on(Crew(turn, loop, supervisor))
    return _end_like(child.wait() if child.status is None else child.status)


def _use_all_descriptors() -> None:
    """Raise our own limit: each enclave and each process of the tree needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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


class _Child:
    """The program that was asked for, among the processes of the tree."""

    def __init__(self, pid: int):
        self.pid = pid
        self.status: int | None = None
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self, over_fd: int) -> None:
        """Wait until it has ended, or nobody serves it; stop while it is stopped."""
        waiting = poll()
        for fd in (self._wake, over_fd):
            waiting.register(fd, POLLIN)
        self._look()
        while self.status is None:
            due = [fd for fd, _ in waiting.poll()]
            self._look()
            if over_fd in due:
                return

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Pass on what is sent to us, and hear of the child."""
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        for number in (*_PASSED_ON, signal.SIGCHLD):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._pass_on)
        for number in _OF_THE_TERMINAL:
            # The terminal sends these to the program too: it decides.
            signal.signal(number, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)

    def _pass_on(self, number: int, frame: object) -> None:
        del frame
        if number != signal.SIGCHLD and self.status is None:
            os.kill(self.pid, number)

    def _look(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake, 4096)
        status = lib.wait_child(self.pid)
        if status is None:
            return
        if os.WIFSTOPPED(status):
            # The shell waits for us: stop as the program did, go on with it.
            os.kill(os.getpid(), signal.SIGSTOP)
            os.kill(self.pid, signal.SIGCONT)
            return
        self.status = status

    def wait(self) -> int:
        """Wait for the end."""
        return os.waitpid(self.pid, 0)[1]


def complain(message: str) -> None:
    """Say on stderr what the user must know, while the program runs."""
    with suppress(OSError):
        sys.stderr.write(f"softsgx: {message}\n")
        sys.stderr.flush()


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
    number = os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    raise OSError(errno.EINTR, f"the program died of signal {number}")
