"""A layout's value behaves as a frozen dataclass that is made by keywords."""

from copy import copy, deepcopy
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace

import pytest

from softsgx.arch.layout import Layout, at
from softsgx.arch.secs import AttributeFlags, Attributes


class Pair(Layout, size=24):
    """Fields of every sort, with holes."""

    low: int = at(0, 3)
    name: bytes = at(4, 2)
    inner: Attributes = at(8, 16)


FLAGS = Attributes(flags=AttributeFlags.DEBUG, xfrm=3)
ONE = Pair(low=1, name=b"ab", inner=FLAGS)


def test_bytes_and_value_are_two_forms_of_one_thing() -> None:
    raw = b"\x01\0\0\0ab\0\0" + bytes(FLAGS)
    assert bytes(ONE) == raw
    assert Pair.from_bytes(raw) == ONE


def test_it_is_a_dataclass_to_whoever_asks() -> None:
    assert is_dataclass(ONE)
    assert [field.name for field in fields(ONE)] == ["low", "name", "inner"]
    assert replace(ONE, low=2) == Pair(low=2, name=b"ab", inner=FLAGS)
    assert copy(ONE) == deepcopy(ONE) == ONE


def test_equal_values_are_one_key() -> None:
    assert hash(replace(ONE)) == hash(ONE)
    assert len({ONE, replace(ONE), replace(ONE, low=2)}) == 2
    assert replace(ONE, name=b"cd") != ONE
    assert ONE != (1, b"ab", FLAGS)


def test_its_repr_names_its_fields() -> None:
    assert repr(replace(ONE)).startswith("Pair(low=1, name=b'ab', inner=Attributes(")


def test_nothing_in_it_can_be_changed() -> None:
    with pytest.raises(FrozenInstanceError, match="cannot assign to low"):
        ONE.low = 2  # type: ignore[misc]  # -- wrong on purpose
    with pytest.raises(FrozenInstanceError, match="cannot delete low"):
        del ONE.low


def test_all_fields_and_no_others_are_given() -> None:
    with pytest.raises(TypeError, match=r"Pair: missing or unknown: \['name'\]"):
        Pair(low=1, inner=FLAGS)  # type: ignore[call-arg]  # -- wrong on purpose
    with pytest.raises(TypeError, match=r"\['other'\]"):
        Pair(low=1, name=b"ab", inner=FLAGS, other=1)  # type: ignore[call-arg]  # -- so too
