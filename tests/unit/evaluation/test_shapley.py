"""Shapley values against the average over all orders, and the axioms that define them."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollingq.errors import ConfigError, DataError
from rollingq.evaluation.shapley import coalition_name, coalitions, shapley_values

NAMES = ("text", "audio", "image", "inertial", "flow")
SIZES = st.integers(1, len(NAMES))
VALUES = st.lists(st.floats(-1, 1), min_size=32, max_size=32)


def game(size: int, values: list[float]) -> tuple[tuple[str, ...], dict[frozenset[str], float]]:
    return NAMES[:size], dict(zip(coalitions(NAMES[:size]), values, strict=False))


def average_over_orders(value: dict[frozenset[str], float], modalities: tuple[str, ...]) -> dict[str, float]:
    orders = list(itertools.permutations(modalities))
    total = dict.fromkeys(modalities, 0.0)
    for order in orders:
        for i, name in enumerate(order):
            total[name] += value[frozenset(order[: i + 1])] - value[frozenset(order[:i])]
    return {name: found / len(orders) for name, found in total.items()}


def test_coalitions_come_by_size_then_in_the_order_given() -> None:
    names = [coalition_name(members, ("text", "audio", "image")) for members in coalitions(("text", "audio", "image"))]
    expected = ["", "text", "audio", "image", "text+audio", "text+image", "audio+image", "text+audio+image"]
    assert names == expected
    assert coalitions([]) == [frozenset()]
    assert [len(coalitions(NAMES[:size])) for size in range(6)] == [1, 2, 4, 8, 16, 32]


@given(SIZES, VALUES)
def test_values_are_the_average_over_all_orders_and_sum_to_full_minus_none(size: int, values: list[float]) -> None:
    modalities, value = game(size, values)
    found = shapley_values(value, modalities)
    assert list(found) == list(modalities)
    assert found == pytest.approx(average_over_orders(value, modalities), abs=1e-12)
    assert sum(found.values()) == pytest.approx(value[frozenset(modalities)] - value[frozenset()], abs=1e-12)


@given(st.integers(2, len(NAMES)), VALUES, st.floats(-1, 1))
def test_a_dummy_has_what_it_adds_alone(size: int, values: list[float], alone: float) -> None:
    modalities, value = game(size, values)
    dummy = modalities[1]
    value = {s: value[s - {dummy}] + alone * (dummy in s) for s in value}
    assert shapley_values(value, modalities)[dummy] == pytest.approx(alone, abs=1e-12)


@given(st.integers(2, len(NAMES)), VALUES)
def test_modalities_that_add_the_same_have_the_same(size: int, values: list[float]) -> None:
    modalities, value = game(size, values)
    first, last = modalities[0], modalities[-1]
    value = {s: value[s if last not in s or first in s else s - {last} | {first}] for s in value}
    found = shapley_values(value, modalities)
    assert found[first] == pytest.approx(found[last], abs=1e-12)


@given(SIZES, VALUES, VALUES, st.floats(-3, 3))
def test_values_are_linear(size: int, one: list[float], other: list[float], factor: float) -> None:
    modalities, first = game(size, one)
    _, second = game(size, other)
    found = shapley_values({s: first[s] + factor * second[s] for s in first}, modalities)
    parts = shapley_values(first, modalities), shapley_values(second, modalities)
    assert found == pytest.approx({m: parts[0][m] + factor * parts[1][m] for m in modalities}, abs=1e-12)


def test_one_modality_has_all_and_none_have_nothing() -> None:
    assert shapley_values({frozenset(): 0.25, frozenset({"text"}): 0.75}, ["text"]) == {"text": 0.5}
    assert shapley_values({frozenset(): 0.25}, []) == {}


def test_sets_of_other_names_are_not_read() -> None:
    _, value = game(3, [0.0, 0.5, 0.25, math.nan, 1.0, math.nan, math.nan, math.nan])
    assert shapley_values(value, ("text", "audio")) == {"text": 0.625, "audio": 0.375}


def test_a_value_that_is_nan_makes_all_that_need_it_nan() -> None:
    modalities, value = game(2, [0.0, math.nan, 0.25, 1.0])
    assert all(math.isnan(found) for found in shapley_values(value, modalities).values())


@pytest.mark.parametrize(
    ("left_out", "named"),
    [
        ([("audio", "text")], "text+audio"),
        ([()], "none"),
        ([(), ("image",), ("audio", "image")], "none, image, audio+image"),
    ],
)
def test_missing_sets_are_named(left_out, named: str) -> None:
    modalities, value = game(3, [0.5] * 8)
    with pytest.raises(DataError) as error:
        shapley_values({s: v for s, v in value.items() if s not in map(frozenset, left_out)}, modalities)
    assert str(error.value) == (
        "Expected a value of every set of the modalities text, audio, image, but got none of: "
        f"{named}; measure every one of coalitions(modalities)."
    )


def test_a_name_that_stands_twice_is_refused() -> None:
    text = "Expected every modality once, but got audio more than once; name each once."
    with pytest.raises(ConfigError, match=text):
        coalitions(["audio", "text", "audio"])
    with pytest.raises(ConfigError, match=text):
        shapley_values({}, ["audio", "audio"])
