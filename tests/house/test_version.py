"""One version, said in two places."""

import re

from softsgx import __version__
from tests.house.tree import ROOT

RELEASE = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>\S+))?$", re.MULTILINE)


def newest_release(changelog: str) -> str | None:
    """Take the first heading that is a release, not `Unreleased`."""
    for match in RELEASE.finditer(changelog):
        if match["version"] != "Unreleased":
            return match["version"]
    return None


def test_changelog_and_package_have_one_version() -> None:
    assert newest_release((ROOT / "CHANGELOG.md").read_text()) == __version__


def test_the_reader_of_the_changelog_sees_releases() -> None:
    assert newest_release("## [Unreleased]\n## [1.2.3] - 2026-01-01\n") == "1.2.3"
    assert newest_release("## [Unreleased]\n") is None
