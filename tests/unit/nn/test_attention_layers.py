"""Attention, residual attention, feed-forward and blocks equal plain loops in float64, in every form."""

import copy
from typing import Any

import layer_oracles as oracle
import numpy as np
import pytest
import torch
from layer_oracles import randomised, rows_seeing
from torch import Tensor, nn

from rollingq.nn.layers import Attention, Block, FeedForward, ResidualAttention, use_plain_form

D, B = 8, 3
TIGHT = {"rtol": 1e-12, "atol": 1e-12}
both_heads = pytest.mark.parametrize("num_heads", [1, 2])
masked_or_not = pytest.mark.parametrize("is_masked", [False, True])
causal_or_not = pytest.mark.parametrize("is_causal", [False, True])


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_mask(length: int) -> Tensor:
    """A full sample, one with a hole at each end, and one without any real position."""
    mask = torch.ones(B, length, dtype=torch.bool)
    mask[1, 0] = mask[1, -1] = False
    mask[2] = False
    return mask


def made(num_heads: int) -> Attention:
    return randomised(Attention(D, num_heads=num_heads))


def gradients(module: nn.Module, inputs: list[Tensor], output: Tensor) -> dict[str, Tensor]:
    """Return the gradients of a generic loss with respect to all parameters (0 where unused) and inputs."""
    named = dict(module.named_parameters()) | {f"input {i}": part for i, part in enumerate(inputs)}
    loss = (output * some(*output.shape, seed=7)).sum() + output.square().sum()
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {
        name: torch.zeros_like(part) if g is None else g for (name, part), g in zip(named.items(), found, strict=True)
    }


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], **TIGHT, msg=lambda text, name=name: f"{name}: {text}")


@both_heads
@masked_or_not
@causal_or_not
@pytest.mark.parametrize(("num_queries", "length"), [(4, 4), (2, 5), (5, 2), (1, 4), (3, 1)])
def test_attention_equals_plain_loops(
    num_heads: int, is_masked: bool, is_causal: bool, num_queries: int, length: int
) -> None:
    module, queries, context = made(num_heads), some(B, num_queries, D), some(B, length, D, seed=1)
    mask = some_mask(length) if is_masked else None
    found, _ = module(queries, context, mask, is_causal=is_causal)
    for i in range(B):
        real = [True] * length if mask is None else mask[i].tolist()
        allowed = rows_seeing(real, num_queries, is_causal=is_causal)
        expected = oracle.attention(module, queries[i], context[i], allowed)
        np.testing.assert_allclose(found[i].detach().numpy(), expected, **TIGHT)


@both_heads
@masked_or_not
@pytest.mark.parametrize("is_shared", [False, True])
def test_one_query_in_the_absorbed_form_equals_the_projected_form(
    num_heads: int, is_masked: bool, is_shared: bool
) -> None:
    fast, mask = made(num_heads), some_mask(5) if is_masked else None
    plain = copy.deepcopy(fast)
    use_plain_form(plain)
    outcomes = []
    for module in (fast, plain):
        inputs = [some(1 if is_shared else B, 1, D).requires_grad_(), some(B, 5, D, seed=1).requires_grad_()]
        output, weights = module(*inputs, mask)
        assert (weights is None) == module.is_plain
        outcomes.append({"output": output, **gradients(module, inputs, output)})
    assert_same(*outcomes)


@both_heads
def test_weights_of_one_query_are_its_softmax(num_heads: int) -> None:
    module, mask = made(num_heads), some_mask(5)
    _, weights = module(some(B, 1, D), some(B, 5, D, seed=1), mask)
    assert weights.shape == (B, num_heads, 5)
    assert (weights[~mask[:, None].expand_as(weights)] == 0).all()
    np.testing.assert_allclose(weights.sum(-1).detach(), [[1.0] * num_heads] * 2 + [[0.0] * num_heads], **TIGHT)


@both_heads
@causal_or_not
@pytest.mark.parametrize("num_queries", [1, 3])
@pytest.mark.parametrize("is_plain", [False, True])
def test_a_sample_that_sees_nothing_gets_the_projection_of_zeros(
    num_heads: int, is_causal: bool, num_queries: int, is_plain: bool
) -> None:
    module = made(num_heads)
    module.is_plain = is_plain
    inputs = [some(B, num_queries, D).requires_grad_(), some(B, 5, D, seed=1).requires_grad_()]
    output, _ = module(*inputs, some_mask(5), is_causal=is_causal)
    torch.testing.assert_close(output[2], module.output.bias.expand(num_queries, D), rtol=0, atol=0)
    found = gradients(module, inputs, output)
    assert all(gradient.isfinite().all() for gradient in found.values())
    assert not found["input 0"][2].any()
    assert not found["input 1"][2].any()


@both_heads
@causal_or_not
@pytest.mark.parametrize("num_queries", [1, 3])
def test_a_query_shared_by_all_samples_equals_its_copies(num_heads: int, is_causal: bool, num_queries: int) -> None:
    module, query, context, mask = made(num_heads), some(1, num_queries, D), some(B, 5, D, seed=1), some_mask(5)
    shared, _ = module(query, context, mask, is_causal=is_causal)
    copies, _ = module(query.repeat(B, 1, 1), context, mask, is_causal=is_causal)
    torch.testing.assert_close(shared, copies, **TIGHT)


@both_heads
@causal_or_not
@pytest.mark.parametrize("num_queries", [1, 3])
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e300])
def test_what_stands_in_padding_never_counts(num_heads: int, is_causal: bool, num_queries: int, garbage: float) -> None:
    module, mask, outcomes = made(num_heads), some_mask(5), []
    for value in (0.0, garbage):
        context = some(B, 5, D, seed=1).masked_fill(~mask[..., None], value)
        inputs = [some(B, num_queries, D).requires_grad_(), context.requires_grad_()]
        output, _ = module(*inputs, mask, is_causal=is_causal)
        outcomes.append({"output": output, **gradients(module, inputs, output)})
    assert_same(*outcomes)


@pytest.mark.parametrize(("num_queries", "length"), [(4, 4), (2, 5)])
def test_causal_queries_see_no_later_position(num_queries: int, length: int) -> None:
    module, queries, context = made(2), some(B, num_queries, D), some(B, length, D, seed=1).requires_grad_()
    output, _ = module(queries, context, is_causal=True)
    for i in range(num_queries):
        (gradient,) = torch.autograd.grad(output[:, i].sum(), context, retain_graph=True)
        is_seen = gradient.abs().amax((0, 2)) > 0
        assert is_seen.tolist() == [j <= i + length - num_queries for j in range(length)]


@both_heads
@masked_or_not
@pytest.mark.parametrize("is_pre_norm", [True, False])
@pytest.mark.parametrize("has_context", [True, False])
def test_residual_attention(num_heads: int, is_masked: bool, is_pre_norm: bool, has_context: bool) -> None:
    module = randomised(ResidualAttention(D, num_heads, dropout=0.0, is_pre_norm=is_pre_norm))
    tokens, context = some(B, 4, D), some(B, 3, D, seed=1) if has_context else None
    length = 3 if has_context else 4
    mask = some_mask(length) if is_masked else None
    found, _ = module(tokens, mask, context=context)
    formula = oracle.pre_norm_attention if is_pre_norm else oracle.post_norm_attention
    for i in range(B):
        allowed = rows_seeing([True] * length if mask is None else mask[i], 4)
        expected = formula(module, tokens[i], None if context is None else context[i], allowed)
        np.testing.assert_allclose(found[i].detach().numpy(), expected, **TIGHT)


@pytest.mark.parametrize("is_pre_norm", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("ratio", [4, 2])
def test_feed_forward(is_pre_norm: bool, activation: Any, ratio: int) -> None:
    module = FeedForward(D, dropout=0.0, activation=activation, is_pre_norm=is_pre_norm, ratio=ratio)
    assert randomised(module).layers[0].out_features == ratio * D
    tokens = some(B, 4, D)
    expected = oracle.feed_forward(module, tokens, activation, is_pre_norm=is_pre_norm)
    np.testing.assert_allclose(module(tokens).detach().numpy(), expected, **TIGHT)


@causal_or_not
@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("length", [None, 5])
def test_block(is_causal: bool, activation: Any, length: int | None) -> None:
    module, tokens = randomised(Block(D, 2, dropout=0.0, activation=activation)), some(B, 4, D)
    context, mask = (None if length is None else some(B, length, D, seed=1)), some_mask(length or 4)
    found, _ = module(tokens, mask, context=context, is_causal=is_causal)
    for i in range(B):
        allowed = rows_seeing(mask[i], 4, is_causal=is_causal)
        expected = oracle.block(module, tokens[i], None if context is None else context[i], allowed, activation)
        np.testing.assert_allclose(found[i].detach().numpy(), expected, **TIGHT)


LAYERS = {
    "pre-norm attention": lambda: ResidualAttention(D, 2, dropout=0.0),
    "post-norm attention": lambda: ResidualAttention(D, 2, dropout=0.0, is_pre_norm=False),
    "block": lambda: Block(D, 2, dropout=0.0),
}
ROWS = {"first": slice(0, 1), "middle": slice(1, 3), "last": slice(-1, None), "third": slice(2, 3)}


every_layer = pytest.mark.parametrize("layer", LAYERS)
every_row = pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)


@every_layer
@every_row
@masked_or_not
@pytest.mark.parametrize("has_context", [True, False])
def test_chosen_rows_are_those_of_the_full_result(layer: str, rows: slice, is_masked: bool, has_context: bool) -> None:
    module, tokens = randomised(LAYERS[layer]()), some(B, 4, D)
    context = some(B, 5, D, seed=1) if has_context else None
    mask = some_mask(5 if has_context else 4) if is_masked else None
    whole, _ = module(tokens, mask, context=context)
    chosen, weights = module(tokens, mask, context=context, rows=rows)
    assert (weights is None) == (chosen.shape[1] > 1)
    torch.testing.assert_close(chosen, whole[:, rows], **TIGHT)


@pytest.mark.parametrize("length", [None, 5])
def test_chosen_rows_keep_their_place_in_time(length: int | None) -> None:
    module, tokens = randomised(Block(D, 2, dropout=0.0)), some(B, 4, D)
    context = None if length is None else some(B, length, D, seed=1)
    whole, _ = module(tokens, context=context, is_causal=True)
    for name, rows in ROWS.items():
        chosen, _ = module(tokens, context=context, rows=rows, is_causal=True)
        torch.testing.assert_close(chosen, whole[:, rows], **TIGHT, msg=f"{name} row: it saw other positions")


def test_the_plain_form_reaches_every_attention_and_no_other_module() -> None:
    model = nn.Sequential(Block(D, 2, dropout=0.0), nn.Linear(D, D), nn.ModuleDict({"deep": Attention(D)}))
    use_plain_form(model)
    assert [m.is_plain for m in model.modules() if isinstance(m, Attention)] == [True, True]
    assert not hasattr(model[1], "is_plain")
