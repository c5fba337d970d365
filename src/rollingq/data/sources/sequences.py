"""Make feature sequences of any length equally long: trim, cut, pad, and say which steps are real. No torch in here."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Shaped


def finite(array: Shaped[np.ndarray, "..."]) -> tuple[Float32[np.ndarray, "..."], int]:
    """Return the array in single precision with 0 for every number that is not finite, and how many those are.

    Args:
        array: Numbers; what does not fit single precision counts as infinite.

    Example:
        >>> array, count = finite(np.array([1.0, -np.inf, np.nan]))
        >>> array.tolist(), count
        ([1.0, 0.0, 0.0], 2)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        single = array.astype(np.float32)
    is_finite = np.isfinite(single)
    single[~is_finite] = 0
    return single, int(single.size - np.count_nonzero(is_finite))


def extent(steps: Float[np.ndarray, "T F"]) -> tuple[int, int]:
    """Return the first step that is not all zero, and the one after the last; (0, 0) if there is none.

    Args:
        steps: Features of one sample, time first.

    Example:
        >>> extent(np.array([[0.0], [2.0], [0.0], [1.0], [0.0]])), extent(np.zeros((3, 1)))
        ((1, 4), (0, 0))
    """
    hits = np.flatnonzero(steps.any(axis=1))
    return (int(hits[0]), int(hits[-1]) + 1) if len(hits) else (0, 0)


def pad(steps: Float[np.ndarray, "T F"], length: int) -> tuple[Float32[np.ndarray, "L F"], Bool[np.ndarray, " L"]]:
    """Return the first ``length`` steps, with zeros after the last, and which of them are real.

    Args:
        steps: Features of one sample, time first; all of them are real.
        length: Steps to return.

    Example:
        >>> padded, is_real = pad(np.array([[1.0], [2.0]]), 3)
        >>> padded.ravel().tolist(), is_real.tolist()
        ([1.0, 2.0, 0.0], [True, True, False])
    """
    padded = np.zeros((length, steps.shape[1]), np.float32)
    padded[: len(steps)] = steps[:length]
    return padded, np.arange(length) < len(steps)


def standardised(steps: Float[np.ndarray, "T F"]) -> Float32[np.ndarray, "T F"]:
    """Return every feature of one sample with mean 0 and (unbiased) standard deviation 1; constant features are 0.

    Args:
        steps: Features of one sample, time first.

    Example:
        >>> standardised(np.array([[1.0, 5.0], [3.0, 5.0]])).round(3).tolist()
        [[-0.7070000171661377, 0.0], [0.7070000171661377, 0.0]]
    """
    if len(steps) < 2:
        return np.zeros(steps.shape, np.float32)
    wide = steps.astype(np.float64)
    is_constant = wide.min(0) == wide.max(0)
    spread = np.where(is_constant, 1, wide.std(0, ddof=1))
    scaled: np.ndarray = np.where(is_constant, 0, (wide - wide.mean(0)) / spread)
    return scaled.astype(np.float32)
