"""On which line of a TOML text a key stands, for messages to its author."""

import re

_HEADER = re.compile(r"\s*\[(\[?)\s*([\w.\"'-]+)\s*\]")
_KEY = re.compile(r"\s*([\w\"'-]+)\s*=")
_STEP = re.compile(r"\"[^\"]*\"|'[^']*'|[\w-]+")
_QUOTES = "\"'"


def line_of(text: str, place: tuple[str | int, ...]) -> int:
    """Return the line, from 1, of a key such as ("signing", 2, "mrsigner").

    The nearest line above it that is known, where it is not written out.
    """
    best, depth = 1, 0
    current: tuple[str | int, ...] = ()
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            current = _table(header, seen)
        key = None if header else _KEY.match(line)
        here = current if header else (*current, key[1].strip(_QUOTES)) if key else ()
        common = _common(here, place)
        if common > depth and common == len(here):
            best, depth = number, common
    return best


def _table(header: re.Match[str], seen: dict[str, int]) -> tuple[str | int, ...]:
    if not header[1]:
        return tuple(step.strip(_QUOTES) for step in _STEP.findall(header[2]))
    name = header[2].strip(_QUOTES)
    seen[name] = seen.get(name, -1) + 1
    return (name, seen[name])


def _common(here: tuple[str | int, ...], place: tuple[str | int, ...]) -> int:
    count = 0
    for ours, theirs in zip(here, place, strict=False):
        if ours != theirs:
            break
        count += 1
    return count
