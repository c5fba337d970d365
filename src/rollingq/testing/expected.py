"""What a tiny model must answer, and what RollingQ must see in it: NumPy in float64, from the weights alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rollingq.testing.forms import DIM, HEADS, TOKENS
from rollingq.testing.models import AttentionModel, LinearAttention, Packed
from rollingq.testing.oracle import Array, as_array, attend, average_key


@dataclass(frozen=True)
class Projected:
    """One sample inside the attention, in float64: queries ``[R, D]`` before rotation, keys and values ``[L, D]``."""

    queries: Array
    keys: Array
    values: Array
    num_extra: int
    """Key positions that the layer itself adds behind the sequence."""


def sequence_of(model: AttentionModel, tokens: Tensor) -> Tensor:
    """Return what reaches the attention, ``[B, L, D]``.

    Example:
        >>> from rollingq.testing.forms import FORMS
        >>> sequence_of(FORMS["query key"].build(), torch.zeros(2, 7, 8)).shape
        torch.Size([2, 8, 8])
    """
    if model.cls_token is None:
        return tokens
    return torch.cat([model.cls_token.expand(len(tokens), -1, -1), tokens], 1)


def project(model: AttentionModel, tokens: Tensor) -> list[Projected]:
    """Return every sample's projections, computed in NumPy from the model's weights.

    Example:
        >>> from rollingq.testing.forms import FORMS
        >>> project(FORMS["query key"].build(), torch.zeros(2, 7, 8))[0].keys.shape
        (8, 8)
    """
    sequence = as_array(sequence_of(model, tokens))
    attention = model.attention
    if isinstance(attention, LinearAttention):
        return [_project_linear(attention, sample) for sample in sequence]
    assert isinstance(attention, Packed)
    rolled = np.concatenate([sequence, np.roll(sequence, 1, 0)], -1) if attention.is_separate else sequence
    return [_project_packed(attention, *pair) for pair in zip(sequence, rolled, strict=True)]


def _affine(inputs: Array, weight: Tensor, bias: Tensor | None) -> Array:
    moved: Array = inputs @ as_array(weight).T + (0.0 if bias is None else as_array(bias))
    return moved


def _project_linear(attention: LinearAttention, sample: Array) -> Projected:
    query, key = (attention.get_submodule(name) for name in attention.names)
    assert isinstance(query, nn.Linear)
    assert isinstance(key, nn.Linear)
    q, k, v = (_affine(sample, layer.weight, layer.bias) for layer in (query, key, attention.value))
    return Projected(q if attention.rows == "all" else q[:1], k, v, 0)


def _project_packed(attention: Packed, sample: Array, key_input: Array) -> Projected:
    mha = attention.mha
    if attention.is_separate:
        weights = [mha.q_proj_weight, mha.k_proj_weight, mha.v_proj_weight]
        inputs = [sample, key_input, np.concatenate([sample] * 3, -1)]
    else:
        weights, inputs = list(mha.in_proj_weight.split(DIM)), [sample] * 3
    biases = [None] * 3 if mha.in_proj_bias is None else list(mha.in_proj_bias.split(DIM))
    q, k, v = (_affine(*parts) for parts in zip(inputs, weights, biases, strict=True))
    extra = [(as_array(mha.bias_k)[0], as_array(mha.bias_v)[0])] if mha.bias_k is not None else []
    extra += [(np.zeros((1, DIM)), np.zeros((1, DIM)))] if mha.add_zero_attn else []
    k, v = (np.concatenate([part, *(row[i] for row in extra)]) for i, part in enumerate((k, v)))
    return Projected(q if attention.rows == "all" else q[:1], k, v, len(extra))


def expected_logits(
    model: AttentionModel,
    tokens: Tensor,
    rotation: Array | None = None,
    *,
    rotates_all: bool = False,
    is_real: Any = None,  # noqa: ANN401
) -> Array:
    """Return the logits ``[B, C]`` with the class row (or all rows) of the query rotated, by NumPy alone.

    Args:
        model: A model of :data:`FORMS`, attached to or not.
        tokens: ``[B, L, D]``.
        rotation: Block-diagonal R of all heads, ``[D, D]``; none if None.
        rotates_all: Whether all rows rotate, not the class row alone.
        is_real: Which key positions count, ``[B, L]`` (the class position included).

    Example:
        >>> from rollingq.testing.forms import FORMS
        >>> expected_logits(FORMS["query key"].build(), torch.zeros(2, 7, 8)).shape
        (2, 3)
    """
    attention = model.attention
    output = attention.output if isinstance(attention, LinearAttention) else attention.get_submodule("mha.out_proj")
    assert isinstance(output, nn.Linear)
    logits = []
    for i, sample in enumerate(project(model, tokens)):
        queries = sample.queries.copy()
        if rotation is not None:
            turned = slice(None) if rotates_all else slice(0, 1)
            queries[turned] = queries[turned] @ rotation.T
        real = None if is_real is None else [*is_real[i], *[True] * sample.num_extra]
        attended = _affine(attend(queries, sample.keys, sample.values, HEADS, real)[0], output.weight, output.bias)
        read = attended[0] if model.pool == "class" else attended.mean(0)
        logits.append(_affine(read, model.head.weight, model.head.bias))
    return np.array(logits)


def observed(
    model: AttentionModel,
    tokens: Tensor,
    lengths: Mapping[str, int] = TOKENS,
    is_real: Any = None,  # noqa: ANN401
) -> tuple[Array, Array]:
    """Return what RollingQ must see of class queries: queries ``[N, H, D]`` and average keys ``[N, M, H, D]``.

    Example:
        >>> from rollingq.testing.forms import FORMS
        >>> [part.shape for part in observed(FORMS["query key"].build(), torch.zeros(2, 7, 8))]
        [(2, 2, 4), (2, 2, 2, 4)]
    """
    queries, averages = [], []
    for i, sample in enumerate(project(model, tokens)):
        queries.append(sample.queries[0].reshape(HEADS, -1))
        start, keys = 0, []
        for name, length in lengths.items():
            span = slice(start, start + length)
            real = None if is_real is None else is_real[i][span]
            keys += [average_key(sample.keys[span], real).reshape(HEADS, -1)] if name != "cls" else []
            start += length
        averages.append(keys)
    return np.array(queries), np.array(averages)


def block_diagonal(rotation: Any) -> Array:  # noqa: ANN401
    """Return the blocks ``[H, D, D]`` as one matrix ``[H * D, H * D]``.

    Example:
        >>> block_diagonal([[[2.0]], [[3.0]]])
        array([[2., 0.],
               [0., 3.]])
    """
    blocks = as_array(rotation)
    dim = blocks.shape[-1]
    whole = np.zeros((len(blocks) * dim, len(blocks) * dim))
    for head, block in enumerate(blocks):
        whole[head * dim : (head + 1) * dim, head * dim : (head + 1) * dim] = block
    return whole
