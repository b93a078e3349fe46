"""A run on a daemon's platform without other options, of which there may be many.

Each is a process that stays until its program ends, so it has no more than it needs.
"""

from softsgx.platform.errors import PlatformError
from softsgx.platform.names import directory_of
from softsgx.runner.start import is_program, program
from softsgx.service.attachment import Attachment
from softsgx.service.lending import run_attached


def quick_attached(word: str, argv: list[str]) -> int | None:
    """Run a program on platform NAME|DIR; None if this needs the long way."""
    directory = directory_of(word)
    if directory is None or not is_program(program(argv[0])):
        return None
    try:
        attachment = Attachment.to(directory, {"exact": False, "inject": []})
    except (PlatformError, OSError):
        return None  # it will be said on the long way
    return run_attached(argv, attachment) if attachment else None
