import cmath
import math

import numpy as np
import pytest

from rollingq.data.raw.fbank import fbank, mel_filters
from rollingq.data.raw.spectrogram import SPECTROGRAMS, rate_of, shape_of, spectrogram
from rollingq.errors import DataError

SHAPES = {
    ("paper", 3.0): (257, 299),
    ("paper", 10.0): (257, 1004),
    ("code", 3.0): (257, 188),
    ("fbank", 3.0): (128, 320),
    ("fbank", 10.0): (128, 1024),
    ("fbank", 5.0): (128, 512),
}


def sound(rate: int, seconds: float, seed: int = 0) -> np.ndarray:
    """Return noise on top of a tone that rises."""
    time = np.arange(round(rate * seconds)) / rate
    noise = np.random.default_rng(seed).uniform(-0.2, 0.2, len(time))
    return (0.5 * np.sin(2 * np.pi * (200 + 300 * time) * time) + noise).astype(np.float32)


def dft(frame: list[float], size: int) -> list[complex]:
    turns = [cmath.exp(-2j * math.pi * step / size) for step in range(size)]
    return [sum(value * turns[k * n % size] for n, value in enumerate(frame)) for k in range(size // 2 + 1)]


def paper_column(samples: list[float], frame: int) -> list[float]:
    """Return the logarithm of the power density of one window."""
    values = samples[159 * frame : 159 * frame + 512]
    mean = math.fsum(values) / 512
    window = []
    for n in range(512):
        ramp = n if n < 256 else 512 - n
        window.append(0.5 * (1 - math.cos(math.pi * ramp / 64)) if ramp < 64 else 1.0)
    scale = 1 / (16_000 * math.fsum(w * w for w in window))
    spectrum = dft([(value - mean) * w for value, w in zip(values, window, strict=True)], 512)
    sides = [1 if k in (0, 256) else 2 for k in range(257)]
    return [math.log(side * scale * abs(s) ** 2 + 1e-7) for s, side in zip(spectrum, sides, strict=True)]


def code_column(samples: list[float], frame: int) -> list[float]:
    """Return the logarithm of the magnitude around one sample."""
    places = range(353 * frame - 256, 353 * frame + 256)
    values = [samples[place] if 0 <= place < len(samples) else 0.0 for place in places]
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / 512) for n in range(512)]
    return [math.log(abs(s) + 1e-7) for s in dft([v * w for v, w in zip(values, window, strict=True)], 512)]


def fbank_column(samples: list[float], frame: int) -> list[float]:
    """Return Kaldi's log energies of one window, filter by filter."""
    values = samples[160 * frame : 160 * frame + 400]
    mean = math.fsum(values) / 400
    values = [value - mean for value in values]
    values = [value - 0.97 * values[max(0, n - 1)] for n, value in enumerate(values)]
    values = [value * (0.5 - 0.5 * math.cos(2 * math.pi * n / 399)) for n, value in enumerate(values)]
    power = [abs(s) ** 2 for s in dft(values, 512)]

    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    low, step = mel(20), (mel(8000) - mel(20)) / 129
    energies = []
    for band in range(128):
        left, center, right = (low + (band + side) * step for side in range(3))
        energy = 0.0
        for k in range(256):
            at = mel(16_000 * k / 512)
            if left < at < right:
                energy += power[k] * ((at - left) / step if at <= center else (right - at) / step)
        energies.append((math.log(max(energy, 2**-23)) + 4.503877) / (2 * 5.141276))
    return energies


@pytest.mark.parametrize(("name", "seconds"), SHAPES)
def test_published_shapes(name, seconds):
    assert shape_of(name, seconds) == SHAPES[name, seconds]
    found = spectrogram(sound(rate_of(name), seconds), name, seconds)
    assert (found.shape, found.dtype, found.flags.c_contiguous) == (SHAPES[name, seconds], np.float32, True)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(("name", "column"), [("paper", paper_column), ("code", code_column)])
def test_log_spectrograms_against_a_loop(name, column):
    seconds = 0.06
    samples = sound(rate_of(name), seconds)
    columns = [column(samples.tolist(), frame) for frame in range(shape_of(name, seconds)[1])]
    flat = [value for values in columns for value in values]
    mean = math.fsum(flat) / len(flat)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in flat) / len(flat))
    expected = (np.array(columns).T - mean) / std
    np.testing.assert_allclose(spectrogram(samples, name, seconds), expected, atol=2e-3, rtol=0)


def test_fbank_against_a_loop():
    samples = sound(16_000, 0.06)
    found = spectrogram(samples, "fbank", 0.06)
    columns = [fbank_column(samples.tolist(), frame) for frame in range(4)]
    np.testing.assert_allclose(found[:, :4], np.array(columns).T, atol=1e-4, rtol=0)
    assert found.shape == (128, 16)
    np.testing.assert_allclose(found[:, 4:], 4.503877 / (2 * 5.141276), rtol=1e-6)


def test_the_paper_recipe_is_scipys():
    from scipy import signal

    samples = sound(16_000, 3.0).astype(np.float64)
    power = np.log(signal.spectrogram(samples, 16_000, nperseg=512, noverlap=353)[2] + 1e-7)
    expected = (power - power.mean()) / power.std()
    np.testing.assert_allclose(spectrogram(samples.astype(np.float32), "paper", 3.0), expected, atol=1e-3, rtol=0)


def test_the_code_recipe_is_a_centred_stft_of_scipy():
    from scipy import signal

    samples = sound(22_050, 1.0).astype(np.float64)
    padded = np.pad(samples, 256)
    window = signal.get_window("hann", 512)
    columns = [np.fft.rfft(padded[at : at + 512] * window) for at in range(0, len(samples) + 1, 353)]
    magnitude = np.log(np.abs(np.array(columns)).T + 1e-7)
    expected = (magnitude - magnitude.mean()) / magnitude.std()
    np.testing.assert_allclose(spectrogram(samples.astype(np.float32), "code", 1.0), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", SPECTROGRAMS)
def test_short_sound_is_repeated_and_long_sound_cut(name):
    rate = rate_of(name)
    short = sound(rate, 0.3)
    tiled = np.array([short[n % len(short)] for n in range(rate)])
    np.testing.assert_array_equal(spectrogram(short, name, 1.0), spectrogram(tiled, name, 1.0))
    long = sound(rate, 1.5)
    np.testing.assert_array_equal(spectrogram(long, name, 1.0), spectrogram(long[:rate], name, 1.0))
    assert not np.array_equal(spectrogram(long, name, 1.0), spectrogram(long[5:], name, 1.0))


@pytest.mark.parametrize("constant", [0.0, 0.3, -1.0])
def test_a_constant_clip_has_no_nan(constant):
    samples = np.full(22_050, constant, np.float32)
    np.testing.assert_array_equal(spectrogram(samples, "paper", 1.0), np.zeros(shape_of("paper", 1.0), np.float32))
    assert np.isfinite(spectrogram(samples, "code", 1.0)).all()
    assert np.isfinite(spectrogram(samples, "fbank", 1.0)).all()


def test_silence_is_zero_and_least_energy():
    silence = np.zeros(16_000, np.float32)
    np.testing.assert_array_equal(spectrogram(silence, "code", 0.5), np.zeros(shape_of("code", 0.5), np.float32))
    np.testing.assert_allclose(fbank(silence), math.log(2**-23), rtol=1e-6)


@pytest.mark.parametrize("name", ["paper", "code"])
def test_z_score_per_clip(name):
    found = spectrogram(sound(rate_of(name), 3.0), name, 3.0)
    assert found.mean() == pytest.approx(0, abs=1e-4)
    assert found.std() == pytest.approx(1, abs=1e-4)


def test_each_filter_is_a_triangle_of_height_one_at_most():
    filters = mel_filters(40, 16_000)
    assert filters.shape == (40, 257)
    assert filters.min() == 0
    assert 0.5 < filters.max() <= 1
    assert (filters[:, -1] == 0).all()
    inside = filters.sum(0)[10:200]
    np.testing.assert_allclose(inside, 1, atol=1e-9)


def test_unknown_names_and_impossible_lengths_are_one_line():
    with pytest.raises(DataError, match="Did you mean 'paper'"):
        shape_of("papper", 3.0)
    with pytest.raises(DataError, match="one of paper, code, fbank"):
        rate_of("mfcc")
    for seconds in (0.0, 0.03, -1.0, math.nan, math.inf):
        with pytest.raises(DataError, match="seconds") as caught:
            spectrogram(np.zeros(100, np.float32), "paper", seconds)
        assert "\n" not in str(caught.value)
    for samples in (np.zeros(0, np.float32), np.zeros((2, 100), np.float32)):
        with pytest.raises(DataError, match=r"Expected samples of shape \[N\]"):
            spectrogram(samples, "paper", 1.0)
