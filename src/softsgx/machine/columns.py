"""Sparse columns of integers, for tables with a row a page.

An EPC of a tebibyte has 268 million rows, nearly all of them zero, and one ioctl
may fill a quarter of a million at once.  Rows live in chunks of 512 that exist only
while something in them is non-zero, and a run is filled a chunk at a time.
"""

from array import array
from collections.abc import Iterator

CHUNK_SHIFT = 9
CHUNK = 1 << CHUNK_SHIFT


class Columns:
    """Rows of integers; *typecodes* gives the width of each column.

    *chunks* has, by row >> CHUNK_SHIFT, the columns of 512 rows, if any is not zero.
    """

    def __init__(self, typecodes: str) -> None:
        self._typecodes = typecodes
        self._zero = (0,) * len(typecodes)
        self.chunks: dict[int, tuple[array[int], ...]] = {}

    def get(self, row: int) -> tuple[int, ...]:
        """Return one row; a row never written is all zeros."""
        chunk = self.chunks.get(row >> CHUNK_SHIFT)
        if chunk is None:
            return self._zero
        at = row & (CHUNK - 1)
        return tuple([column[at] for column in chunk])

    def set(self, row: int, values: tuple[int, ...]) -> None:
        """Write one row."""
        number = row >> CHUNK_SHIFT
        chunk = self._chunk(number)
        at = row & (CHUNK - 1)
        for column, value in zip(chunk, values, strict=True):
            column[at] = value
        if not any(values):
            self.prune(number)

    def prune(self, number: int) -> None:
        """Give back the memory of a chunk in which nothing is non-zero any more."""
        chunk = self.chunks.get(number)
        if chunk and not any(_used(column) for column in chunk):
            del self.chunks[number]

    def fill(
        self, first: int, count: int, values: tuple[int, ...], steps: tuple[int, ...]
    ) -> None:
        """Write *count* rows; each column starts at its value and rises by its step."""
        is_zero = not any(values) and not any(steps)
        for number, start, stop in _pieces(first, count):
            done = (number << CHUNK_SHIFT) + start - first
            if is_zero and (stop - start == CHUNK or number not in self.chunks):
                self.chunks.pop(number, None)
                continue
            chunk = self._chunk(number)
            for column, value, step in zip(chunk, values, steps, strict=True):
                column[start:stop] = _ramp(
                    column.typecode, value + done * step, step, stop - start
                )
            if is_zero:
                self.prune(number)

    def column(self, index: int, first: int, count: int) -> "array[int]":
        """Return a copy of one column over a run of rows."""
        start = first & (CHUNK - 1)
        whole = self.chunks.get(first >> CHUNK_SHIFT)
        if whole is not None and start + count <= CHUNK:
            return whole[index][start : start + count]
        out = array(self._typecodes[index])
        for number, start, stop in _pieces(first, count):
            chunk = self.chunks.get(number)
            if chunk is None:
                out.frombytes(bytes((stop - start) * out.itemsize))
            else:
                out.extend(chunk[index][start:stop])
        return out

    def put(self, index: int, first: int, values: "array[int]") -> None:
        """Write one column over a run of rows; the other columns stay."""
        begin = first & (CHUNK - 1)
        whole = self.chunks.get(first >> CHUNK_SHIFT)
        if whole is not None and begin + len(values) <= CHUNK:
            whole[index][begin : begin + len(values)] = values
            return
        for number, start, stop in _pieces(first, len(values)):
            done = (number << CHUNK_SHIFT) + start - first
            column = self._chunk(number)[index]
            column[start:stop] = values[done : done + stop - start]

    def rows(self) -> Iterator[int]:
        """Yield, in order, the rows in which a column is non-zero."""
        for number in sorted(self.chunks):
            yield from self._rows(number, 0, CHUNK)

    def rows_in(self, first: int, count: int) -> Iterator[int]:
        """Yield those of a run of rows, in a time by what is used or by its length."""
        stop = first + count
        numbers = range(first >> CHUNK_SHIFT, (stop - 1 >> CHUNK_SHIFT) + 1)
        few, many = sorted((numbers, self.chunks), key=len)
        for number in sorted(number for number in few if number in many):
            start = number << CHUNK_SHIFT
            yield from self._rows(number, max(0, first - start), stop - start)

    def _rows(self, number: int, start: int, stop: int) -> Iterator[int]:
        columns = self.chunks[number]
        # A row with nothing in it costs as much as another one.
        end = min(stop, max(_used(column) for column in columns))
        first = (number << CHUNK_SHIFT) + start
        parts = (column[start:end] for column in columns)
        for at, row in enumerate(zip(*parts, strict=True)):
            if any(row):
                yield first + at

    def _chunk(self, number: int) -> tuple["array[int]", ...]:
        chunk = self.chunks.get(number)
        if chunk is None:
            chunk = tuple(_ramp(code, 0, 0, CHUNK) for code in self._typecodes)
            self.chunks[number] = chunk
        return chunk


def _used(column: "array[int]") -> int:
    """Return how many rows of a column there are up to its last that is not zero."""
    return -(-len(column.tobytes().rstrip(b"\0")) // column.itemsize)


def _pieces(first: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Cut a run of rows at the chunk borders: chunk number, start, stop."""
    row, end = first, first + count
    while row < end:
        number = row >> CHUNK_SHIFT
        start = row & (CHUNK - 1)
        stop = min(CHUNK, start + end - row)
        yield number, start, stop
        row += stop - start


def _ramp(typecode: str, value: int, step: int, count: int) -> "array[int]":
    if step == 0:
        return array(typecode, [value]) * count
    return array(typecode, range(value, value + step * count, step))
