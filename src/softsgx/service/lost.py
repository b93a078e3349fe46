"""What a program finds while its platform's daemon is gone: a machine without SGX."""

from dataclasses import replace

from softsgx.platform.models import DEFAULT_CPU, MODELS
from softsgx.platform.platform import Platform
from softsgx.runner.loop import Loop
from softsgx.runner.machinery import Machinery
from softsgx.runner.options import RunOptions
from softsgx.runner.start import complain
from softsgx.runner.supervisor import Sgx
from softsgx.runner.system import system_of
from softsgx.runner.task.turn import Turn


def no_driver(loop: Loop, turn: Turn) -> Sgx:
    """Make what answers calls that need the platform, where there is none."""
    platform = Platform.ephemeral(replace(MODELS[DEFAULT_CPU], sgx1=False))
    machinery = Machinery(system_of(platform, complain))
    return machinery.serving(loop, turn, RunOptions(platform=platform)).alone(loop)
