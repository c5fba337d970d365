"""Cosine of the query and the average keys, and the attention imbalance rate (paper, Eq. 9)."""

from jaxtyping import Float
from torch import Tensor

from rollingq.functional.vectors import unit_vector


def query_key_cosine(
    query: Float[Tensor, "*#batch D"], average_keys: Float[Tensor, "*#batch M D"]
) -> Float[Tensor, "*batch M"]:
    """Return ``cos(q, k_hat^m)`` for every modality; 0 where either vector is zero or not finite.

    Args:
        query: Queries, ``[..., D]``.
        average_keys: Average keys (Eq. 3), ``[..., M, D]``.

    Returns:
        Cosines in [-1, 1], ``[..., M]``, in at least float32.

    Example:
        >>> query_key_cosine(torch.tensor([1.0, 0.0]), torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
        tensor([1., 0.])
    """
    (query, _), (keys, _) = unit_vector(query.unsqueeze(-2)), unit_vector(average_keys)
    return (query * keys).sum(-1).clamp(-1.0, 1.0)


def imbalance_of_cosines(cosines: Float[Tensor, "*batch M"]) -> Float[Tensor, "*batch"]:
    """Return the attention imbalance rate of mean cosines: ``c_1 - c_2``, or largest - smallest for M > 2.

    Args:
        cosines: Mean cosine of each modality, ``[..., M]`` with M >= 2.

    Returns:
        AIR in [-2, 2], ``[...]``; positive = first modality favoured (never negative for M > 2).

    Example:
        >>> imbalance_of_cosines(torch.tensor([0.75, 0.25]))
        tensor(0.5000)
    """
    if cosines.shape[-1] == 2:
        return cosines[..., 0] - cosines[..., 1]
    return cosines.amax(-1) - cosines.amin(-1)


def attention_imbalance_rate(query: Float[Tensor, "#B D"], average_keys: Float[Tensor, "B M D"]) -> Float[Tensor, ""]:
    """Return the attention imbalance rate ``AIR = E_i[cos(q_i, k_hat_i^1) - cos(q_i, k_hat_i^2)]`` (Eq. 9).

    For M > 2 modalities it is the largest minus the smallest of the mean cosines.

    Args:
        query: One query a sample, ``[B, D]`` (or ``[1, D]``, shared by all).
        average_keys: Average keys of every modality (Eq. 3), ``[B, M, D]``.

    Returns:
        A scalar in [-2, 2]; positive = first modality favoured.

    Example:
        >>> attention_imbalance_rate(torch.tensor([[1.0, 0.0]]), torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]]))
        tensor(2.)
    """
    return imbalance_of_cosines(query_key_cosine(query, average_keys).mean(0))
