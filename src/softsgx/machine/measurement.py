"""The running measurement of an enclave.  SDM: "MRENCLAVE".

Each record is 64 bytes: a tag of eight, what the leaf measures, zeros.
"""

from collections.abc import Iterable
from struct import Struct

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


class Measurement:
    """MRENCLAVE in the making, and how many 64-byte blocks went into it."""

    def __init__(self) -> None:
        self._hash = sha256.new()
        self.blocks = 0

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
        self, offset: int, secinfo: bytes, views: Iterable[memoryview]
    ) -> None:
        """Measure whole pages: EADD and 16 EEXTENDs each, as leaf by leaf.

        *views* are the pages' bytes in order, each a whole number of pages.
        """
        stream = _Stream(secinfo)
        for view in views:
            for start in range(0, view.nbytes, _BATCH_PAGES * PAGE_SIZE):
                data = view[start : start + _BATCH_PAGES * PAGE_SIZE]
                self._update(stream.fill(offset, data))
                offset += data.nbytes

    def digest(self) -> bytes:
        """Return the hash of what was measured so far: MRENCLAVE at EINIT."""
        return self._hash.copy().digest()

    def _update(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        self.blocks += len(data) // _RECORD


class _Stream:
    """A buffer in which records and data lie as the hash wants them."""

    def __init__(self, secinfo: bytes) -> None:
        self._secinfo = secinfo[:48]
        self._buffer = bytearray(_BATCH_PAGES * _PAGE_STREAM.size)

    def fill(self, offset: int, data: memoryview) -> memoryview:
        """Return the stream of up to 64 pages from *offset* on."""
        end = 0
        for start in range(0, data.nbytes, PAGE_SIZE):
            self._page(end, offset + start, _PAGE_CHUNKS.unpack_from(data, start))
            end += _PAGE_STREAM.size
        return memoryview(self._buffer)[:end]

    def _page(self, at: int, offset: int, chunks: tuple[bytes, ...]) -> None:
        # One call with 51 arguments: three times as fast as a loop over chunks.
        fields: list[bytes | int] = [TAG_EEXTEND, 0, b""] * _CHUNKS
        fields[1::3] = range(offset, offset + PAGE_SIZE, CHUNK)
        fields[2::3] = chunks
        _PAGE_STREAM.pack_into(
            self._buffer, at, TAG_EADD, offset, self._secinfo, *fields
        )
