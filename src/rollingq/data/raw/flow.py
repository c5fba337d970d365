"""Optical flow as two uint8 channels, motion to the right and down: computed, cached, or read from files.

No torch in here. A pixel moves from the frame that was taken to the next frame of the video; 128 is no motion.
"""

import math
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, UInt8

from rollingq.data.raw.decoding import opened
from rollingq.data.raw.files import BadFileError, check_file
from rollingq.data.raw.images import opencv, read_image
from rollingq.data.raw.media import picks
from rollingq.errors import DataError

if TYPE_CHECKING:
    from av import VideoFrame

BOUND = 20.0
"""Longest motion that is stored, in pixels of the stored size."""
STEP = BOUND / 127
"""Pixels of one gray level."""
_SLACK = 1e-6
_DIGEST = 32

Plane = UInt8[np.ndarray, "H W"]
Encoded = UInt8[np.ndarray, "*T 2 H W"]


def encode_flow(flow: Float32[np.ndarray, "*T 2 H W"]) -> Encoded:
    """Return ``128 + round(127 * flow / 20)``, limited to 1..255: -20 px or less is 1, 20 px or more is 255.

    Args:
        flow: Motion in pixels, x then y.

    Example:
        >>> encode_flow(np.array([[[0.0, 20.0, -99.0]], [[10.0, -10.0, 0.1]]], np.float32)).tolist()
        [[[128, 255, 1]], [[192, 64, 129]]]
    """
    levels: Encoded = np.clip(np.rint(flow / STEP) + 128, 1, 255).astype(np.uint8)
    return levels


def decode_flow(encoded: Encoded) -> Float32[np.ndarray, "*T 2 H W"]:
    """Return the motion in pixels: ``(encoded - 128) * 20 / 127``.

    Example:
        >>> decode_flow(np.array([[[128]], [[255]]], np.uint8)).tolist()
        [[[0.0]], [[20.0]]]
    """
    return (encoded.astype(np.float32) - 128) * np.float32(STEP)


def flow_between(first: Plane, second: Plane) -> Float32[np.ndarray, "2 H W"]:
    """Return how far every pixel of ``first`` moves, in pixels to the right and down.

    Args:
        first: Gray frame of at least 16x16 pixels.
        second: The next frame, of the same size.

    Raises:
        MissingExtraError: Without OpenCV.

    Source:
        Kroeger et al., "Fast optical flow using dense inverse search", ECCV 2016 (OpenCV's preset "medium").

    Example:
        >>> still = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
        >>> float(np.abs(flow_between(still, still)).max())
        0.0
    """
    cv2 = opencv()
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, None)
    return np.ascontiguousarray(np.moveaxis(flow, -1, 0), np.float32)


def frame_times(path: Path) -> list[float]:
    """Return when every frame of a video is shown, in seconds from the beginning of the file.

    Raises:
        BadFileError: If the file is damaged or holds no frame.
    """
    return [time for time, _ in _decoded(path)]


def taken_frames(times: Sequence[float], num_frames: int, frames_per_second: float) -> list[int]:
    """Return the numbers of the frames that ``read_frames`` takes of a whole video.

    Args:
        times: When each frame is shown, in seconds.
        num_frames: How many to take.
        frames_per_second: How dense the candidates are.

    Raises:
        BadFileError: If there is no candidate.

    Example:
        >>> taken_frames([0.0, 0.4, 0.8, 1.2, 1.6, 2.0], 2, 1.0)
        [0, 5]
    """
    candidates: list[int] = []
    due = 0
    for number, time in enumerate(times):
        last = math.floor((time + _SLACK) * frames_per_second)
        if last >= due:
            candidates.append(number)
            due = last + 1
    if not candidates:
        raise BadFileError("expected frames from 0 s on, got none")
    return [candidates[pick] for pick in picks(len(candidates), num_frames)]


def flow_of_video(
    path: Path, *, num_frames: int, height: int, width: int, frames_per_second: float = 1.0
) -> UInt8[np.ndarray, "T 2 H W"]:
    """Return the flow from each frame that ``read_frames`` takes to the next frame of the video.

    The last frame has no next one: the flow that leads to it stands in.

    Args:
        path: Video.
        num_frames: Frames of a sample.
        height: Of the flow, in pixels.
        width: Of the flow, in pixels.
        frames_per_second: How dense the frames to choose from are.

    Raises:
        BadFileError: If the video is damaged or has one frame.
    """
    times = frame_times(path)
    if len(times) < 2:
        raise BadFileError("expected at least 2 frames for optical flow, got 1")
    firsts = [min(number, len(times) - 2) for number in taken_frames(times, num_frames, frames_per_second)]
    frames, _ = _gray_frames(path, {*firsts, *(number + 1 for number in firsts)}, height, width)
    return np.stack([encode_flow(flow_between(frames[number], frames[number + 1])) for number in firsts])


def motion_of_video(
    path: Path, taken: Sequence[int], total: int, *, height: int, width: int
) -> UInt8[np.ndarray, "T H W"]:
    """Return the gray values of a flow video, one axis of motion, at the numbers of the frames of its RGB video.

    A flow video is one frame shorter than its RGB video, as a rule; past its end its last frame stands in.

    Args:
        path: Video of the motion along one axis.
        taken: Numbers of frames.
        total: Frames of the RGB video.
        height: Of the flow, in pixels; gray values are not scaled with it.
        width: Of the flow, in pixels.

    Raises:
        BadFileError: If the file is damaged, or has less than 95 % of the RGB video's frames and misses more than 2.
    """
    frames, count = _gray_frames(path, set(taken), height, width)
    check_count(count, total)
    return np.stack([frames[number] for number in taken])


def motion_of_image(path: Path, *, height: int, width: int) -> Plane:
    """Return the gray values of a flow image in JPEG, one axis of motion.

    Args:
        path: Image.
        height: To return, in pixels; gray values are not scaled with it.
        width: To return, in pixels.

    Raises:
        BadFileError: If the file is missing, damaged or no JPEG.
        MissingExtraError: Without OpenCV or simplejpeg.
    """
    return read_image(path, height=height, width=width, is_gray=True)


def check_count(count: int, total: int) -> None:
    """Raise BadFileError if ``count`` pieces of flow are too few for a video of ``total`` frames.

    Example:
        >>> check_count(98, 100)
    """
    if total - count > max(2, total * 0.05):
        raise BadFileError(f"expected flow of about {total} frames, as many as the video has, got {count}")


def default_cache() -> Path:
    """Return ``$XDG_CACHE_HOME/rollingq/flow``, or the same below ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rollingq" / "flow"


def cache_key(name: str, path: Path, options: dict[str, Any]) -> str:
    """Return the SHA-256 of a file's name, size and time of change, and of the options.

    Raises:
        BadFileError: If the file is missing.
    """
    check_file(path)
    stat = path.stat()
    facts = (name, stat.st_size, stat.st_mtime_ns, BOUND, "DIS medium", sorted(options.items()))
    return sha256(repr(facts).encode()).hexdigest()


def cached(file: Path, make: Callable[[], Encoded]) -> Encoded:
    """Return what ``file`` holds, or make it and keep it there; a damaged file is made again.

    The file is .npy followed by its SHA-256, which ``numpy.load`` passes over. It appears whole or not at all.

    Args:
        file: Cache file, named .npy.
        make: Computes the array.

    Raises:
        DataError: If the file cannot be written.
    """
    try:
        data = file.read_bytes()
    except OSError:
        data = b""
    if len(data) > _DIGEST and sha256(data[:-_DIGEST]).digest() == data[-_DIGEST:]:
        return np.asarray(np.load(BytesIO(data[:-_DIGEST]), allow_pickle=False))
    array = make()
    _write(file, array)
    return array


def _write(file: Path, array: Encoded) -> None:
    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=False)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(buffer.getvalue() + sha256(buffer.getvalue()).digest())
        partial.replace(file)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise DataError(
            f"Expected to write optical flow into {file.parent}, but got: {error.strerror}; give another folder as the "
            "option flow_cache."
        ) from error


def _gray_frames(path: Path, numbers: Collection[int], height: int, width: int) -> tuple[dict[int, Plane], int]:
    """Return frames by number, the last one for numbers past the end, and how many frames the video has."""
    frames: dict[int, Plane] = {}
    count, last = 0, None
    for count, (_, last) in enumerate(_decoded(path), 1):
        if count - 1 in numbers:
            frames[count - 1] = _gray(last, height, width)
    assert last is not None
    past = {number: _gray(last, height, width) for number in numbers if number >= count}
    return frames | past, count


def _gray(frame: "VideoFrame", height: int, width: int) -> Plane:
    """Return an upright gray frame, as ``read_frames`` shrinks it."""
    from av.video.reformatter import Interpolation

    turns = round(frame.rotation / 90) % 4
    rows, columns = (width, height) if turns % 2 else (height, width)
    interpolation = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
    small = frame.reformat(columns, rows, format="gray", interpolation=interpolation, threads=1)
    return np.ascontiguousarray(np.rot90(small.to_ndarray(), turns))


def _decoded(path: Path) -> Iterator[tuple[float, "VideoFrame"]]:
    """Yield every frame of a video with its time; the file is checked as ``read_frames`` checks it."""
    check_file(path)
    with opened(path, "video") as decoder:
        yield from decoder.frames(0.0)
