"""What the documents point to is there: files, headings, names, commands, options."""

import re
from functools import cache
from pathlib import Path

import click

from softsgx.cli.group import cli
from tests.house.tree import ROOT, Breach, files, name, report, tracked_files

ROOMS = ROOT / "src" / "softsgx"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
QUOTED = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
PATH = re.compile(r"\w[\w.-]*(?:/[\w.*-]+)+/?")
WORD = re.compile(r"[A-Za-z_]\w*(?:\.[a-z_]\w*)*")
TARGET = re.compile(r"^([a-z][a-z0-9-]*):(?!=)", re.MULTILINE)
HISTORY = ("docs/adr/", "CHANGELOG.md")
"""They tell of files that may be gone since."""


def slug(heading: str) -> str:
    """Return the anchor that a heading has in Markdown as forges show it."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def dead_links(path: Path, text: str) -> list[Breach]:
    """Links to files or headings that are not there."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for target in LINK.findall(line):
            place, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            aim = (path.parent / place).resolve() if place else path
            if not aim.exists():
                found.append(Breach(name(path), number, f"no file {place}"))
            elif anchor and anchor not in _anchors(aim):
                found.append(Breach(name(path), number, f"no heading #{anchor}"))
    return found


def _anchors(path: Path) -> set[str]:
    return {slug(h) for h in re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)}


def dead_paths(path: Path, text: str) -> list[Breach]:
    """Paths of ours in backquotes that lead nowhere."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for quoted in QUOTED.findall(line.replace("LEAF", "e*")):
            if PATH.fullmatch(quoted) and _is_ours(quoted) and not _places(quoted):
                found.append(Breach(name(path), number, f"no file {quoted}"))
    return found


def _is_ours(quoted: str) -> bool:
    first = quoted.partition("/")[0]
    return any((base / first).is_dir() for base in (ROOT, ROOMS, ROOT / "native"))


def _places(quoted: str) -> list[Path]:
    bases = (ROOT, ROOMS, ROOT / "native")
    return [place for base in bases for place in base.glob(quoted.rstrip("/"))]


@cache
def _source() -> frozenset[str]:
    """Return every word of the source."""
    kinds = (".py", ".c", ".h", ".S")
    tops = (ROOT / "src", ROOT / "native")
    texts = (p.read_text() for top in tops for p in files(*kinds, under=top))
    return frozenset(word for text in texts for word in re.findall(r"\w+", text))


def dead_names(path: Path, text: str) -> list[Breach]:
    """Names of code in backquotes, `like_this` or `Like.this`, that no source has."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for quoted in QUOTED.findall(line):
            if not WORD.fullmatch(quoted) or not re.search(
                r"[a-z][._]|[a-z][A-Z]", quoted
            ):
                continue
            parts = [part for part in quoted.split(".") if part not in ("py", "c", "h")]
            gone = set(parts) - _source()
            file = any(p.name == quoted for p in tracked_files())
            if gone and not file:
                found.append(Breach(name(path), number, f"no source has {quoted}"))
    return found


def dead_commands(where: str, text: str) -> list[Breach]:
    """Commands and options of softsgx that it does not have."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for said in [*QUOTED.findall(line), *re.findall(r"^ {4}(?:\$ )?(.+)$", line)]:
            for words in re.findall(r"(?:^|&& )softsgx ([^#&|`]+)", said):
                why = _refused(words.split())
                if why:
                    found.append(Breach(where, number, f"softsgx {words}: {why}"))
    return found


def _refused(words: list[str]) -> str:
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and words[0].islower():
        word = words.pop(0).rstrip(",")
        inner = command.get_command(context, word)
        if inner is None:
            return f"no command {word}"
        command = inner
    if "--" in words:
        words = words[: words.index("--")]
    known = {o for p in command.params for o in p.opts} | {"--help", "--version"}
    given = [re.split(r"[=,\]]", word)[0] for word in words if word.startswith("--")]
    return next((f"no option {option}" for option in given if option not in known), "")


def dead_targets(where: str, text: str) -> list[Breach]:
    """Targets of `make` that the Makefile does not have."""
    known = set(TARGET.findall((ROOT / "Makefile").read_text()))
    return [
        Breach(where, number, f"no target {target}")
        for number, line in enumerate(text.splitlines(), 1)
        for target in re.findall(r"(?:`|^ {4})make ([a-z][a-z0-9-]*)(?=[`\s]|$)", line)
        if target not in known
    ]


def _documents() -> list[tuple[Path, str]]:
    return [(path, path.read_text()) for path in files(".md")]


def _of_now() -> list[tuple[Path, str]]:
    return [(p, t) for p, t in _documents() if not name(p).startswith(HISTORY)]


def test_links_lead_somewhere() -> None:
    found = [b for path, text in _documents() for b in dead_links(path, text)]
    assert not found, report(found)


def test_paths_lead_somewhere() -> None:
    found = [b for path, text in _of_now() for b in dead_paths(path, text)]
    assert not found, report(found)


def test_names_that_the_map_gives_are_in_the_source() -> None:
    path = ROOT / "ARCHITECTURE.md"
    found = dead_names(path, path.read_text())
    assert not found, report(found)


def test_commands_and_options_are_there() -> None:
    found = [b for path, text in _of_now() for b in dead_commands(name(path), text)]
    found += [b for path, text in _of_now() for b in dead_targets(name(path), text)]
    assert not found, report(found)


def test_the_rules_see_what_is_dead() -> None:
    here = ROOT / "README.md"
    assert dead_links(here, "[x](docs/none.md)")
    assert dead_links(here, "[x](docs/daemon.md#no-such-heading)")
    assert not dead_links(here, "[x](docs/daemon.md#when-it-ends)")
    assert dead_paths(here, "see `encls/none.py`")
    assert not dead_paths(here, "see `encls/eadd.py`, `agent/main.c`, `/dev/x`")
    assert dead_names(here, "`Driver.no_such_thing`")
    assert not dead_names(here, "`Driver.ioctl`")
    assert dead_commands("x", "`softsgx guest neww one`")
    assert dead_commands("x", "    softsgx run --epcc 4M -- ./app --mine")
    assert not dead_commands("x", "    softsgx run --epc 4M -- ./app --mine")
    assert dead_targets("x", "`make nothing`")


def test_every_decision_record_is_in_the_list() -> None:
    records = {p.name for p in (ROOT / "docs" / "adr").glob("[0-9]*.md")}
    listed = LINK.findall((ROOT / "docs" / "adr" / "README.md").read_text())
    assert sorted(listed) == sorted(records)


def test_every_file_in_c_has_its_duty_in_the_list() -> None:
    listed = set(QUOTED.findall((ROOT / "native" / "README.md").read_text()))
    there = {p.name for p in files(".c", ".S", under=ROOT / "native")}
    assert there - listed == set()


def test_what_differs_begins_with_its_subject_in_bold() -> None:
    text = (ROOT / "docs" / "not-emulated.md").read_text()
    entries = re.findall(r"^- .*", text, re.MULTILINE)
    assert entries
    assert [one for one in entries if not one.startswith("- **")] == []


def test_every_room_is_on_the_map() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = {p.parent.name for p in ROOMS.glob("*/__init__.py")}
    table = text.partition("| Room |")[2].partition("\n\n")[0]
    assert rooms <= set(re.findall(r"`(\w+)`", table))
