"""The ioctls: each copies in, checks in Linux's order, calls, and copies out."""

import errno
from typing import TypeVar

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import Fault
from softsgx.arch.layout import Layout
from softsgx.arch.leaves import Encls
from softsgx.arch.secs import AttributeFlags, Secs
from softsgx.driver.build import create
from softsgx.driver.core import Core
from softsgx.driver.device import File, attributes_of
from softsgx.driver.encl import Encl
from softsgx.driver.errnos import LEAF_ERRNOS, refuse
from softsgx.driver.protocols import Task
from softsgx.driver.uapi import (
    sgx_enclave_create,
    sgx_enclave_create_backed,
    sgx_enclave_provision,
)

ALLOWED_ATTRIBUTES = int(
    AttributeFlags.DEBUG
    | AttributeFlags.MODE64BIT
    | AttributeFlags.KSS
    | AttributeFlags.AEXNOTIFY
)
"""What any enclave may have; the rest needs a permission, or cannot be had."""

_L = TypeVar("_L", bound=Layout)


def copy_in(task: Task, arg: int, kind: type[_L]) -> _L:
    """Copy an ioctl's structure from the program, once; EFAULT."""
    return kind.from_bytes(task.copy_from_user(arg, kind.SIZE))


def check_range(encl: Encl, offset: int, length: int) -> None:
    """Refuse with EINVAL what is not whole pages inside the enclave."""
    if offset % PAGE_SIZE:
        raise refuse(errno.EINVAL, f"offset {offset:#x} is not a page's")
    if not length or length % PAGE_SIZE:
        raise refuse(errno.EINVAL, f"length {length:#x} is not whole pages")
    # A sum that would wrap in 64 bits is past the end here.
    if offset + length - PAGE_SIZE >= encl.size:
        raise refuse(errno.EINVAL, f"ends past the enclave's size {encl.size:#x}")


def ioc_enclave_create(core: Core, encl: Encl, task: Task, arg: int) -> None:
    """SGX_IOC_ENCLAVE_CREATE: ECREATE, once per file that succeeds."""
    if encl.created:
        raise refuse(errno.EINVAL, "created already")
    params = copy_in(task, arg, sgx_enclave_create)
    _create_from(core, encl, task, params.src)


def ioc_enclave_create_backed(core: Core, encl: Encl, task: Task, arg: int) -> None:
    """CREATE with the descriptor of a file for evicted pages; 0 is none."""
    if encl.created:
        raise refuse(errno.EINVAL, "created already")
    params = copy_in(task, arg, sgx_enclave_create_backed)
    if not params.backing_fd:
        _create_from(core, encl, task, params.src)
        return
    if isinstance(task.file(params.backing_fd), File):
        raise refuse(errno.EINVAL, "a device cannot keep evicted pages")
    backing = task.backing(params.backing_fd)
    try:
        _create_from(core, encl, task, params.src)
    except OSError:
        backing.close()
        raise
    encl.backing = backing


def _create_from(core: Core, encl: Encl, task: Task, src: int) -> None:
    raw = task.copy_from_user(src, Secs.SIZE)
    secs = Secs.from_bytes(raw)
    if secs.size.bit_count() != 1:
        raise refuse(errno.EINVAL, f"SECS.SIZE {secs.size:#x} is no power of two")
    _create(core, encl, secs, raw)


def _create(core: Core, encl: Encl, secs: Secs, raw: bytes) -> None:
    try:
        create(core, encl, secs, raw)
    except Fault as fault:
        number = LEAF_ERRNOS[Encls.ECREATE].fault
        raise refuse(number, f"ECREATE: {fault}") from fault
    # Assigned, not added to: a permission shown before CREATE is lost, as on Linux.
    encl.attributes_mask = ALLOWED_ATTRIBUTES


def ioc_enclave_provision(core: Core, encl: Encl, task: Task, arg: int) -> None:
    """SGX_IOC_ENCLAVE_PROVISION: allow PROVISIONKEY to who holds the other device."""
    del core
    params = copy_in(task, arg, sgx_enclave_provision)
    encl.attributes_mask |= attributes_of(task.file(params.fd & 0xFFFF_FFFF))
