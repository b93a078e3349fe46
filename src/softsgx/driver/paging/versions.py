"""The version arrays of an enclave, where versions of its evicted pages are kept."""

from collections.abc import Iterable

VA_SLOT_COUNT = 512
"""Slots in a VA page: one VA page is kept for so many pages of an enclave."""


class Versions:
    """VA pages, by their EPC pages, and which slots of them are in use.

    There is a slot for every page of the enclave, so `take` always finds one.
    """

    def __init__(self) -> None:
        self.pages: list[int] = []
        self._used = 0
        self._free: list[int] = []

    def take(self, count: int) -> list[int]:
        """Take free slots; return their numbers in all VA pages."""
        used = self._free[len(self._free) - min(count, len(self._free)) :]
        del self._free[len(self._free) - len(used) :]
        fresh = count - len(used)
        if self._used + fresh > len(self.pages) * VA_SLOT_COUNT:
            raise AssertionError("more evicted pages than slots")
        self._used += fresh
        return used + list(range(self._used - fresh, self._used))

    def give(self, slots: Iterable[int]) -> None:
        """Take note that slots are empty again."""
        self._free.extend(slots)

    def place(self, slot: int) -> tuple[int, int]:
        """Return the EPC page that a slot is in, and its number there."""
        page, number = divmod(slot, VA_SLOT_COUNT)
        return self.pages[page], number

    def drop_last(self, pages: list[int]) -> list[int]:
        """Forget those of the last pages that no slot was ever taken from."""
        dropped: list[int] = []
        while self.pages and self.pages[-1] in pages:
            if self._used > (len(self.pages) - 1) * VA_SLOT_COUNT:
                break
            dropped.append(self.pages.pop())
        return dropped
