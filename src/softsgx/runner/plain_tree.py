"""A tree of processes for as long as nothing in it needs Python."""

from softsgx.runner.crew import Employer
from softsgx.runner.loop import is_hung_up

TYPE_CHECKING = False
if TYPE_CHECKING:  # what takes long to import is not, here
    from collections.abc import Callable

    from softsgx.runner.loop import Loop
    from softsgx.runner.supervisor import Supervisor


class PlainTree(Employer):
    """The supervisor's place holder: it is made for the first call that needs it."""

    def __init__(self, listener: int, loop: "Loop", make: "Callable[[], Supervisor]"):
        self._listener = listener
        self._loop = loop
        self._make = make
        self._supervisor: Supervisor | None = None
        self._is_left = False
        loop.on_call(listener, self._call)

    def _call(self, received: bytes) -> None:
        if not received and is_hung_up(self._listener):
            self._is_left = True
            return
        self._loop.forget(self._listener)
        self._supervisor = self._make()
        self._loop.do(self._listener, received)

    @property
    def is_done(self) -> bool:
        """Whether nobody is left that could make a call."""
        return self._supervisor.is_done if self._supervisor else self._is_left

    @property
    def recheck_ms(self) -> int | None:
        """After how long to call `idle` if nobody calls; None: not at all."""
        return self._supervisor.recheck_ms if self._supervisor else None

    def idle(self) -> None:
        """Release what nobody has any more."""
        if self._supervisor:
            self._supervisor.idle()

    def has_callers(self) -> bool:
        """Say whether a process of the tree is left that could make a call."""
        return not is_hung_up(self._listener)
