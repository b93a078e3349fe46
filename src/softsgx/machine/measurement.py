"""The running measurement of an enclave.  SDM: "MRENCLAVE".

Each record is 64 bytes: a tag of eight, what the leaf measures, zeros.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Protocol

from softsgx.arch.addr import PAGE_SIZE
from softsgx.crypto import sha256

TAG_ECREATE = b"ECREATE\0"
TAG_EADD = b"EADD\0\0\0\0"
TAG_EEXTEND = b"EEXTEND\0"

CHUNK = 256
"""Bytes of a page that one EEXTEND measures."""

_RECORD = 64
_CHUNKS = PAGE_SIZE // CHUNK
_PAGE_CHUNKS = Struct(f"{CHUNK}s" * _CHUNKS)
_PAGE_STREAM = Struct("<8sQ48s" + f"8sQ48x{CHUNK}s" * _CHUNKS)
_BATCH_PAGES = 64

PAGE_STREAM_SIZE = _PAGE_STREAM.size
"""Bytes that are hashed for a page: its EADD, sixteen EEXTENDs, and the page."""


class LayOut(Protocol):
    """How pages and their records are laid out for the hash: `lay_out`, or its twin."""

    def __call__(
        self, stream: bytearray, offset: int, secinfo: bytes, pages: memoryview
    ) -> int:
        """Fill *stream* from its start; return how many bytes of it."""
        ...


def lay_out(stream: bytearray, offset: int, secinfo: bytes, pages: memoryview) -> int:
    """Lay out pages as the hash wants them: each after its EADD, in 16 EEXTENDs.

    *offset* is the first page's in the enclave; returns the bytes filled.
    """
    end = 0
    for start in range(0, pages.nbytes, PAGE_SIZE):
        page = offset + start
        # One call with 51 arguments: three times as fast as a loop over chunks.
        fields: list[bytes | int] = [TAG_EEXTEND, 0, b""] * _CHUNKS
        fields[1::3] = range(page, page + PAGE_SIZE, CHUNK)
        fields[2::3] = _PAGE_CHUNKS.unpack_from(pages, start)
        _PAGE_STREAM.pack_into(stream, end, TAG_EADD, page, secinfo[:48], *fields)
        end += PAGE_STREAM_SIZE
    return end


class Measurement:
    """MRENCLAVE in the making, and how many 64-byte blocks went into it."""

    def __init__(self, blocks: int = 0) -> None:
        self._hash = sha256.new()
        self.blocks = blocks

    def ecreate(self, ssaframesize: int, size: int) -> None:
        """Measure an enclave's frame size (pages) and size (bytes)."""
        fields = ssaframesize.to_bytes(4, "little") + size.to_bytes(8, "little")
        self._update((TAG_ECREATE + fields).ljust(_RECORD, b"\0"))

    def eadd(self, offset: int, secinfo: bytes) -> None:
        """Measure a page's offset in the enclave and its SECINFO's first 48 bytes."""
        self._update(TAG_EADD + offset.to_bytes(8, "little") + secinfo[:48])

    def eextend(self, offset: int, data: bytes | memoryview) -> None:
        """Measure 256 bytes of a page at *offset* in the enclave."""
        record = TAG_EEXTEND + offset.to_bytes(8, "little")
        self._update(record.ljust(_RECORD, b"\0") + bytes(data))

    def eextend_page(self, offset: int, page: memoryview) -> None:
        """Measure a whole page: the sixteen EEXTENDs of its chunks."""
        stream = bytearray(PAGE_STREAM_SIZE)
        lay_out(stream, offset, bytes(_RECORD), page)
        self._update(memoryview(stream)[_RECORD:])

    def eadd_run(self, offset: int, count: int, secinfo: bytes) -> None:
        """Measure *count* EADDs of pages that follow each other."""
        tail = secinfo[:48]
        end = offset + count * PAGE_SIZE
        self._update(
            b"".join(
                TAG_EADD + at.to_bytes(8, "little") + tail
                for at in range(offset, end, PAGE_SIZE)
            )
        )

    def eadd_eextend_run(
        self,
        offset: int,
        secinfo: bytes,
        views: Iterable[memoryview],
        lay_out: LayOut = lay_out,
    ) -> None:
        """Measure whole pages: EADD and 16 EEXTENDs each, as leaf by leaf.

        *views* are the pages' bytes in order, each a whole number of pages.
        """
        stream = bytearray(_BATCH_PAGES * PAGE_STREAM_SIZE)
        for view in views:
            for start in range(0, view.nbytes, _BATCH_PAGES * PAGE_SIZE):
                pages = view[start : start + _BATCH_PAGES * PAGE_SIZE]
                filled = lay_out(stream, offset, secinfo, pages)
                self._update(memoryview(stream)[:filled])
                offset += pages.nbytes

    def digest(self) -> bytes:
        """Return the hash of what was measured so far: MRENCLAVE at EINIT."""
        return self._hash.copy().digest()

    def _update(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        self.blocks += len(data) // _RECORD
