"""Threads and processes by their numbers, as /proc tells."""

import errno
import os
import re
import signal
from select import POLLIN, poll

_MASK = re.compile(r"^(\w+):\t([0-9a-f]{16})$", re.MULTILINE)
_DROPPED = sum(
    1 << (one - 1)
    for one in (signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)
)
"""Signals that do nothing unless they are handled."""

_PARENT = 1
_PLACES = (23, 25, 44)
"""Of a process's code, its stack and its heap, where each of them starts."""
_NO_STAT = [0] * 64
_NO_LIMIT = (1 << 63) - 1


def has_ended(pidfd: int) -> bool:
    """Say whether the process of a pidfd has ended."""
    waiter = poll()
    waiter.register(pidfd, POLLIN)
    return bool(waiter.poll(0))


def is_thread_of(tid: int, pid: int) -> bool:
    """Say whether a thread is one of a process's."""
    if tid == pid:
        return True
    try:
        os.stat(f"/proc/{pid}/task/{tid}")  # noqa: PTH116 -- often called
    except OSError:
        return False
    return True


def pid_of(tid: int) -> int:
    """Return the process that a thread belongs to; OSError(ESRCH) if it is gone."""
    try:
        status = read_proc(f"/proc/{tid}/status")
    except OSError as error:
        raise OSError(errno.ESRCH, "the thread is gone") from error
    for line in status.split("\n"):
        if line.startswith("Tgid:"):
            return int(line.split()[1])
    raise OSError(errno.ESRCH, "no Tgid")


def tracer_of(tid: int) -> int:
    """Return the thread that traces another one; 0: none does, or it is gone."""
    try:
        status = read_proc(f"/proc/{tid}/status")
    except OSError:
        return 0
    _, _, rest = status.partition("\nTracerPid:")
    return int(rest.split(maxsplit=1)[0]) if rest else 0


def file_user_of(tid: int) -> tuple[int, int]:
    """Return user and group as whom a thread uses files; OSError(ESRCH)."""
    lines = _lines_of(f"/proc/{tid}/status")
    ids = {words[0]: words[-1] for words in map(str.split, lines) if words}
    return int(ids["Uid:"]), int(ids["Gid:"])


def file_limit_of(tid: int) -> int:
    """Return how large a file a thread may make, in bytes; OSError(ESRCH)."""
    for line in _lines_of(f"/proc/{tid}/limits"):
        name, _, values = line.partition("Max file size")
        if not name and values:
            soft = values.split()[0]
            return _NO_LIMIT if soft == "unlimited" else int(soft)
    return _NO_LIMIT


def _lines_of(path: str) -> list[str]:
    try:
        return read_proc(path).split("\n")
    except OSError as error:
        raise OSError(errno.ESRCH, "the thread is gone") from error


def parent_of(pid: int) -> int:
    """Return the parent of a process, 0 if unknown."""
    return _stat_of(pid)[_PARENT]


def memory_mark(pid: int) -> tuple[int, ...]:
    """Return what is the same for processes that share memory: where execve put things.

    Programs that are put to random places seldom have it in common by chance.
    """
    words = _stat_of(pid)
    return tuple(words[at] for at in _PLACES)


def _stat_of(pid: int) -> list[int]:
    """Return the numbers in a process's stat behind its name, by their places."""
    try:
        text = read_proc(f"/proc/{pid}/stat")
    except OSError:
        return _NO_STAT
    state, *words = text.rpartition(")")[2].split()
    return [ord(state), *map(int, words)]


def is_signalled(tid: int, blocked: int) -> bool:
    """Say whether a signal waits that a thread would handle, were it not for *blocked*.

    Those that nobody handles are dropped, though the kernel keeps them for now.
    """
    try:
        status = read_proc(f"/proc/{tid}/status")
    except OSError:
        return True
    masks = {name: int(bits, 16) for name, bits in _MASK.findall(status)}
    dropped = masks["SigIgn"] | (_DROPPED & ~masks["SigCgt"])
    return bool((masks["SigPnd"] | masks["ShdPnd"]) & ~blocked & ~dropped)


def read_proc(path: str) -> str:
    """Return the text of a file of /proc, whose lines end with a newline only.

    What programs named themselves in it can be any bytes.
    """
    with open(  # noqa: PTH123 -- every start comes by here
        path, errors="surrogateescape", newline="\n"
    ) as file:
        return file.read()
