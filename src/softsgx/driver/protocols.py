"""What the driver asks of its caller: an enclave's memory, and the calling task."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from softsgx.driver.encl import Encl
    from softsgx.driver.mm import Mm
    from softsgx.native.backing import Image, Place


class Source(NamedTuple):
    """A VMA of the caller: its end, if it may ever be executable, what is behind it."""

    end: int
    may_exec: bool
    is_file: bool = False
    is_executable: bool = False


class NotYetError(Exception):
    """What is needed comes from somebody who may take long; nothing was changed.

    Who meets it calls *fetch* while others come between, and then begins again.
    """

    def __init__(self, fetch: Callable[[], None]):
        super().__init__("not yet")
        self.fetch = fetch


class Backing(Protocol):
    """The file that an enclave's evicted pages go to, open for reading and writing."""

    def reserve(self) -> None:
        """See that it takes what will be written; OSError: it does not, as it seems."""

    def write(self, place: "Place", images: "Sequence[Image]") -> None:
        """Write pages; what cannot be written is kept."""

    def read(self, place: "Place", count: int) -> "list[Image]":
        """Read pages; zeros where somebody has cut the file.  NotYetError."""

    def close(self) -> None:
        """Let go of it."""


class EnclMemory(Protocol):
    """The bytes of one enclave: an enclave page lives at its address minus the base."""

    def resize(self, size: int) -> None:
        """Make it *size* bytes of zeros; called once, by CREATE.  OSError if not."""

    def view(self) -> memoryview:
        """Return all of it, writable; called after resize, kept until release."""

    def zap(self, offset: int, length: int) -> None:
        """Make a range of bytes read zero again and give its memory back."""

    def put(self, offset: int, pieces: Sequence[bytes]) -> None:
        """Write bytes where holes are, whole pages; OSError."""

    def publish(self, page: int, words: bytes) -> None:
        """Show EPCM state words (u16 each, little-endian) from page *page* on."""

    def tally(self, page: int) -> tuple[int, ...]:
        """Return what agents counted at a TCS: EENTERs, EEXITs, exits; and a thread."""

    def new_era(self) -> None:
        """Have agents ask once before they let a thread in by themselves."""

    def close(self) -> None:
        """Let go of it: no enclave came of it."""

    def populate(self, offset: int, length: int) -> None:
        """See that no page of a range is a hole."""

    def backing(self) -> Backing:
        """Make memory for evicted pages; OSError."""


class Tables(Protocol):
    """The native page tables of one process, as far as they map enclaves.

    Ranges are runs of an enclave's pages: the first, from the base, and their number.
    """

    can_evict: bool
    """Pages can be taken out of them while the process runs."""

    def watch(self, encl: "Encl") -> bool:
        """Have an access to a hole of its memory be a page fault.

        False: there may be, or come to be, a mapping in which it is none.
        """

    def protect(self, encl: "Encl", runs: list[tuple[int, int]]) -> None:
        """Let nobody write pages from now on, and watch the enclave's holes."""

    def unprotect(self, encl: "Encl", runs: list[tuple[int, int]]) -> None:
        """Let pages be written again; holes stay as they are."""

    def changes(self, tid: int) -> bool:
        """Take note that a thread was told to change mappings.

        Return whether it is to say when it has: until then they may be any.
        """

    def changed(self, tid: int) -> None:
        """Take note that a thread has changed mappings."""

    def close(self) -> None:
        """Let go of them: the process is gone, or has others."""


class NoTables:
    """The page tables of a process from which no page can be taken out."""

    can_evict = False

    def watch(self, encl: "Encl") -> bool:
        """Return False: a hole is no page fault there, and no page is ever out."""
        del encl
        return False

    def protect(self, encl: "Encl", runs: list[tuple[int, int]]) -> None:
        """Do nothing: pages of such a process stay."""

    def unprotect(self, encl: "Encl", runs: list[tuple[int, int]]) -> None:
        """Do nothing: no page was protected."""

    def changes(self, tid: int) -> bool:
        """Return False: the thread need not say when it has."""
        del tid
        return False

    def changed(self, tid: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Ordinary(Protocol):
    """A task's memory outside of enclaves."""

    def copy_from_user(self, addr: int, size: int) -> bytes:
        """Copy *size* bytes in; OSError(EFAULT)."""

    def copy_to_user(self, addr: int, data: bytes) -> None:
        """Copy bytes out; OSError(EFAULT)."""


class Task(Ordinary, Protocol):
    """The thread that made the call: its memory, its files and its signals.

    While it copies, or looks at files, other calls may come between.
    """

    @property
    def mm(self) -> "Mm":
        """The task's address space."""

    def copy_into(self, addr: int, view: memoryview) -> bool:
        """Copy pages into zeroed enclave memory, leaving all-zero ones out.

        False: not all could be read, and what the view holds then is anything.
        """

    def file(self, fd: int) -> object | None:
        """Return what *fd* is open on: a File, any other object; or None."""

    def new_memory(self) -> EnclMemory:
        """Return memory for an enclave that no open file is; OSError."""

    def backing(self, fd: int) -> Backing:
        """Return what *fd* is open on; EINVAL unless a regular file, read and write."""

    def wait_for(self, fetch: Callable[[], None]) -> None:
        """Do what may take long, while others come between."""

    def source(self, addr: int) -> Source | None:
        """Return what pages from *addr* on would be copied from.

        That is the first VMA that ends above *addr*, even if it begins above it too.
        """

    def is_modified(self, addr: int, pages: int) -> bool:
        """Say whether pages of a private file mapping are the task's own copies."""

    def signal_pending(self) -> bool:
        """Say whether a signal waits for the task."""
