"""Kaldi's log mel filter banks, as the audio spectrogram transformer (AST) takes them."""

from collections.abc import Callable
from functools import cache

import numpy as np
from jaxtyping import Float, Float32
from numpy.lib.stride_tricks import sliding_window_view

WINDOW, SHIFT, FFT = 400, 160, 512
"""25 ms, 10 ms and the next power of two, in samples at 16 kHz."""
LOWEST = 20.0
"""Hz at which the first filter begins."""
_BLOCK = 64
PRE_EMPHASIS = 0.97
FLOOR = float(np.finfo(np.float32).eps)
"""Least energy before the logarithm."""


def fbank(samples: Float32[np.ndarray, " N"], num_bins: int = 128, rate: int = 16_000) -> Float32[np.ndarray, "T F"]:
    """Return the logarithm of the energy in each mel filter for each whole window of 25 ms, every 10 ms.

    In each window the mean is removed, the signal pre-emphasised, and a symmetric Hann window applied. No dither.

    Args:
        samples: Sound in [-1, 1] at ``rate``.
        num_bins: Number of mel filters from 20 Hz to half the rate.
        rate: Samples a second.

    Source: Gong, Chung, Glass: "AST: Audio Spectrogram Transformer", Interspeech 2021; kaldi-asr.org.

    Example:
        >>> fbank(np.zeros(16_000, np.float32)).shape
        (98, 128)
    """
    filters = mel_filters(num_bins, rate).T

    def log_energy(block: np.ndarray) -> np.ndarray:
        frames = block - block.mean(axis=1, keepdims=True, dtype=np.float64)
        previous = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        spectrum = np.fft.rfft((frames - PRE_EMPHASIS * previous) * _hann(), FFT)
        energy = (spectrum.real**2 + spectrum.imag**2) @ filters
        logarithm: np.ndarray = np.log(np.maximum(energy, FLOOR)).astype(np.float32)
        return logarithm

    return by_blocks(sliding_window_view(samples, WINDOW)[::SHIFT], log_energy)


def by_blocks(rows: np.ndarray, compute: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return ``compute(rows)``, some rows at a time: arrays that stay in the cache are several times as fast.

    Example:
        >>> by_blocks(np.arange(200)[:, None], lambda rows: 2 * rows)[-1].tolist()
        [398]
    """
    return np.concatenate([compute(rows[begin : begin + _BLOCK]) for begin in range(0, len(rows), _BLOCK)])


def mel(hertz: Float[np.ndarray, " F"]) -> Float[np.ndarray, " F"]:
    """Return Kaldi's mel scale.

    Example:
        >>> mel(np.array([0.0, 1000.0])).round(1).tolist()
        [0.0, 1000.0]
    """
    scaled: np.ndarray = 1127.0 * np.log1p(hertz / 700.0)
    return scaled


@cache
def mel_filters(num_bins: int, rate: int) -> Float[np.ndarray, "F B"]:
    """Return triangles that are even on the mel scale, over the FFT's bins; the bin at half the rate is in none.

    Example:
        >>> mel_filters(128, 16_000).shape
        (128, 257)
    """
    edges = np.linspace(mel(np.array([LOWEST]))[0], mel(np.array([rate / 2]))[0], num_bins + 2)
    bins = mel(np.arange(FFT // 2 + 1) * rate / FFT)
    left, center, right = (edges[begin : begin + num_bins, None] for begin in range(3))
    filters: np.ndarray = np.minimum((bins - left) / (center - left), (right - bins) / (right - center))
    filters = np.clip(filters, 0.0, None)
    filters[:, -1] = 0.0
    filters.setflags(write=False)
    return filters


@cache
def _hann() -> Float[np.ndarray, " W"]:
    window: np.ndarray = np.hanning(WINDOW)
    window.setflags(write=False)
    return window
