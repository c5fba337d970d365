"""Linear layers, LayerNorm, attention and blocks of one sample in float64 NumPy, from the weights alone."""

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from rollingq.testing.oracle import Array, as_array

Allowed = Any
"""Which keys each query sees, ``[Q][L]``, or None = all."""


def randomised(module: nn.Module, seed: int = 0) -> Any:
    """Return the module in float64 with every parameter drawn anew: a forgotten bias or scale shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def affine(layer: Any, rows: Any) -> Array:
    moved: Array = as_array(rows) @ as_array(layer.weight).T
    return moved if layer.bias is None else moved + as_array(layer.bias)


def layer_norm(norm: Any, rows: Any) -> Array:
    centred = as_array(rows) - as_array(rows).mean(-1, keepdims=True)
    scaled: Array = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + norm.eps)
    return scaled * as_array(norm.weight) + as_array(norm.bias)


def rows_seeing(real: Any, num_queries: int, *, is_causal: bool = False, offset: int | None = None) -> list[list[bool]]:
    """Return which keys each query sees: the real ones, and with causality only those up to ``i + offset``."""
    offset = abs(len(real) - num_queries) if offset is None else offset
    return [[bool(r) and (not is_causal or j <= i + offset) for j, r in enumerate(real)] for i in range(num_queries)]


def softmax_attention(q: Array, k: Array, v: Array, num_heads: int, allowed: Allowed = None) -> Array:
    """Return attended values before the output projection; a query that sees nothing gets zeros."""
    attended, size = np.zeros_like(q), q.shape[1] // num_heads
    for i in range(len(q)):
        seen = [j for j in range(len(k)) if allowed is None or allowed[i][j]]
        for part in (slice(h * size, (h + 1) * size) for h in range(num_heads)):
            scores = [q[i, part] @ k[j, part] / math.sqrt(size) for j in seen]
            odds = [math.exp(score - max(scores)) for score in scores]
            for j, odd in zip(seen, odds, strict=True):
                attended[i, part] += odd / math.fsum(odds) * v[j, part]
    return attended


def attention(module: Any, queries: Any, context: Any, allowed: Allowed = None) -> Array:
    q, k, v = affine(module.query, queries), affine(module.key, context), affine(module.value, context)
    return affine(module.output, softmax_attention(q, k, v, module.num_heads, allowed))


def pre_norm_attention(module: Any, tokens: Any, context: Any = None, allowed: Allowed = None) -> Array:
    asked = layer_norm(module.norm, tokens)
    seen = asked if context is None else layer_norm(module.norm, context)
    return as_array(tokens) + attention(module.attention, asked, seen, allowed)


def post_norm_attention(module: Any, tokens: Any, context: Any = None, allowed: Allowed = None) -> Array:
    attended = attention(module.attention, tokens, tokens if context is None else context, allowed)
    return layer_norm(module.norm, as_array(tokens) + attended)


def gelu(x: Array) -> Array:
    return x * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0))) / 2.0


def relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


ACTIVATIONS = {"gelu": gelu, "relu": relu}


def feed_forward(module: Any, tokens: Any, activation: str, *, is_pre_norm: bool) -> Array:
    first, second = module.layers[0], module.layers[3]
    entered = layer_norm(module.norm, tokens) if is_pre_norm else tokens
    summed = as_array(tokens) + affine(second, ACTIVATIONS[activation](affine(first, entered)))
    return summed if is_pre_norm else layer_norm(module.norm, summed)


def block(module: Any, tokens: Any, context: Any = None, allowed: Allowed = None, activation: str = "gelu") -> Array:
    attended = pre_norm_attention(module.attend, tokens, context, allowed)
    return feed_forward(module.feed_forward, attended, activation, is_pre_norm=True)
