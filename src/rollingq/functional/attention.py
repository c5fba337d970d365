"""Attention of a class query (paper, Eq. 1, 2) with absorbed projections, and the attention score of a modality."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def attention_score(
    weights: Float[Tensor, "*batch L"], tokens: Mapping[str, int]
) -> dict[str, Float[Tensor, "*batch"]]:
    """Return the attention mass on each part of the sequence; the parts sum to 1 with the softmax.

    Args:
        weights: Softmax weights of the class query over the key positions, ``[..., L]``.
        tokens: Order and number of the key positions, such as ``{"cls": 1, "audio": 177, "visual": 197}``.

    Returns:
        Name -> mass, ``[...]`` each.

    Raises:
        ValueError: If the numbers do not add up to L.

    Example:
        >>> attention_score(torch.tensor([0.25, 0.25, 0.5]), {"audio": 2, "visual": 1})
        {'audio': tensor(0.5000), 'visual': tensor(0.5000)}
    """
    if sum(tokens.values()) != weights.shape[-1]:
        raise ValueError(
            f"Expected weights over {sum(tokens.values())} positions ({dict(tokens)}), but got {weights.shape[-1]}."
        )
    parts = weights.split(list(tokens.values()), dim=-1)
    return {name: part.sum(-1) for name, part in zip(tokens, parts, strict=True)}


def _masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Return the softmax over real positions; a row without any gets zeros."""
    if mask is None:
        return scores.softmax(-1)
    mask = mask.unsqueeze(-2)
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
    return weights.masked_fill(~mask, 0.0)


def absorbed_attention(
    query: Float[Tensor, "#B D"],
    tokens: Float[Tensor, "B L E"],
    key_weight: Float[Tensor, "D E"],
    value_weight: Float[Tensor, "V E"],
    value_bias: Float[Tensor, " V"] | None = None,
    *,
    num_heads: int = 1,
    mask: Bool[Tensor, "B L"] | None = None,
    dropout: float = 0.0,
) -> tuple[Float[Tensor, "B V"], Float[Tensor, "B H L"]]:
    """Attend with one query a sample, without ever projecting a token (Eq. 1, 2).

    ``softmax(q (X W_K^T)^T / sqrt(d)) (X W_V^T + b_V)`` equals ``softmax((q W_K) X^T / sqrt(d)) X`` followed by
    one projection of the sum: the key projection moves into the query and the value projection behind the
    sum. The key bias shifts all scores of a query alike and cancels. O(d^2 + L d) a sample instead of O(L d^2).

    Args:
        query: Projected (and rotated) query of each sample, ``[B, D]``, or ``[1, D]`` shared by all.
        tokens: Key and value positions before projection, ``[B, L, E]``.
        key_weight: ``W_K`` as in ``nn.Linear``, ``[D, E]``.
        value_weight: ``W_V``, ``[V, E]``.
        value_bias: ``b_V``, ``[V]``.
        num_heads: Number of heads H; D and V divide by it.
        mask: True at real positions, ``[B, L]``.
        dropout: Probability of dropping an attention weight (the rest is scaled up); 0 = none.

    Returns:
        The attended values before any output projection, ``[B, V]``, and the softmax weights before dropout,
        ``[B, H, L]``.

    Example:
        >>> out, weights = absorbed_attention(torch.zeros(1, 2), torch.ones(1, 4, 2), torch.eye(2), torch.eye(2))
        >>> out, weights
        (tensor([[1., 1.]]), tensor([[[0.2500, 0.2500, 0.2500, 0.2500]]]))
    """
    if mask is not None:  # What stands in padding counts as nothing, even NaN.
        tokens = torch.where(mask.unsqueeze(-1), tokens, 0.0)
    heads = query.unflatten(-1, (num_heads, -1))
    absorbed = torch.einsum("bhd,hde->bhe", heads, key_weight.unflatten(0, (num_heads, -1)))
    absorbed = absorbed * heads.shape[-1] ** -0.5
    # One query for all samples: a matrix-vector product over all tokens at once.
    scores = tokens @ (absorbed[0].mT if len(absorbed) == 1 else absorbed.mT)
    weights = _masked_softmax(scores.mT, mask)
    kept = F.dropout(weights, dropout) if dropout > 0.0 else weights
    context = kept @ tokens
    attended = torch.einsum("bhe,hve->bhv", context, value_weight.unflatten(0, (num_heads, -1)))
    if value_bias is not None:
        attended = attended + kept.sum(-1, keepdim=True) * value_bias.unflatten(0, (num_heads, -1))
    return attended.flatten(1), weights
