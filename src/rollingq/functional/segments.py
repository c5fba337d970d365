"""Attention averaged inside segments (a part of the rows times a part of the keys): the mathematics of QUAG."""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Segments = Iterable[tuple[slice, slice]]
"""Which rows and which keys, one pair a segment; the segments do not overlap."""


def average_segments(
    weights: Float[Tensor, "*B Q L"], segments: Segments, is_real: Bool[Tensor, "*#B #Q L"] | None = None
) -> Float[Tensor, "*B Q L"]:
    """Return softmax weights with every row of a segment replaced by its mean over the real keys.

    ``w_ij <- sum_{k real in K} w_ik / |real in K|`` for rows i and real keys j of the segment; keys that are not
    real get 0. The mass of a row on real keys stays what it was in every segment.

    Args:
        weights: Softmax weights, ``[..., Q, L]``.
        segments: Which rows and keys.
        is_real: True where a row may see a key, ``[..., Q or 1, L]``; everywhere if None.

    Source:
        Rawal et al., "Dissecting Multimodality in VideoQA Transformer Models by Impairing Modality Fusion",
        ICML 2024 (QUAG); Ni et al., "RollingQ", ICML 2025, Tables 8, 9.

    Example:
        >>> average_segments(torch.tensor([[0.2, 0.2, 0.6]]), [(slice(None), slice(1, 3))])
        tensor([[0.2000, 0.4000, 0.4000]])
    """
    averaged = weights.clone()
    for rows, keys in segments:
        real = _part(weights, rows, keys, is_real)
        mean, _ = _mean(weights[..., rows, keys], real)
        averaged[..., rows, keys] = torch.where(real, mean, 0.0)
    return averaged


def average_segment_scores(
    scores: Float[Tensor, "*B Q L"],
    segments: Segments,
    is_real: Bool[Tensor, "*#B #Q L"] | None = None,
    *,
    use_official_scale: bool = False,
) -> Float[Tensor, "*B Q L"]:
    """Return scores (before the softmax) as if keys and values of a segment were averaged at the input.

    A score is linear in the key, so each of the n real keys of a segment gets the mean score s; together they hold
    ``n exp(s)``, which is one averaged token with the score ``s + log n``. The official demonstration multiplies:
    ``s log n`` (spread over n keys: ``s log n - log n`` each), which does not keep the mass even where all keys
    are the same. Keys of a segment that are not real get -inf.

    Args:
        scores: Scaled and masked scores, ``[..., Q, L]``.
        segments: Which rows and keys.
        is_real: True where a row may see a key, ``[..., Q or 1, L]``; everywhere if None.
        use_official_scale: Whether to multiply by log n, as the official demonstration does.

    Source:
        Rawal et al., ICML 2024 (QUAG-attention); the additive form is what averaging the inputs gives.

    Example:
        >>> average_segment_scores(torch.tensor([[0.0, 1.0, 3.0]]), [(slice(None), slice(1, 3))])
        tensor([[0., 2., 2.]])
    """
    averaged = scores.clone()
    for rows, keys in segments:
        real = _part(scores, rows, keys, is_real)
        mean, num_real = _mean(scores[..., rows, keys], real)
        if use_official_scale:
            mean = (mean - 1.0) * num_real.log()
        averaged[..., rows, keys] = torch.where(real, mean, -math.inf)
    return averaged


def _part(values: Tensor, rows: slice, keys: slice, is_real: Tensor | None) -> Tensor:
    """Return where a segment is real."""
    if is_real is None:
        return torch.ones_like(values[..., rows, keys], dtype=torch.bool)
    return is_real.expand(values.shape)[..., rows, keys]


def _mean(segment: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean over real keys and their number (1 where there is none), ``[..., Q, 1]``."""
    num_real = real.sum(-1, keepdim=True).clamp(min=1).to(segment.dtype)
    return torch.where(real, segment, 0.0).sum(-1, keepdim=True) / num_real, num_real
