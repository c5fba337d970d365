"""Rebalance weights (Eq. 11) and the anchor (Eq. 10) against the oracle."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollingq.functional import rebalance_anchor, rebalance_weights
from rollingq.testing import oracle

COSINE = st.floats(-1, 1)


@given(COSINE, COSINE, st.floats(1e-3, 1e3))
def test_two_weights_are_equation_11(first: float, second: float, rho: float) -> None:
    weights = rebalance_weights(torch.tensor([first, second], dtype=torch.float64), rho)
    alpha = oracle.alpha(first - second, rho)
    np.testing.assert_allclose(weights.numpy(), [alpha, 1 - alpha], atol=1e-12)


@given(st.lists(COSINE, min_size=2, max_size=6), st.floats(1e-3, 1e3))
def test_weights_equal_the_oracle_and_favour_the_weaker(cosines: list[float], rho: float) -> None:
    weights = rebalance_weights(torch.tensor(cosines, dtype=torch.float64), rho).numpy()
    np.testing.assert_allclose(weights, oracle.rebalance_weights(cosines, rho), atol=1e-12)
    assert weights[np.argmin(cosines)] == weights.max()
    assert weights.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("num_modalities", [2, 3])
def test_anchor_equals_the_oracle_and_has_the_norm_of_the_query(num_modalities: int) -> None:
    query = torch.randn(4, 6, dtype=torch.float64)
    keys = torch.randn(4, num_modalities, 6, dtype=torch.float64)
    weights = torch.rand(4, num_modalities, dtype=torch.float64).softmax(-1)
    anchor = rebalance_anchor(query, keys, weights)
    expected = [oracle.rebalance_anchor(*parts) for parts in zip(query, keys, weights, strict=True)]
    np.testing.assert_allclose(anchor.numpy(), expected, atol=1e-13)
    assert torch.allclose(anchor.norm(dim=-1), query.norm(dim=-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_anchor_is_zero_where_directions_cancel(dtype: torch.dtype) -> None:
    key = torch.randn(8, dtype=dtype)
    keys, half = torch.stack([key, -3.0 * key]), torch.full((2,), 0.5, dtype=dtype)
    assert torch.equal(rebalance_anchor(torch.ones(8, dtype=dtype), keys, half), torch.zeros(8, dtype=dtype))


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("which", ["query", "one key", "both keys"])
def test_anchor_is_zero_without_a_direction(bad: float, which: str) -> None:
    query, keys = torch.randn(4), torch.randn(2, 4)
    (query if which == "query" else keys[0] if which == "one key" else keys).fill_(bad)
    assert torch.equal(rebalance_anchor(query, keys, torch.tensor([0.3, 0.7])), torch.zeros(4))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_anchor_does_not_depend_on_the_scale_of_the_keys(scale: float) -> None:
    query, keys, weights = torch.randn(4), torch.randn(2, 4), torch.tensor([0.3, 0.7])
    expected = rebalance_anchor(query, keys, weights)
    assert torch.allclose(rebalance_anchor(query, scale * keys, weights), expected, atol=1e-5)
