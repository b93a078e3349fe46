"""Brings the kernel's SGX selftest onto this machine and builds it, unmodified.

Nothing of it is kept in this project: source and binaries live in the user's cache,
`$XDG_CACHE_HOME/softsgx/selftests/<version>`, and are built again when Debian's
version changes.
"""

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tests.acceptance.apt import (
    AptError,
    PrivateApt,
    Source,
    machine_sources,
    main_archives,
    run_tool,
)

PINNED = "linux-source-6.1"
PINNED_SUITE = "bookworm"
NEWEST_SUITE = "unstable"
SGX = "tools/testing/selftests/sgx"
PARTS = re.compile(
    r"(?:tools/testing/selftests/(?:sgx/|x86/|kselftest/|[^/]+\.(?:h|mk)$|[^/]+\.sh$)"
    r"|tools/(?:include|scripts|build)/|arch/x86/include/|scripts/|Makefile$)"
)
"""What the suite's own Makefile reads, of the 80,000 files of a kernel."""

SSL_PROBE = "#include <openssl/evp.h>\nint main(void) { return !EVP_sha256(); }\n"


class SuiteMissing(Exception):  # noqa: N818 -- it says what is so, like a warning
    """A suite cannot be had here; the text is one line for a person."""


@dataclass(frozen=True)
class Suite:
    """A built selftest: Debian's package and version, and where `test_sgx` lies."""

    package: str
    version: str
    directory: Path


def cache() -> Path:
    """Where suites are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "softsgx" / "selftests"


def need_build_tools() -> None:
    """See to gcc, make and OpenSSL's headers; SuiteMissing names what is missing."""
    for tool, package in (("gcc", "gcc"), ("make", "make"), ("objcopy", "binutils")):
        if not shutil.which(tool):
            _install(package, f"{tool} is missing")
    if not _has_openssl():
        _install("libssl-dev", "OpenSSL's headers are missing")
        if not _has_openssl():
            raise SuiteMissing("no program can be linked with OpenSSL (libssl-dev)")


def _has_openssl() -> bool:
    command = ["gcc", "-x", "c", "-", "-o", os.devnull, "-lcrypto"]
    done = subprocess.run(
        command, input=SSL_PROBE.encode(), stderr=subprocess.DEVNULL, check=False
    )
    return done.returncode == 0


def _install(package: str, why: str) -> None:
    hint = f"{why}: apt-get install {package}"
    if os.geteuid():
        raise SuiteMissing(hint)
    install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", package]
    try:
        run_tool(install)
    except AptError:
        try:
            run_tool(["apt-get", "-q", "update"])
            run_tool(install)
        except AptError as exc:
            raise SuiteMissing(f"{hint} ({exc})") from exc


def number(package: str) -> tuple[int, ...]:
    """Take the kernel's version from a package's name, to be compared as numbers."""
    match = re.fullmatch(r"linux-source-(\d+(?:\.\d+)*)", package)
    return tuple(map(int, match[1].split("."))) if match else ()


def pinned_suite() -> Suite:
    """Give the 6.1 suite: from an installed package, the cache, or the archive."""
    need_build_tools()
    tarball = Path(f"/usr/src/{PINNED}.tar.xz")
    installed = _installed_version(PINNED) if tarball.is_file() else None
    if installed:
        return _build(PINNED, installed, tarball)
    try:
        return _from_archive(PINNED_SUITE, [PINNED])
    except SuiteMissing:
        if kept := _kept({PINNED}):
            return kept
        raise


def newest_suite() -> Suite:
    """Give the suite of the newest kernel in Debian unstable, or the last one had."""
    need_build_tools()
    try:
        return _from_archive(NEWEST_SUITE, None)
    except SuiteMissing:
        others = {p.name.partition("_")[0] for p in cache().glob("linux-source-*_*")}
        newer = {name for name in others if number(name) > number(PINNED)}
        if newer and (kept := _kept({max(newer, key=number)})):
            return kept
        raise


def _installed_version(package: str) -> str | None:
    try:
        return run_tool(["dpkg-query", "-W", "-f", "${Version}", package]) or None
    except AptError:
        return None


def _from_archive(suite: str, wanted: list[str] | None) -> Suite:
    archives = main_archives(machine_sources())
    if not archives:
        raise SuiteMissing("apt's configuration names no archive")
    reasons = []
    for index, archive in enumerate(archives):
        try:
            return _from_one(archive, suite, wanted, cache() / f"apt-{suite}-{index}")
        except AptError as exc:
            reasons.append(str(exc))
    raise SuiteMissing(f"no archive of this machine gives {suite}: {reasons[0]}")


def _from_one(
    archive: Source, suite: str, wanted: list[str] | None, state: Path
) -> Suite:
    apt = PrivateApt(state, archive, suite)
    apt.update()
    names = wanted or [n for n in apt.names("linux-source-") if number(n)]
    if not names:
        raise AptError(f"{suite} holds no linux-source package")
    package = max(names, key=number)
    version = apt.version(package)
    if kept := _kept({package}, version):
        return kept
    unpacked = state / "unpacked"
    try:
        apt.unpack(package, unpacked)
        tarballs = sorted(unpacked.glob("usr/src/linux-source-*.tar.*"))
        if not tarballs:
            raise AptError(f"{package} holds no source")
        return _build(package, version, tarballs[0])
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _home(package: str, version: str) -> Path:
    return cache() / f"{package}_{version.replace(':', '_').replace('/', '_')}"


def _kept(packages: set[str], version: str = "*") -> Suite | None:
    """Find a suite that an earlier run finished, the last one built if any will do."""
    found = [
        done
        for package in packages
        for done in cache().glob(f"{_home(package, version).name}/.built")
    ]
    if not found:
        return None
    home = max(found, key=lambda path: path.stat().st_mtime).parent
    package, _, kept_version = home.name.partition("_")
    return Suite(package, kept_version, home / SGX)


def _build(package: str, version: str, tarball: Path) -> Suite:
    if kept := _kept({package}, version):
        return kept
    home = _home(package, version)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    with tarfile.open(tarball) as archive:
        archive.extractall(home, members=_parts(archive), filter="data")
    directory = home / SGX
    if not directory.is_dir():
        raise SuiteMissing(f"{package} {version} holds no {SGX}")
    done = subprocess.run(
        ["make"], cwd=directory, capture_output=True, text=True, check=False
    )
    (home / "make.log").write_text(done.stdout + done.stderr)
    if done.returncode or not (directory / "test_sgx").is_file():
        raise SuiteMissing(f"{package} {version} does not build: {home / 'make.log'}")
    (home / ".built").touch()
    return Suite(package, version, directory)


def _parts(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Members that the build needs, with the archive's top folder taken off."""
    for member in archive:
        inside = str(PurePosixPath(*PurePosixPath(member.name).parts[1:]))
        if PARTS.match(inside):
            if member.islnk():
                linked = PurePosixPath(member.linkname).parts[1:]
                yield member.replace(name=inside, linkname=str(PurePosixPath(*linked)))
            else:
                yield member.replace(name=inside)
