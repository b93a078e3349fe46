"""What nobody may do with names of ours here, though on hardware root may."""

import ctypes
import errno
import os
import stat
from pathlib import Path

import pytest

from softsgx.driver.driver import Driver
from softsgx.driver.mm import Mm
from softsgx.platform.models import MODELS
from softsgx.platform.platform import Platform
from softsgx.runner.answers import NOT_OURS
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.files import Files
from softsgx.runner.task.process import Process, UserTask
from softsgx.runner.vfs.credentials import Credentials
from softsgx.runner.vfs.paths import Paths
from softsgx.runner.vfs.views import Views
from tests.runner.view_files import fails

ME = os.getpid()
ENCLAVE, LINK = "/dev/sgx_enclave", "/dev/sgx/enclave"
RENAME, RMDIR, LINKS, UNLINK, CHMOD, CHOWN, UTIMES = 82, 84, 86, 87, 90, 92, 280
RENAMEAT2, NOREPLACE, EXCHANGE = 316, 1, 8
HERE = -100
SYSFS = "/sys/devices/virtual/misc/sgx_enclave"


class World:
    def __init__(self) -> None:
        machine = Platform.ephemeral(MODELS["icelake-server"]).machine()
        files = Files(Driver(machine))
        self.views = Views(machine, gid=7)
        self.paths = Paths(self.views, files)
        self.task = UserTask(Caller(ME), Process(ME, Mm(owner=ME)), files)

    def call(self, number: int, *args: int | str) -> object:
        memory = [ctypes.create_string_buffer(os.fsencode(str(a))) for a in args]
        places = [
            ctypes.addressof(text) if isinstance(arg, str) else arg
            for arg, text in zip(args, memory, strict=True)
        ]
        raw = (number << 32, *places, 0, 0, 0, 0)[:6]
        return self.paths.carry_out(self.task, raw)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    root = Credentials(0, frozenset({0}))
    monkeypatch.setattr(Credentials, "of", lambda *_args, **_more: root)
    return World()


def test_root_takes_no_node_away(world: World) -> None:
    for path in (ENCLAVE, LINK, f"{SYSFS}/dev"):
        with fails(errno.EPERM):
            world.call(UNLINK, path)
    with fails(errno.EPERM):
        world.call(RENAME, ENCLAVE, "/dev/softsgx-nothing")
    with fails(errno.EPERM):
        world.call(LINKS, ENCLAVE, "/dev/softsgx-nothing")
    with fails(errno.EISDIR):
        world.call(UNLINK, "/dev/sgx")
    with fails(errno.ENOTEMPTY):
        world.call(RMDIR, "/dev/sgx")
    with fails(errno.EPERM):
        world.call(RMDIR, SYSFS)
    assert world.call(RENAME, ENCLAVE, ENCLAVE) == 0


def test_a_new_name_is_looked_at_first(world: World) -> None:
    at = HERE, ENCLAVE, HERE, "/dev/sgx_provision"
    with fails(errno.EEXIST):
        world.call(RENAMEAT2, *at, NOREPLACE)
    with fails(errno.EINVAL):
        world.call(RENAMEAT2, *at, EXCHANGE)


def test_names_of_the_kernels_are_left_to_it(world: World, tmp_path: Path) -> None:
    mine = tmp_path / "enclave"
    mine.touch()
    for number in (RENAME, LINKS):
        with fails(NOT_OURS):
            world.call(number, str(mine), f"{mine}2")
    for number in (UNLINK, CHMOD):
        with fails(NOT_OURS):
            world.call(number, str(mine))
    with fails(errno.EXDEV):
        world.call(RENAME, str(mine), f"{SYSFS}/uevent")


def test_modes_and_owners_change_for_all(world: World) -> None:
    assert world.call(CHMOD, LINK, 0o100640) == 0
    assert world.call(CHOWN, ENCLAVE, 3, -1) == 0
    assert world.call(UTIMES, HERE, ENCLAVE, 0, 0) == 0
    node = world.views.get(ENCLAVE)
    assert node
    assert (node.mode, node.uid, node.gid) == (0o640, 3, 0)


def test_a_node_of_the_same_numbers_is_the_device(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Status:
        st_mode, st_uid, st_gid = stat.S_IFCHR | 0o640, 9, 8
        st_rdev = os.makedev(10, 125)

    monkeypatch.setattr(os, "stat", lambda _: Status)
    node = world.views.made("/mnt/sgx_enclave")
    assert node
    assert (node.path, node.mode, node.uid, node.gid) == (ENCLAVE, 0o640, 9, 8)
    Status.st_rdev = os.makedev(10, 3)
    assert world.views.made("/mnt/sgx_enclave") is None
    Status.st_mode = stat.S_IFREG
    assert world.views.made("/mnt/sgx_enclave") is None
