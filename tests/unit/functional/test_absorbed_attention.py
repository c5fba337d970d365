"""absorbed_attention equals projected attention, gradients included; attention_score splits its mass."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rollingq.functional import absorbed_attention, attention_score
from rollingq.testing import oracle

B, L, D, E, V = 3, 5, 8, 6, 12


def inputs(*, is_shared: bool = False) -> dict[str, Tensor]:
    """Leaves in float64: query, tokens, and every weight, all of different widths."""
    shapes = {"query": (1 if is_shared else B, D), "tokens": (B, L, E), "key": (D, E), "value": (V, E), "bias": (V,)}
    return {name: torch.randn(shape, dtype=torch.float64, requires_grad=True) for name, shape in shapes.items()}


def absorbed(parts: dict[str, Tensor], **options: Any) -> tuple[Tensor, Tensor]:
    return absorbed_attention(
        parts["query"], parts["tokens"], parts["key"], parts["value"], parts.get("bias"), **options
    )


def projected(
    parts: dict[str, Tensor], num_heads: int, mask: Tensor | None = None, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Attention as everybody writes it: keys and values of every token, then softmax."""
    q = parts["query"].expand(B, D).unflatten(-1, (num_heads, -1))
    key_bias = torch.arange(D, dtype=torch.float64)  # Shifts all scores of a query alike.
    k = F.linear(parts["tokens"], parts["key"], key_bias).unflatten(-1, (num_heads, -1))
    v = F.linear(parts["tokens"], parts["value"], parts.get("bias")).unflatten(-1, (num_heads, -1))
    scores = torch.einsum("bhd,blhd->bhl", q, k) / (D // num_heads) ** 0.5
    weights = (scores if mask is None else scores.masked_fill(~mask[:, None], -torch.inf)).softmax(-1)
    kept = F.dropout(weights, dropout)
    return torch.einsum("bhl,blhv->bhv", kept, v).flatten(1), weights


MASK = torch.tensor([[True] * 5, [True, True, False, True, False], [True] + [False] * 4])


@pytest.mark.parametrize("num_heads", [1, 2, 4])
@pytest.mark.parametrize("mask", [None, MASK], ids=["full", "masked"])
@pytest.mark.parametrize("is_shared", [False, True], ids=["own query", "shared query"])
@pytest.mark.parametrize("has_bias", [True, False], ids=["bias", "no bias"])
def test_equals_projected_attention_with_gradients(
    num_heads: int, mask: Tensor | None, is_shared: bool, has_bias: bool
) -> None:
    parts = inputs(is_shared=is_shared)
    if not has_bias:
        del parts["bias"]
    results = [absorbed(parts, num_heads=num_heads, mask=mask), projected(parts, num_heads, mask)]
    upstream = torch.randn(B, V, dtype=torch.float64)
    gradients = [torch.autograd.grad((out * upstream).sum(), list(parts.values())) for out, _ in results]
    for found, expected in zip(results[0], results[1], strict=True):
        assert (found - expected).abs().max() < 1e-13
    for name, found, expected in zip(parts, *gradients, strict=True):
        assert (found - expected).abs().max() < 1e-12, name


@pytest.mark.parametrize("num_heads", [1, 2])
@pytest.mark.parametrize("is_shared", [False, True])
def test_gradients_are_numerically_right(num_heads: int, is_shared: bool) -> None:
    parts = inputs(is_shared=is_shared)

    def run(*leaves: Tensor) -> Tensor:
        return absorbed(dict(zip(parts, leaves, strict=True)), num_heads=num_heads, mask=MASK)[0]

    assert torch.autograd.gradcheck(run, tuple(parts.values()), fast_mode=True)


def test_equals_the_oracle() -> None:
    parts = inputs()
    out, weights = absorbed(parts, num_heads=2, mask=MASK)
    keys, values = parts["tokens"] @ parts["key"].mT, parts["tokens"] @ parts["value"].mT + parts["bias"]
    for i in range(B):
        expected, expected_weights = oracle.attend(parts["query"][i, None], keys[i], values[i], 2, MASK[i])
        np.testing.assert_allclose(out[i].detach().numpy(), expected[0], atol=1e-13)
        np.testing.assert_allclose(weights[i].detach().numpy(), expected_weights[0], atol=1e-13)


@pytest.mark.parametrize("num_heads", [1, 4])
@pytest.mark.parametrize("mask", [None, MASK], ids=["full", "masked"])
def test_dropout_drops_the_same_weights(num_heads: int, mask: Tensor | None) -> None:
    parts = inputs()
    outs = []
    for run in (absorbed, projected):
        torch.manual_seed(7)
        outs.append(run(parts, num_heads=num_heads, mask=mask, dropout=0.5))
    assert (outs[0][0] - outs[1][0]).abs().max() < 1e-13
    assert torch.allclose(outs[0][1].sum(-1), torch.ones(B, num_heads, dtype=torch.float64)), "weights before dropout"


def test_a_row_without_real_tokens_attends_to_nothing() -> None:
    parts, mask = inputs(), MASK.clone()
    mask[1] = False
    out, weights = absorbed(parts, num_heads=2, mask=mask)
    gradients = torch.autograd.grad(out.sum(), list(parts.values()))
    assert (out[1] == 0).all()
    assert (weights[1] == 0).all()
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("garbage", [1e6, float("inf"), float("nan")])
def test_padding_never_counts(garbage: float) -> None:
    parts = inputs()
    clean = absorbed(parts, num_heads=2, mask=MASK)
    dirty = {**parts, "tokens": parts["tokens"].detach().masked_fill(~MASK[..., None], garbage)}
    for found, expected in zip(absorbed(dirty, num_heads=2, mask=MASK), clean, strict=True):
        assert torch.allclose(found, expected, atol=1e-13)


@pytest.mark.parametrize("shape", [(7,), (4, 7), (2, 3, 7)])
def test_attention_score_splits_the_mass(shape: tuple[int, ...]) -> None:
    weights = torch.rand(shape, dtype=torch.float64).softmax(-1)
    score = attention_score(weights, {"cls": 1, "audio": 2, "visual": 4})
    expected = [weights[..., :1].sum(-1), weights[..., 1:3].sum(-1), weights[..., 3:].sum(-1)]
    assert list(score) == ["cls", "audio", "visual"]
    assert all(torch.allclose(mass, part) for mass, part in zip(score.values(), expected, strict=True))
    assert torch.allclose(sum(score.values()), torch.ones(shape[:-1], dtype=torch.float64))


@pytest.mark.parametrize("tokens", [{"audio": 3}, {"audio": 3, "visual": 5}, {}])
def test_attention_score_refuses_other_lengths(tokens: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"Expected weights over {sum(tokens.values())} positions.*but got 7"):
        attention_score(torch.rand(2, 7), tokens)
