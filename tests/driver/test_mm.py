from softsgx.driver.encl import Encl
from softsgx.driver.mm import Mm, Vma
from tests.driver.fakes import FakeMemory

R, RW = 1, 3


def vma(start: int, end: int, encl: Encl, prot: int = RW) -> Vma:
    return Vma(start, end, prot, encl, 7)


def ranges(mm: Mm) -> list[tuple[int, int, int]]:
    return [(v.start, v.end, v.prot) for v in mm.vmas]


def test_find_covers_start_and_not_end() -> None:
    encl, mm = Encl(FakeMemory()), Mm()
    mm.add(vma(0x1000, 0x3000, encl))
    mm.add(vma(0x5000, 0x6000, encl))
    assert mm.find(0xFFF) is None
    assert mm.find(0x1000) is mm.find(0x2FFF) is mm.vmas[0]
    assert mm.find(0x3000) is None
    assert mm.find(0x5FFF) is mm.vmas[1]
    assert mm.find(0x6000) is None


def test_carve_cuts_both_ends() -> None:
    encl, mm = Encl(FakeMemory()), Mm()
    mm.add(vma(0x1000, 0x5000, encl))
    for piece in mm.carve(0x2000, 0x3000):
        piece.prot = R
    assert ranges(mm) == [
        (0x1000, 0x2000, RW),
        (0x2000, 0x3000, R),
        (0x3000, 0x5000, RW),
    ]
    assert encl.vma_count == 3


def test_a_new_mapping_replaces_what_is_under_it() -> None:
    one, two, mm = Encl(FakeMemory()), Encl(FakeMemory()), Mm()
    mm.add(vma(0x1000, 0x5000, one))
    mm.add(vma(0x2000, 0x3000, two))
    assert [v.encl for v in mm.vmas] == [one, two, one]
    assert (one.vma_count, two.vma_count) == (2, 1)
    mm.add(vma(0x1000, 0x5000, two))
    assert ranges(mm) == [(0x1000, 0x5000, RW)]
    assert (one.vma_count, two.vma_count) == (0, 1)


def test_remove_takes_parts_of_neighbours() -> None:
    encl, mm = Encl(FakeMemory()), Mm()
    mm.add(vma(0x1000, 0x3000, encl))
    mm.add(vma(0x3000, 0x5000, encl))
    mm.remove(0x2000, 0x4000)
    assert ranges(mm) == [(0x1000, 0x2000, RW), (0x4000, 0x5000, RW)]
    assert encl.vma_count == 2
    mm.remove(0x2000, 0x4000)
    assert encl.vma_count == 2


def test_a_forked_child_has_its_own_copy_and_joins() -> None:
    encl, mm = Encl(FakeMemory()), Mm(read_implies_exec=True)
    mm.add(vma(0x1000, 0x3000, encl))
    child = mm.fork()
    mm.remove(0x1000, 0x2000)
    assert ranges(child) == [(0x1000, 0x3000, RW)]
    assert child.read_implies_exec
    assert encl.mms == {mm, child}
    assert encl.vma_count == 2


def test_clear_leaves_the_enclave() -> None:
    encl, mm = Encl(FakeMemory()), Mm()
    mm.add(vma(0x1000, 0x3000, encl))
    mm.clear()
    assert (mm.vmas, mm.encls, encl.mms, encl.vma_count) == ([], set(), set(), 0)
