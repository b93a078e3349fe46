"""How `softsgx bench` times the owner's policy."""

import time
from collections.abc import Callable
from datetime import date

from softsgx.arch.secs import AttributeFlags
from softsgx.arch.sigstruct import Sigstruct
from softsgx.crypto.sha256 import sha256
from softsgx.launch.decide import decide
from softsgx.launch.entry import Entries, Entry
from softsgx.launch.policy import ListName, Policy
from softsgx.launch.request import Request

_SAMPLES, _DECISIONS = 9, 2000


def decide_us(entries: int) -> Callable[[object], list[float]]:
    """Return a taker of the microseconds of a decision over a list of so many."""

    def samples(sources: object) -> list[float]:
        del sources
        policy, request = _policy(entries), _request()
        return [_sample(policy, request) for _ in range(_SAMPLES)]

    return samples


def _sample(policy: Policy, request: Request) -> float:
    start = time.thread_time()
    for _ in range(_DECISIONS):
        decide(policy, request)
    return (time.thread_time() - start) / _DECISIONS * 1e6


def _request() -> Request:
    sigstruct = Sigstruct.from_bytes(bytes(Sigstruct.SIZE))
    return Request.of(sigstruct, AttributeFlags.MODE64BIT, date(2030, 1, 1))


def _policy(entries: int) -> Policy:
    """Return a policy with a signing list, the enclave's signer the last in it."""
    others = (Entry(mrsigner=sha256(at.to_bytes(4))) for at in range(entries - 1))
    listed = Entries((*others, Entry(mrsigner=_request().mrsigner)))
    return Policy(lists={**Policy().lists, ListName.SIGNING: listed})
