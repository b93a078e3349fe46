"""Debian packages without root and without touching the machine's own apt state.

The mirror is always one that this machine already uses: it is read from apt's own
configuration, in both of its forms, and nothing here knows a host's name.
"""

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 900
"""Longest wait for one apt command; a kernel source is 150 MB."""


class AptError(Exception):
    """apt could not do it; the text is one line for a person."""


@dataclass(frozen=True)
class Source:
    """One archive that the machine uses: address, suites and the key that signs it."""

    uri: str
    suites: tuple[str, ...]
    signed_by: str | None

    def line(self, suite: str) -> str:
        """Say it as a line of sources.list, for another suite of the same archive."""
        option = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {option}{self.uri} {suite} main\n"


def parse_deb822(text: str) -> list[Source]:
    """Read a `.sources` file: stanzas of fields, comments inside fields allowed."""
    found = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[last] = fields.get(last, "") + "\n" + line.strip()
            elif ":" in line:
                last, _, value = line.partition(":")
                last = last.lower()
                fields[last] = value.strip()
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in {"no", "false", "0"}:
            continue
        # A key written into the stanza itself cannot go on a line; apt's own are used.
        key = fields.get("signed-by", "")
        signed_by = key if key.startswith("/") and "\n" not in key else None
        suites = tuple(fields.get("suites", "").split())
        found += [
            Source(uri, suites, signed_by) for uri in fields.get("uris", "").split()
        ]
    return found


ONE_LINE = re.compile(
    r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)"
)


def parse_list(text: str) -> list[Source]:
    """Read a `.list` file: one archive a line."""
    found = []
    for line in text.splitlines():
        if match := ONE_LINE.match(line.strip()):
            key = re.search(r"signed-by=(\S+)", match["options"] or "")
            signed_by = key[1] if key else None
            found.append(Source(match["uri"], (match["suite"],), signed_by))
    return found


def machine_sources(etc: Path = Path("/etc/apt")) -> list[Source]:
    """Every archive of the machine's configuration, in apt's own order of files."""
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    found = []
    for path in files:
        if path.is_file() and path.suffix == ".sources":
            found += parse_deb822(path.read_text())
        elif path.is_file() and path.suffix == ".list":
            found += parse_list(path.read_text())
    return found


def main_archives(sources: Iterable[Source]) -> list[Source]:
    """Archives that may hold any suite: each once, those of security fixes left out."""
    found: dict[str, Source] = {}
    for source in sources:
        plain = [s for s in source.suites if "security" not in s and "/" not in s]
        if plain and "security" not in source.uri:
            found.setdefault(source.uri.rstrip("/"), source)
    return list(found.values())


class PrivateApt:
    """apt with lists and cache of its own below *state*, for one suite."""

    def __init__(self, state: Path, source: Source, suite: str) -> None:
        self._state = state
        self._options = [
            *("-o", f"Dir::Etc::sourcelist={state / 'sources.list'}"),
            *("-o", "Dir::Etc::sourceparts=-"),
            *("-o", f"Dir::State::lists={state / 'lists'}"),
            # What is installed here would count as a version that can be had.
            *("-o", f"Dir::State::status={state / 'status'}"),
            *("-o", f"Dir::Cache={state / 'cache'}"),
            *("-o", "Acquire::Languages=none"),
            *("-o", "Acquire::Retries=2"),
        ]
        if os.geteuid() == 0:
            self._options += ["-o", "APT::Sandbox::User=root"]
        for folder in ("lists/partial", "cache/archives/partial"):
            (state / folder).mkdir(parents=True, exist_ok=True)
        (state / "sources.list").write_text(source.line(suite))
        (state / "status").touch()

    def update(self) -> None:
        """Fetch the suite's list of packages."""
        # apt calls a list that it could not fetch a warning, unless told otherwise.
        self._run("apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update")

    def names(self, prefix: str) -> list[str]:
        """Names of packages that begin with *prefix*."""
        return self._run("apt-cache", "pkgnames", prefix).split()

    def version(self, package: str) -> str:
        """Take the version that a download would bring."""
        shown = self._run("apt-cache", "show", "--no-all-versions", package)
        match = re.search(r"^Version: (\S+)$", shown, re.MULTILINE)
        if not match:
            raise AptError(f"apt knows no version of {package}")
        return match[1]

    def unpack(self, package: str, into: Path) -> None:
        """Lay out a package's files below *into*; nothing is installed."""
        into.mkdir(parents=True, exist_ok=True)
        self._run("apt-get", "-q", "download", package, cwd=into)
        for deb in sorted(into.glob("*.deb")):
            self._run("dpkg-deb", "-x", str(deb), str(into))
            deb.unlink()

    def _run(self, tool: str, *words: str, cwd: Path | None = None) -> str:
        options = [] if tool == "dpkg-deb" else self._options
        return run_tool([tool, *options, *words], cwd)


def run_tool(command: list[str], cwd: Path | None = None) -> str:
    """Run a program to its end and return what it said; AptError if it failed."""
    quiet = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=quiet,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as exc:
        raise AptError(f"{command[0]} is not on this machine") from exc
    except subprocess.TimeoutExpired as exc:
        raise AptError(f"{command[0]} took over {TIMEOUT_S} s") from exc
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        complaints = [x for x in said if x.startswith(("E:", "Err:"))] or said[-1:]
        raise AptError(f"{command[0]}: {complaints[0] if complaints else 'failed'}")
    return done.stdout
