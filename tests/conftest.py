"""What all tests share: no time limits, a terminal's signals, and who does what when.

With `pytest -n 2` two processes work: a file is one's, with its fixtures; conformance
programs need nothing of each other: they come last, each where there is time for it.
"""

import signal
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")

# Under nohup they are ignored, and would stay so over execve.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

PROGRAMS = "test_programs.py"


def unit(nodeid: str) -> str:
    """Name what is done by one process, of which a test is a part."""
    file, _, test = nodeid.partition("::")
    return file + test.partition("[")[2] if file.endswith(PROGRAMS) else file


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have programs come last; all else is as chance has it."""
    items.sort(key=lambda item: item.path.name == PROGRAMS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Any:  # noqa: ANN401 -- xdist has no types
    """Hand out units, in their order, unless something else is asked for."""
    if config.getoption("dist") != "load":
        return None
    config.option.loadscopereorder = False
    scheduling = LoadScopeScheduling(config, log)
    scheduling._split_scope = unit
    return scheduling
