"""What `ps`, `top` and `show` print, as tables: from words of the daemon, pure."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from softsgx.arch.addr import PAGE_SIZE
from softsgx.cli.words import plain

Words = Mapping[str, Any]

DIGITS = 12
"""Of a measurement, as tables show it; JSON has all 64."""

NONE = "-"
RATES = {
    "entries": "CALLS/S",
    "aex": "AEX/S",
    "faults": "FAULTS/S",
    "evictions": "OUT/S",
    "reloads": "IN/S",
}
"""What `top` shows of each count in a second, and how it calls that."""

_USES = {"pages": "pages", "va": "version arrays", "secs": "SECS", "guests": "guests"}
"""What the EPC is used for, and its words."""

_RIGHT = frozenset(
    {"ID", "PID", "SIZE", "RESIDENT", "EVICTED", "INSIDE", "PAGES", "FRAMES"}
).union(RATES.values())
_PATHS = ("EXE", "CGROUP")
_BEYOND_ANY = 1 << 14
"""Columns of a file or a pipe: nothing is cut there."""
_UNITS = "KMGT"


def console() -> Console:
    """Return where tables are printed: as wide as a terminal, or wide enough."""
    width = None if sys.stdout.isatty() else _BEYOND_ANY
    return Console(width=width, highlight=False, soft_wrap=False)


def printed(*shown: RenderableType) -> None:
    """Print, for people or for a file: there no line ends in blanks."""
    output = console()
    if sys.stdout.isatty():
        output.print(*shown)
        return
    with output.capture() as captured:
        output.print(*shown)
    for line in captured.get().splitlines():
        print(line.rstrip())


def amount(size: int) -> str:
    """Write a number of bytes as people say it: 4K, 1.5M, 64G; at most one decimal."""
    if size < 1 << 10:
        return str(size)
    power = min((size.bit_length() - 1) // 10, len(_UNITS))
    value = size / (1 << 10 * power)
    number = f"{value:.1f}".removesuffix(".0") if value < 100 else f"{value:.0f}"
    return f"{number}{_UNITS[power - 1]}"


def rate(value: float) -> str:
    """Write how often something happens in a second."""
    return f"{value:.1f}" if 0 < value < 10 else f"{value:.0f}"


def enclave_table(rows: Iterable[Words]) -> Table:
    """Return what `ps` prints."""
    table = _table(
        *("ID", "PID", "GUEST", "MRENCLAVE", "SIZE", "RESIDENT", "EVICTED"),
        *("INSIDE", "DEBUG", "EXE", "CGROUP"),
    )
    for row in rows:
        _add(
            table,
            row["eid"],
            pids(row),
            row["guest"] or NONE,
            measured(row),
            amount(row["size"]),
            amount(row["resident"]),
            amount(row["evicted"]),
            row["inside"],
            "debug" if row["debug"] else NONE,
            program(row),
            row["cgroup"] or NONE,
        )
    return table


def top_table(rows: Iterable[Words]) -> Table:
    """Return the enclaves of a sample of `top`, in the order of *rows*."""
    table = _table(
        *("ID", "PID", "GUEST", "RESIDENT", "EVICTED", "INSIDE"),
        *RATES.values(),
        "EXE",
    )
    for row in rows:
        _add(
            table,
            row["eid"],
            pids(row),
            row["guest"] or NONE,
            amount(row["resident"]),
            amount(row["evicted"]),
            row["inside"],
            *(rate(row["per_second"][name]) for name in RATES),
            program(row),
        )
    return table


def top_head(sample: Words) -> Iterator[str]:
    """Yield the lines above them: the whole machine, and its guests."""
    epc = sample["epc"]
    yield _epc_line(epc)
    uses = ", ".join(f"{words} {amount(epc[use])}" for use, words in _USES.items())
    beyond = f"; {amount(epc['beyond'])} beyond it" if epc["beyond"] else ""
    yield f"  of it {uses}{beyond}"
    for name, part in sample["guests"].items():
        yield f"guest {name}: {_epc_line(part)}"
    inside = sum(row["inside"] for row in sample["enclaves"])
    pace = ", ".join(
        f"{rate(sample['per_second'][name])} {title.lower()}"
        for name, title in RATES.items()
    )
    enclaves = _number(len(sample["enclaves"]), "enclave")
    yield f"{enclaves}, {_number(inside, 'thread')} inside: {pace}"


def _epc_line(epc: Words) -> str:
    used = sum(epc[use] for use in _USES)
    share = 100 * used / epc["size"] if epc["size"] else 0
    return (
        f"EPC {amount(epc['size'])}: {amount(used)} in use ({share:.0f}%),"
        f" {amount(epc['free'])} free, {amount(epc['evicted'])} evicted"
    )


def facts(row: Words) -> Iterator[tuple[str, str]]:
    """Yield what `show` says of an enclave before its tables: names and values."""
    counts = row["counts"]
    yield "enclave", str(row["eid"])
    yield "processes", " ".join(map(str, row["pids"])) or NONE
    yield "exe", plain(row["exe"]) or NONE
    yield "cgroup", plain(row["cgroup"]) or NONE
    yield "guest", plain(row["guest"] or NONE)
    yield "device", f"/dev/{row['device']}"
    yield "mrenclave", row["mrenclave"] or "none before INIT"
    yield "mrsigner", row["mrsigner"] or "none before INIT"
    yield "product", f"{row['isvprodid']}, security version {row['isvsvn']}"
    yield "addresses", _range(row["base"], row["size"])
    yield "size", amount(row["size"])
    yield "resident", f"{amount(row['resident'])}, evicted {amount(row['evicted'])}"
    yield "versions", f"{amount(row['va'])} of version arrays"
    yield "debug", "yes" if row["debug"] else "no"
    yield "calls", f"{counts['entries']} in, {counts['exits']} out"
    yield "exits", f"{counts['aex']} asynchronous"
    yield "faults", str(counts["faults"])
    yield "paging", f"{counts['evictions']} pages out, {counts['reloads']} back"


def tcs_table(rows: Iterable[Words]) -> Table:
    """Return the TCSs of an enclave."""
    table = _table("TCS", "STATE", "PID", "THREAD", "FRAMES", "ENTRY")
    for row in rows:
        state = "evicted" if row["evicted"] else "inside" if row["pid"] else "free"
        _add(
            table,
            f"{row['address']:#x}",
            state,
            row["pid"] or NONE,
            row["tid"] or NONE,
            NONE if row["evicted"] else f"{row['cssa']}/{row['nssa']}",
            NONE if row["evicted"] else f"+{row['entry']:#x}",
        )
    return table


def page_table(rows: Iterable[Words]) -> Table:
    """Return the map of an enclave's pages."""
    table = _table("ADDRESSES", "PAGES", "TYPE", "RIGHTS", "MOST", "STATE")
    for row in rows:
        where = "evicted" if row["evicted"] else "resident"
        _add(
            table,
            _range(row["start"], row["size"]),
            row["size"] // PAGE_SIZE,
            row["type"],
            row["rights"],
            row["most"],
            " ".join((where, *row["states"])).lower(),
        )
    return table


def pids(row: Words) -> str:
    """Name the processes of an enclave in a word."""
    first, *others = row["pids"] or (NONE,)
    return f"{first}+{len(others)}" if others else str(first)


def program(row: Words) -> str:
    """Return the name of an enclave's program: of a path, a table has no room."""
    return str(row["exe"].rpartition("/")[2] or NONE)


def measured(row: Words) -> str:
    """Return the beginning of MRENCLAVE."""
    return str(row["mrenclave"][:DIGITS] or "before INIT")


def _number(number: int, of: str) -> str:
    return f"{number} {of}{'' if number == 1 else 's'}"


def _range(start: int, size: int) -> str:
    return f"{start:#x}-{start + size:#x}"


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        right = name in _RIGHT
        table.add_column(
            name,
            justify="right" if right else "left",
            # On a narrow terminal the paths are cut, and nothing else.
            no_wrap=name not in _PATHS,
            overflow="ellipsis",
        )
    return table


def _add(table: Table, *cells: object) -> None:
    table.add_row(*(Text(plain(cell)) for cell in cells))
