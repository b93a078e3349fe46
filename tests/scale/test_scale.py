"""Nothing takes longer, or more memory, because an EPC is large or enclaves are many.

Steps are counted, not timed: calls of functions do not depend on the machine.
"""

import sys
import tracemalloc
from collections.abc import Callable

import pytest

from softsgx.driver.encl import Encl
from tests.scale.crowd import Crowd

MANY = 500
LARGE = 1 << 40


def calls(deed: Callable[[], object]) -> int:
    """Return how many functions are called."""
    count = 0

    def counted(frame: object, event: str, arg: object) -> None:
        nonlocal count
        del frame, arg
        count += event in {"call", "c_call"}

    sys.setprofile(counted)
    try:
        deed()
    finally:
        sys.setprofile(None)
    return count


def life(crowd: Crowd) -> list[int]:
    """Return the calls of: a build, a page by EAUG, one that others are behind, an end.

    Something is built and taken apart before: what is made once is made.
    """
    first = crowd.build()
    crowd.touch(first, 100)
    crowd.remove(first)
    made: list[Encl] = []
    return [
        calls(lambda: made.append(crowd.build())),
        calls(lambda: crowd.touch(made[0], 100)),
        calls(lambda: crowd.touch(made[0], 200_000)),
        calls(lambda: crowd.remove(made[0])),
    ]


def test_a_large_epc_takes_no_more_steps_than_a_small_one() -> None:
    small = life(Crowd(1 << 20))
    for few, more in zip(small, life(Crowd(LARGE)), strict=True):
        assert more <= few * 1.02


def test_an_enclave_among_many_takes_no_more_steps_than_one_alone() -> None:
    crowd = Crowd(LARGE)
    alone = life(crowd)
    others = [crowd.build() for _ in range(MANY)]
    for few, more in zip(alone, life(crowd), strict=True):
        assert more <= few * 1.3
    for encl in others[::2]:
        crowd.remove(encl)
    for few, more in zip(alone, life(crowd), strict=True):
        assert more <= few * 1.3


def held(deed: Callable[[], object]) -> tuple[object, int]:
    """Return what a deed makes, and how many bytes more are held after it."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        made = deed()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return made, after - before


@pytest.mark.parametrize("epc_bytes", [1 << 20, LARGE])
def test_a_machine_takes_memory_only_for_pages_in_use(epc_bytes: int) -> None:
    _, size = held(lambda: Crowd(epc_bytes))
    assert size < 200_000


def test_an_enclave_and_a_page_take_little() -> None:
    crowd = Crowd(LARGE)
    crowd.build()
    encls, size = held(lambda: [crowd.build() for _ in range(20)])
    assert isinstance(encls, list)
    assert size < 20 * 60_000

    def touch() -> None:
        for at in range(1000):
            crowd.touch(encls[0], 100 + at)

    _, size = held(touch)
    assert size < 1000 * 400


def test_what_is_over_takes_nothing() -> None:
    crowd = Crowd(LARGE)
    crowd.remove(crowd.build())

    def come_and_go() -> None:
        encls = [crowd.build() for _ in range(10)]
        for at in range(100):
            crowd.touch(encls[at % 10], 100 + at)
        for encl in encls:
            crowd.remove(encl)

    come_and_go()
    _, size = held(come_and_go)
    assert size < 100_000
    assert crowd.machine.epcm.contents() == {}
    assert crowd.machine.epc.contents() == {}
    assert crowd.driver.section.free == crowd.driver.section.pages
    assert not crowd.task.mm.encls
