"""The agent's configuration as runs keep it: lines that hold while nothing changed.

What a line follows from is said in C (host/facts.c), which reads them without Python
too (native/start).
"""

import ctypes
import os

from softsgx.native.images import HERE, images
from softsgx.native.library import LIB_NAME, library

LIBRARY = f"{HERE}/{LIB_NAME}"
"""The checker of lines where the command is Python from the beginning."""

_KEY_SIZE = 80
_NUMBERS = (1 << 64) - 1


class _Kept(ctypes.Structure):
    _fields_ = (
        ("config", ctypes.c_void_p),
        ("texts", ctypes.c_void_p * 4),
        ("config_size", ctypes.c_size_t),
        ("files_size", ctypes.c_size_t),
        ("sizes", ctypes.c_size_t * 3),
        ("image", ctypes.c_uint64 * 2),
    )


def recall(checker: str, lines: bytes) -> tuple[bytes, bool] | None:
    """Return the configuration, and whether CPUID is rewritten, if a line holds.

    A line is for one *checker*, a file that was built and has the code that checks.
    """
    kept = _Kept()
    at = ctypes.addressof(kept)
    if not library().softsgx_recall(os.fsencode(checker), lines, len(lines), at):
        return None
    digits = ctypes.string_at(kept.config, kept.config_size)
    return bytes.fromhex(digits.decode()), kept.files_size > 0


def key_of(checker: str) -> str | None:
    """Return the key of a checker's lines; None without that file."""
    key = ctypes.create_string_buffer(_KEY_SIZE)
    if library().softsgx_checker(os.fsencode(checker), key) < 0:
        return None
    return key.value.decode().rstrip()


def word_of(
    config: bytes, files: str, places: list[str], root: str, ours: list[str]
) -> str | None:
    """Return the word of a line, which holds while nothing changes of these; None.

    *places* are directories; *ours*, below *root*, files whose content counts.
    *files*: a name, see kept.CODE_PLACES, if CPUID is rewritten; "".
    """
    image = images()
    fields = (
        f"{image.data:x}:{image.slots:x}:{files}:{config.hex()}",
        ",".join(places),
        os.fsencode(root).hex(),
        ",".join(ours),
    )
    rest = ":".join(fields)
    number = library().softsgx_number_of(rest.encode(), len(rest)) & _NUMBERS
    return f"{number:x}:{rest}" if number else None
