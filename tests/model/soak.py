"""`make soak`: the laws of the whole model over very many steps.

SOAK_STEPS says how many (1,000,000), SOAK_SEED which (any).  A life is some hundred
steps under some of the rules.  Each step has a seed of its own, so that a step can be
left out of the story of a broken law and the others stay what they were.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random  # noqa: TID251 -- a test's choices, told by their seed
from typing import NamedTuple

from softsgx.arch.leaves import Encls, Enclu, Enclv
from tests.model.choices import Rolled
from tests.model.counted import DONE
from tests.model.lives import RULES, Lives
from tests.model.system import STARTS

LIFE = 100
"""Steps of a life."""

Rules = Sequence[Callable[[Lives], None]]
Counts = Counter[tuple[str, str]]


class Story(NamedTuple):
    """A life: how it begins, the rules it is under, and its steps' seeds."""

    start: str
    rules: Rules
    steps: list[int]


class BrokenError(Exception):
    """A law did not hold; the message is the shortest story that was found."""


def run(seed: int, wanted: int, told: Callable[[int], None] = lambda _: None) -> Counts:
    """Live lives of a seed up to that many steps; return how all leaves ended."""
    random = Random(seed)  # noqa: S311 -- as above
    counts, done = Counter[tuple[str, str]](), 0
    while done < wanted:
        share = random.choice((0.5, 0.8, 1))
        rules = [rule for rule in RULES if random.random() < share] or RULES
        steps = [random.getrandbits(32) for _ in range(min(LIFE, wanted - done))]
        story = Story(random.choice(STARTS), rules, steps)
        lives, error = live(story)
        if error is not None:
            raise BrokenError(shortest(story)) from error
        counts.update(lives.world.counts)
        done += len(steps)
        told(done)
    return counts


def live(story: Story) -> tuple[Lives, Exception | None]:
    """Live a life to its end, or to a broken law."""
    lives = Lives(Rolled(0))
    try:
        lives.begin(story.start)
        for step in story.steps:
            happen(lives, story.rules, step)
            lives.check_laws()
    except Exception as error:  # noqa: BLE001 -- a crash of the model is one, too
        return lives, error
    return lives, None


def happen(lives: Lives, rules: Rules, step: int) -> str:
    """Let what a step's seed says happen; return its name."""
    lives.choose = Rolled(step)
    rule = lives.choose.of(rules)
    rule(lives)
    return rule.__name__


def shortest(story: Story) -> str:
    """Leave out of a broken story what it does not need, and tell it."""
    size = len(story.steps)
    while size:
        for at in range(len(story.steps) - size, -1, -size):
            rest = story.steps[:at] + story.steps[at + size :]
            if live(story._replace(steps=rest))[1] is not None:
                story = story._replace(steps=rest)
        size //= 2
    words = [f"from {story.start!r}:"]
    lives = Lives(Rolled(0))
    try:
        lives.begin(story.start)
        for step in story.steps:
            before = lives.world.counts.copy()
            words.append(Rolled(step).of(story.rules).__name__)
            happen(lives, story.rules, step)
            lives.check_laws()
            ends = lives.world.counts - before
            words[-1] += f": {', '.join(' '.join(end) for end in ends)}"
    except Exception as error:  # noqa: BLE001 -- the one that is told
        words.append(f"{type(error).__name__}: {error}")
    return "\n".join(words)


def never_done(counts: Counts) -> list[str]:
    """Return the leaves that never did anything."""
    leaves = [leaf.name for leaf in (*Encls, *Enclu, *Enclv)]
    return [leaf for leaf in leaves if not counts[leaf, DONE]]


def main() -> int:
    """Run the steps; say once a minute how far it got, at the end what happened."""
    wanted = int(os.environ.get("SOAK_STEPS", "1000000"))
    seed = int(os.environ.get("SOAK_SEED") or time.time_ns() & 0xFFFF_FFFF)
    _say(f"soak: SOAK_SEED={seed}")
    begun = last = time.monotonic()

    def told(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 60 or done == wanted:
            last = now
            _say(f"soak: {done} of {wanted} steps, {done / (now - begun):.0f}/s")

    try:
        counts = run(seed, wanted, told)
    except BrokenError as broken:
        _say(f"soak: a law is broken\n{broken}")
        raise
    for line in table(counts):
        _say(line)
    missing = never_done(counts)
    _say(
        f"soak: never done: {', '.join(missing)}" if missing else "soak: every law held"
    )
    return 1 if missing else 0


def table(counts: Counts) -> list[str]:
    """Return a line for each leaf: how often it did something, and what it refused."""
    lines = []
    for leaf in sorted({leaf for leaf, _ in counts}):
        refused = [
            f"{outcome} {number}"
            for (name, outcome), number in sorted(counts.items())
            if name == leaf and outcome != DONE
        ]
        lines.append(f"{leaf:14} {counts[leaf, DONE]:8}  {', '.join(refused)}")
    return lines


def _say(what: str) -> None:
    sys.stdout.write(what + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
