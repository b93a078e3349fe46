"""Who a thread is, and what a file's mode lets it do."""

import errno
from dataclasses import dataclass
from typing import Self

from softsgx.runner.task.threads import read_proc

R_OK, W_OK, X_OK = 4, 2, 1


@dataclass(frozen=True)
class Credentials:
    """Numbers of a user and of all groups."""

    uid: int
    gids: frozenset[int]

    @classmethod
    def of(cls, tid: int, *, real: bool = False) -> Self:
        """Return a thread's, as the file system asks for them; *real* as access(2)."""
        try:
            text = read_proc(f"/proc/{tid}/status")
        except OSError as error:
            raise OSError(errno.ESRCH, "the thread is gone") from error
        lines = dict(line.split(":", 1) for line in text.split("\n") if ":" in line)
        uids, gids = lines["Uid"].split(), lines["Gid"].split()
        which = 0 if real else 3
        groups = {int(gids[which]), *map(int, lines["Groups"].split())}
        return cls(int(uids[which]), frozenset(groups))

    def may(self, wanted: int, mode: int, gid: int, uid: int = 0) -> bool:
        """Say whether a file of that mode and those owners lets them do it all."""
        if self.uid == 0:
            return not wanted & X_OK or bool(mode & 0o111)
        if self.uid == uid:
            granted = mode >> 6
        elif gid in self.gids:
            granted = mode >> 3
        else:
            granted = mode
        return not wanted & ~granted
