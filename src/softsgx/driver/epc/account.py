"""What users of one machine take from each other, and how much of it each may have.

A user may take more for as long as no more is left than he has: one alone gets half of
it all, two get a third each, and there is always something for the next.
"""

import errno
from collections.abc import Callable, Mapping
from enum import Enum

from softsgx.driver.errnos import refuse

NO_BOUND = 1 << 62
NOBODY = -1
"""Who has no account: there are no users."""


class Scarce(Enum):
    """What there is too little of for everybody to have as much as he likes."""

    RUNS = "runs"
    OPENS = "open enclaves"
    PROCESSES = "processes"
    THREADS = "calls that take long"
    PAGES = "pages of enclaves"
    ADDRESSES = "addresses for enclaves"


class Account:
    """One user's; without *shares* nothing has a bound.

    *met* is told when there is no more for him.
    """

    def __init__(
        self,
        uid: int = NOBODY,
        shares: "Mapping[Scarce, Shares] | None" = None,
        met: Callable[[Scarce], None] = lambda _: None,
    ):
        self.uid = uid
        self._shares = shares or {}
        self._met = met

    def room(self, thing: Scarce) -> int:
        """Return how many more there are for him."""
        shares = self._shares.get(thing)
        if shares is None:
            return NO_BOUND
        room = shares.room(self.uid)
        if not room:
            self._met(thing)
        return room

    def take(self, thing: Scarce, count: int, number: int = errno.ENOMEM) -> None:
        """Take so many, or refuse it with that errno."""
        shares = self._shares.get(thing)
        if shares is None:
            return
        if count > shares.room(self.uid):
            self._met(thing)
            raise refuse(number, f"user {self.uid} has a share of {thing.value}")
        shares.add(self.uid, count)

    def give(self, thing: Scarce, count: int) -> None:
        """Give so many back."""
        if thing in self._shares:
            self._shares[thing].add(self.uid, -count)


class Shares:
    """One thing, of which there are *whole*; its *owner* may have as many as he likes.

    What he has is not there for others; *apart*: but they do not share with him.
    """

    def __init__(self, whole: int, owner: int = NOBODY, *, apart: bool = False):
        self._owner, self._is_apart = owner, apart
        self._left = whole
        self._has: dict[int, int] = {}

    def room(self, uid: int) -> int:
        """Return how many more a user may have now."""
        if uid == self._owner:
            return NO_BOUND
        return max(0, (self._left - self._has.get(uid, 0)) // 2)

    def add(self, uid: int, count: int) -> None:
        """Take note that a user has so many more, or less."""
        if uid == self._owner and self._is_apart:
            return
        self._left -= count
        has = self._has.get(uid, 0) + count
        if has:
            self._has[uid] = has
        else:
            self._has.pop(uid, None)
