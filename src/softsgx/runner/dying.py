"""Die as a program did, so that whoever waits for us sees it."""

import errno
import os
import resource
import signal
from typing import NoReturn


def die_of(number: int) -> NoReturn:
    """End by a signal, without a core of our own."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    raise OSError(errno.EINTR, f"the program died of signal {number}")
