"""The program's own file for evicted pages, which may take as long as it likes.

It can be on a file system that another program serves.  So nobody reads or writes it
who has the turn: a thread of its own writes, and who needs a page that is not here yet
leaves the turn and asks again.
"""

import errno
import os
import signal
from _thread import allocate_lock, start_new_thread
from collections.abc import Sequence
from functools import partial

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.pageinfo import Pcmd
from softsgx.driver.protocols import NotYetError
from softsgx.native import lib
from softsgx.native.backing import BackingStore, Image, Place, places

_AT_ONCE = 32
"""Most pages that are written together."""
_FETCHED = 256
"""Most pages that wait to be loaded."""
_NO_LIMIT = 1 << 63
_NOTHING: Image = bytes(PAGE_SIZE), bytes(Pcmd.SIZE)


class BackingFile(BackingStore):
    """A file for evicted pages; those that are not written yet are kept here.

    It is written as by its *user*, if we are another one, and up to *limit* bytes.
    """

    def __init__(
        self, fd: int, user: tuple[int, int] | None = None, limit: int = _NO_LIMIT
    ) -> None:
        super().__init__(fd)
        self._user, self._limit = user, limit
        self._lock = allocate_lock()
        self._fetched: dict[Place, Image] = {}
        self._writes = 0
        self._is_writing = self._is_closed = False
        self._failure: OSError | None = None

    def reserve(self) -> None:
        """Raise what the last write ended with, and try it again meanwhile."""
        with self._lock:
            self._start()
            if self._failure is not None:
                raise self._failure

    def write(self, place: Place, images: Sequence[Image]) -> None:
        """Have pages written, soon."""
        with self._lock:
            self._writes += 1
            self._fetched.clear()
            self._kept.update(zip(places(place, len(images)), images, strict=True))
            self._start()

    def read(self, place: Place, count: int) -> list[Image]:
        """Return pages; NotYetError if somebody has to look into the file first."""
        with self._lock:
            here = self._fetched | self._kept
        found = [here[one] for one in places(place, count) if one in here]
        if len(found) < count:
            raise NotYetError(partial(self._fetch, place, count))
        return found

    def close(self) -> None:
        """Let go of it, when the write that is under way has ended."""
        with self._lock:
            self._is_closed = True
            if not self._is_writing:
                os.close(self._fd)

    def _fetch(self, place: Place, count: int) -> None:
        """Look into the file; nobody waits for us."""
        with self._lock:
            if self._is_closed:
                return
            writes, fd = self._writes, os.dup(self._fd)
        try:
            images = BackingStore(fd).read(place, count)
        except OSError:
            images = [_NOTHING] * count
        finally:
            os.close(fd)
        with self._lock:
            # What was read before a write may be older than it.
            if writes == self._writes:
                if len(self._fetched) > _FETCHED:
                    self._fetched.clear()
                self._fetched.update(zip(places(place, count), images, strict=True))

    # ---- the thread ----

    def _start(self) -> None:
        if not self._kept or self._is_writing:
            return
        try:
            start_new_thread(self._work, ())
        except RuntimeError:
            self._failure = OSError(errno.EAGAIN, "no thread can be made")
        else:
            self._is_writing = True

    def _work(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while batch := self._next():
            first = next(iter(batch))
            try:
                self._be_its_user()
                self._write(first, list(batch.values()))
            except OSError as failure:
                with self._lock:
                    self._failure = failure
                    self._end()
                return
            with self._lock:
                self._failure = None
                for place, image in batch.items():
                    if self._kept.get(place) is image:
                        del self._kept[place]

    def _be_its_user(self) -> None:
        if self._user is not None:
            lib.act_as(*self._user)

    def _write(self, place: Place, images: Sequence[Image]) -> None:
        last = list(places(place, len(images)))[-1]
        if last[0] + PAGE_SIZE > self._limit or last[1] + Pcmd.SIZE > self._limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        super()._write(place, images)

    def _next(self) -> dict[Place, Image]:
        """Return what is written next, neighbours together; nothing: it is the end."""
        with self._lock:
            batch: dict[Place, Image] = {}
            if self._kept and not self._is_closed:
                for place in places(next(iter(self._kept)), _AT_ONCE):
                    if place not in self._kept:
                        break
                    batch[place] = self._kept[place]
            if not batch:
                self._end()
            return batch

    def _end(self) -> None:
        self._is_writing = False
        if self._is_closed:
            os.close(self._fd)
