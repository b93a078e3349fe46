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
    names = {kind: name for name, kind in KINDS.items()}
    found = {}
    for fd in range(_FIRST, _FIRST + int(about["LISTEN_FDS"])):
        os.set_inheritable(fd, False)  # noqa: FBT003 -- its own signature
        sock = socket.socket(fileno=fd)
        name = names.get(sock.type)
        if sock.family != socket.AF_UNIX or name is None or name in found:
            raise PlatformError(f"descriptor {fd} is no socket of ours")
        found[name] = sock
    return found


def tell_manager(state: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Tell the manager, if there is one that wants to know: READY=1, STOPPING=1."""
    place = environ.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), place.replace("@", "\0", 1))
