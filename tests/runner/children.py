"""Processes for tests to look at."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def forked(do: Callable[[], object] = lambda: None) -> Iterator[int]:
    """A child of fork that does something and waits to be killed."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            do()
            os.write(told, b"x")
            signal.pause()
        finally:
            os._exit(0)
    os.close(told)
    os.read(ready, 1)
    os.close(ready)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
