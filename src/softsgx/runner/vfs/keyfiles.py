"""The owner's lists as files: /sys/kernel/security/sgx, as it was posted in 2020.

What is open is sealed memory with the list as it was at the open.  The agent asks for
each write, and a write is a change of the platform's policy.  See decision record 26.
"""

import errno
import os
from collections.abc import Iterator

from softsgx.launch.change import Refused, allow, clear
from softsgx.launch.keyfile import (
    FILES,
    KEY_SIZE,
    Clear,
    Command,
    Lock,
    parse_write,
    render,
)
from softsgx.launch.policy import ListName
from softsgx.native.memory import SharedMemory
from softsgx.platform.audit import Who
from softsgx.platform.errors import PlatformError
from softsgx.platform.policies import Policies, Rule
from softsgx.runner.answers import NOT_OURS
from softsgx.runner.task.process import UserTask
from softsgx.runner.task.threads import pid_of
from softsgx.runner.vfs.views import Kind, View
from softsgx.runner.vfs.written import PWRITE, open_sealed, pieces_of, taken

SECURITY = "/sys/kernel/security"
"""Where securityfs is mounted."""

_LARGEST = (1 << 63) - 1


def key_views(policies: Policies, uid: int) -> Iterator[View]:
    """Yield the directory and the files of a platform's lists; *uid* may write them."""
    for path in (SECURITY, f"{SECURITY}/sgx"):
        if path != SECURITY or not os.path.lexists(path):
            yield View(path=path, kind=Kind.DIRECTORY, mode=0o755)
    for file, name in FILES.items():
        path = f"{SECURITY}/sgx/{file}"
        key_file = KeyFile(policies, name, path)
        yield View(path=path, kind=Kind.TEXT, mode=0o600, uid=uid, file=key_file)


class KeyFile:
    """The file of one list; the whole tree has it open once at most."""

    def __init__(self, policies: Policies, name: ListName, path: str):
        self._policies, self._name, self._path = policies, name, path
        self._memory: SharedMemory | None = None
        """What the last opener has, or had."""

    def open(self, flags: int) -> int:
        """Open it and return our descriptor.

        OSError(EACCES): the list is locked, and this is to write it; EPERM: the owner
        must sign for changes; EBUSY: it is open; EIO: the policy cannot be read.
        """
        rule = self._rule()
        mode = flags & os.O_ACCMODE
        if mode != os.O_RDONLY or flags & os.O_TRUNC:
            self._check_writable(rule)
        if self._memory is not None:
            if not self._memory.is_alone():
                raise OSError(errno.EBUSY, "it is open")
            self._memory.close()
            self._memory = None
        # Who only writes finds its end at 0, as in securityfs.
        is_read = mode != os.O_WRONLY
        text = render(rule.policy.lists[self._name]) if is_read else b""
        self._memory, fd = open_sealed(self._path, text, 0o600, mode)
        return fd

    def write(self, task: UserTask, number: int, args: tuple[int, ...]) -> int:
        """Carry out one of the calls that write; return the bytes that were taken.

        OSError(NOT_OURS): it is not open, or not to write.  EINVAL: what is written
        means nothing; EACCES, EPERM and EIO as for `open`; EFAULT; ENOMEM: it is full.
        """
        pid = pid_of(task.tid)
        position = self._position(task, args[0])
        if number == PWRITE:
            position = args[3]
        if position > _LARGEST:
            raise OSError(errno.EINVAL, "a negative position")
        taken = 0
        for address, size in pieces_of(task, number, args):
            try:
                self._write(task, pid, _read(task, address, size), position)
            except OSError:
                if not taken:
                    raise
                break
            taken += size
        return taken

    def _position(self, task: UserTask, number: int) -> int:
        """Return the position of a descriptor, if it is one to write this file."""
        with taken(task, number) as (fd, place, access):
            memory = self._memory
            # A program can make a memfd of the same name.
            if memory is None or place != memory.place:
                raise OSError(NOT_OURS, "not ours")
            if access == os.O_RDONLY:
                raise OSError(NOT_OURS, "not to write")
            return os.lseek(fd, 0, os.SEEK_CUR)

    def _write(self, task: UserTask, pid: int, data: bytes, position: int) -> None:
        try:
            command = parse_write(data, position)
        except ValueError as error:
            raise OSError(errno.EINVAL, str(error)) from error
        self._check_writable(self._rule())
        try:
            who = Who.of(pid)
            task.caller.check()
            self._carry_out(command, who)
        except Refused as refusal:
            # It was locked or got an owner just now, or it is full.
            self._check_writable(self._rule())
            raise OSError(errno.ENOMEM, str(refusal)) from refusal
        except PlatformError as error:
            raise OSError(errno.EIO, str(error)) from error

    def _carry_out(self, command: Command, who: Who) -> None:
        name = self._name
        if isinstance(command, Lock):
            self._policies.lock(frozenset({name}), who)
        elif isinstance(command, Clear):
            self._policies.change(lambda policy: clear(policy, name), who)
        else:
            entry = command.entry
            self._policies.change(lambda policy: allow(policy, name, entry), who)

    def _check_writable(self, rule: Rule) -> None:
        if self._name in rule.locks:
            raise OSError(errno.EACCES, "it is locked until the platform is reset")
        if rule.owner is not None:
            raise OSError(errno.EPERM, "the owner must sign for changes")

    def _rule(self) -> Rule:
        try:
            return self._policies.rule()
        except PlatformError as error:
            raise OSError(errno.EIO, str(error)) from error


def _read(task: UserTask, address: int, size: int) -> bytes:
    if size > KEY_SIZE:
        raise OSError(errno.EINVAL, "longer than a key")
    return task.copy_from_user(address, size) if size else b""
