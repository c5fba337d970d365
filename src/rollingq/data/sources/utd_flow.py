"""Motion of a body in depth frames, as optical flow between consecutive frames."""

from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt16

from rollingq.data.prepare.source import BadFileError
from rollingq.data.raw.images import opencv
from rollingq.data.sources.utd_features import area_mean, body_box, resample

_LEAST = 16
"""Smallest side of a frame that the flow is computed of; smaller ones are padded with background."""


def depth_flow(
    depth: UInt16[np.ndarray, "T H W"], *, steps: int, height: int, width: int
) -> Float32[np.ndarray, "S F"]:
    """Return the flow of a recording: pixels a frame, over cells of the box around the body.

    Where the earlier frame has no body the flow is 0. Of each step come first the cells' horizontal flow (to the
    right), row by row, then their vertical flow (downwards).

    Args:
        depth: Millimetres, 0 for the background; at least two frames.
        steps: Steps in time of the result.
        height: Rows of cells.
        width: Cells in a row.

    Raises:
        BadFileError: If there are fewer than two frames, or no body in any.
        MissingExtraError: If OpenCV is not installed.

    Source:
        Kroeger et al.: "Fast optical flow using dense inverse search", ECCV 2016.
    """
    if len(depth) < 2:
        raise BadFileError(f"expected at least 2 frames of depth, got {len(depth)}")
    if not depth.any():
        raise BadFileError("every depth is 0: there is no body")
    rows, columns = body_box(depth > 0, height / width)
    frames = to_bytes(depth)[:, rows, columns]
    flow = _flow(frames) * (frames[:-1] > 0)[:, None]
    high, wide = frames.shape[1:]
    cells = (area_mean(high, height) @ flow @ area_mean(wide, width).T).reshape(len(flow), -1)
    return resample(cells if len(cells) > 1 else cells.repeat(2, 0), steps).astype(np.float32)


def to_bytes(depth: UInt16[np.ndarray, "T H W"]) -> UInt8[np.ndarray, "T H W"]:
    """Return nearness: 255 for the nearest depth of the recording, 1 for the farthest, 0 for the background.

    Args:
        depth: Millimetres, 0 for the background; not all 0.

    Example:
        >>> to_bytes(np.array([[[0, 1000, 3000]]], np.uint16)).tolist()
        [[[0, 255, 1]]]
    """
    body = depth > 0
    near, far = float(depth[body].min()), float(depth.max())
    nearness = 255 - np.rint((depth - near) / max(far - near, 1.0) * 254)
    return np.where(body, nearness, 0).astype(np.uint8)


def _flow(frames: UInt8[np.ndarray, "T H W"]) -> Float[np.ndarray, "T-1 2 H W"]:
    """Return x and y of each frame's motion to the next, on one thread so that every run gives the same bytes."""
    cv2 = opencv()
    dense: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    high, wide = frames.shape[1:]
    padded = np.pad(frames, ((0, 0), (0, max(0, _LEAST - high)), (0, max(0, _LEAST - wide))))
    flow = np.stack([dense.calc(first, second, None) for first, second in pairwise(padded)])
    return np.moveaxis(flow, -1, 1)[..., :high, :wide].astype(np.float64)
