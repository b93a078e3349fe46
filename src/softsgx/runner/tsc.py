"""The rate of the time stamp counter: measured once, and kept until the next boot."""

from pathlib import Path

from softsgx.native import lib
from softsgx.runner.kept import Kept

_KEPT = "tsc-khz-1"


def tsc_khz() -> int:
    """Return what the time stamp counter counts in a millisecond."""
    kept = Kept(_KEPT)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    word = kept.get(boot)
    if word is not None and word.isdecimal():
        return int(word)
    khz = lib.tsc_khz()
    kept.keep(boot, str(khz))
    return khz
