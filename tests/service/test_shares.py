"""What a user may have of a daemon, so that there is some for the others."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.driver.encl import Encl
from softsgx.driver.epc.account import Account, Scarce, Shares
from softsgx.platform.errors import PlatformError
from softsgx.platform.platform import Platform
from softsgx.runner.task.files import Files
from softsgx.service.attachment import Attachment
from softsgx.service.channel import Channel, Words
from softsgx.service.daemon import Daemon
from tests.scale.crowd import Crowd
from tests.service.others import KEYS, a_reachable_place, as_nobody, is_root
from tests.service.serving import daemon, new_platform

ANYBODY = 1000
FULL = "it serves as many runs as it can, or all of your share"


@pytest.fixture
def ours(tmp_path: Path) -> Daemon:
    return Daemon(Platform.open(new_platform(tmp_path / "p")))


def attached(ours: Daemon) -> Channel:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.admit(other)
    return Channel(one)


def last_words(channel: Channel) -> list[Words]:
    found = []
    while message := channel.receive(seconds=5):
        found.append(message.words)
        message.close()
    channel.close()
    return found


def test_one_run_too_many_hears_why(ours: Daemon) -> None:
    ours.shares[Scarce.RUNS] = Shares(4)  # of which one user gets two
    first, second = attached(ours), attached(ours)
    assert last_words(attached(ours)) == [{"refused": FULL}]
    assert len(ours.sessions) == 2
    first.close()
    ours._serve_once()
    third = attached(ours)
    assert len(ours.sessions) == 2
    for channel in (second, third):
        channel.close()
    ours._serve_once()
    assert ours.shares[Scarce.RUNS].room(1) == 2


def test_who_was_refused_at_once_hears_it_before_he_spoke(
    ours: Daemon, tmp_path: Path
) -> None:
    ours.shares[Scarce.RUNS] = Shares(0)
    channel = attached(ours)
    with pytest.raises(PlatformError) as refused:
        Attachment(tmp_path, channel, {"exact": False, "inject": []})
    assert str(refused.value) == f"{tmp_path}: {FULL}"


def test_a_machine_that_is_closed_gives_back_what_its_enclaves_had() -> None:
    crowd = Crowd(64 << 20)
    opens, pages = Shares(100), Shares(1000)
    account = Account(ANYBODY, {Scarce.OPENS: opens, Scarce.PAGES: pages})
    crowd.driver.account = lambda: account
    files = Files(crowd.driver)
    os.close(files.open_enclave(os.O_RDWR))
    entry, same = files._by_inode.values()  # by the descriptor's inode and the memory's
    assert entry is same
    assert isinstance(entry.file, Encl)
    crowd.build(entry.file)
    assert opens.room(ANYBODY) < 50
    assert pages.room(ANYBODY) < 500
    files.close()
    assert (opens.room(ANYBODY), pages.room(ANYBODY)) == (50, 500)


@pytest.fixture
def reachable() -> Iterator[Path]:
    with a_reachable_place() as place:
        yield place


@is_root
@pytest.mark.runner
@pytest.mark.slow
def test_the_memory_of_others_has_a_bound(reachable: Path) -> None:
    directory = new_platform(reachable / "p")
    few = str(16 * PAGE_SIZE)
    with daemon(directory, "--group", "all", "--memory-of-others", few) as served:
        code, _, said = as_nobody(*served.command(KEYS.binary()))
        assert code != 0
        share = "the daemon's pages of enclaves: all are in use, or all of your share"
        assert f"softsgx: {share}\n" in said
        done = served.run(KEYS.binary())
        assert (done.code, done.stderr) == (0, "")
        again = as_nobody(*served.command("/bin/true"))
        assert again == (0, "", "")
