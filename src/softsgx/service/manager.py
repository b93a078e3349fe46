"""What a service manager hands over, and is told: sd_listen_fds(3), sd_notify(3)."""

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

from softsgx.platform.errors import PlatformError
from softsgx.service.places import KINDS

_FIRST = 3
_ABOUT_SOCKETS = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def passed_sockets(
    environ: MutableMapping[str, str] = os.environ,
) -> dict[str, socket.socket]:
    """Return the sockets that we were started with, by our names for them.

    A data channel keeps messages apart, a control channel does not.  PlatformError.
    """
    about = {name: environ.pop(name, "") for name in _ABOUT_SOCKETS}
    if about["LISTEN_PID"] != str(os.getpid()):
        return {}
    found: dict[str, socket.socket] = {}
    count = int(about["LISTEN_FDS"]) if about["LISTEN_FDS"].isdecimal() else 0
    for fd in range(_FIRST, _FIRST + count):
        name = _name_of(fd)
        if name is None or name in found:
            raise PlatformError(f"descriptor {fd} is no socket of ours")
        os.set_inheritable(fd, False)  # noqa: FBT003 -- its own signature
        found[name] = socket.socket(fileno=fd)
    return found


def _name_of(fd: int) -> str | None:
    """Return what we call a socket of that kind; None: it is something else."""
    try:
        with socket.socket(fileno=os.dup(fd)) as sock:
            family, kind = sock.family, sock.type
    except OSError:
        return None
    names = (name for name, ours in KINDS.items() if ours == kind)
    return next(names, None) if family == socket.AF_UNIX else None


def tell_manager(state: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Tell the manager, if there is one that wants to know: READY=1, STOPPING=1."""
    place = environ.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), place.replace("@", "\0", 1))
