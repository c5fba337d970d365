"""Averages inside segments against plain loops, and QUAG-attention against really averaged keys and values."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rollingq.functional import average_segment_scores, average_segments

KEYS = {"cls": slice(0, 1), "audio": slice(1, 4), "image": slice(4, 9)}
ALL = slice(None)
SEGMENTS = {
    "a block": [(KEYS["audio"], KEYS["image"])],
    "a column": [(ALL, KEYS["audio"])],
    "all columns": [(ALL, KEYS["audio"]), (ALL, KEYS["image"])],
    "the diagonal": [(KEYS["audio"], KEYS["audio"]), (KEYS["image"], KEYS["image"])],
    "none": [],
}
every_choice = pytest.mark.parametrize("segments", SEGMENTS.values(), ids=SEGMENTS)
seeds = st.integers(0, 10_000)


def made(seed: int, *, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores, weights and what is real ``[2, 3, 9, 9]``; every row has a real key, not every segment."""
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(2, 3, 9, 9, generator=generator, dtype=dtype)
    real = torch.rand(2, 1, 1, 9, generator=generator) < 0.6
    real[..., 0] = True
    real = real.expand(scores.shape)
    scores = scores.masked_fill(~real, -math.inf)
    return scores, scores.softmax(-1), real


def averaged_by_loops(weights: Tensor, segments: list[tuple[slice, slice]], real: Tensor) -> np.ndarray:
    found = weights.numpy().copy()
    for index in np.ndindex(*weights.shape[:-2]):
        for rows, keys in segments:
            for row in range(9)[rows]:
                seen = [k for k in range(9)[keys] if real[(*index, row, k)]]
                for k in range(9)[keys]:
                    found[(*index, row, k)] = 0.0
                for k in seen:
                    found[(*index, row, k)] = math.fsum(weights[(*index, row, j)] for j in seen) / len(seen)
    return found


@every_choice
def test_averages_equal_loops(segments: list[tuple[slice, slice]]) -> None:
    _, weights, real = made(0)
    before = weights.clone()
    found = average_segments(weights, segments, real)
    np.testing.assert_allclose(found.numpy(), averaged_by_loops(weights, segments, real), rtol=0, atol=1e-15)
    assert torch.equal(weights, before), "pure"
    everywhere = torch.ones_like(real)
    loops = averaged_by_loops(weights, segments, everywhere)
    np.testing.assert_allclose(average_segments(weights, segments).numpy(), loops, rtol=0, atol=1e-15)


@every_choice
@given(seed=seeds, dtype=st.sampled_from([torch.float32, torch.float64]))
def test_every_row_keeps_its_mass(segments: list[tuple[slice, slice]], seed: int, dtype: torch.dtype) -> None:
    _, weights, real = made(seed, dtype=dtype)
    found = average_segments(weights, segments, real)
    for keys in KEYS.values():
        kept = found[..., keys].sum(-1), weights[..., keys].sum(-1)
        torch.testing.assert_close(*kept, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-12)
    assert (found[~real] == 0).all()
    torch.testing.assert_close(average_segments(found, segments, real), found, msg="averaging twice is averaging once")


@given(seed=seeds)
def test_a_mask_for_all_rows_equals_the_mask_of_each(seed: int) -> None:
    _, weights, real = made(seed)
    short = average_segments(weights, SEGMENTS["all columns"], real[:, :1, :1])
    assert torch.equal(short, average_segments(weights, SEGMENTS["all columns"], real))


def test_what_stands_in_padding_counts_as_nothing() -> None:
    weights = torch.tensor([[0.5, 0.5, torch.nan]], dtype=torch.float64)
    real = torch.tensor([[True, True, False]])
    assert average_segments(weights, [(ALL, slice(1, 3))], real).tolist() == [[0.5, 0.5, 0.0]]
    assert average_segments(weights, [(ALL, slice(2, 3))], real).tolist() == [[0.5, 0.5, 0.0]]


@given(seed=seeds)
@every_choice
def test_mean_scores_equal_really_averaged_keys_and_values(segments: list[tuple[slice, slice]], seed: int) -> None:
    """One averaged token with the score plus log n, for each row and head on its own."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(9, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    real = torch.rand(9, generator=generator) < 0.7
    real[0] = True
    scores = (q @ k.mT).masked_fill(~real, -math.inf)
    found = average_segment_scores(scores, segments, real.expand(9, 9)).softmax(-1) @ v
    for row in range(9):
        inside = [keys for rows, keys in segments if row in range(9)[rows]]
        left = [j for j in range(9) if real[j] and not any(j in range(9)[keys] for keys in inside)]
        tokens = [(k[j], v[j], 0.0) for j in left]
        for keys in inside:
            seen = [j for j in range(9)[keys] if real[j]]
            if seen:
                tokens.append((k[seen].mean(0), v[seen].mean(0), math.log(len(seen))))
        logits = torch.stack([q[row] @ key + extra for key, _, extra in tokens])
        expected = logits.softmax(-1) @ torch.stack([value for _, value, _ in tokens])
        torch.testing.assert_close(found[row], expected, rtol=1e-12, atol=1e-12)


def test_the_official_scale_multiplies_by_the_log_of_the_number() -> None:
    scores = torch.tensor([[0.7, 1.0, 3.0, 5.0, -math.inf]], dtype=torch.float64)
    real = torch.tensor([[True, True, True, True, False]])
    found = average_segment_scores(scores, [(ALL, slice(1, 5))], real, use_official_scale=True).exp()
    assert found[0, 1:].sum().item() == pytest.approx(math.exp(3.0 * math.log(3)))
    assert found[0, 0].item() == pytest.approx(math.exp(0.7))
    assert found[0, 1] == found[0, 2] == found[0, 3]
    ours = average_segment_scores(scores, [(ALL, slice(1, 5))], real).exp()
    assert ours[0, 1:].sum().item() == pytest.approx(3 * math.exp(3.0))


def test_gradients_are_numerically_right() -> None:
    scores, weights, real = made(3)

    def of_weights(values: Tensor) -> Tensor:
        return average_segments(values, SEGMENTS["all columns"], real)

    def of_scores(values: Tensor) -> Tensor:
        return average_segment_scores(values, SEGMENTS["all columns"], real).softmax(-1)

    assert torch.autograd.gradcheck(of_weights, weights.requires_grad_(), fast_mode=True)
    assert torch.autograd.gradcheck(of_scores, torch.randn_like(scores).requires_grad_(), fast_mode=True)
