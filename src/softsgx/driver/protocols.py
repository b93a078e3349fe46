"""What the driver asks of its caller: an enclave's memory, and the calling task."""

from typing import NamedTuple, Protocol

from softsgx.driver.mm import Mm


class Source(NamedTuple):
    """A VMA of the caller: its end, if it may ever be executable, what is behind it."""

    end: int
    may_exec: bool
    is_file: bool = False
    is_executable: bool = False


class Backing(Protocol):
    """The file that an enclave's evicted pages go to, open for reading and writing."""

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

    def publish(self, page: int, words: bytes) -> None:
        """Show EPCM state words (u16 each, little-endian) from page *page* on."""


class Task(Protocol):
    """The thread that made the call: its memory, its files and its signals."""

    @property
    def mm(self) -> Mm:
        """The task's address space."""

    def copy_from_user(self, addr: int, size: int) -> bytes:
        """Copy *size* bytes in; OSError(EFAULT)."""

    def copy_into(self, addr: int, view: memoryview) -> bool:
        """Copy pages into zeroed enclave memory, leaving all-zero ones out.

        False: not all could be read, and what the view holds then is anything.
        """

    def copy_to_user(self, addr: int, data: bytes) -> None:
        """Copy bytes out; OSError(EFAULT)."""

    def file(self, fd: int) -> object | None:
        """Return what *fd* is open on: Encl, Provision, any other object; or None."""

    def backing(self, fd: int) -> Backing:
        """Return what *fd* is open on; EINVAL unless a regular file, read and write."""

    def source(self, addr: int) -> Source | None:
        """Return what pages from *addr* on would be copied from.

        That is the first VMA that ends above *addr*, even if it begins above it too.
        """

    def is_modified(self, addr: int, pages: int) -> bool:
        """Say whether pages of a private file mapping are the task's own copies."""

    def signal_pending(self) -> bool:
        """Say whether a signal waits for the task."""
