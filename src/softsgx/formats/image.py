"""An enclave as its loader must build it, whatever file it came from."""

from collections.abc import Iterator
from dataclasses import dataclass

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.secinfo import Secinfo, SecinfoFlags
from softsgx.arch.secs import Attributes, Miscselect
from softsgx.machine.measurement import Measurement

_BATCH = 64 * PAGE_SIZE


class FormatError(ValueError):
    """A file that is not an enclave of a known format; says what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A run of pages, all alike: *data*, then zeros up to *size* bytes."""

    offset: int
    size: int
    flags: SecinfoFlags
    data: bytes
    measured: bool

    def views(self) -> Iterator[memoryview]:
        """Yield the contents in whole pages, a batch at a time."""
        whole = len(self.data) // PAGE_SIZE * PAGE_SIZE
        if whole:
            yield memoryview(self.data)[:whole]
        done = whole
        if len(self.data) > whole:
            yield memoryview(self.data[whole:].ljust(PAGE_SIZE, b"\0"))
            done += PAGE_SIZE
        zeros = memoryview(bytes(min(_BATCH, max(0, self.size - done))))
        while done < self.size:
            view = zeros[: self.size - done]
            yield view
            done += view.nbytes


@dataclass(frozen=True, kw_only=True)
class Image:
    """Segments in the order of loading, and what SECS needs besides.

    *size* is that of ELRANGE in bytes; *ssaframesize* counts pages.
    """

    segments: tuple[Segment, ...]
    size: int
    ssaframesize: int
    attributes: Attributes
    miscselect: Miscselect


def measure_image(image: Image) -> bytes:
    """Return MRENCLAVE, 32 bytes, of an enclave built from *image*."""
    measurement = Measurement()
    measurement.ecreate(image.ssaframesize, image.size)
    for segment in image.segments:
        secinfo = bytes(Secinfo(flags=segment.flags))
        if segment.measured:
            measurement.eadd_eextend_run(segment.offset, secinfo, segment.views())
        else:
            measurement.eadd_run(segment.offset, segment.size // PAGE_SIZE, secinfo)
    return measurement.digest()
