import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softsgx.machine.measurement import Measurement


def record(tag: bytes, *numbers: tuple[int, int]) -> bytes:
    fields = b"".join(value.to_bytes(size, "little") for value, size in numbers)
    return (tag.ljust(8, b"\0") + fields).ljust(64, b"\0")


def test_the_records_are_the_manuals() -> None:
    measurement = Measurement()
    secinfo = bytes(range(64))
    data = bytes(range(256))
    measurement.ecreate(2, 0x8000)
    measurement.eadd(0x3000, secinfo)
    measurement.eextend(0x3100, data)
    expected = hashlib.sha256(
        record(b"ECREATE", (2, 4), (0x8000, 8))
        + b"EADD\0\0\0\0"
        + (0x3000).to_bytes(8, "little")
        + secinfo[:48]
        + record(b"EEXTEND", (0x3100, 8))
        + data
    )
    assert measurement.digest() == expected.digest()
    assert measurement.blocks == 7


def test_reading_does_not_end_it() -> None:
    measurement = Measurement()
    measurement.ecreate(1, 0x2000)
    first = measurement.digest()
    assert measurement.digest() == first
    measurement.eadd(0, bytes(64))
    assert measurement.digest() != first


@given(
    pages=st.integers(1, 140),
    offset=st.integers(0, 1 << 40).map(lambda page: page << 12),
    seed=st.binary(min_size=1, max_size=300),
    cut=st.integers(1, 139),
)
def test_a_run_equals_its_pages(pages: int, offset: int, seed: bytes, cut: int) -> None:
    size = pages * 4096
    data = memoryview((seed * (size // len(seed) + 1))[:size])
    secinfo = bytes(range(64))
    views = [data[: cut * 4096], data[cut * 4096 :]] if cut < pages else [data]
    run, single = Measurement(), Measurement()
    run.eadd_eextend_run(offset, secinfo, views)
    for start in range(0, size, 4096):
        single.eadd(offset + start, secinfo)
        for chunk in range(start, start + 4096, 256):
            single.eextend(offset + chunk, data[chunk : chunk + 256])
    assert run.digest() == single.digest()
    assert run.blocks == single.blocks


@pytest.mark.parametrize("count", [1, 3, 700])
def test_a_run_of_unmeasured_pages_equals_its_eadds(count: int) -> None:
    run, single = Measurement(), Measurement()
    run.eadd_run(0x5000, count, bytes(range(64)))
    for at in range(count):
        single.eadd(0x5000 + at * 4096, bytes(range(64)))
    assert run.digest() == single.digest()
    assert run.blocks == single.blocks == count
