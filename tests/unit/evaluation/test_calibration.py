"""Expected calibration error against its definition; the same to the last bit in any order and any batches."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollingq.errors import ConfigError, DataError, ShapeError
from rollingq.evaluation.calibration import CalibrationBins, expected_calibration_error

NAN, INF = math.nan, math.inf


def ece_by_definition(confidence: list[float], is_right: list[bool], num_bins: int) -> float:
    """Guo et al. in exact fractions: right-closed bins of equal width, the first one with 0."""
    bins: dict[int, list[tuple[Fraction, bool]]] = {}
    for value, right in zip(confidence, is_right, strict=True):
        number = next(b for b in range(1, num_bins + 1) if value <= b / num_bins)
        bins.setdefault(number, []).append((Fraction(value), right))
    total = Fraction(0)
    for members in bins.values():
        accuracy = Fraction(sum(right for _, right in members), len(members))
        total += len(members) * abs(accuracy - sum(value for value, _ in members) / len(members))
    return float(total / len(confidence))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.integers(1, 20))
def test_ece_is_its_definition(samples, num_bins: int) -> None:
    confidence, is_right = [list(part) for part in zip(*samples, strict=True)]
    found = expected_calibration_error(
        torch.tensor(confidence, dtype=torch.float64), torch.tensor(is_right), num_bins=num_bins
    )
    assert found == pytest.approx(ece_by_definition(confidence, is_right, num_bins), abs=1e-12)
    assert 0 <= found <= 1


@pytest.mark.parametrize("num_bins", [2, 3, 10, 15])
def test_edges_belong_to_the_bin_below_and_one_to_the_last(num_bins: int) -> None:
    for b in range(1, num_bins + 1):
        edge, inside = b / num_bins, (b - 0.5) / num_bins
        pair = torch.tensor([edge, inside], dtype=torch.float64)
        together = abs(1 - edge - inside) / 2  # One bin: the gaps are summed before their size is taken.
        found = expected_calibration_error(pair, torch.tensor([True, False]), num_bins=num_bins)
        assert found == pytest.approx(together, abs=1e-12)
        if b < num_bins:
            above = torch.tensor([math.nextafter(edge, 1), inside], dtype=torch.float64)
            apart = expected_calibration_error(above, torch.tensor([True, False]), num_bins=num_bins)
            assert apart == pytest.approx((1 - edge + inside) / 2, abs=1e-12)


def test_known_values() -> None:
    ones, zeros = torch.ones(4), torch.zeros(4)
    right = torch.tensor([True, True, False, False])
    assert expected_calibration_error(ones, right) == 0.5
    assert expected_calibration_error(zeros, right) == 0.5
    assert expected_calibration_error(0.5 * ones, right) == 0.0
    assert expected_calibration_error(ones, torch.ones(4, dtype=torch.bool)) == 0.0


def test_a_calibrated_model_has_an_error_near_zero() -> None:
    confidence = torch.rand(100_000, dtype=torch.float64)
    assert expected_calibration_error(confidence, torch.rand(100_000) < confidence) < 0.02
    assert expected_calibration_error(confidence, torch.rand(100_000) < confidence**2) > 0.1


@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 20))
def test_batches_and_order_change_no_bit(seed: int, batch_size: int, num_bins: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(23, 4, generator=generator)
    labels = torch.randint(0, 4, (23,), generator=generator)
    order = torch.randperm(23, generator=generator)
    bins = CalibrationBins(num_bins)
    for index in order.split(batch_size):
        bins.add(logits[index], labels[index])
    confidence, prediction = logits.double().softmax(-1).max(-1)
    assert bins.ece == expected_calibration_error(confidence, prediction == labels, num_bins)
    assert bins.accuracy == int((prediction == labels).sum()) / 23
    assert (bins.num_samples, bins.num_undefined) == (23, 0)


def test_memory_does_not_grow() -> None:
    bins = CalibrationBins()
    sizes = set()
    for _ in range(50):
        bins.add(torch.randn(100, 3), torch.randint(0, 3, (100,)))
        sizes.add((len(bins._gaps), len(bins._edges), len(vars(bins))))
    assert sizes == {(15, 14, 5)}
    assert bins.num_samples == 5000


def test_sums_of_many_samples_do_not_overflow() -> None:
    bins = CalibrationBins(1)
    bins._gaps, bins.num_samples = [2**62 * 4], 2**24
    bins.add(torch.tensor([[0.0, -INF]]), torch.tensor([0]))
    assert bins._gaps == [2**64]
    assert bins.ece == 2**64 / ((2**24 + 1) * 2**40)


def test_confidence_is_float64_of_half_precision_logits() -> None:
    logits, labels = torch.randn(50, 5).half(), torch.randint(0, 5, (50,))
    half, double = CalibrationBins(), CalibrationBins()
    half.add(logits, labels)
    double.add(logits.double(), labels)
    assert (half.ece, half.accuracy) == (double.ece, double.accuracy)


@pytest.mark.parametrize("row", [[NAN, 0.0], [INF, 0.0], [-INF, -INF], [NAN, NAN]])
def test_undefined_logits_make_the_numbers_undefined_and_are_counted(row: list[float]) -> None:
    bins = CalibrationBins()
    bins.add(torch.tensor([[1.0, 0.0], row]), torch.tensor([0, 0]))
    bins.add(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert (bins.num_samples, bins.num_undefined) == (3, 1)
    assert math.isnan(bins.accuracy)
    assert math.isnan(bins.ece)


def test_a_class_that_is_ruled_out_is_defined() -> None:
    bins = CalibrationBins()
    bins.add(torch.tensor([[0.0, -INF], [-1e4, 1e4]]), torch.tensor([0, 0]))
    assert (bins.accuracy, bins.ece, bins.num_undefined) == (0.5, 0.5, 0)


def test_no_samples_have_no_numbers() -> None:
    bins = CalibrationBins()
    bins.add(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    assert np.isnan([bins.accuracy, bins.ece, expected_calibration_error(torch.ones(0), torch.ones(0).bool())]).all()
    assert math.isnan(expected_calibration_error(torch.tensor([0.5, NAN]), torch.tensor([True, True])))


@pytest.mark.parametrize("bad", [-1e-9, 1.0000001, INF, -INF])
def test_confidence_outside_of_probabilities_is_refused(bad: float) -> None:
    with pytest.raises(
        DataError, match=r"Expected confidence in \[0, 1\], but got .*; give probabilities, not logits."
    ):
        expected_calibration_error(torch.tensor([0.5, bad], dtype=torch.float64), torch.tensor([True, True]))


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"Expected logits \[N, C\] and labels \[N\], but got \[4, 3\] and \[4, 1\]"):
        CalibrationBins().add(torch.zeros(4, 3), torch.zeros(4, 1, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"Expected confidence \[N\] and is_right \[N\], but got \[4\] and \[1\]"):
        expected_calibration_error(torch.ones(4), torch.ones(1, dtype=torch.bool))
    with pytest.raises(ConfigError, match="Expected num_bins >= 1, but got 0"):
        CalibrationBins(0)
