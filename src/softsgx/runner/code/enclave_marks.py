"""What stands in an enclave's code that is ours, and what stood there before."""

from dataclasses import dataclass, field

from softsgx.runner.code.flow import Site


@dataclass
class CodePage:
    """A page with breakpoints, or one that was judged."""

    originals: dict[int, int] = field(default_factory=dict)
    """What stood at a breakpoint, by its offset."""
    forbidden: dict[int, Site] = field(default_factory=dict)
    """The forbidden instructions among them."""
    entries: set[int] = field(default_factory=set)
    """Addresses in it that other pages branch to."""
    runs: bool = False
    swaps: int = 0


@dataclass
class Window:
    """A forbidden instruction that is as it was until its thread goes on behind it."""

    tid: int
    opened: float
    saved: dict[int, int]
    """What stood at the breakpoints around it, by address."""


@dataclass
class Marks:
    """What is known of one enclave's code."""

    pages: dict[int, CodePage] = field(default_factory=dict)
    """By number from the base."""
    windows: dict[int, Window] = field(default_factory=dict)
    """By the instruction's address."""

    def places(self, address: int, index: int, offset: int) -> set[int]:
        """Return where a breakpoint at an address, or its window, has its bytes.

        *index*, *offset*: its page, and where it is there.
        """
        page = self.pages.get(index)
        size, before = page.forbidden.get(offset, (0, 0)) if page else (0, 0)
        found = {address, address - before, address + size}
        for site, window in self.windows.items():
            if address == site or address in window.saved:
                found |= {site, *window.saved}
        return found

    def page(self, index: int) -> CodePage:
        """Return what is known of a page, by its number."""
        return self.pages.setdefault(index, CodePage())
