from softsgx.machine.enclave import EnclaveState
from softsgx.machine.measurement import Measurement
from tests.support import BASE, SIZE, make_secs


def enclave() -> EnclaveState:
    return EnclaveState(make_secs(), Measurement(), eid=1)


def test_elrange_ends_where_its_size_does() -> None:
    state = enclave()
    inside = [state.contains(a) for a in (BASE - 1, BASE, BASE + SIZE - 1, BASE + SIZE)]
    assert inside == [False, True, True, False]


def test_those_who_enter_later_are_of_the_new_epoch() -> None:
    state = enclave()
    state.enter(1)
    state.epoch += 1
    state.enter(2)
    assert state.is_tracking()
    assert not state.is_tracked(0)
    state.leave(1)
    assert not state.is_tracking()
    assert state.is_tracked(0)
    assert not state.is_tracked(1)


def test_who_enters_again_is_of_the_new_epoch() -> None:
    state = enclave()
    state.enter(1)
    state.epoch += 1
    state.enter(1)
    assert state.is_tracked(0)


def test_leaving_twice_does_no_harm() -> None:
    state = enclave()
    state.leave(1)
    assert state.inside == {}
