"""Files of ours that a test opens, and how calls about them fail."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from softsgx.runner.vfs.views import ViewFile


@contextmanager
def opened(file: ViewFile, flags: int) -> Iterator[int]:
    fd = file.open(flags)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def fails(number: int) -> Iterator[None]:
    with pytest.raises(OSError, match=r".") as caught:
        yield
    assert caught.value.errno == number
