"""Clips with sound and frames: the options, the forms and the reading that such datasets share. No torch in here."""

import os
from abc import ABC
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float16, UInt8

from rollingq.data.prepare.source import Arrays, BadFileError, Clip, Source
from rollingq.data.raw.media import read_audio, read_frames
from rollingq.data.raw.spectrogram import rate_of, shape_of, spectrogram
from rollingq.data.spec import ModalitySpec
from rollingq.errors import DataError

RecipeName = Literal["paper", "code", "fbank"]


class SilentError(BadFileError):
    """A sound track is there, but every sample of it is zero."""


def files_below(root: Path, suffixes: Collection[str] = ()) -> list[str]:
    """Return the paths of all files below a folder, sorted; links are followed, and no folder is looked at twice.

    Args:
        root: The folder.
        suffixes: Endings of files. A folder that is named like one stands in its place: it is returned, not entered.

    Raises:
        DataError: If a folder cannot be read.

    Example:
        >>> import tempfile
        >>> made = Path(tempfile.mkdtemp())
        >>> (made / "a").mkdir(), (made / "a" / "b.wav").touch(), files_below(made)
        (None, None, ['a/b.wav'])
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"Expected to read {error.filename}, but got: {error.strerror}. Check its permissions.")

    seen: set[str] = set()
    found: list[str] = []
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        files += [name for name in folders if Path(name).suffix.lower() in suffixes]
        folders[:] = sorted(set(folders).difference(files))
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
        else:
            found += [Path(folder, file).relative_to(root).as_posix() for file in files]
        seen.add(real)
    return sorted(found)


def audio_spec(recipe: str, seconds: float, *, has_mask: bool = False) -> ModalitySpec:
    """Return the form of a spectrogram of ``seconds`` of sound."""
    return ModalitySpec((1, *shape_of(recipe, seconds)), "spectrogram", "float16", "all", has_mask)


def visual_spec(num_frames: int, size: int, *, has_mask: bool = False) -> ModalitySpec:
    """Return the form of RGB frames ``[T, 3, H, W]``, or of one image ``[3, H, W]`` if ``num_frames`` is 1.

    Example:
        >>> visual_spec(1, 224).shape, visual_spec(3, 224).kind
        ((3, 224, 224), 'frames')
    """
    if num_frames == 1:
        return ModalitySpec((3, size, size), "image", "uint8", "channel", has_mask, is_augmented=True)
    return ModalitySpec((num_frames, 3, size, size), "frames", "uint8", "channel", has_mask, is_augmented=True)


def require_positive(options: Mapping[str, float]) -> None:
    """Raise DataError for the first option that is not a finite number above 0.

    Example:
        >>> require_positive({"size": 224, "seconds": 3.0})
    """
    for name, value in options.items():
        if not (np.isfinite(value) and value > 0):
            raise DataError(f"Expected {name} to be above 0, but got {value}. Give a positive number.")


def read_sound(
    path: Path, recipe: str, seconds: float, *, start: float = 0.0, end: float = 0.0, is_silence_allowed: bool = False
) -> Float16[np.ndarray, "1 F T"]:
    """Return the spectrogram of a file's sound.

    Args:
        path: Sound file, or a video with a sound track.
        recipe: Name of the spectrogram.
        seconds: Length to cut or repeat the sound to.
        start: Where the clip begins, in seconds.
        end: Where it ends, in seconds; 0 for the end of the file.
        is_silence_allowed: Whether a clip of zeros is a clip like any other.

    Raises:
        SilentError: If every sample is zero.
        BadFileError: If the file cannot be used; NoSoundError if it has no sound track.
    """
    samples = read_audio(path, rate=rate_of(recipe), start=start, end=end)
    if not is_silence_allowed and not samples.any():
        raise SilentError(f"nothing was recorded: all {len(samples)} samples of the sound are zero")
    return spectrogram(samples, recipe, seconds)[None].astype(np.float16)


def read_visual(
    path: Path, num_frames: int, size: int, frames_per_second: float, *, start: float = 0.0, end: float = 0.0
) -> UInt8[np.ndarray, "*T 3 S S"]:
    """Return a video's frames ``[T, 3, S, S]``, or one image ``[3, S, S]`` if ``num_frames`` is 1.

    Args:
        path: Video file.
        num_frames: Frames to take.
        size: Height and width in pixels.
        frames_per_second: How densely the frames to choose from lie in the video.
        start: Where the clip begins, in seconds.
        end: Where it ends, in seconds; 0 for the end of the file.

    Raises:
        BadFileError: If the file cannot be used.
    """
    frames = read_frames(
        path,
        num_frames=num_frames,
        height=size,
        width=size,
        frames_per_second=frames_per_second,
        start=start,
        end=end,
    )
    return frames[0] if num_frames == 1 else frames


@contextmanager
def naming(file: str) -> Iterator[None]:
    """Let a BadFileError say which file of the clip it is about.

    Example:
        >>> with naming("a/b.wav"):
        ...     raise BadFileError("the file is empty")
        Traceback (most recent call last):
        rollingq.data.raw.files.BadFileError: the file is empty
    """
    try:
        yield
    except BadFileError as error:
        error.file = error.file or file
        raise


@dataclass(frozen=True)
class AudioVisual(Source, ABC):
    """Source of clips with the modalities "audio" and "visual"."""

    recipe: RecipeName = "paper"
    """Spectrogram: "paper" (16 kHz, scipy), "code" (22.05 kHz, STFT) or "fbank" (Kaldi filter banks)."""
    num_frames: int = 1
    """Frames of a sample, spread evenly over the clip."""
    size: int = 224
    """Height and width of a frame in pixels."""
    frames_per_second: float = 1.0
    """How densely the frames to choose from lie in the video."""

    seconds: ClassVar[float]
    """Length of the sound."""

    def __post_init__(self) -> None:
        names = ("num_frames", "size", "frames_per_second")
        require_positive({name: getattr(self, name) for name in names})
        shape_of(self.recipe, self.seconds)

    def modalities(self) -> dict[str, ModalitySpec]:
        """Return the form of both modalities."""
        audio = audio_spec(self.recipe, self.seconds)
        return {"audio": audio, "visual": visual_spec(self.num_frames, self.size)}

    def read(self, clip: Clip, root: Path) -> Arrays:
        """Return the spectrogram and the frames of one clip."""
        return {"audio": self.audio(clip, root), "visual": self.visual(clip, root)}

    def audio(self, clip: Clip, root: Path) -> Float16[np.ndarray, "1 F T"]:
        """Return the clip's spectrogram.

        Raises:
            BadFileError: If its file cannot be used.
        """
        (file,) = clip.files["audio"]
        with naming(file):
            return read_sound(root / file, self.recipe, self.seconds, start=clip.start, end=clip.end)

    def visual(self, clip: Clip, root: Path) -> UInt8[np.ndarray, "*T 3 H W"]:
        """Return the clip's frames.

        Raises:
            BadFileError: If its file cannot be used.
        """
        (file,) = clip.files["visual"]
        rate = self.frames_per_second
        with naming(file):
            return read_visual(root / file, self.num_frames, self.size, rate, start=clip.start, end=clip.end)
