"""softsgx bench: what SGX costs here."""

import json
import platform
import shutil
from dataclasses import asdict
from pathlib import Path

import click

from softsgx import __file__ as package_file
from softsgx import __version__
from softsgx.cli.doctor import machine
from softsgx.cli.failure import Failure
from softsgx.cli.options import path_type
from softsgx.cli.samples import (
    FIGURES,
    SELFTEST,
    NoSampleError,
    Result,
    Sources,
    finish,
    softsgx_run,
    take,
    tsc_hz,
)
from softsgx.native.probe import probe

_SOURCES = Path(package_file).parents[2] / "examples" / "bench"


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--selftest", type=path_type(), help="Where the kernel's suite is built.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([figure.id for figure in FIGURES]),
    metavar="FIGURE",
    help="Take this figure alone.",
)
@click.option("--program", type=path_type(), help="The bench program, if not ours.")
def command(
    *,
    as_json: bool,
    selftest: Path | None,
    only: tuple[str, ...],
    program: Path | None,
) -> None:
    """Measure what SGX costs on this machine: medians of several runs.

    Cycles are those of RDTSC; compile_slowdown_ratio is ten compiles in one run, with
    its start, over the same alone.  Shows progress on stderr.
    """
    if selftest and not (selftest / SELFTEST).exists():
        raise Failure(f"{selftest}: no {SELFTEST} here: `make` it there first")
    program = program or _build(_SOURCES)
    sources = Sources(program.absolute(), selftest)
    try:
        facts = _machine(sources.program)
    except NoSampleError as error:
        raise Failure(f"{program}: {error}") from error
    results = []
    for figure in FIGURES:
        if only and figure.id not in only:
            continue
        click.echo(f"bench: {figure.id} ...", err=True)
        results.append(take(figure, sources))
    if as_json:
        shown = {"machine": facts, "results": [_as_json(one) for one in results]}
        print(json.dumps(shown, indent=2))
    else:
        _show(results, facts["tsc_hz"])


def _build(where: Path) -> Path:
    """Build our program if its source is here; return where it is, built or not."""
    program = where / "build" / "bench"
    make = shutil.which("make")
    if make and (where / "Makefile").exists():
        click.echo("bench: building the program ...", err=True)
        softsgx = " ".join(softsgx_run()[:-2])
        try:
            finish([make, "-C", str(where), f"SOFTSGX={softsgx}"])
        except NoSampleError as error:
            click.echo(f"bench: {error}", err=True)
    return program


def _machine(program: Path) -> dict[str, object]:
    """Return what the figures depend on."""
    facts = machine(probe())
    del facts["cpu_flags"]
    return {
        **facts,
        "tsc_hz": tsc_hz(program) if program.exists() else None,
        "softsgx": __version__,
        "python": platform.python_version(),
    }


def _as_json(result: Result) -> dict[str, object]:
    shown = asdict(result)
    if not result.reason:
        del shown["reason"]
    return shown


def _show(results: list[Result], hz: object) -> None:
    print(f"{'figure':30} {'median':>12} {'least':>12} {'greatest':>12}  n  unit")
    for result in results:
        if result.value is None:
            print(f"{result.id:30} {'-':>12}  {result.reason}")
            continue
        figures = (result.value, result.min or 0.0, result.max or 0.0)
        row = " ".join(f"{figure:>12.5g}" for figure in figures)
        unit = result.unit
        if unit == "cycles" and isinstance(hz, float):
            unit = f"cycles ({result.value / hz * 1e6:.3g} us)"
        print(f"{result.id:30} {row} {result.n:>2}  {unit}")
