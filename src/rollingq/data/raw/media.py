"""Read frames and sound from files of any container, or say in one line why a file cannot be used.

All of a file is decoded, so that damage is found wherever it is; of a video only the taken frames are kept. One thread
reads, as the engine runs one process a core.
"""

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from numpy.typing import NDArray

from rollingq.data.raw.decoding import Decoder, opened
from rollingq.data.raw.files import BadFileError, check_file
from rollingq.errors import DataError

if TYPE_CHECKING:
    from av import AudioFrame, VideoFrame

_SLACK = 1e-6
"""Seconds by which rounding may move a time."""
_MARGIN = 0.1
"""Seconds by which the last frame may be off the announced length without a second pass."""
_GROUP = 16
"""Frames of sound that are decoded before their samples are looked at."""
Samples = Float32[np.ndarray, " N"]


def read_frames(
    path: Path,
    *,
    num_frames: int,
    height: int,
    width: int,
    frames_per_second: float = 1.0,
    start: float = 0.0,
    end: float = 0.0,
    gray: bool = False,
) -> UInt8[np.ndarray, "T *C H W"]:
    """Return frames at even distances, shrunk by area, upright: ``[T, 3, H, W]`` RGB or ``[T, H, W]`` gray.

    Candidates are the first frames at or after ``start``, ``start + 1 / frames_per_second`` and so on, each once. Of
    C candidates those at ``floor((i + 0.5) * C / num_frames)`` are taken: never by chance, and a short clip repeats
    some of them.

    Args:
        path: A video.
        num_frames: Frames to take.
        height: Rows of a taken frame.
        width: Columns of a taken frame.
        frames_per_second: Candidates a second.
        start: Where the clip begins, in seconds from the beginning of the file.
        end: Where the clip ends, in seconds; 0 for the end of the file.
        gray: Whether to take brightness alone.

    Raises:
        BadFileError: If the file is no video, is damaged, or is shorter than it announces or than ``end``.
        DataError: If a number is out of its range.
    """
    _check_window(start, end)
    if num_frames < 1 or height < 1 or width < 1 or not 0 < frames_per_second < math.inf:
        got = f"{num_frames} frames of {height}x{width} from {frames_per_second} a second"
        raise DataError(f"Expected at least 1 frame of at least 1x1 pixels, but got {got}; give larger numbers.")
    check_file(path)
    window = _Window(start, end, frames_per_second)
    taken = _take(path, window, num_frames, _Shrink(height, width, gray))
    return np.stack(taken)


def read_audio(path: Path, *, rate: int, start: float = 0.0, end: float = 0.0) -> Samples:
    """Return the mean of the channels in [-1, 1].

    Args:
        path: A sound file, or a video with sound.
        rate: Samples a second to return.
        start: Where the clip begins, in seconds from the beginning of the file.
        end: Where the clip ends, in seconds; 0 for the end of the file.

    Raises:
        NoSoundError: If the file has no sound.
        BadFileError: If the file is damaged, or is shorter than it announces or than ``end``.
        DataError: If a number is out of its range.
    """
    _check_window(start, end)
    if rate < 1:
        raise DataError(f"Expected a rate of at least 1 sample a second, but got {rate}; give a larger one.")
    check_file(path)
    with opened(path, "audio") as decoder:
        samples = _mono(decoder, rate, start, end)
    if samples.size == 0:
        raise BadFileError(f"expected sound from {start:g} s on, got none")
    num_bad = samples.size - int(np.isfinite(samples).sum())
    if num_bad:
        raise BadFileError(f"{num_bad} of {samples.size} samples are NaN or infinite")
    return np.clip(samples, -1.0, 1.0, out=samples)


def picks(count: int, num_frames: int) -> list[int]:
    """Return which of ``count`` candidates are taken: the middles of ``num_frames`` equal parts.

    Example:
        >>> picks(10, 3), picks(2, 3)
        ([1, 5, 8], [0, 1, 1])
    """
    return [(2 * part + 1) * count // (2 * num_frames) for part in range(num_frames)]


@dataclass(frozen=True)
class _Window:
    """The part of a video that a clip is, and how many candidates a second it has."""

    start: float
    end: float
    frames_per_second: float

    def guesses(self, decoder: Decoder) -> set[int]:
        """Return how many candidates there may be, by what the file announces."""
        last = decoder.announced - decoder.frame_seconds
        latest = self.end - decoder.frame_seconds / 2 if self.end else math.inf
        return {max(1, self.number(min(last + margin, latest)) + 1) for margin in (-_MARGIN, _MARGIN)}

    def number(self, time: float) -> int:
        """Return the number of the last candidate that is due at a time."""
        return math.floor((time - self.start + _SLACK) * self.frames_per_second)

    def candidates(self, decoder: Decoder) -> Iterator["VideoFrame"]:
        due = 0
        for time, frame in decoder.frames(self.end):
            number = self.number(time)
            if number >= due and (not self.end or time < self.end - _SLACK):
                due = number + 1
                yield frame


def _take(path: Path, window: _Window, num_frames: int, shrink: "_Shrink") -> list[UInt8[np.ndarray, "..."]]:
    """Take frames in one pass if the file's announced length gives about the right number of candidates, else in two.

    Only frames that may be taken are kept, so that memory does not grow with the length.
    """
    numbers: set[int] = set()
    while True:
        with opened(path, "video") as decoder:
            numbers = numbers or window.guesses(decoder)
            wanted = {pick for number in numbers for pick in picks(number, num_frames)}
            kept, count = {}, 0
            for count, frame in enumerate(window.candidates(decoder), 1):
                if count - 1 in wanted:
                    kept[count - 1] = shrink(frame)
        if count == 0:
            raise BadFileError(f"expected frames from {window.start:g} s on, got none")
        if count in numbers:
            return [kept[pick] for pick in picks(count, num_frames)]
        numbers = {count}


class _Shrink:
    """Turns frames of one video into upright arrays of one size."""

    def __init__(self, height: int, width: int, gray: bool) -> None:
        from av.video.reformatter import Interpolation, VideoReformatter

        self.size, self.format = (height, width), "gray" if gray else "rgb24"
        self.reformat = partial(VideoReformatter().reformat, format=self.format, threads=1)
        full_colour = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
        self.interpolation = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | full_colour

    def __call__(self, frame: "VideoFrame") -> UInt8[np.ndarray, "..."]:
        turns = round(frame.rotation / 90) % 4
        height, width = self.size[::-1] if turns % 2 else self.size
        small = self.reformat(frame, width=width, height=height, interpolation=self.interpolation)
        image = np.rot90(small.to_ndarray(), turns)
        return np.ascontiguousarray(image if image.ndim == 2 else image.transpose(2, 0, 1))


def _mono(decoder: Decoder, rate: int, start: float, end: float) -> Samples:
    """Return the mean of the channels between two times, resampled."""
    frames = decoder.frames(end)
    begin, first = next(frames)
    native = first.sample_rate
    skip = max(0, round((start - begin) * native)) if start else 0
    stop = round((end - begin) * native) if end else sys.maxsize
    blocks = _cut(_blocks(chain([first], (frame for _, frame in frames))), skip, stop)
    return np.concatenate([*_resampled(blocks, native, rate), np.zeros(0, np.float32)])


def _blocks(frames: Iterator["AudioFrame"]) -> Iterator[Samples]:
    """Yield mono sound by some frames: they are decoded ahead, as decoding and NumPy in quick turns are slow.

    Blocks of about 64 KiB are the fastest: larger ones are new memory each time.
    """
    form = None
    while group := list(islice(frames, _GROUP)):
        forms = {(frame.sample_rate, frame.layout.nb_channels) for frame in group}
        form = form or next(iter(forms))
        if forms != {form}:
            raise BadFileError(f"expected sound of {form[0]} Hz, {form[1]} channels all through, got a change")
        yield _mean(np.concatenate([_channels(frame) for frame in group], axis=1))


def _cut(blocks: Iterable[Samples], skip: int, stop: int) -> Iterator[Samples]:
    """Yield the samples from number ``skip`` to ``stop``; all blocks are asked for, so that all of a file is read."""
    position = 0
    for block in blocks:
        part = block[max(0, skip - position) : max(0, stop - position)]
        position += len(block)
        if part.size:
            yield part


def _channels(frame: "AudioFrame") -> Shaped[np.ndarray, "C N"]:
    array: NDArray[Any] = frame.to_ndarray()
    return array if frame.format.is_planar else array.reshape(frame.samples, -1).T


def _mean(sound: Shaped[np.ndarray, "C N"]) -> Samples:
    """Return the mean of the channels in [-1, 1]; FFmpeg's own mixing depends on the format of the numbers."""
    if sound.dtype.kind != "f":
        sound = sound / 2.0 ** (8 * sound.dtype.itemsize - 1) - (sound.dtype.kind == "u")
    mean: Samples = (np.add.reduce(sound) / len(sound)).astype(np.float32, copy=False)
    return mean


def _resampled(blocks: Iterable[Samples], native: int, rate: int) -> Iterator[Samples]:
    if native == rate:
        yield from blocks
        return
    from av import AudioFrame, AudioResampler

    resampler = AudioResampler(format="fltp", rate=rate)
    for block in blocks:
        frame = AudioFrame.from_ndarray(block[None], "fltp", "mono")
        frame.sample_rate = native
        yield from (part.to_ndarray()[0] for part in resampler.resample(frame))
    yield from (part.to_ndarray()[0] for part in resampler.resample(None))


def _check_window(start: float, end: float) -> None:
    if not 0 <= start < math.inf or not 0 <= end < math.inf or 0 < end <= start:
        raise DataError(f"Expected 0 <= start < end (or end 0), but got {start} to {end}; correct the clip's times.")
