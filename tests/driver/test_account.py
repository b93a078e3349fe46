"""Who may have how much of what all share."""

import errno

import pytest

from softsgx.driver.encl import Encl
from softsgx.driver.epc.account import NO_BOUND, Account, Scarce, Shares
from tests.driver.fakes import PAGE
from tests.driver.paged import Paged, evict
from tests.scale.crowd import ENCLAVE_SIZE, PAGES, Crowd

ONE, OTHER, OWNER = 1000, 1001, 0
SECS = 1


def taken(shares: Shares, uid: int) -> int:
    """Take one after the other; return how many there were."""
    count = 0
    while shares.room(uid):
        shares.add(uid, 1)
        count += 1
    return count


def test_one_alone_gets_half_and_the_next_gets_a_share_too() -> None:
    shares = Shares(1200, OWNER)
    assert taken(shares, ONE) == 600
    assert taken(shares, OTHER) == 300
    assert shares.room(ONE) == 0  # who has more than is left gets no more


def test_for_any_number_of_users_there_is_something_left() -> None:
    shares = Shares(1000)
    for uid in range(8):
        assert taken(shares, uid)


def test_the_owner_has_no_bound_and_what_he_has_is_not_there_for_others() -> None:
    shares = Shares(100, OWNER)
    shares.add(OWNER, 60)
    assert (shares.room(OWNER), shares.room(ONE)) == (NO_BOUND, 20)
    shares.add(OWNER, 1000)
    assert (shares.room(OWNER), shares.room(ONE)) == (NO_BOUND, 0)


def test_an_owner_apart_takes_nothing_from_others() -> None:
    shares = Shares(100, OWNER, apart=True)
    shares.add(OWNER, 1 << 30)
    assert (shares.room(OWNER), shares.room(ONE)) == (NO_BOUND, 50)


def test_what_is_given_back_is_there_again() -> None:
    shares = Shares(100)
    shares.add(ONE, 40)
    assert (shares.room(ONE), shares.room(OTHER)) == (10, 30)
    shares.add(ONE, -40)
    assert (shares.room(ONE), shares.room(OTHER)) == (50, 50)
    shares.add(ONE, 0)  # as at the end of who took nothing
    assert (shares.room(ONE), shares.room(OTHER)) == (50, 50)


def test_who_took_nothing_gives_nothing_back() -> None:
    shares = Shares(100)
    shares.add(ONE, 0)
    Account(ONE, {Scarce.THREADS: shares}).give(Scarce.THREADS, 0)
    assert shares.room(ONE) == 50


def test_who_is_refused_is_told() -> None:
    met: list[Scarce] = []
    account = Account(ONE, {Scarce.OPENS: Shares(4)}, met.append)
    account.take(Scarce.OPENS, 2)
    with pytest.raises(OSError, match="has a share of open enclaves") as refused:
        account.take(Scarce.OPENS, 1, errno.ENFILE)
    assert refused.value.errno == errno.ENFILE
    assert "user 1000 " in str(refused.value)
    assert met == [Scarce.OPENS]
    account.take(Scarce.PAGES, 1 << 60)  # of which nobody said how many there are


class Bounded(Crowd):
    """A crowd whose enclaves are somebody's, who can have so many pages."""

    def __init__(self, most: int) -> None:
        super().__init__(64 << 20, pages=True)
        self.shares = Shares(2 * most)
        account = Account(ONE, {Scarce.PAGES: self.shares})
        self.driver.account = lambda: account

    @property
    def left(self) -> int:
        return self.shares.room(OTHER)


def test_an_enclave_has_no_more_pages_than_its_user() -> None:
    crowd = Bounded(PAGES + SECS + 2)
    encl = crowd.build()
    crowd.touch(encl, 100)
    crowd.touch(encl, 101)
    with pytest.raises(AssertionError):
        crowd.touch(encl, 102)


def test_the_sizes_of_enclaves_have_a_bound() -> None:
    crowd = Crowd(64 << 20)
    shares = Shares(6 * ENCLAVE_SIZE // PAGE)
    account = Account(ONE, {Scarce.ADDRESSES: shares})
    crowd.driver.account = lambda: account
    encls = [crowd.build() for _ in range(3)]
    with pytest.raises(OSError, match="addresses for enclaves") as refused:
        crowd.build()
    assert refused.value.errno == errno.ENOMEM
    for encl in encls:
        crowd.remove(encl)
    assert shares.room(ONE) == 3 * ENCLAVE_SIZE // PAGE


def test_pages_that_are_out_are_pages_too() -> None:
    shares = Shares(1000)
    paged = Paged()
    account = Account(ONE, {Scarce.PAGES: shares})
    paged.driver.account = lambda: account
    paged.ready(20)
    before = shares.room(OTHER)
    assert evict(paged.driver, paged.encl, *range(5, 15)) == 10
    assert shares.room(OTHER) == before


def test_a_build_beyond_the_bound_is_enomem_and_leaves_nothing() -> None:
    crowd = Bounded(PAGES + SECS - 1)
    with pytest.raises(OSError, match="full") as refused:
        crowd.build()
    assert refused.value.errno == errno.ENOMEM


def test_all_is_given_back_at_the_end() -> None:
    crowd = Bounded(1000)
    before = crowd.left
    encls: list[Encl] = [crowd.build() for _ in range(3)]
    crowd.touch(encls[0], 100)
    assert crowd.left < before
    for encl in encls:
        crowd.remove(encl)
    assert crowd.left == before
