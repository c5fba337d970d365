import math

import pytest

from rollingq.evaluation.results import Difference, Interval
from rollingq.reporting.text import DASH, bounds, clean, joined, mean_and_spread, number, p_value, percent, points

SEEDS = Interval(0.712, 0.014, 0.69, 0.734, 3)
ONE = Interval(0.712, math.nan, math.nan, math.nan, 1)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_defined_is_an_en_dash(value):
    assert number(value) == percent(value) == DASH
    assert DASH == "\u2013"


def test_numbers_round_without_a_negative_zero():
    assert number(-0.001) == "0.00"
    assert number(-0.001, is_signed=True) == "+0.00"
    assert points(-0.0001) == "+0.0"
    assert percent(0.99951) == "100.0 %"


def test_intervals_say_what_they_stand_on():
    assert (mean_and_spread(SEEDS), bounds(SEEDS)) == ("71.2 ± 1.4", "[69.0, 73.4]")
    assert (mean_and_spread(ONE), bounds(ONE)) == ("71.2", DASH)
    assert bounds(Interval(0.01, 0.01, -0.008, 0.032, 3), is_signed=True) == "[-0.8, +3.2]"


@pytest.mark.parametrize(
    ("p", "text"), [(0.154, "p = 0.15"), (0.0043, "p = 0.004"), (1e-9, "p < 0.001"), (math.nan, "p not defined")]
)
def test_p_values(p, text):
    assert p_value(Difference("a", "b", SEEDS, p, "better")) == text


def test_p_is_not_defined_without_spread():
    assert p_value(Difference("a", "b", ONE, 1.0, "inconclusive")) == "p not defined"
    assert p_value(Difference("a", "b", Interval(0.01, 0.0, 0.01, 0.01, 3), 1.0, "better")) == "p not defined"


def test_names_lose_their_hidden_characters():
    assert clean("a\x1b[31m\u202eb\n") == "a\ufffd[31m\ufffdb\ufffd"
    assert clean("x" * 300, max_length=10) == "x" * 9 + "\u2026"


def test_lists_read_as_sentences():
    assert [joined(parts) for parts in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
