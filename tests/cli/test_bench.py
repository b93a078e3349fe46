import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from softsgx.cli import bench, samples, swap_samples
from softsgx.cli.failure import Failure
from softsgx.cli.samples import (
    FIGURES,
    Figure,
    NoSampleError,
    Result,
    Sources,
    finish,
    read_samples,
    summary,
    take,
)
from softsgx.cli.swap_samples import page_swap_s
from softsgx.encls.swap import In, eldu_run
from softsgx.machine.machine import Machine

NOWHERE = Sources(Path("no-such-program"))
FIGURE = Figure("a_figure", "s", lambda _: [3.0, 1.0, 2.0, 9.0, 2.5])


def test_the_ids_are_those_that_others_read() -> None:
    assert [figure.id for figure in FIGURES] == [
        "enclu_roundtrip_exact_cycles",
        "enclu_roundtrip_cycles",
        "build_unmeasured_gib_s",
        "build_measured_mib_s",
        "eaccept_page_cycles",
        "page_swap_cycles",
        "page_swap_live_cycles",
        "page_swap_far_cycles",
        "selftest_suite_s",
        "start_true_s",
        "compile_slowdown_ratio",
        "inside_compute_ratio",
        "policy_decide_10_us",
        "policy_decide_10k_us",
    ]


def test_a_figure_is_the_median_with_its_range() -> None:
    result = take(FIGURE, NOWHERE)
    assert (result.value, result.n, result.min, result.max) == (2.5, 5, 1.0, 9.0)


def test_no_samples_is_no_figure() -> None:
    assert summary(FIGURE, []) == Result(id="a_figure", unit="s", reason="no samples")


@pytest.mark.parametrize(
    "name",
    [
        "enclu_roundtrip_cycles",
        "page_swap_cycles",
        "page_swap_live_cycles",
        "selftest_suite_s",
        "inside_compute_ratio",
    ],
)
def test_what_cannot_be_measured_says_why(name: str) -> None:
    (figure,) = (one for one in FIGURES if one.id == name)
    result = take(figure, NOWHERE)
    assert result.value is None
    assert result.reason


def test_a_page_that_is_swapped_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap_samples, "_ROUNDS", 1)
    loaded: list[int] = []

    def load(machine: Machine, operands: list[In]) -> list[bytes]:
        loaded.extend(one.page for one in operands)
        return eldu_run(machine, operands)

    monkeypatch.setattr(swap_samples, "eldu_run", load)
    samples = page_swap_s()
    assert len(samples) == 9
    assert all(sample > 0 for sample in samples)
    assert len(loaded) == 9 * swap_samples.RUN


def test_a_command_that_fails_is_quoted() -> None:
    with pytest.raises(NoSampleError, match="sh failed: no luck"):
        finish(["/bin/sh", "-c", "echo no luck >&2; exit 3"])
    with pytest.raises(NoSampleError, match="exit code 3"):
        finish(["/bin/sh", "-c", "exit 3"])


def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "TIMEOUT_S", 0.05)
    with pytest.raises(NoSampleError, match="timed out"):
        finish(["/bin/sleep", "5"])


def test_samples_are_a_number_a_line() -> None:
    assert read_samples("1\n2.5\n") == [1.0, 2.5]
    with pytest.raises(NoSampleError, match="not a number"):
        read_samples("1\nbench: no")


def test_a_suite_that_skips_is_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "test_sgx"
    program.write_text("#!/bin/sh\necho '# Totals: pass:10 fail:0 skip:6'\n")
    program.chmod(0o755)
    monkeypatch.setattr(samples, "softsgx_run", lambda *_: ["/usr/bin/env"])
    (figure,) = (one for one in FIGURES if one.id == "selftest_suite_s")
    result = take(figure, Sources(Path("x"), tmp_path))
    assert result.reason == "the suite did not pass"


def test_bench_prints_json_and_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "FIGURES", (FIGURE,))
    result = CliRunner().invoke(
        bench.command, ["--json", "--program", "none"], standalone_mode=False
    )
    assert result.exception is None
    shown = json.loads(result.stdout)
    assert result.stderr == "bench: a_figure ...\n"
    assert shown["results"] == [
        {"id": "a_figure", "value": 2.5, "unit": "s", "n": 5, "min": 1.0, "max": 9.0}
    ]
    assert {"kernel", "cpu", "cpus", "xcr0", "tsc_hz"} <= set(shown["machine"])


def test_bench_prints_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Figure("missing", "s", FIGURES[0].take)
    cycles = Figure("turns", "cycles", lambda _: [1000.0])
    monkeypatch.setattr(bench, "FIGURES", (FIGURE, missing, cycles))
    result = CliRunner().invoke(
        bench.command, ["--program", "none"], standalone_mode=False
    )
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "figure",
        "a_figure",
        "missing",
        "turns",
    ]
    assert "is not built" in lines[2]


def test_a_suite_that_is_not_built_is_said_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    result = CliRunner().invoke(
        bench.command, ["--selftest", str(tmp_path)], standalone_mode=False
    )
    assert (
        str(result.exception) == f"{tmp_path}: no test_sgx here: `make` it there first"
    )
    assert result.stderr == ""


def test_a_program_that_is_none_is_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        bench.command, ["--program", str(tmp_path)], standalone_mode=False
    )
    assert isinstance(result.exception, Failure)
    assert str(result.exception).startswith(f"{tmp_path}: ")
