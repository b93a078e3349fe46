"""From the instruction's failures to Linux's error numbers: one table, one place."""

import errno
import os
from typing import NamedTuple

from softsgx.arch.leaves import Encls

ERESTARTSYS = 512
"""A signal is pending and nothing was done: the caller restarts the call or turns
this into EINTR, as SA_RESTART says.  A program never sees it."""


class LeafErrnos(NamedTuple):
    """What Linux makes of a leaf's fault, and of its error code."""

    fault: int
    code: int


class NotDynamicError(OSError):
    """EACCES: the owner lets the enclave map nothing after INIT."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "the owner lets it map nothing after INIT")
        self.strerror: str


LEAF_ERRNOS = {
    Encls.ECREATE: LeafErrnos(errno.EIO, errno.EIO),
    Encls.EADD: LeafErrnos(errno.EIO, errno.EIO),
    Encls.EINIT: LeafErrnos(errno.EIO, errno.EPERM),
    Encls.EMODPR: LeafErrnos(errno.EFAULT, errno.EFAULT),
    Encls.EMODT: LeafErrnos(errno.EFAULT, errno.EFAULT),
    Encls.ETRACK: LeafErrnos(errno.EFAULT, errno.EFAULT),
    Encls.EDBGRD: LeafErrnos(errno.EIO, errno.EIO),
    Encls.EDBGWR: LeafErrnos(errno.EIO, errno.EIO),
}


def refuse(number: int, reason: str) -> OSError:
    """Make the error that an ioctl ends with; *reason* is for our trace."""
    name = errno.errorcode.get(number, "ERESTARTSYS")
    text = os.strerror(number) if number in errno.errorcode else "restart the call"
    return OSError(number, f"{name}: {reason} ({text})")
