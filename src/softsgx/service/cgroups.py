"""What an operator may ask about the EPC cgroups of a daemon's machine."""

import os
from typing import TYPE_CHECKING, Any

from softsgx.arch.addr import PAGE_SHIFT
from softsgx.driver.epc.cgroup import NO_LIMIT, Cgroup
from softsgx.platform.errors import PlatformError
from softsgx.service.channel import Peer, Words

if TYPE_CHECKING:
    from softsgx.service.daemon import Daemon


def list_cgroups(daemon: "Daemon", params: Words, peer: Peer) -> list[Words]:
    """Return all cgroups that EPC pages were charged to, or that have a limit."""
    del params, peer
    with daemon.turn:
        found = daemon.machinery.driver.cgroups.all()
        return [_words(path, cgroup) for path, cgroup in found]


def get_cgroup(daemon: "Daemon", params: Words, peer: Peer) -> Words:
    """Return one; PlatformError if there is none of that path."""
    del peer
    with daemon.turn:
        path, cgroup = _cgroup(daemon, params["path"])
        return _words(path, cgroup)


def set_cgroup(daemon: "Daemon", params: Words, peer: Peer) -> Words:
    """Limit one to so many bytes, None: to nothing, and return what it is then."""
    del peer
    limit = NO_LIMIT if params["max"] is None else int(params["max"])
    if not 0 <= limit <= NO_LIMIT:
        raise PlatformError(f"{limit} bytes are no limit")
    with daemon.turn:
        path, cgroup = _cgroup(daemon, params["path"])
        if cgroup.parent is None:
            raise PlatformError("the root of all cgroups has no limit")
        cgroup.max = limit
        return _words(path, cgroup)


def _cgroup(daemon: "Daemon", word: Any) -> tuple[str, Cgroup]:  # noqa: ANN401 -- JSON
    """Return a cgroup by a path that somebody wrote."""
    path = os.path.normpath(f"/{word}".replace("//", "/"))
    hierarchy = daemon.machinery.hierarchy
    if path != "/" and hierarchy.mount and not hierarchy.ident(path):
        raise PlatformError(f"there is no cgroup {path}")
    return path, daemon.machinery.driver.cgroups.find(path)


def _words(path: str, cgroup: Cgroup) -> Words:
    """Say what is known of one, in bytes; a limit of None is none."""
    return {
        "path": path,
        "max": None if cgroup.max == NO_LIMIT else cgroup.max,
        "current": cgroup.usage << PAGE_SHIFT,
        "peak": cgroup.peak << PAGE_SHIFT,
        "events": cgroup.events,
        "events_local": cgroup.events_local,
    }
