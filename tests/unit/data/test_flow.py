"""Optical flow: its numbers against known motion, its files, and its cache."""

import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from rollingq.data.prepare.source import BadFileError
from rollingq.data.raw import flow as module
from rollingq.data.raw.flow import (
    cache_key,
    cached,
    decode_flow,
    default_cache,
    encode_flow,
    flow_between,
    flow_of_video,
    frame_times,
    motion_of_image,
    motion_of_video,
    taken_frames,
)
from rollingq.data.raw.media import read_frames
from rollingq.errors import DataError

HEIGHT, WIDTH = 48, 64


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth noise that flow can follow."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def moving(count: int, right: int, down: int) -> list[np.ndarray]:
    """Frames of a texture that moves by whole pixels."""
    big = texture(HEIGHT + 2 * count * abs(down) + 2, WIDTH + 2 * count * abs(right) + 2)
    top, left = count * abs(down), count * abs(right)
    boxes = [(top - i * down, left - i * right) for i in range(count)]
    return [np.ascontiguousarray(big[y : y + HEIGHT, x : x + WIDTH]) for y, x in boxes]


def write_video(path: Path, frames: list[np.ndarray], rate: int = 10, codec: str = "mpeg4") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.stack([frame] * 3, -1), "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def video(tmp_path) -> Path:
    return write_video(tmp_path / "clip.avi", moving(12, right=2, down=-1))


@pytest.mark.parametrize(("right", "down"), [(3, 0), (-4, 2), (0, -5), (7, 6)])
def test_a_shifted_texture_moves_by_its_shift(right, down):
    first, second = moving(2, right, down)
    flow = flow_between(first, second)
    assert (flow.shape, flow.dtype) == ((2, HEIGHT, WIDTH), np.float32)
    middle = flow[:, 10:-10, 10:-10]
    np.testing.assert_allclose(np.median(middle, (1, 2)), (right, down), atol=0.2)
    x, y = 30, 24
    assert second[y + down, x + right] == first[y, x]


def test_every_level_comes_back_and_still_is_128():
    levels = np.arange(1, 256, dtype=np.uint8).reshape(1, 15, 17).repeat(2, 0)
    np.testing.assert_array_equal(encode_flow(decode_flow(levels)), levels)
    assert encode_flow(np.zeros((2, 1, 1), np.float32)).tolist() == [[[128]], [[128]]]


def test_encoding_is_the_written_formula_and_turns_around_with_its_sign():
    flow = np.random.default_rng(0).uniform(-30, 30, (2, 5, 7)).astype(np.float32)
    expected = [[[min(255, max(1, 128 + round(float(v) * 127 / 20))) for v in row] for row in p] for p in flow]
    encoded = encode_flow(flow)
    assert encoded.tolist() == expected
    assert ((256 - encoded.astype(int)) == encode_flow(-flow)).all()
    inside = np.abs(flow) < 20
    assert np.abs(decode_flow(encoded) - flow)[inside].max() <= 10 / 127 + 1e-5


@pytest.mark.parametrize("rate", [4, 10, 25, 30])
@pytest.mark.parametrize(("num_frames", "density"), [(1, 1.0), (3, 1.0), (3, 5.0), (4, 7.3), (40, 100.0)])
def test_flow_takes_the_frames_that_read_frames_takes(tmp_path, rate, num_frames, density):
    path = write_video(tmp_path / "a.avi", [np.full((16, 16), 16 + 4 * i, np.uint8) for i in range(47)], rate)
    every = read_frames(path, num_frames=47, height=16, width=16, frames_per_second=10.0 * rate, gray=True)
    read = read_frames(path, num_frames=num_frames, height=16, width=16, frames_per_second=density, gray=True)
    taken = taken_frames(frame_times(path), num_frames, density)
    assert len({frame.tobytes() for frame in every}) == 47
    np.testing.assert_array_equal(read, every[taken])


def test_flow_of_a_video_leads_from_the_taken_frames_to_the_next(video):
    flow = flow_of_video(video, num_frames=3, height=HEIGHT, width=WIDTH, frames_per_second=5.0)
    assert (flow.shape, flow.dtype) == ((3, 2, HEIGHT, WIDTH), np.uint8)
    motion = np.median(decode_flow(flow)[..., 10:-10, 10:-10], (2, 3))
    np.testing.assert_allclose(motion, [[2.0, -1.0]] * 3, atol=0.35)
    every = read_frames(video, num_frames=12, height=HEIGHT, width=WIDTH, frames_per_second=100.0, gray=True)
    taken = taken_frames(frame_times(video), 3, 5.0)
    by_hand = np.stack([encode_flow(flow_between(every[n], every[n + 1])) for n in taken])
    np.testing.assert_array_equal(flow, by_hand)


def test_flow_is_in_pixels_of_the_stored_size(video):
    flow = flow_of_video(video, num_frames=2, height=HEIGHT, width=2 * WIDTH, frames_per_second=5.0)
    motion = np.median(decode_flow(flow)[..., 10:-10, 20:-20], (2, 3))
    np.testing.assert_allclose(motion, [[4.0, -1.0]] * 2, atol=0.6)


def test_the_last_frame_has_the_flow_that_leads_to_it(tmp_path):
    still, gone = moving(2, 3, 0)
    path = write_video(tmp_path / "a.avi", [still, still, gone], rate=1)
    flow = flow_of_video(path, num_frames=3, height=HEIGHT, width=WIDTH)
    np.testing.assert_array_equal(flow[2], flow[1])
    assert (flow[0] == 128).mean() > 0.9
    assert np.median(decode_flow(flow[2, 0])[10:-10, 10:-10]) == pytest.approx(3, abs=0.4)


def test_one_frame_has_no_flow(tmp_path):
    path = write_video(tmp_path / "a.avi", [texture(HEIGHT, WIDTH)])
    with pytest.raises(BadFileError, match="at least 2 frames for optical flow, got 1"):
        flow_of_video(path, num_frames=1, height=HEIGHT, width=WIDTH)


@pytest.mark.parametrize("spoil", ["missing", "empty", "text"])
def test_a_damaged_video_is_a_bad_file(tmp_path, spoil):
    path = tmp_path / "a.avi"
    if spoil != "missing":
        path.write_bytes(b"" if spoil == "empty" else b"not a video at all " * 50)
    with pytest.raises(BadFileError) as caught:
        flow_of_video(path, num_frames=1, height=HEIGHT, width=WIDTH)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_flow_video_is_read_at_the_numbers_of_its_rgb_video(tmp_path):
    path = write_video(tmp_path / "x.mp4", [np.full((32, 32), 20 * i + 10, np.uint8) for i in range(11)])
    motion = motion_of_video(path, [0, 6, 11], 12, height=16, width=16)
    assert motion.shape == (3, 16, 16)
    np.testing.assert_allclose(motion.mean((1, 2)), [10, 130, 210], atol=2)


def test_a_flow_video_that_lacks_frames_is_named(tmp_path):
    path = write_video(tmp_path / "x.mp4", [np.full((32, 32), 128, np.uint8)] * 9)
    motion_of_video(path, [0, 10], 11, height=16, width=16)
    with pytest.raises(BadFileError, match="expected flow of about 12 frames, as many as the video has, got 9"):
        motion_of_video(path, [0], 12, height=16, width=16)


def test_a_jpeg_is_read_shrunk_and_a_truncated_one_is_named(tmp_path):
    image = texture(64, 64)
    path = tmp_path / "frame000001.jpg"
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 100])
    read = motion_of_image(path, height=32, width=32)
    expected = image.reshape(32, 2, 32, 2).mean((1, 3))
    assert np.abs(read - expected).max() <= 3
    data = path.read_bytes()
    path.write_bytes(data + b"\0\0")
    np.testing.assert_array_equal(motion_of_image(path, height=32, width=32), read)
    for spoilt in (data[: len(data) // 2], data[:-2], data[2:], b"<html></html>"):
        path.write_bytes(spoilt)
        with pytest.raises(BadFileError, match="JPEG"):
            motion_of_image(path, height=32, width=32)
    path.write_bytes(b"\xff\xd8 nothing in between \xff\xd9")
    with pytest.raises(BadFileError, match="JPEG image"):
        motion_of_image(path, height=32, width=32)


def make(value: int):
    return lambda: np.full((1, 2, 4, 4), value, np.uint8)


def test_the_cache_keeps_what_was_made_and_numpy_reads_it(tmp_path):
    file = tmp_path / "cache" / "a.npy"
    assert cached(file, make(1)).max() == 1
    np.testing.assert_array_equal(cached(file, make(2)), make(1)())
    np.testing.assert_array_equal(np.load(file, allow_pickle=False), make(1)())
    assert [path.name for path in file.parent.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("keep", [0, 10, 100, -1])
def test_a_damaged_cache_file_is_made_again(tmp_path, keep):
    file = tmp_path / "a.npy"
    cached(file, make(1))
    file.write_bytes(file.read_bytes()[:keep])
    assert cached(file, make(2)).max() == 2
    assert cached(file, make(3)).max() == 2


def test_a_flipped_bit_in_the_cache_is_found(tmp_path):
    file = tmp_path / "a.npy"
    cached(file, make(1))
    data = bytearray(file.read_bytes())
    data[-40] ^= 4
    file.write_bytes(bytes(data))
    assert cached(file, make(2)).max() == 2


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match="give another folder as the option flow_cache") as caught:
        cached(tmp_path / "taken" / "a.npy", make(1))
    assert "\n" not in str(caught.value)


def test_the_key_changes_with_the_file_its_name_and_the_options(tmp_path, video):
    key = cache_key("a/clip.avi", video, {"size": 3})
    assert key == cache_key("a/clip.avi", video, {"size": 3})
    copy = shutil.copyfile(video, tmp_path / "copy.avi")
    others = {
        cache_key("b/clip.avi", video, {"size": 3}),
        cache_key("a/clip.avi", video, {"size": 4}),
        cache_key("a/clip.avi", copy, {"size": 3}),
        key,
    }
    with video.open("ab") as file:
        file.write(b"more")
    assert len(others | {cache_key("a/clip.avi", video, {"size": 3})}) == 5


def test_the_default_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "rollingq" / "flow"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "rollingq" / "flow"


def test_flow_is_the_same_every_time():
    first, second = moving(2, 3, 1)
    np.testing.assert_array_equal(flow_between(first, second), flow_between(first, second))
    assert cv2.getNumThreads() == 1
    assert module.BOUND == 20.0
