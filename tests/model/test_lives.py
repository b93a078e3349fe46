"""The laws of the whole model, a bounded number of steps; `make soak` takes more."""

from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from softsgx.arch.leaves import Encls, Enclu, Enclv
from softsgx.encls import LEAVES
from softsgx.encls.eblock import eblock
from tests.model import soak
from tests.model.choices import Drawn, Rolled
from tests.model.lives import RACE, RULES, Lives
from tests.model.system import STARTS


class Machine(RuleBasedStateMachine):
    """Lives whose choices hypothesis makes."""

    @initialize(data=st.data(), start=st.sampled_from(STARTS))
    def begin(self, data: st.DataObject, start: str) -> None:
        self.lives = Lives(Drawn(data))
        self.lives.begin(start)

    @rule(data=st.data(), happens=st.sampled_from(RULES))
    def go_on(self, data: st.DataObject, happens: Callable[[Lives], None]) -> None:
        self.lives.choose = Drawn(data)
        happens(self.lives)
        self.lives.check_laws()


TestLives = Machine.TestCase
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
    lives = Lives(Drawn(data))
    lives.begin("running")
    lives.race_by([step for step in order if step not in skipped], fresh=False)
    lives.check_laws()


def test_a_short_soak_holds_and_does_nearly_every_leaf() -> None:
    counts = soak.run(seed=1, wanted=3000)
    assert len(soak.never_done(counts)) < 5
    assert len(soak.table(counts)) > 25


def test_a_leaf_that_never_did_anything_is_told() -> None:
    leaves = [*Encls, *Enclu, *Enclv]
    counts = Counter({(leaf.name, "done"): 1 for leaf in leaves if leaf != Encls.EWB})
    counts["EWB", "#GP"] = 5
    assert soak.never_done(counts) == ["EWB"]
    assert soak.table(counts)[-1] == f"EWB            {0:8}  #GP 5"


def test_the_soak_shows_the_shortest_story_of_a_broken_law(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forgets(machine: object, lp: object) -> None:
        eblock(machine, lp)  # type: ignore[arg-type]  # -- any leaf's operands
        machine.enclaves.clear()  # type: ignore[attr-defined]  # -- a broken leaf

    monkeypatch.setitem(LEAVES, Encls.EBLOCK, forgets)
    with pytest.raises(soak.BrokenError) as broken:
        soak.run(1, 3000)
    told = str(broken.value)
    assert len(told.splitlines()) <= 4
    assert told.splitlines()[-1].startswith("KeyError")


def test_a_seed_repeats_a_life() -> None:
    first, second = Lives(Rolled(0)), Lives(Rolled(0))
    for lives in (first, second):
        lives.begin("running")
        for step in range(40):
            soak.happen(lives, RULES, step)
    assert first.machine.snapshot() == second.machine.snapshot()
    assert first.world.counts == second.world.counts
