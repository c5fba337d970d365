"""Rebalance weights (paper, Eq. 11) and the rebalance anchor (Eq. 10)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softmax

from rollingq.functional.vectors import unit_vector


def rebalance_weights(cosines: Float[Tensor, "*batch M"], rho: float) -> Float[Tensor, "*batch M"]:
    """Return the share of each modality in the anchor: ``softmax(-2 rho cos)`` over the modalities.

    At M = 2 the first weight is Eq. 11, ``alpha = (1 + tanh(-rho AIR)) / 2``, exactly. The favoured modality
    gets the smaller weight.

    Args:
        cosines: Mean cosine of the query and each modality's average key, ``[..., M]``.
        rho: Sensitivity, > 0: the larger, the more the anchor leans to the weaker modality.

    Returns:
        Weights that sum to 1, ``[..., M]``.

    Example:
        >>> rebalance_weights(torch.tensor([0.5, 0.5]), rho=5.0)
        tensor([0.5000, 0.5000])
    """
    return softmax(-2.0 * rho * cosines, dim=-1)


def rebalance_anchor(
    query: Float[Tensor, "*#batch D"],
    average_keys: Float[Tensor, "*#batch M D"],
    weights: Float[Tensor, "*#batch M"],
) -> Float[Tensor, "*batch D"]:
    """Return the anchor ``q_b``: the weighted sum of the unit mean keys, at the norm of the mean query (Eq. 10).

    Eq. 10 as printed has a norm below the query's unless the keys agree; the text and the authors' code keep
    the query's norm, and so does this function. Where the directions cancel, or a vector is zero or not
    finite, the anchor is the zero vector: there is no direction to turn to.

    Args:
        query: Mean query ``E[Q]``, ``[..., D]``; the leading axes of all three broadcast.
        average_keys: Mean average key ``E[K_hat^m]`` of each modality, ``[..., M, D]``.
        weights: Rebalance weights (Eq. 11), ``[..., M]``.

    Returns:
        Anchors, ``[..., D]``.

    Example:
        >>> rebalance_anchor(torch.tensor([3.0, 0.0]), torch.eye(2), torch.tensor([0.0, 1.0]))
        tensor([0., 3.])
    """
    directions, is_defined = unit_vector(average_keys)
    mixed = (weights.unsqueeze(-1) * directions).sum(-2)
    is_direction = (mixed.norm(dim=-1, keepdim=True) > 16 * torch.finfo(mixed.dtype).eps) & is_defined.all(-2)
    norm = query.norm(dim=-1, keepdim=True)
    anchor = torch.where(is_direction & norm.isfinite(), unit_vector(mixed)[0] * norm, 0.0)
    return anchor.to(query.dtype)
