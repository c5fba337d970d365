"""From recordings of any length to token sequences of fixed length: resample time, shrink depth frames, group steps."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Shaped

MODALITIES = ("inertial", "depth", "skeleton")
HIP_CENTER = 3
"""Row of the joint that positions are taken relative to."""


@dataclass(frozen=True)
class Recipe:
    """Lengths and sizes of the features; ``group`` consecutive steps make one token."""

    inertial_steps: int = 48
    inertial_group: int = 4
    depth_steps: int = 16
    depth_group: int = 2
    depth_height: int = 20
    depth_width: int = 15
    depth_range: float = 500.0
    """Millimetres around the body's median distance that become one unit."""
    skeleton_steps: int = 24
    skeleton_group: int = 2

    def form(self, modality: str) -> tuple[int, int]:
        """Return the number of tokens and the numbers in each.

        Example:
            >>> Recipe().form("inertial")
            (12, 24)
        """
        steps, group = getattr(self, f"{modality}_steps"), getattr(self, f"{modality}_group")
        size = {"inertial": 6, "skeleton": 60, "depth": self.depth_height * self.depth_width}[modality]
        return steps // group, group * size


def features(modality: str, array: np.ndarray, recipe: Recipe) -> Float32[np.ndarray, "L F"]:
    """Return one recording's tokens.

    Args:
        modality: "inertial" ``[T, 6]``, "skeleton" ``[T, 20, 3]`` or "depth" ``[T, H, W]``.
        array: The recording, time first.
        recipe: Lengths and sizes.
    """
    steps = {"inertial": _inertial, "skeleton": _skeleton, "depth": _depth}[modality](array, recipe)
    tokens: np.ndarray = steps.reshape(recipe.form(modality))
    return tokens.astype(np.float32)


def resample(steps: Float[np.ndarray, "T F"], length: int) -> Float[np.ndarray, "L F"]:
    """Return ``length`` steps at even distances from the first to the last, by linear interpolation.

    Example:
        >>> resample(np.array([[0.0], [1.0]]), 3).ravel().tolist()
        [0.0, 0.5, 1.0]
    """
    at = np.linspace(0, len(steps) - 1, length)
    lower = np.minimum(at.astype(int), len(steps) - 2)
    share = (at - lower)[:, None]
    between: np.ndarray = steps[lower] * (1 - share) + steps[lower + 1] * share
    return between


def area_mean(size: int, out: int) -> Float[np.ndarray, "O I"]:
    """Return the matrix that averages ``size`` pixels into ``out`` cells of equal width, by overlap.

    Example:
        >>> area_mean(3, 2).round(3).tolist()
        [[0.667, 0.333, 0.0], [0.0, 0.333, 0.667]]
    """
    edges = np.linspace(0, size, out + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares: np.ndarray = np.clip(overlap, 0, None) * out / size
    return shares


def body_box(body: Shaped[np.ndarray, "T H W"], aspect: float) -> tuple[slice, slice]:
    """Return rows and columns of the smallest box of this aspect (height / width) with every body pixel in it."""
    rows, columns = (np.flatnonzero(body.any(axis)) for axis in ((0, 2), (0, 1)))
    height, width = (int(hits[-1] - hits[0]) + 1 for hits in (rows, columns))
    height, width = max(height, round(width * aspect)), max(width, round(height / aspect))
    return _around(rows, height, body.shape[1]), _around(columns, width, body.shape[2])


def _around(hits: np.ndarray, length: int, size: int) -> slice:
    length = min(length, size)
    start = int(np.clip((hits[0] + hits[-1] + 1 - length) // 2, 0, size - length))
    return slice(start, start + length)


def _inertial(array: np.ndarray, recipe: Recipe) -> np.ndarray:
    return resample(array.astype(np.float64), recipe.inertial_steps)


def _skeleton(array: np.ndarray, recipe: Recipe) -> np.ndarray:
    centred = array - array[:, HIP_CENTER : HIP_CENTER + 1]
    return resample(centred.reshape(len(array), -1).astype(np.float64), recipe.skeleton_steps)


def _depth(array: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Crop to the body, turn distance into nearness around 1 (background 0), then average in space and time."""
    body = array > 0
    rows, columns = body_box(body, recipe.depth_height / recipe.depth_width)
    nearness = 1 + (np.median(array[body]) - array[:, rows, columns].astype(np.float64)) / recipe.depth_range
    image: Any = np.where(body[:, rows, columns], np.clip(nearness, 0, 2), 0)
    high, wide = image.shape[1:]
    small = area_mean(high, recipe.depth_height) @ image @ area_mean(wide, recipe.depth_width).T
    return resample(small.reshape(len(small), -1), recipe.depth_steps)
