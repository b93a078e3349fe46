"""Names of open files that stand for others, as /proc/PID/fd shows them.

A memfd or a directory without a place in the file system carries in its name the path
that the program believes it has open.  A program can make such names too: it then sees
what it asked for.
"""

import re

_MARK = "softsgx:"
_MEMORY = re.compile(r"/memfd:softsgx:(.+) \(deleted\)")
_DIRECTORY = re.compile(r".*/softsgx:([^/:]+):[^/:]+ \(deleted\)")


def mark_memory(path: str) -> str:
    """Return the name of a memfd that stands for the file at a path."""
    return _MARK + path


def mark_directory(path: str) -> str:
    """Return the head of the name of a directory that stands for another."""
    return f"{_MARK}{path.replace('/', chr(92))}:"


def marked_path(link: str) -> str | None:
    """Return the path that an open file of ours stands for, by its link in /proc."""
    if found := _MEMORY.fullmatch(link):
        return found[1]
    if found := _DIRECTORY.fullmatch(link):
        return found[1].replace(chr(92), "/")
    return None
