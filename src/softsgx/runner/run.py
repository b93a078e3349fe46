"""Run one program on a platform: start it, serve it, end as it ended."""

import sys
from functools import partial
from typing import TYPE_CHECKING

from softsgx.platform.models import DEFAULT_CPU, MODELS
from softsgx.platform.platform import Platform
from softsgx.runner.loop import Loop
from softsgx.runner.machinery import Machinery
from softsgx.runner.options import RunOptions
from softsgx.runner.quick import keep_config
from softsgx.runner.start import complain, start
from softsgx.runner.supervisor import Sgx, Supervisor
from softsgx.runner.system import system_of
from softsgx.runner.task.turn import Turn

if TYPE_CHECKING:
    from softsgx.runner.tracing import Tracer


class OutOfDate(Exception):  # noqa: N818 -- a state, not a defect
    """The agent's configuration was kept on another machine than this one."""


def run(argv: list[str], options: RunOptions) -> int:
    """Run a program; return its exit code, or die of the signal that it died of.

    OSError says why it could not be started; native.images.NotBuilt that we are not
    whole.
    """
    system = system_of(options.platform, complain, options.guest)
    machinery = Machinery(system)
    tracer = _tracer(machinery, options)
    config = machinery.config(exact=options.exact or tracer is not None)
    if options.is_plain:
        keep_config(config, rewrite_cpuid=machinery.rewrite_cpuid)

    def sgx(loop: Loop, turn: Turn) -> Sgx:
        return machinery.serving(loop, turn, options, tracer).alone(loop)

    def ended() -> None:
        if tracer and options.counts:
            tracer.print_summary(options.trace or sys.stderr)

    return start(
        argv,
        config,
        partial(Supervisor, make_sgx=sgx),
        rewrite_cpuid=machinery.rewrite_cpuid,
        ended=ended,
    )


def plain_sgx(loop: Loop, turn: Turn, kept: bytes) -> Sgx:
    """Make the machine of a run without any options.

    *kept* is the agent's configuration that the run began with; OutOfDate.
    """
    options = RunOptions(platform=Platform.ephemeral(MODELS[DEFAULT_CPU]))
    machinery = Machinery(system_of(options.platform, complain))
    config = machinery.config(exact=False)
    if config != kept:
        keep_config(config, rewrite_cpuid=machinery.rewrite_cpuid)
        raise OutOfDate("what earlier runs kept is out of date, run again")
    return machinery.serving(loop, turn, options).alone(loop)


def _tracer(machinery: Machinery, options: RunOptions) -> "Tracer | None":
    if options.trace is None and not options.counts:
        return None
    from softsgx.runner.tracing import Tracer  # noqa: PLC0415 -- a run seldom needs it

    tracer = Tracer(options.trace)
    machinery.machine.trace = tracer.event
    return tracer
