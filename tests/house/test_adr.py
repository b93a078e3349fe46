"""Decision records: numbered without gaps, each with the same questions answered."""

import re
from pathlib import Path

import pytest

from tests.house.tree import ROOT

RECORDS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
HEADINGS = ["Context", "Drivers", "Options", "Outcome", "Bad consequences"]
STATUS = re.compile(
    r"^Status: (?:proposed|accepted|superseded by \d{4})$", re.MULTILINE
)


def missing_parts(text: str) -> list[str]:
    """What a decision record lacks, in order."""
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    missing = [] if STATUS.search(text) else ["Status"]
    return missing + [h for h in HEADINGS if h not in headings]


def test_records_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in RECORDS]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers, "no decision records"


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_record_answers_every_question(record: Path) -> None:
    assert missing_parts(record.read_text()) == []


def test_an_incomplete_record_is_seen() -> None:
    assert missing_parts("# 1. x\n\nStatus: accepted\n\n## Context\n") == HEADINGS[1:]
    assert "Status" in missing_parts("## Context\n")
