"""The average key of a modality (paper, Eq. 3)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(
    values: Float[Tensor, "*batch L D"], mask: Bool[Tensor, "*batch L"] | None = None
) -> Float[Tensor, "*batch D"]:
    """Return the mean over real positions; zero where there are none, NaN where a real one is not finite.

    Args:
        values: ``[..., L, D]``.
        mask: True at real positions, ``[..., L]``; all are real if None.

    Example:
        >>> masked_mean(torch.tensor([[1.0], [9.0]]), torch.tensor([True, False]))
        tensor([1.])
    """
    if mask is None:
        return values.mean(-2)
    # Summed in at least float32: a long float16 sequence would overflow before it is divided.
    dtype = torch.promote_types(values.dtype, torch.float32)
    total = torch.where(mask.unsqueeze(-1), values, 0.0).sum(-2, dtype=dtype)
    return (total / mask.sum(-1, keepdim=True).clamp(min=1)).to(values.dtype)


def average_key(
    keys: Float[Tensor, "*batch L D"], mask: Bool[Tensor, "*batch L"] | None = None
) -> Float[Tensor, "*batch D"]:
    """Return the mean key of one modality, ``k_hat = sum_j k_j / L`` (Eq. 3), over its real tokens.

    A sample with no real token, or whose real tokens hold NaN or infinity, gets the zero vector: its cosine
    with any query is then 0 and no NaN leaves this function. Padded tokens never count, whatever they hold.

    Args:
        keys: Keys of one modality, ``[..., L, D]``.
        mask: True at real tokens, ``[..., L]``; all are real if None.

    Returns:
        Average keys, ``[..., D]``.

    Example:
        >>> average_key(torch.tensor([[1.0, 3.0], [3.0, 5.0]]))
        tensor([2., 4.])
    """
    mean = masked_mean(keys, mask)
    is_finite = mean.isfinite().all(-1, keepdim=True)
    return torch.where(is_finite, mean, 0.0)
