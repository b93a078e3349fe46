"""softsgx debug: a program under gdb, with what gdb does not know of SGX."""

import os
import shutil
from pathlib import Path

import click

from softsgx.cli.failure import NOT_FOUND, Failure
from softsgx.cli.options import model_of, model_options, path_type, run_platform_option
from softsgx.cli.run import attach, check_program, platform_of, run_program
from softsgx.runner.options import RunOptions
from softsgx.runner.run import run
from softsgx.service.lending import run_attached

_SCRIPT = Path(__file__).with_name("gdb_sgx.py")
_NOT_INSIDE = (
    "set libthread-db-search-path",
    "handle SIGSYS SIGILL nostop noprint pass",
)
"""For a gdb outside the tree, which sees the agent's signals."""


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--symbols",
    multiple=True,
    type=path_type(exists=True),
    help="ELF file of an enclave; others are found beside PROG.",
)
@click.option("--pid", type=int, help="Attach to a program that runs already.")
@click.option("--ex", multiple=True, metavar="COMMAND", help="A gdb command, at first.")
@click.option("--batch", is_flag=True, help="End gdb after these commands.")
@click.option("--exact", is_flag=True, help="Every ENCLU in the model: slow, exact.")
@run_platform_option
@model_options
@click.argument("argv", metavar="PROG [ARGS]...", nargs=-1)
def command(  # noqa: PLR0913 -- one for each option
    *,
    symbols: tuple[Path, ...],
    pid: int | None,
    ex: tuple[str, ...],
    batch: bool,
    exact: bool,
    directory: Path | None,
    cpu: str | None,
    epc: int | None,
    no_sgx2: bool,
    vmx: bool,
    argv: tuple[str, ...],
) -> int:
    """Start gdb on PROG as if this machine had SGX.

    In gdb: `sgx enclaves`, `sgx tcs`, `sgx ssa`; debug enclaves can be stepped in.
    """
    if (pid is None) != bool(argv):
        raise click.UsageError("name a program, or --pid of one that runs")
    gdb = shutil.which("gdb")
    if gdb is None:
        raise Failure("gdb: not found (apt-get install gdb)", NOT_FOUND)
    os.environ["SOFTSGX_SYMBOLS"] = ":".join(str(path.resolve()) for path in symbols)
    options = ["-q", *(["-batch"] if batch else [])]
    loaded = ["-x", str(_SCRIPT), *(word for one in ex for word in ("-ex", one))]
    if pid is not None:
        early = [word for one in _NOT_INSIDE for word in ("-iex", one)]
        words = [gdb, *options, *early, "-p", str(pid), *loaded]
        os.execv(gdb, words)  # noqa: S606 -- gdb, as found on PATH
    check_program(argv[0])
    words = [gdb, *options, *loaded, "--args", *argv]
    attachment = attach(directory, exact=exact)
    if attachment is not None:
        return run_program(gdb, lambda: run_attached(words, attachment))
    run_options = RunOptions(
        platform=platform_of(directory, model_of(cpu, epc, no_sgx2=no_sgx2, vmx=vmx)),
        exact=exact,
    )
    return run_program(gdb, lambda: run(words, run_options))
