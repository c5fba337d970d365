"""The paper's equations in float64 NumPy, one sample and one head at a time: slow, plain, and written on their own."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def as_array(values: Any) -> Array:  # noqa: ANN401
    """Return a tensor or a nested list as a float64 array.

    Example:
        >>> as_array([[1, 2]])
        array([[1., 2.]])
    """
    if hasattr(values, "detach"):
        values = values.detach().double().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


def average_key(keys: Any, is_real: Any = None) -> Array:  # noqa: ANN401
    """Return the mean of the real rows of ``[L, D]`` (Eq. 3).

    Args:
        keys: Keys of one modality of one sample, ``[L, D]``.
        is_real: True at real tokens, ``[L]``; all are real if None.

    Example:
        >>> average_key([[1, 3], [3, 5], [9, 9]], [True, True, False])
        array([2., 4.])
    """
    rows = list(as_array(keys))
    if is_real is not None:
        rows = [row for row, real in zip(rows, is_real, strict=True) if real]
    return np.array([math.fsum(column) / len(rows) for column in zip(*rows, strict=True)])


def cosine(x: Any, y: Any) -> float:  # noqa: ANN401
    """Return the cosine of two vectors, scaled first so that no square overflows.

    Example:
        >>> round(cosine([1e300, 0], [1e-300, 1e-300]), 4)
        0.7071
    """
    x, y = (v / np.abs(v).max() for v in map(as_array, (x, y)))
    return float(math.fsum(x * y) / math.sqrt(math.fsum(x * x) * math.fsum(y * y)))


def alpha(air: float, rho: float) -> float:
    """Return the first modality's weight in the anchor at M = 2 (Eq. 11).

    Example:
        >>> alpha(0.0, rho=5.0)
        0.5
    """
    return (1.0 + math.tanh(-rho * air)) / 2.0


def rebalance_weights(cosines: Sequence[float], rho: float) -> Array:
    """Return the weight of every modality: odds ``exp(-2 rho c)``, normalised; Eq. 11 at M = 2.

    Example:
        >>> rebalance_weights([0.2, 0.2], rho=5.0)
        array([0.5, 0.5])
    """
    odds = [math.exp(-2.0 * rho * (c - min(cosines))) for c in cosines]
    return np.array(odds) / math.fsum(odds)


def rebalance_anchor(query: Any, average_keys: Any, weights: Iterable[float]) -> Array:  # noqa: ANN401
    """Return the anchor at the query's norm (Eq. 10 with the original code's rescaling).

    Example:
        >>> rebalance_anchor([3, 0], [[5, 0], [0, 5]], [0.0, 1.0])
        array([0., 3.])
    """
    parts = [float(w) * k / math.hypot(*k) for w, k in zip(weights, as_array(average_keys), strict=True)]
    direction: Array = as_array(parts).sum(0)
    anchor: Array = direction * (math.hypot(*as_array(query)) / math.hypot(*direction))
    return anchor


def minimal_rotation(x: Any, y: Any) -> Array:  # noqa: ANN401
    """Return the rotation from ``x`` to ``y`` in their plane: ``I + K + K^2 / (1 + c)``, ``K = y x^T - x y^T``.

    Args:
        x: A vector, ``[D]``.
        y: A vector not opposite to ``x``, ``[D]``.

    Example:
        >>> minimal_rotation([1, 0], [0, 1]) @ [1, 0]
        array([0., 1.])
    """
    x, y = (v / math.hypot(*v) for v in map(as_array, (x, y)))
    skew = np.outer(y, x) - np.outer(x, y)
    rotation: Array = np.eye(len(x)) + skew + skew @ skew / (1.0 + float(x @ y))
    return rotation


def air_after_rotation(air: float, keys_cosine: float, rho: float) -> float:
    """Return the AIR after rotating to the anchor, if every sample has the same unit average keys of two modalities.

    Args:
        air: AIR before.
        keys_cosine: Cosine of the two average keys.
        rho: Sensitivity.

    Example:
        >>> round(air_after_rotation(0.3, 0.0, rho=5.0), 3)
        -0.949
    """
    first = alpha(air, rho)
    norm = math.sqrt(first**2 + (1 - first) ** 2 + 2 * first * (1 - first) * keys_cosine)
    return -math.tanh(rho * air) * (1.0 - keys_cosine) / norm


@dataclass(frozen=True)
class Step:
    """What one step must see and do, head by head."""

    air: Array
    """``[H]``"""
    cosines: Array
    """``[H, M]``"""
    weights: Array
    """``[H, M]``"""
    query: Array
    """Mean query, ``[H, D]``."""
    anchor: Array
    """``[H, D]``"""
    rotation: Array
    """Rotation from the mean query to the anchor, ``[H, D, D]``."""


def predict_step(
    queries: Any,  # noqa: ANN401
    average_keys: Any,  # noqa: ANN401
    *,
    rho: float,
    heads: str = "per_head",
    pass_queries: Any = None,  # noqa: ANN401
    pass_keys: Any = None,  # noqa: ANN401
) -> Step:
    """Return Algorithm 1 for the samples seen.

    Args:
        queries: Query of every sample, ``[N, H, D]``.
        average_keys: Average key of every sample and modality, ``[N, M, H, D]``.
        rho: Sensitivity.
        heads: As in :class:`rollingq.RollingQConfig`.
        pass_queries: Queries of a full pass, from which the means come instead (the original code).
        pass_keys: Its average keys.

    Example:
        >>> step = predict_step([[[1.0, 0.0]]], [[[[1.0, 0.0]], [[0.0, 1.0]]]], rho=50.0)
        >>> step.air, step.anchor.round(6)
        (array([1.]), array([[0., 1.]]))
    """
    q, k = _by_head(queries, average_keys, heads)
    mean_q, mean_k = (q, k) if pass_queries is None else _by_head(pass_queries, pass_keys, heads)
    mean_q, mean_k = mean_q.mean(0), mean_k.mean(0)
    num_samples, num_modalities, num_heads, _ = k.shape
    cosines = np.array(
        [
            [sum(cosine(q[i, h], k[i, m, h]) for i in range(num_samples)) / num_samples for m in range(num_modalities)]
            for h in range(num_heads)
        ]
    )
    if heads == "shared":
        cosines[:] = cosines.mean(0)
    weights = np.array([rebalance_weights(list(row), rho) for row in cosines])
    anchor = np.array([rebalance_anchor(mean_q[h], mean_k[:, h], weights[h]) for h in range(num_heads)])
    return Step(
        air=np.array([row[0] - row[1] if len(row) == 2 else max(row) - min(row) for row in cosines]),
        cosines=cosines,
        weights=weights,
        query=mean_q,
        anchor=anchor,
        rotation=np.array([minimal_rotation(mean_q[h], anchor[h]) for h in range(num_heads)]),
    )


def _by_head(queries: Any, average_keys: Any, heads: str) -> tuple[Array, Array]:  # noqa: ANN401
    q, k = as_array(queries), as_array(average_keys)
    if heads == "full":
        q, k = q.reshape(len(q), 1, -1), k.reshape(*k.shape[:2], 1, -1)
    return q, k


def attend(query: Any, keys: Any, values: Any, num_heads: int, is_real: Any = None) -> tuple[Array, Array]:  # noqa: ANN401
    """Return softmax attention of one sample's projected query rows (Eq. 1, 2), before the output projection.

    Args:
        query: ``[R, H * D]``.
        keys: ``[L, H * D]``.
        values: ``[L, H * V]``.
        num_heads: Number of heads H.
        is_real: True at real positions, ``[L]``.

    Returns:
        Attended values ``[R, H * V]`` and weights ``[R, H, L]``.

    Example:
        >>> attend([[0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [[2.0], [4.0]], num_heads=1)[0]
        array([[3.]])
    """
    q, k, v = (np.split(as_array(part), num_heads, axis=-1) for part in (query, keys, values))
    real = np.ones(len(k[0]), dtype=bool) if is_real is None else np.asarray(is_real, dtype=bool)
    weights = np.zeros((len(q[0]), num_heads, len(real)))
    for h in range(num_heads):
        scores = q[h] @ k[h][real].T / math.sqrt(q[h].shape[-1])
        exponentials = np.exp(scores - scores.max(-1, keepdims=True))
        weights[:, h, real] = exponentials / exponentials.sum(-1, keepdims=True)
    return np.concatenate([weights[:, h][:, real] @ v[h][real] for h in range(num_heads)], axis=-1), weights
