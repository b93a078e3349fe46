import errno
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from softsgx.cli.failure import Failure
from softsgx.platform.platform import Platform
from softsgx.runner.options import MASK_PF_SGX, RunOptions

Call = tuple[list[str], RunOptions]


@pytest.fixture
def module() -> ModuleType:
    return importlib.import_module("softsgx.cli.run")


@pytest.fixture
def calls(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    seen: list[Call] = []

    def run(argv: list[str], options: RunOptions) -> int:
        seen.append((argv, options))
        return 42

    monkeypatch.setattr(module, "run", run)
    return seen


def invoke(module: ModuleType, *arguments: object) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(module.command, words, standalone_mode=False)


def failure(result: Result) -> Failure:
    assert isinstance(result.exception, Failure)
    return result.exception


def test_the_program_gets_its_arguments_and_gives_its_code(
    module: ModuleType, calls: list[Call]
) -> None:
    result = invoke(module, "--", "/bin/true", "--exact", "-c", "x")
    assert result.return_value == 42
    ((argv, options),) = calls
    assert argv == ["/bin/true", "--exact", "-c", "x"]
    assert not options.exact
    assert options.trace is None
    assert options.platform.is_on


def test_options_after_the_program_are_the_programs(
    module: ModuleType, calls: list[Call]
) -> None:
    invoke(module, "true", "--exact")
    assert calls[0][0] == ["true", "--exact"]


def test_options_reach_the_runner(
    module: ModuleType, calls: list[Call], tmp_path: Path
) -> None:
    invoke(
        module,
        "--exact",
        "-c",
        "--trace-file",
        tmp_path / "t",
        "--epc",
        "1M",
        "--no-sgx2",
        "--inject",
        MASK_PF_SGX,
        "--cpu",
        "icelake",
        "true",
    )  # fmt: skip -- options and values side by side
    ((_, options),) = calls
    assert options.exact
    assert options.counts
    assert options.inject == {MASK_PF_SGX}
    assert options.trace is not None
    assert options.trace.name == str(tmp_path / "t")
    assert options.platform.model.epc_bytes == 1 << 20
    assert not options.platform.model.sgx2
    assert not options.platform.model.aexnotify
    options.trace.close()


def test_directories_that_cannot_be_looked_into_are_passed_by(
    module: ModuleType, calls: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"/{'x' * 300}:/bin")
    invoke(module, "true")
    assert calls[0][0] == ["true"]


def test_a_trace_without_a_file_goes_to_stderr(
    module: ModuleType, calls: list[Call]
) -> None:
    invoke(module, "--trace", "true")
    trace = calls[0][1].trace
    assert trace is not None
    assert trace is not sys.stdout


@pytest.mark.parametrize("name", ["./no/such/program", "no-such-program-at-all"])
def test_a_program_that_is_not_there_is_127(module: ModuleType, name: str) -> None:
    error = failure(invoke(module, name))
    assert error.exit_code == 127
    assert str(error) == f"{name}: not found"


def test_a_program_that_may_not_run_is_126(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").write_text("text")
    assert failure(invoke(module, tmp_path / "plain")).exit_code == 126
    assert failure(invoke(module, tmp_path)).exit_code == 126
    monkeypatch.setenv("PATH", str(tmp_path))
    assert failure(invoke(module, "plain")).exit_code == 126


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EPERM, 125),
        (errno.ENOEXEC, 126),
        (errno.EBUSY, 125),
        (errno.ENOENT, 127),
    ],
)
def test_a_failed_start_is_one_line_and_its_code(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    def refuse(_argv: list[str], _options: RunOptions) -> int:
        raise OSError(number, "refused")

    monkeypatch.setattr(module, "run", refuse)
    error = failure(invoke(module, "true"))
    assert error.exit_code == code
    assert str(error).startswith("true: refused")
    assert ("softsgx doctor" in str(error)) == (code == 125)


def test_a_platform_that_is_off_is_a_machine_without_sgx(
    module: ModuleType, calls: list[Call], tmp_path: Path
) -> None:
    where = tmp_path / "p"
    platform = Platform.create(where)
    result = invoke(module, "--platform", where, "true")
    assert result.return_value == 42
    assert f"softsgx platform enable {where}" in result.output
    assert result.output.count("\n") == 1
    assert not calls[0][1].platform.model.sgx1
    platform.switch(on=True)
    result = invoke(module, "--platform", where, "true")
    assert (result.return_value, result.output) == (42, "")
    assert calls[1][1].platform.identity == platform.identity
    assert calls[1][1].platform.model.sgx1


def test_no_platform_is_125(module: ModuleType, tmp_path: Path) -> None:
    error = failure(invoke(module, "--platform", tmp_path / "none", "true"))
    assert error.exit_code == 125


def test_a_trace_that_cannot_be_written_is_125(
    module: ModuleType, tmp_path: Path
) -> None:
    error = failure(invoke(module, "--trace-file", tmp_path / "no" / "t", "true"))
    assert error.exit_code == 125


@pytest.mark.parametrize("option", ["--cpu=full", "--epc=64M", "--no-sgx2"])
def test_a_platform_has_its_own_model(
    module: ModuleType, tmp_path: Path, option: str
) -> None:
    result = invoke(module, "--platform", tmp_path, option, "true")
    assert "do not go with --platform" in str(result.exception)
