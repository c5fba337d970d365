import sys
from itertools import product

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from rollingq.data.prepare.source import BadFileError
from rollingq.data.raw.matlab import read_modality
from rollingq.data.sources.utd_flow import depth_flow, to_bytes
from rollingq.errors import MissingExtraError

HIGH, WIDE = 40, 30


def moving_block(speed: tuple[int, int], frames: int = 10, size: tuple[int, int] = (100, 120)) -> np.ndarray:
    """Return depth frames of a textured block that moves by (x, y) pixels a frame."""
    texture = gaussian_filter(np.random.default_rng(0).normal(size=(HIGH, WIDE)), 2)
    block = np.round(2500 + 300 * texture / np.abs(texture).max()).astype(np.uint16)
    depth = np.zeros((frames, *size), np.uint16)
    for frame in range(frames):
        top, left = 30 + speed[1] * frame, 40 + speed[0] * frame
        depth[frame, top : top + HIGH, left : left + WIDE] = block
    return depth


@pytest.mark.parametrize("speed", [(3, 1), (-2, 2), (0, -3)])
def test_a_moving_block_has_its_own_speed_and_nothing_else_moves(speed):
    depth = moving_block(speed)
    tall, wide = (HIGH + 9 * abs(speed[1]), WIDE + 9 * abs(speed[0]))
    flow = depth_flow(depth, steps=9, height=tall, width=wide).reshape(9, 2, tall, wide)
    sign = np.sign(speed)
    for frame in range(9):
        top = abs(speed[1]) * (frame if sign[1] >= 0 else 9 - frame)
        left = abs(speed[0]) * (frame if sign[0] >= 0 else 9 - frame)
        inside = flow[frame, :, top : top + HIGH, left : left + WIDE]
        np.testing.assert_allclose(inside[:, 8:-8, 8:-8].mean((1, 2)), speed, atol=0.15)
        assert np.count_nonzero(flow[frame]) == np.count_nonzero(inside)


def test_cells_hold_the_mean_of_their_pixels():
    depth = moving_block((3, 1))
    pixels = depth_flow(depth, steps=9, height=57, width=57).reshape(9, 2, 3, 19, 3, 19)
    cells = depth_flow(depth, steps=9, height=3, width=3).reshape(9, 2, 3, 3)
    np.testing.assert_allclose(cells, pixels.mean((3, 5)), atol=1e-5)


def test_what_stands_still_has_no_flow():
    still = depth_flow(np.repeat(moving_block((3, 1))[:1], 4, 0), steps=3, height=7, width=3)
    np.testing.assert_allclose(still, 0, atol=1e-3)


def test_time_is_resampled_linearly_from_the_first_to_the_last_flow():
    depth = moving_block((1, 0), frames=6)
    every = depth_flow(depth, steps=5, height=8, width=6)
    double = depth_flow(depth, steps=9, height=8, width=6)
    np.testing.assert_allclose(double[::2], every, atol=1e-6)
    np.testing.assert_allclose(double[1::2], (every[1:] + every[:-1]) / 2, atol=1e-6)


@pytest.mark.parametrize(("frames", "size"), [(2, (9, 7)), (3, (5, 40)), (2, (60, 6))])
def test_two_frames_and_small_bodies_are_enough(frames, size):
    depth = np.zeros((frames, 64, 64), np.uint16)
    depth[:, : size[0], : size[1]] = np.random.default_rng(1).integers(1500, 3000, size)
    flow = depth_flow(depth, steps=4, height=5, width=4)
    assert flow.shape == (4, 40)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(flow, 0, atol=1e-2)


def test_the_same_frames_give_the_same_bytes():
    depth = moving_block((2, 1))
    results = {depth_flow(depth, steps=8, height=10, width=8).tobytes() for _ in range(3)}
    assert len(results) == 1


def test_bytes_span_the_range_of_the_recording_and_leave_the_background_at_0():
    depth = np.array([[[0, 1000, 2000]], [[3000, 0, 1250]]], np.uint16)
    assert to_bytes(depth).tolist() == [[[0, 255, 128]], [[1, 0, 223]]]
    assert set(to_bytes(np.array([[[0, 700]]], np.uint16)).ravel().tolist()) == {0, 255}


def test_a_recording_without_frames_or_body_is_refused():
    for depth, reason in (
        (np.ones((1, 30, 30), np.uint16), "at least 2 frames of depth, got 1"),
        (np.zeros((4, 30, 30), np.uint16), "there is no body"),
    ):
        with pytest.raises(BadFileError, match=reason):
            depth_flow(depth, steps=4, height=4, width=4)


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match="opencv-python-headless"):
        depth_flow(moving_block((1, 0)), steps=4, height=4, width=4)


def test_real_recordings_of_vigorous_actions_hold_more_motion(utd_mhad_root):
    def motion(action: int) -> float:
        names = [f"a{action}_s{subject}_t{trial}" for subject, trial in product((1, 4), (1, 2))]
        files = [utd_mhad_root / f"Depth/{name}_depth.mat" for name in names]
        flows = [depth_flow(read_modality(file, "depth"), steps=16, height=10, width=8) for file in files]
        assert all(np.isfinite(flow).all() for flow in flows)
        return float(np.mean([np.abs(flow).mean() for flow in flows]))

    jog, knock = motion(22), motion(19)
    assert jog > 1.2 * knock
