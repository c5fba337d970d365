"""Normalise by mean and standard deviation, taken from training data. No torch in here."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation over samples and tokens, of every feature or of all of them together (F = 1)."""

    mean: Float[np.ndarray, " F"]
    std: Float[np.ndarray, " F"]


def statistics_of(array: Float32[np.ndarray, "N L F"], *, shared: bool = False) -> Statistics:
    """Return the statistics of training data; where nothing varies the standard deviation is given as 1.

    Args:
        array: Training samples.
        shared: Whether all features share one mean and one standard deviation, as pixels should: a pixel that is
            nearly always background would otherwise become huge where it is not.

    Example:
        >>> statistics_of(np.array([[[0.0, 5.0]], [[2.0, 5.0]]], np.float32)).std.tolist()
        [1.0, 1.0]
    """
    axes = None if shared else (0, 1)
    mean, std = (np.atleast_1d(moment(array, axes, dtype=np.float64)) for moment in (np.mean, np.std))
    return Statistics(mean, np.where(std < 1e-6, 1.0, std))


def normalise(array: Float32[np.ndarray, "N L F"], statistics: Statistics) -> Float32[np.ndarray, "N L F"]:
    """Return ``(array - mean) / std`` in single precision."""
    normalised: np.ndarray = (array - statistics.mean) / statistics.std
    return normalised.astype(np.float32)
