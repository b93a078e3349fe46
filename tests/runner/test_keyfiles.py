"""The owner's lists as files: who may open them, and what a write does."""

import ctypes
import errno
import os
from pathlib import Path
from struct import pack

import pytest

from softsgx.driver.driver import Driver
from softsgx.driver.mm import Mm
from softsgx.launch import change
from softsgx.launch.policy import ListName
from softsgx.machine.machine import Machine
from softsgx.platform.audit import Who
from softsgx.platform.models import MODELS
from softsgx.platform.platform import Platform
from softsgx.platform.policies import Policies
from softsgx.runner.answers import NOT_OURS
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.files import Files
from softsgx.runner.task.marks import mark_memory
from softsgx.runner.task.process import Process, UserTask
from softsgx.runner.vfs.keyfiles import SECURITY, KeyFile, key_views
from softsgx.runner.vfs.views import Kind, Views
from softsgx.runner.vfs.written import WRITE, WRITEV
from tests.crypto.signer import Owner
from tests.runner.view_files import fails, opened

ME = os.getpid()
KEY = b"Ab" * 32 + b"\n"
PATH = f"{SECURITY}/sgx/signing_keys"
WHO = Who(pid=ME, uid=0, exe="", cgroup="")
SIGNING = frozenset({ListName.SIGNING})


def machine() -> Machine:
    return Platform.ephemeral(MODELS["icelake-server"]).machine()


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    made = Policies(tmp_path, "softsgx-0123", bytes(32))
    made.begin()
    return made


@pytest.fixture
def file(policies: Policies) -> KeyFile:
    return KeyFile(policies, ListName.SIGNING, PATH)


def write(file: KeyFile, fd: int, data: bytes) -> int:
    memory = ctypes.create_string_buffer(data)
    address = ctypes.addressof(memory)
    return file.write(task(), WRITE, (fd, address, len(data), 0, 0))


def task() -> UserTask:
    return UserTask(Caller(ME), Process(ME, Mm(owner=ME)), Files(Driver(machine())))


def content(file: KeyFile) -> bytes:
    with opened(file, os.O_RDONLY) as fd:
        return os.read(fd, 4096)


def test_there_is_a_file_for_each_list(policies: Policies) -> None:
    views = Views(machine(), gid=7, more=key_views(policies, 42))
    files = views.entries(f"{SECURITY}/sgx")
    assert [view.name for view in files] == [f"{name}_keys" for name in ListName]
    assert {(view.kind, view.mode, view.uid) for view in files} == {
        (Kind.TEXT, 0o600, 42)
    }
    assert Views(machine()).get(PATH) is None


def test_where_no_securityfs_is_its_directory_is_ours_too(
    policies: Policies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "lexists", lambda path: path != SECURITY)
    assert Views(machine(), more=key_views(policies, 0)).get(SECURITY)


def test_writes_change_the_policy(file: KeyFile, policies: Policies) -> None:
    with opened(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
        assert os.lseek(fd, 0, os.SEEK_END) == 0
        assert write(file, fd, KEY) == len(KEY)
        (entry,) = policies.rule().policy.signing.all
        assert entry.mrsigner == b"\xab" * 32
        assert write(file, fd, KEY) == len(KEY)
    assert content(file) == KEY.lower() * 2
    with opened(file, os.O_RDWR) as fd:
        assert write(file, fd, b"clear\n") == 6
        assert os.read(fd, 4096) == KEY.lower() * 2
    assert content(file) == b""
    who = [(one["event"], one["pid"]) for one in policies.log.records()]
    assert who == [("new", ME), *[("policy", ME)] * 3]


def test_a_second_opener_waits_for_the_first(file: KeyFile) -> None:
    with opened(file, os.O_RDONLY) as fd:
        again = os.dup(fd)
        with fails(errno.EBUSY):
            file.open(os.O_RDONLY)
    with fails(errno.EBUSY):
        file.open(os.O_WRONLY)
    os.close(again)
    assert content(file) == b""


def test_a_lock_holds_for_who_has_it_open(file: KeyFile, policies: Policies) -> None:
    with opened(file, os.O_WRONLY) as fd:
        assert write(file, fd, KEY) == len(KEY)
        assert write(file, fd, b"lock\n") == 5
        for data in (KEY, b"clear\n", b"lock\n"):
            with fails(errno.EACCES):
                write(file, fd, data)
        with fails(errno.EACCES):
            file.open(os.O_WRONLY)
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
        with fails(errno.EACCES):
            file.open(flags)
    assert content(file) == KEY.lower()
    assert policies.rule().locks == SIGNING


def test_with_an_owner_the_files_can_only_be_read(
    file: KeyFile, policies: Policies
) -> None:
    with opened(file, os.O_WRONLY) as fd:
        assert write(file, fd, KEY) == len(KEY)
        policies.own(Owner().key, "", WHO)
        for data in (KEY, b"clear\n", b"lock\n"):
            with fails(errno.EPERM):
                write(file, fd, data)
    with fails(errno.EPERM):
        file.open(os.O_RDWR)
    assert content(file) == KEY.lower()
    assert not policies.rule().locks


def test_what_was_refused_between_looks_is_told(
    file: KeyFile, policies: Policies, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = policies.rule()
    with opened(file, os.O_WRONLY) as fd:
        policies.lock(SIGNING, WHO)
        looks = [rule]
        monkeypatch.setattr(
            policies, "rule", lambda: looks.pop() if looks else Policies.rule(policies)
        )
        with fails(errno.EACCES):
            write(file, fd, KEY)
        assert not looks


def test_a_full_list_takes_no_more(
    file: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change, "MAX_ENTRIES", 1)
    with opened(file, os.O_WRONLY) as fd:
        assert write(file, fd, KEY) == len(KEY)
        with fails(errno.ENOMEM):
            write(file, fd, KEY)
    assert content(file) == KEY.lower()


def test_a_policy_that_cannot_be_read_is_an_error(
    file: KeyFile, tmp_path: Path
) -> None:
    with opened(file, os.O_WRONLY) as fd:
        assert write(file, fd, KEY) == len(KEY)
        (tmp_path / "state.json").write_text("{}")
        with fails(errno.EIO):
            write(file, fd, KEY)
    with fails(errno.EIO):
        file.open(os.O_RDONLY)


def test_only_what_is_open_to_write_can_write(file: KeyFile) -> None:
    forged = os.memfd_create(mark_memory(PATH))
    try:
        with fails(NOT_OURS):
            write(file, forged, KEY)
        with opened(file, os.O_RDONLY) as fd:
            with fails(NOT_OURS):
                write(file, fd, KEY)
            with fails(NOT_OURS):
                write(file, forged, KEY)
        with fails(NOT_OURS):
            write(file, fd, KEY)
    finally:
        os.close(forged)
    assert content(file) == b""


def test_the_memory_itself_cannot_be_written(file: KeyFile) -> None:
    with opened(file, os.O_RDWR) as fd:
        with fails(errno.EPERM):
            os.write(fd, KEY)
        with fails(errno.EPERM):
            os.ftruncate(fd, 1)


def test_pieces_are_writes_of_their_own(file: KeyFile) -> None:
    memory = ctypes.create_string_buffer(KEY)
    at = ctypes.addressof(memory)
    pieces = pack("<6Q", at, len(KEY), at, 3, at, len(KEY))
    vectors = ctypes.addressof(listed := ctypes.create_string_buffer(pieces))
    with opened(file, os.O_WRONLY) as fd:
        assert file.write(task(), WRITEV, (fd, vectors, 3, 0, 0)) == len(KEY)
        assert file.write(task(), WRITEV, (fd, vectors, 0, 0, 0)) == 0
        for count, number in ((1025, errno.EINVAL), (1 << 63, errno.EINVAL)):
            with fails(number):
                file.write(task(), WRITEV, (fd, vectors, count, 0, 0))
        with fails(errno.EFAULT):
            file.write(task(), WRITEV, (fd, 8, 1, 0, 0))
    assert listed.raw[:-1] == pieces
    assert content(file) == KEY.lower()
