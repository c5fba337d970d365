"""Average key (Eq. 3), cosines and AIR (Eq. 9) against the oracle, and padding that never counts."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollingq.functional import attention_imbalance_rate, average_key, imbalance_of_cosines, query_key_cosine
from rollingq.testing import oracle

NAN, INF = float("nan"), float("inf")


def test_average_key_equals_the_oracle() -> None:
    keys, mask = torch.randn(4, 7, 5, dtype=torch.float64), torch.rand(4, 7) > 0.4
    expected = [oracle.average_key(k, m) for k, m in zip(keys, mask, strict=True)]
    np.testing.assert_allclose(average_key(keys, mask).numpy(), expected, atol=1e-14)
    np.testing.assert_allclose(average_key(keys).numpy(), [oracle.average_key(k) for k in keys], atol=1e-14)


@pytest.mark.parametrize("garbage", [0.0, 1e30, INF, -INF, NAN])
def test_average_key_never_counts_padding(garbage: float) -> None:
    keys = torch.randn(2, 6, 5)
    mask = torch.arange(6) < torch.tensor([[4], [6]])
    padded = keys.clone()
    padded[~mask] = garbage
    assert torch.equal(average_key(padded, mask)[0], average_key(keys, mask)[0])
    assert torch.allclose(average_key(padded, mask)[0], keys[0, :4].mean(0))


@pytest.mark.parametrize("bad", [INF, -INF, NAN])
@pytest.mark.parametrize("is_masked", [True, False])
def test_average_key_of_a_damaged_sample_is_zero_and_the_others_are_kept(bad: float, is_masked: bool) -> None:
    keys = torch.randn(3, 4, 5)
    keys[1, 2, 3] = bad
    average = average_key(keys, torch.ones(3, 4, dtype=torch.bool) if is_masked else None)
    assert torch.equal(average[1], torch.zeros(5))
    assert torch.allclose(average[[0, 2]], keys[[0, 2]].mean(1))


@pytest.mark.parametrize(
    ("keys", "mask"), [(torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool)), (torch.empty(2, 0, 4), None)]
)
def test_average_key_without_tokens_is_zero(keys: torch.Tensor, mask: torch.Tensor | None) -> None:
    assert torch.equal(average_key(keys, mask), torch.zeros(2, 4))


@pytest.mark.parametrize("num_modalities", [2, 3])
@pytest.mark.parametrize("num_queries", [1, 6])
def test_cosines_and_air_equal_the_oracle(num_modalities: int, num_queries: int) -> None:
    query = torch.randn(num_queries, 5, dtype=torch.float64)
    keys = torch.randn(6, num_modalities, 5, dtype=torch.float64)
    queries = query.expand(6, 5)
    expected = np.array([[oracle.cosine(q, k) for k in sample] for q, sample in zip(queries, keys, strict=True)])
    np.testing.assert_allclose(query_key_cosine(query, keys).numpy(), expected, atol=1e-14)
    mean = expected.mean(0)
    air = mean[0] - mean[1] if num_modalities == 2 else mean.max() - mean.min()
    assert float(attention_imbalance_rate(query, keys)) == pytest.approx(air, abs=1e-14)


@given(st.integers(0, 10_000), st.integers(1, 8), st.floats(-3, 3))
def test_air_is_antisymmetric_bounded_and_free_of_scale(seed: int, dim: int, log_scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(4, dim, generator=generator)
    keys = torch.randn(4, 2, dim, generator=generator)
    air = attention_imbalance_rate(query, keys)
    assert -2.0 <= float(air) <= 2.0
    assert torch.equal(attention_imbalance_rate(query, keys.flip(1)), -air)
    assert torch.allclose(attention_imbalance_rate(query * 10**log_scale, keys), air, atol=1e-5)


def test_air_reaches_its_bounds() -> None:
    query = torch.tensor([[0.3, 0.4]])
    keys = torch.stack([query, -query], 1)
    assert float(attention_imbalance_rate(query, keys)) == pytest.approx(2.0)
    assert float(attention_imbalance_rate(-query, keys)) == pytest.approx(-2.0)


def test_air_of_many_modalities_does_not_depend_on_their_order() -> None:
    cosines = torch.tensor([0.5, -0.25, 0.125, 0.0])
    for order in itertools.permutations(range(4)):
        assert float(imbalance_of_cosines(cosines[list(order)])) == 0.75


@pytest.mark.parametrize("bad", [0.0, NAN, INF, -INF])
@pytest.mark.parametrize("is_query", [True, False])
def test_cosine_is_zero_where_undefined(bad: float, is_query: bool) -> None:
    query, keys = torch.randn(2, 4), torch.randn(2, 3, 4)
    if is_query:
        query[0] = bad
    else:
        keys[0] = bad
    cosines = query_key_cosine(query, keys)
    assert torch.equal(cosines[0], torch.zeros(3))
    assert cosines[1].abs().min() > 0


@pytest.mark.parametrize(
    ("dtype", "scale", "tolerance"),
    [
        (torch.float32, 1e-30, 1e-6),
        (torch.float32, 1e30, 1e-6),
        (torch.float16, 60.0, 1e-3),
        (torch.bfloat16, 1.0, 1e-3),
        (torch.bfloat16, 1e30, 1e-3),
    ],
)
def test_cosine_of_finite_vectors_is_right_at_any_scale_and_dtype(
    dtype: torch.dtype, scale: float, tolerance: float
) -> None:
    query, keys = (scale * torch.randn(4, 64)).to(dtype), (scale * torch.randn(4, 2, 64)).to(dtype)
    expected = [[oracle.cosine(q, k) for k in sample] for q, sample in zip(query, keys, strict=True)]
    np.testing.assert_allclose(query_key_cosine(query, keys).double().numpy(), expected, atol=tolerance)
