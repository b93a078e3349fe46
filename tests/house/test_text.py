"""What may stand in a tracked file at all."""

import re
import tomllib

import pytest

from tests.house.tree import ROOT, SOURCE, Breach, files, name, report, tracked_files

# Put together from pieces, so that this file keeps its own rule.
HOSTS = "|".join(
    re.escape(f"{host}.{domain}")
    for host, domain in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("deb.debian", "org"),
        ("ftp.debian", "org"),
        ("snapshot.debian", "org"),
        ("proxy.golang", "org"),
        ("crates", "io"),
    ]
)
HERE = "|".join(
    ["/wo" + "rk/", "/tm" + "p/(?:venv|plan|bg)", "/roo" + "t/", "/hom" + "e/"]
)
TEXT_RULES = [
    (re.compile(rf"(?<![\w.]){HERE}"), "a path of one machine"),
    (re.compile(HOSTS), "the host of a registry or mirror"),
    (re.compile(r"^(?:<{7}|>{7}|={7})(?: |$)"), "a merge conflict"),
]
NUMBERED = re.compile(
    r"(?:SDM|[Ss]ection|[Cc]hapter|§)\s*(?:vol\.?\s*\w+\s*)?§?\d+\.\d+"
)
SILENCED = re.compile(r"#\s*(?:noqa|type:\s*ignore|fmt:\s*skip)\b(?P<rest>.*)")
CITED = re.compile(r'SDM:\s*((?:"[^"]+"[\s,;#]*(?:and\s+)?)+)')


def bad_text(where: str, text: str) -> list[Breach]:
    """Lines that name one machine, a registry's host, or an unfinished merge."""
    return [
        Breach(where, number, what)
        for number, line in enumerate(text.splitlines(), 1)
        for pattern, what in TEXT_RULES
        if pattern.search(line)
    ]


def numbered_citations(where: str, text: str) -> list[Breach]:
    """Citations by number: editions renumber, titles stay."""
    return [
        Breach(where, number, "cites a section by number; cite its title")
        for number, line in enumerate(text.splitlines(), 1)
        if NUMBERED.search(line)
    ]


def silences_without_reason(where: str, text: str) -> list[Breach]:
    """A linter or type checker silenced with no reason after ` -- `."""
    return [
        Breach(where, number, "silences a tool without ` -- why`")
        for number, line in enumerate(text.splitlines(), 1)
        if (match := SILENCED.search(line)) and " -- " not in match["rest"]
    ]


def unformatted_code(where: str, text: str) -> list[Breach]:
    """The formatter switched off round anything that is not a table of cells."""
    return [
        Breach(
            where, text.count("\n", 0, match.start()) + 1, "fmt: off without a table"
        )
        for match in re.finditer(r"# fmt: off\n(.*?)# fmt: on", text, re.DOTALL)
        if "= at(" not in match[1]
    ]


def cited_titles(text: str) -> list[str]:
    """Titles in `SDM: "..."`, also where comment or docstring wraps them."""
    return [
        re.sub(r"\s*\n\s*(?:#\s*|\*\s*)?", " ", title)
        for group in CITED.findall(text)
        for title in re.findall(r'"([^"]+)"', group)
    ]


def known_titles() -> set[str]:
    """Every key and every string of docs/spec/sdm.toml."""

    def strings(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {s for v in value.values() for s in strings(v)}
        if isinstance(value, list):
            return {s for v in value for s in strings(v)}
        return {value} if isinstance(value, str) else set()

    return strings(tomllib.loads((ROOT / "docs/spec/sdm.toml").read_text()))


def _texts() -> list[tuple[str, str]]:
    found = []
    for path in tracked_files():
        try:
            found.append((name(path), path.read_text()))
        except UnicodeDecodeError:
            continue
    return found


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = [b for where, text in _texts() for b in bad_text(where, text)]
    assert not found, report(found)


def test_no_tracked_file_is_binary() -> None:
    found = [name(path) for path in tracked_files() if b"\0" in path.read_bytes()]
    assert not found


def test_the_manual_is_cited_by_title() -> None:
    sources = files(".py", ".c", ".h", ".S", ".md")
    found = [b for p in sources for b in numbered_citations(name(p), p.read_text())]
    assert not found, report(found)


def test_cited_titles_are_in_the_pinned_edition() -> None:
    known = known_titles()
    found = [
        Breach(name(path), 1, f"cites {title!r}, which docs/spec/sdm.toml lacks")
        for path in files(".py", ".c", ".h", ".S", under=SOURCE.parent)
        for title in cited_titles(path.read_text())
        if title not in known
    ]
    assert not found, report(found)


def test_silenced_tools_have_a_reason() -> None:
    found = [
        breach
        for path in files(".py", under=SOURCE)
        for breach in silences_without_reason(name(path), path.read_text())
    ]
    assert not found, report(found)


def test_only_tables_are_left_unformatted() -> None:
    found = [b for p in files(".py") for b in unformatted_code(name(p), p.read_text())]
    assert not found, report(found)


@pytest.mark.parametrize(
    "line",
    [
        'open("/wo' + 'rk/main/x")',
        "see /tm" + "p/venv/bin/python",
        "http://deb." + "debian.org/debian",
        "<<<<" + "<<< HEAD",
    ],
)
def test_the_rule_sees_bad_text(line: str) -> None:
    assert bad_text("x", f"good\n{line}\n")


def test_the_rules_see_what_they_forbid() -> None:
    assert numbered_citations("x", "see SDM section 38" + ".13 for it")
    assert not numbered_citations("x", 'SDM: "Error Codes"; version 3.11')
    assert silences_without_reason("x", "import x  # no" + "qa: F401")
    assert not silences_without_reason("x", "import x  # no" + "qa: F401 -- a face")
    assert unformatted_code("x", "# fmt: off\nx = 1\n# fmt: on\n")
    assert not unformatted_code(
        "x", "# fmt: off\n    isvsvn: int = at(4, 2)\n# fmt: on\n"
    )


def test_a_wrapped_citation_is_one_title() -> None:
    text = '"""One.\n\nSDM: "EADD—Add a\n    Page", "Error Codes".\n"""'
    assert cited_titles(text) == ["EADD—Add a Page", "Error Codes"]
