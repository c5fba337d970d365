"""The direction of a vector, at any scale, and what to do where there is none."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def unit_vector(
    vectors: Float[Tensor, "*batch D"],
) -> tuple[Float[Tensor, "*batch D"], Bool[Tensor, "*batch 1"]]:
    """Return the unit vector, and whether there is one; zero where a vector is zero or not finite.

    Dividing by the largest number first keeps the norm of very large and very small vectors exact. Computed
    in at least float32.

    Args:
        vectors: ``[..., D]``.

    Returns:
        Unit vectors ``[..., D]``, and where they are defined ``[..., 1]``.

    Example:
        >>> unit_vector(torch.tensor([3e30, 4e30]))
        (tensor([0.6000, 0.8000]), tensor([True]))
    """
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    scale = vectors.abs().amax(-1, keepdim=True)
    is_defined = scale.isfinite() & (scale > 0)
    scaled = torch.where(is_defined, vectors / torch.where(is_defined, scale, 1.0), 0.0)
    norm = scaled.norm(dim=-1, keepdim=True)
    return scaled / torch.where(is_defined, norm, 1.0), is_defined
