import pytest
from hypothesis import given
from hypothesis import strategies as st

from softsgx.machine.measurement import PAGE_STREAM_SIZE, Measurement, lay_out
from softsgx.native import lib

SECINFO = bytes(range(64))


@given(
    pages=st.integers(0, 70),
    offset=st.integers(0, (1 << 52) - 71).map(lambda page: page << 12),
    seed=st.binary(min_size=1, max_size=300),
)
def test_the_twin_lays_out_the_same_bytes(pages: int, offset: int, seed: bytes) -> None:
    size = pages * 4096
    data = memoryview(bytearray(seed * (size // len(seed) + 1))[:size])
    ours, twins = (bytearray(70 * PAGE_STREAM_SIZE) for _ in range(2))
    filled = lay_out(ours, offset, SECINFO, data)
    assert lib.lay_out(twins, offset, SECINFO, data) == filled
    assert filled == pages * PAGE_STREAM_SIZE
    assert twins == ours


def test_a_run_measures_the_same_with_either() -> None:
    data = memoryview(bytearray(range(256)) * 16 * 130)
    ours, twins = Measurement(), Measurement()
    ours.eadd_eextend_run(0x1000, SECINFO, [data])
    twins.eadd_eextend_run(0x1000, SECINFO, [data], lib.lay_out)
    assert twins.digest() == ours.digest()
    assert twins.blocks == ours.blocks


@pytest.mark.parametrize(
    ("stream", "secinfo", "pages"),
    [
        (PAGE_STREAM_SIZE - 1, 64, 4096),
        (PAGE_STREAM_SIZE, 64, 4095),
        (PAGE_STREAM_SIZE, 47, 4096),
    ],
)
def test_what_does_not_fit_is_refused(stream: int, secinfo: int, pages: int) -> None:
    view = memoryview(bytearray(pages))
    with pytest.raises(ValueError, match=r"pages|stream"):
        lib.lay_out(bytearray(stream), 0, bytes(secinfo), view)
