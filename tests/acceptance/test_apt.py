"""apt's configuration is read in both of its forms, and versions are numbers."""

from pathlib import Path

import pytest

from tests.acceptance import kernel_source
from tests.acceptance.apt import (
    AptError,
    Source,
    machine_sources,
    main_archives,
    parse_deb822,
    parse_list,
    run_tool,
)
from tests.acceptance.kernel_selftest import TOTALS, Run
from tests.acceptance.kernel_source import SuiteMissing, newest_suite, number

DEB822 = """\
# A comment above.
Types: deb deb-src
# A comment inside a stanza.
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
"""
LIST = """\
# deb http://off.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian/ bookworm main
deb http://mirror.example/debian bookworm-updates main
deb-src http://sources.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
deb http://flat.example/tool ./
"""
MIRROR = "http://mirror.example/debian"


@pytest.mark.parametrize(
    ("sources", "key"),
    [
        (parse_deb822(DEB822), "/usr/share/keyrings/debian-archive-keyring.gpg"),
        (parse_list(LIST), "/k.gpg"),
    ],
)
def test_the_mirror_is_read_from_either_form(sources: list[Source], key: str) -> None:
    [archive] = main_archives(sources)
    assert archive.uri.rstrip("/") == MIRROR
    assert archive.signed_by == key
    assert archive.line("unstable").endswith(" unstable main\n")
    assert f"[signed-by={key}]" in archive.line("unstable")


def test_a_key_inside_a_stanza_is_left_to_apt() -> None:
    key = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEY8\n"
    [source] = parse_deb822(f"Types: deb\nURIs: {MIRROR}\nSuites: sid\n{key}")
    assert source.line("unstable") == f"deb {MIRROR} unstable main\n"


def test_both_forms_of_configuration_files_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(LIST)
    (tmp_path / "sources.list.d" / "debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "x.list.disabled").write_text("deb http://x/ sid m")
    assert len(machine_sources(tmp_path)) == len(
        parse_list(LIST) + parse_deb822(DEB822)
    )


def test_versions_are_compared_as_numbers() -> None:
    names = ["linux-source-6.9", "linux-source-6.12", "linux-source", "linux-source-rt"]
    assert max(names, key=number) == "linux-source-6.12"
    assert number("linux-source") == ()


def test_a_tool_that_fails_is_one_line() -> None:
    with pytest.raises(AptError, match=r"^apt-get: E: "):
        run_tool(["apt-get", "download", "no-such-package-at-all"])
    with pytest.raises(AptError, match="is not on this machine"):
        run_tool(["no-such-tool-at-all"])


def test_a_machine_without_a_mirror_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kernel_source, "machine_sources", list)
    with pytest.raises(SuiteMissing, match="names no archive"):
        newest_suite()


def test_only_the_exact_totals_count() -> None:
    skipped = TOTALS.replace("pass:16", "pass:15").replace("skip:0", "skip:1")
    begin = "#  RUN           enclave.augment ..."
    line = f"{begin}\nok 1 # SKIP SGX2 not supported"
    assert Run(0, f"TAP version 13\n{TOTALS}\n", 1.0).complaint() == ""
    assert "augment" in Run(0, f"{line}\n{skipped}\n", 1.0).complaint()
    assert Run(0, f"not ok 4 enclave.a\n{TOTALS}\nmore\n", 1.0).complaint()
    assert Run(1, TOTALS, 1.0).complaint() == "exit code 1"
    assert Run(0, TOTALS, 46.0).complaint() == "took 46.0 s, has 45 s"
