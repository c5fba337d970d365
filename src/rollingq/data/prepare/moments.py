"""Mean and standard deviation of training data that never is in memory as a whole. No torch in here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from rollingq.data.spec import ModalitySpec

_BLOCK = 2**20
"""Numbers that are looked at together."""


@dataclass(frozen=True)
class Moments:
    """Number of numbers, mean, and sum of squared distances to it, for every statistic of a modality."""

    count: float
    mean: Float[np.ndarray, " F"]
    squares: Float[np.ndarray, " F"]

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of both sets together.

        Source:
            Chan, Golub, LeVeque: "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
        """
        total = self.count + other.count
        if total == 0:
            return self
        gap = other.mean - self.mean
        share = other.count / total
        squares = self.squares + other.squares + gap**2 * (self.count * share)
        return Moments(total, self.mean + gap * share, squares)

    @property
    def std(self) -> Float[np.ndarray, " F"]:
        """Standard deviation; 1 where nothing varies."""
        std = np.sqrt(self.squares / max(self.count, 1.0))
        found: np.ndarray = np.where(std < 1e-6, 1.0, std)
        return found

    @property
    def statistics(self) -> tuple[list[float], list[float]]:
        """Means and standard deviations."""
        return self.mean.tolist(), self.std.tolist()

    def to_json(self) -> dict[str, Any]:
        """Return numbers that ``from_json`` reads back without loss."""
        return {"count": self.count, "mean": self.mean.tolist(), "squares": self.squares.tolist()}

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> "Moments":
        """Return what ``to_json`` gave."""
        return cls(float(table["count"]), np.asarray(table["mean"]), np.asarray(table["squares"]))


def moments_of(
    array: Shaped[np.ndarray, "N ..."], spec: ModalitySpec, mask: Bool[np.ndarray, "N T"] | None = None
) -> Moments:
    """Return the moments of samples, over real tokens, frames or images only.

    Args:
        array: Samples of ``spec.shape``.
        spec: Says what shares a statistic: a feature, a channel, or all numbers.
        mask: True where real; everything is if None.

    Example:
        >>> made = moments_of(np.array([[[0.0, 5.0]], [[2.0, 5.0]]]), ModalitySpec((1, 2)))
        >>> made.mean.tolist(), made.std.tolist()
        ([1.0, 5.0], [1.0, 1.0])
    """
    total = Moments(0.0, np.zeros(spec.num_statistics), np.zeros(spec.num_statistics))
    step = max(1, _BLOCK // int(np.prod(spec.shape)))
    for start in range(0, len(array), step):
        block = slice(start, start + step)
        total = total + _of_block(array[block], spec, None if mask is None else mask[block])
    return total


def _of_block(array: Shaped[np.ndarray, "N ..."], spec: ModalitySpec, mask: np.ndarray | None) -> Moments:
    parts = array.reshape(-1, *array.shape[2:]) if len(spec.shape) in (2, 4) else array
    kept = np.asarray(parts if mask is None else parts[mask.reshape(-1)], np.float64)
    axis = {"feature": -1, "channel": -3, "all": 0}[spec.statistics]
    rows = kept.reshape(1, -1) if spec.statistics == "all" else np.moveaxis(kept, axis, 0).reshape(kept.shape[axis], -1)
    if not rows.shape[1]:
        return Moments(0.0, np.zeros(len(rows)), np.zeros(len(rows)))
    mean = rows.mean(1)
    return Moments(float(rows.shape[1]), mean, ((rows - mean[:, None]) ** 2).sum(1))
