"""The laws of the whole model, a bounded number of steps; `make soak` takes more."""

from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.model.lives import RACE, Lives

TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=25,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@given(
    data=st.data(),
    skipped=st.sets(st.sampled_from(RACE), max_size=3),
    order=st.one_of(st.just(RACE), st.permutations(RACE)),
)
@settings(max_examples=150, deadline=None)
def test_a_race_for_a_page_of_a_running_enclave(
    data: st.DataObject, skipped: set[str], order: Sequence[str]
) -> None:
    lives = Lives()
    lives.begin(start="running")
    lives.race(data=data, skipped=skipped, order=order, fresh=False)
    lives.every_page_has_one_living_owner()
    lives.nobody_can_reach_a_page_that_went()
    lives.who_is_inside_is_known_and_has_its_frame()
