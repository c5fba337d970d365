"""From sound to a spectrogram of fixed size, by the recipes that published work used. No torch in here."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Float32
from numpy.lib.stride_tricks import sliding_window_view

from rollingq.data.raw import fbank
from rollingq.errors import DataError, unknown_name

WINDOW = 512
"""Samples of one window of "paper" and "code"."""
PAPER_HOP, CODE_HOP = 159, 353
"""Samples from one window to the next; the paper's is what 353 samples of overlap leave."""
FLOOR = 1e-7
"""Added before the logarithm."""
FLAT = 1e-5
"""A spectrogram with a smaller deviation has nothing in it; it becomes all zeros."""
FBANK_MEAN, FBANK_STD = -4.503877, 5.141276
Samples = Float32[np.ndarray, " N"]
Bins = Float[np.ndarray, "F T"]


@dataclass(frozen=True)
class SpectrogramRecipe:
    """How sound becomes a spectrogram.

    Attributes:
        rate: Samples a second that it takes.
        num_bins: Frequencies.
        num_frames: Number of samples -> number of frames.
        compute: Samples ``[N]`` -> spectrogram ``[F, T]``.
    """

    rate: int
    num_bins: int
    num_frames: Callable[[int], int]
    compute: Callable[[Samples], Bins]


def spectrogram(samples: Samples, name: str, seconds: float) -> Float32[np.ndarray, "F T"]:
    """Return the spectrogram of exactly ``seconds``: shorter sound is repeated, longer sound is cut at the end.

    Args:
        samples: Sound in [-1, 1] at the recipe's rate.
        name: "paper", "code" or "fbank".
        seconds: Length that is taken.

    Raises:
        DataError: If the name is unknown, there are no samples, or ``seconds`` is less than one window.

    Example:
        >>> spectrogram(np.zeros(16_000, np.float32), "paper", 3.0).shape
        (257, 299)
    """
    recipe = _recipe(name)
    shape = shape_of(name, seconds)
    if samples.ndim != 1 or samples.size == 0:
        raise DataError(f"Expected samples of shape [N], but got {list(samples.shape)}; give one channel of sound.")
    result = recipe.compute(np.resize(samples, _num_samples(recipe, seconds)).astype(np.float32, copy=False))
    assert result.shape == shape, (result.shape, shape)
    return np.ascontiguousarray(result, np.float32)


def shape_of(name: str, seconds: float) -> tuple[int, int]:
    """Return frequencies and frames of a recipe's spectrogram.

    Raises:
        DataError: If the name is unknown, or ``seconds`` is less than one window.

    Example:
        >>> shape_of("paper", 10.0), shape_of("code", 3.0), shape_of("fbank", 10.0)
        ((257, 1004), (257, 188), (128, 1024))
    """
    recipe = _recipe(name)
    if not math.isfinite(seconds) or _num_samples(recipe, seconds) < WINDOW:
        least = WINDOW / recipe.rate
        raise DataError(f"Expected at least {least:.3f} seconds of sound, but got {seconds}; give more seconds.")
    return recipe.num_bins, recipe.num_frames(_num_samples(recipe, seconds))


def rate_of(name: str) -> int:
    """Return the samples a second that a recipe takes.

    Raises:
        DataError: If the name is unknown.

    Example:
        >>> rate_of("code")
        22050
    """
    return _recipe(name).rate


def _recipe(name: str) -> SpectrogramRecipe:
    if name not in SPECTROGRAMS:
        raise DataError(unknown_name("the spectrogram", name, SPECTROGRAMS))
    return SPECTROGRAMS[name]


def _num_samples(recipe: SpectrogramRecipe, seconds: float) -> int:
    return round(seconds * recipe.rate)


def _paper(samples: Samples) -> Bins:
    """The power spectral density of scipy.signal.spectrogram: Tukey window, its mean removed, no padding."""
    window = _tukey()
    scale = np.full(WINDOW // 2 + 1, 2 / (SPECTROGRAMS["paper"].rate * np.vdot(window, window)), np.float32)
    scale[[0, -1]] /= 2  # The others also stand for the negative frequencies, which are left out.

    def power(frames: Samples) -> Bins:
        spectrum = np.fft.rfft((frames - frames.mean(axis=1, keepdims=True)) * window)
        return (spectrum.real**2 + spectrum.imag**2) * scale

    return _log_standardised(fbank.by_blocks(sliding_window_view(samples, WINDOW)[::PAPER_HOP], power)).T


def _code(samples: Samples) -> Bins:
    """Magnitude of a short-time Fourier transform around each 353rd sample, zeros beyond the ends."""
    frames = sliding_window_view(np.pad(samples, WINDOW // 2), WINDOW)[::CODE_HOP]
    hann = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    return _log_standardised(fbank.by_blocks(frames, lambda block: np.abs(np.fft.rfft(block * hann)))).T


def _tukey() -> Samples:
    """Return a periodic window of which a quarter is a cosine's rise and fall."""
    edge = np.minimum(np.arange(WINDOW), WINDOW - np.arange(WINDOW)) * 8 / WINDOW
    return (0.5 - 0.5 * np.cos(np.pi * np.minimum(edge, 1.0))).astype(np.float32)


def _fbank(samples: Samples) -> Bins:
    """Filter banks with a fixed normalisation; missing frames at the end are zero before it."""
    frames = fbank.fbank(samples)
    padding = _fbank_frames(len(samples)) - len(frames)
    return ((np.pad(frames, ((0, padding), (0, 0))) - FBANK_MEAN) / (2 * FBANK_STD)).T


def _fbank_frames(num_samples: int) -> int:
    """Return the least multiple of 16 (a patch) that is at least 102.4 frames a second: 1024 for 10 s, 320 for 3 s."""
    return 16 * math.ceil(round(6.4 * num_samples / 16_000, 6))


def _log_standardised(values: Bins) -> Bins:
    """Return the z-score of the logarithm, in place: new memory would take longer than the arithmetic."""
    values += FLOOR
    np.log(values, out=values)
    values -= float(values.mean(dtype=np.float64))
    deviation = math.sqrt(np.vdot(values, values) / values.size)
    values *= 0.0 if deviation < FLAT else 1.0 / deviation
    return values


SPECTROGRAMS: Mapping[str, SpectrogramRecipe] = MappingProxyType(
    {
        "paper": SpectrogramRecipe(16_000, 257, lambda n: (n - WINDOW) // PAPER_HOP + 1, _paper),
        "code": SpectrogramRecipe(22_050, 257, lambda n: n // CODE_HOP + 1, _code),
        "fbank": SpectrogramRecipe(16_000, 128, _fbank_frames, _fbank),
    }
)
"""The published recipes.

"paper": 16 kHz, windows of 512 every 159 samples, log of the power, z-score over the clip (Fan et al.: "PMR:
Prototypical Modal Rebalance", CVPR 2023). "code": 22.05 kHz, magnitude every 353 samples as librosa has it, log,
z-score over the clip. "fbank": 16 kHz, Kaldi's 128 mel filters as AST has them, (x + 4.503877) / (2 * 5.141276).
"""
