"""Where platforms are that have a name in place of a directory."""

import os
import re
from pathlib import Path

PLATFORM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def platforms_place() -> Path:
    """Return the directory that the platforms with a name are in."""
    data = os.environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser()
    return Path(data) / "softsgx"


def directory_of(word: str) -> Path | None:
    """Return the directory of NAME|DIR, one with a slash; None: it is no name."""
    if "/" in word:
        return Path(word)
    return platforms_place() / word if PLATFORM_NAME.fullmatch(word) else None
