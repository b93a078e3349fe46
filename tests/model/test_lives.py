"""The laws of the whole model, a bounded number of steps; `make soak` takes more."""

from hypothesis import HealthCheck, settings

from tests.model.lives import Lives

TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=30,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
