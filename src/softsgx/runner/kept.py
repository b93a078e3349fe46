"""Lines that are kept from run to run: a file of the user's own cache directory.

What is in there only saves time.  A file that somebody else could have written, or
that is not in order, is as good as none.
"""

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:  # what takes long to import is not, here
    from collections.abc import Callable, Mapping

CODE_PLACES = "code-places-5"
"""What of files' code is replaced; another number for another way to find it."""

_LARGEST = 1 << 20
_FULL = _LARGEST // 2
"""A file of this size begins anew: a run finds room for what it has to keep."""
_OTHERS_WRITE = 0o022


class Kept:
    """Lines of a key, a space and a word, in a file that only we can write."""

    def __init__(self, name: str, environ: "Mapping[str, str]" = os.environ) -> None:
        self._fd = _opened(name, environ)
        self.lines = self._read()
        """What was in the file, whole lines."""

        self._new: dict[str, str] = {}
        self._room = _LARGEST - len(self.lines)

    def get(self, key: str) -> str | None:
        """Return the word that stands behind a key."""
        if key in self._new:
            return self._new[key]
        begin = f"{key} ".encode()
        at = len(self.lines)
        while (at := self.lines.rfind(begin, 0, at)) >= 0:
            word = self.lines[at + len(begin) : self.lines.index(b"\n", at)]
            is_line = at == 0 or self.lines[at - 1 : at] == b"\n"
            if is_line and b" " not in word:
                return word.decode("ascii", "replace")
        return None

    def keep(self, key: str, word: str) -> None:
        """Write a line down, if there is room; the last one of a key holds."""
        self._room -= len(key) + len(word) + 2
        if self._room < 0:
            return
        self._new[key] = word
        if self._fd is None:
            return
        try:
            os.write(self._fd, f"{key} {word}\n".encode())
        except OSError:
            self._fd = None

    def _read(self) -> bytes:
        if self._fd is None:
            return b""
        try:
            size = os.fstat(self._fd).st_size
            if size > _FULL:
                os.ftruncate(self._fd, 0)
            lines = os.pread(self._fd, min(size, _LARGEST), 0)
            if lines and not lines.endswith(b"\n"):
                os.write(self._fd, b"\n")
                lines = lines[: lines.rfind(b"\n") + 1]
        except OSError:
            return b""
        return lines


def _opened(name: str, environ: "Mapping[str, str]") -> int | None:
    home = environ.get("HOME", "")
    caches = environ.get("XDG_CACHE_HOME") or (home and f"{home}/.cache")
    if not caches.startswith("/"):
        return None
    directory = f"{caches}/softsgx"
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = None
    try:
        os.makedirs(directory, 0o700, exist_ok=True)  # noqa: PTH103 -- at each start
        fd = os.open(f"{directory}/{name}", flags | os.O_NONBLOCK, 0o600)
        if _is_ours(os.lstat(directory), stat.S_ISDIR) and _is_ours(
            os.fstat(fd), stat.S_ISREG
        ):
            return fd
    except OSError:
        pass
    if fd is not None:
        os.close(fd)
    return None


def _is_ours(status: os.stat_result, is_kind: "Callable[[int], bool]") -> bool:
    return (
        is_kind(status.st_mode)
        and status.st_uid == os.geteuid()
        and not status.st_mode & _OTHERS_WRITE
    )
