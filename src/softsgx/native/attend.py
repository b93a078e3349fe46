"""The main thread of a run, as far as Python has no words for it, or slow ones."""

import ctypes

from softsgx.native.library import checked, library


def hear() -> int:
    """Keep the signals of a run, so that `attend` passes them on; return what for."""
    return checked(library().softsgx_hear(), "signalfd")


def attend(pid: int, heard: int, over: int) -> int | None:
    """Wait for a child's end and return its status, stop while it is stopped.

    None: *over* is readable, nobody serves it.
    """
    status = ctypes.c_int()
    at = ctypes.addressof(status)
    ended = checked(library().softsgx_attend(pid, heard, over, at), "attend")
    return status.value if ended else None


def deafen() -> None:
    """Block all signals in this thread."""
    library().softsgx_deafen()


def all_descriptors() -> None:
    """Raise our own limit as far as it goes."""
    checked(library().softsgx_all_descriptors(), "setrlimit")
