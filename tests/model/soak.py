"""`make soak`: the laws of the whole model over very many steps.

SOAK_STEPS says how many (1,000,000); a failure is shown as hypothesis shows it, with
the shortest story that it found.
"""

import os
import sys
import time

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model import lives

STORY = 200
"""Steps of a life, and lives of a round: hypothesis forgets after each."""


def main() -> int:
    """Run rounds until the steps are done; say how far it got, once a minute."""
    wanted = int(os.environ.get("SOAK_STEPS", "1000000"))
    begun = told = time.monotonic()
    plan = settings(
        max_examples=20,
        stateful_step_count=STORY,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    while lives.steps < wanted:
        run_state_machine_as_test(lives.Lives, settings=plan)
        now = time.monotonic()
        if now - told > 60 or lives.steps >= wanted:
            rate = lives.steps / (now - begun)
            _say(f"soak: {lives.steps} of {wanted} steps, {rate:.0f}/s")
            told = now
    _say("soak: every law held")
    return 0


def _say(what: str) -> None:
    sys.stdout.write(what + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
