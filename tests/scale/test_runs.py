"""What one more `softsgx run` takes of a daemon."""

import pytest

from tests.scale.runs import figures

pytestmark = [pytest.mark.runner, pytest.mark.slow]


def test_a_run_takes_little_of_its_daemon() -> None:
    taken = figures(12)
    assert taken.daemon < 400
    assert taken.threads <= 4
    assert taken.fds <= 13
