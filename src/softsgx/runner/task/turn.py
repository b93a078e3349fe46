"""Whose turn it is: one thread at a time has the model, the driver and the tree."""

from _thread import LockType, allocate_lock


class Turn:
    """`with turn:` while their state is looked at or changed.

    Inside of it, `with turn.aside:` where somebody else decides how long it takes: then
    others have their turn, and what was known before may be different after.
    """

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._door = allocate_lock()
        self.aside = Aside(self._lock, self._door)

    def __enter__(self) -> None:
        self.aside.__exit__()

    def __exit__(self, *failure: object) -> None:
        self._lock.release()


class Aside:
    """The time in which a thread that has the turn leaves it to others.

    Who comes back waits behind those that wait already: they stand at the door.
    """

    __slots__ = ("_door", "_lock")

    def __init__(self, lock: LockType, door: LockType):
        self._lock = lock
        self._door = door

    def __enter__(self) -> None:
        self._lock.release()

    def __exit__(self, *failure: object) -> None:
        self._door.acquire()
        self._lock.acquire()
        self._door.release()


def held() -> Aside:
    """Return one of a turn that nobody else waits for."""
    lock = allocate_lock()
    lock.acquire()
    return Aside(lock, allocate_lock())
