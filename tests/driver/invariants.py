"""What holds of a driver and its machine between any two operations."""

from collections import Counter

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.secinfo import PageType
from softsgx.driver.census import epc_use
from softsgx.driver.driver import Driver
from softsgx.driver.paging.versions import VA_SLOT_COUNT


def assert_sound(driver: Driver) -> None:
    """No page without its enclave; the counts and the free pages are right."""
    machine = driver.machine
    entries = {n: e for n, e in machine.epcm.contents().items() if e.valid}
    children: Counter[int] = Counter()
    versions: set[int] = set()
    for page, entry in entries.items():
        if entry.pt == PageType.SECS:
            assert page in machine.enclaves, f"SECS {page} of no enclave"
        elif entry.pt == PageType.VA:
            versions.add(page)
        else:
            assert entry.enclavesecs in machine.enclaves, f"page {page} is an orphan"
            children[entry.enclavesecs] += 1
    assert machine.enclaves.keys() == driver.by_secs.keys()
    for secs, encl in driver.by_secs.items():
        assert entries[secs].pt == PageType.SECS
        assert machine.enclaves[secs].children == children[secs]
        assert encl.secs_child_cnt == children[secs]
        mapped = {
            s.page.epc_page + i
            for s in encl.pages_in_use()
            for i in range(s.count)
            if not s.page.evicted
        }
        owned = {n for n, e in entries.items() if e.enclavesecs == secs}
        assert mapped == owned - {secs}, f"enclave {secs} and its pages"
    for encl in driver.by_secs.values():
        assert versions.issuperset(encl.versions.pages)
        assert len(encl.versions.pages) * VA_SLOT_COUNT >= encl.evicted
    used = driver.section.pages - driver.section.free
    assert used == len(entries), f"{used} EPC pages given out"
    seen = epc_use(driver)
    assert seen.pages == sum(children.values()) * PAGE_SIZE
    assert (seen.secs, seen.va) == (
        len(driver.by_secs) * PAGE_SIZE,
        len(versions) * PAGE_SIZE,
    )
    assert_charged(driver)


def assert_charged(driver: Driver) -> None:
    """Each EPC page is charged to one cgroup; each cgroup has what is below it."""
    cgroups = driver.cgroups
    own: Counter[int] = Counter()
    listed: Counter[int] = Counter()
    entries = driver.machine.epcm.contents()
    for page in cgroups._charged.rows():
        (value,) = cgroups._charged.get(page)
        own[value >> 1] += 1
        listed[value >> 1] += value & 1
        assert value & 1 == (entries[page].pt not in (PageType.SECS, PageType.VA))
    assert own.total() == driver.section.pages - driver.section.free
    for cgroup in cgroups.root.subtree():
        below = sum(own[one.number] for one in cgroup.subtree())
        assert cgroup.usage == below <= cgroup.peak
        assert sum(cgroup.chunks.values()) == listed[cgroup.number]
