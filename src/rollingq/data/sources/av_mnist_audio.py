"""Spoken digits: find the utterances, read one, add noise, and make log-mel tokens or a spectrogram of it."""

import hashlib
import math
import re
import wave
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float16, Float32

from rollingq.data.prepare.source import BadFileError, Skipped
from rollingq.data.raw.files import check_file
from rollingq.errors import DataError, MissingExtraError

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
RATE = 8000
"""Samples a second of the Free Spoken Digit Dataset."""
NUM_FRAMES, HOP, WINDOW, FFT = 100, 80, 200, 256
"""One second of frames, 10 ms apart and 25 ms long."""
NUM_MELS, GROUP = 40, 4
NUM_TOKENS = NUM_FRAMES // GROUP
SIDE = 112
"""Frequencies and frames of the spectrogram of the "image" form."""
_SIDE_FFT = 2 * SIDE - 1
_FLOOR = 1e-6
"""Added to power before the logarithm: what silence becomes."""
_FOLDERS = ("recordings", "fsdd/recordings", "free-spoken-digit-dataset/recordings")
_UTTERANCE = re.compile(r"(\d)_([^_]+)_(\d+)\.wav")


class Utterance(NamedTuple):
    """One file of FSDD, as its name says."""

    digit: int
    speaker: str
    number: int
    file: str
    """Path below the root."""


def find_utterances(root: Path) -> tuple[list[Utterance], list[Skipped]]:
    """Return FSDD's recordings by name, and the .wav files whose names say no digit.

    Raises:
        DataError: If there is no folder of recordings, or no recording in it.
    """
    layout = "MNIST's four *-ubyte.gz files, in it or in mnist/, and FSDD's recordings/ or fsdd/recordings/"
    folder = next((folder for folder in _FOLDERS if (root / folder).is_dir()), None)
    if folder is None:
        raise DataError(f"Expected --root to hold {layout}, but got no folder recordings in {root}; put it there.")
    names = sorted(path.name for path in (root / folder).glob("*.wav"))
    matches = {name: _UTTERANCE.fullmatch(name) for name in names}
    found = [
        Utterance(int(match[1]), match[2], int(match[3]), f"{folder}/{name}")
        for name, match in matches.items()
        if match
    ]
    if not found:
        raise DataError(f"Expected {root / folder} to hold files such as 7_jackson_32.wav, but got none; unpack FSDD.")
    reason = "expected a name such as 7_jackson_32.wav"
    return found, [Skipped(Path(n).stem, f"{folder}/{n}", reason) for n, match in matches.items() if not match]


def speaker_splits(speakers: set[str]) -> dict[str, str]:
    """Return each speaker's split: in alphabetical order half train, a sixth is "val", the last third is "test".

    Args:
        speakers: At least three names.

    Raises:
        DataError: If there are fewer than three.

    Example:
        >>> speaker_splits(set(SPEAKERS))["nicolas"]
        'val'
    """
    if len(speakers) < 3:
        raise DataError(
            f"Expected recordings of at least 3 speakers, but got {', '.join(sorted(speakers))}; use split='upstream'."
        )
    num_test, num_val = len(speakers) // 3, max(1, len(speakers) // 6)
    num_train = len(speakers) - num_test - num_val
    splits = ["train"] * num_train + ["val"] * num_val + ["test"] * num_test
    return dict(zip(sorted(speakers), splits, strict=True))


def pair(labels: Sequence[int], pool: Sequence[Utterance], seed: Sequence[int]) -> list[Utterance]:
    """Return one utterance for each label, of its digit.

    Every utterance of a digit is used once in random order, then once again in another order, and so on; the first
    pairs are the same for any number of labels.

    Args:
        labels: Digits.
        pool: Utterances, at least one of each digit in ``labels``.
        seed: Of PCG64; the digit is added to it.

    Example:
        >>> pool = [Utterance(7, "theo", 0, "a.wav"), Utterance(7, "theo", 1, "b.wav")]
        >>> sorted(utterance.file for utterance in pair([7, 7, 7, 7], pool, [0]))
        ['a.wav', 'a.wav', 'b.wav', 'b.wav']
    """
    decks = {digit: _deck([u for u in pool if u.digit == digit], (*seed, digit)) for digit in set(labels)}
    return [next(decks[label]) for label in labels]


def num_samples(path: Path) -> int:
    """Return how many samples a mono 16 bit .wav file of 8 kHz announces, after checking that it holds them.

    Raises:
        BadFileError: If the file is missing, of another form, or shorter than its header says.
    """
    with _opened(path) as file:
        _require_rate(file)
        return file.getnframes()


def read_utterance(path: Path) -> Float32[np.ndarray, " T"]:
    """Return a mono 16 bit .wav file of 8 kHz as numbers from -1 to 1.

    Raises:
        BadFileError: If the file is missing, damaged, of another form, shorter than one frame (25 ms), or silent.
    """
    with _opened(path) as file:
        _require_rate(file)
        samples = _samples(file)
    if len(samples) < WINDOW:
        raise BadFileError(f"expected at least {WINDOW} samples, one frame, got {len(samples)}")
    if not samples.any():
        raise BadFileError(f"all {len(samples)} samples are 0: nothing was recorded")
    return samples


def read_noise(path: Path) -> Float32[np.ndarray, " T"]:
    """Return a mono 16 bit .wav file of any rate at 8 kHz.

    Raises:
        BadFileError: If the file is missing, damaged, stereo, not of 16 bits, or silent.
        MissingExtraError: If the rate is not 8 kHz and scipy is not installed.
    """
    with _opened(path) as file:
        samples, rate = _samples(file), file.getframerate()
    if not samples.any():
        raise BadFileError(f"all {len(samples)} samples are 0: no noise was recorded")
    if rate == RATE:
        return samples
    try:
        from scipy.signal import resample_poly
    except ImportError as error:
        raise MissingExtraError("scipy", "lab") from error
    shared = math.gcd(RATE, rate)
    resampled: np.ndarray = resample_poly(samples.astype(np.float64), RATE // shared, rate // shared)
    return resampled.astype(np.float32)


def seeded(name: str) -> np.random.Generator:
    """Return random numbers that depend on a name alone, so that any process draws the same.

    Example:
        >>> seeded("train_00000").integers(100, size=3).tolist() == seeded("train_00000").integers(100, size=3).tolist()
        True
    """
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")))


def cut_noise(
    noise: Float32[np.ndarray, " N"], length: int, random: np.random.Generator
) -> Float32[np.ndarray, " {length}"]:
    """Return a piece of noise from a random position; shorter noise is repeated, and silent stretches are passed over.

    Args:
        noise: Samples, not all 0.
        length: Samples of the piece.
        random: Chooses the position, evenly among the pieces that have a hundredth of the loudest one's power.

    Example:
        >>> cut_noise(np.array([0, 0, 0, 5, 5], np.float32), 2, np.random.default_rng(0)).max() > 0
        np.True_
    """
    noise = np.tile(noise, math.ceil(length / len(noise)))
    energy = np.concatenate([[0.0], np.cumsum(noise.astype(np.float64) ** 2)])
    power = energy[length:] - energy[: len(energy) - length]
    start = random.choice(np.flatnonzero(power >= power.max() / 100))
    return noise[start : start + length]


def add_noise(
    samples: Float32[np.ndarray, " T"], noise: Float32[np.ndarray, " T"], ratio: float
) -> Float32[np.ndarray, " T"]:
    """Return the sum of samples and noise, with the noise scaled to a ratio of powers.

    Args:
        samples: The signal.
        noise: As long as the signal, not silent.
        ratio: Signal-to-noise ratio in dB, over the whole length.

    Example:
        >>> add_noise(np.array([1, -1], np.float32), np.array([4, 4], np.float32), 20).round(3).tolist()
        [1.100000023841858, -0.8999999761581421]
    """
    power, noise_power = (float(np.mean(signal.astype(np.float64) ** 2)) for signal in (samples, noise))
    return (samples + math.sqrt(power / noise_power / 10 ** (ratio / 10)) * noise).astype(np.float32)


def log_mel(samples: Float32[np.ndarray, " T"]) -> Float[np.ndarray, "100 40"]:
    """Return the natural logarithm of mel power of one second; shorter signals are padded with silence.

    Frame k is of samples 80 k to 80 k + 200 under a Hann window; what follows the first second is not used.

    Args:
        samples: At 8 kHz, from -1 to 1.

    Source:
        Davis, Mermelstein: "Comparison of parametric representations for monosyllabic word recognition in
        continuously spoken sentences", IEEE TASSP 28(4), 1980; mel scale of O'Shaughnessy, 1987.

    Example:
        >>> log_mel(np.zeros(800, np.float32)).shape
        (100, 40)
    """
    signal = np.zeros((NUM_FRAMES - 1) * HOP + WINDOW)
    second = samples[:RATE]
    signal[: len(second)] = second
    frames = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[::HOP]
    spectrum = np.fft.rfft(frames * _hann(), FFT)
    power = spectrum.real**2 + spectrum.imag**2
    mels: np.ndarray = np.log(power @ mel_filters().T + _FLOOR)
    return mels


@cache
def mel_filters() -> Float[np.ndarray, "40 129"]:
    """Return 40 triangles over the frequencies of the FFT, evenly spaced in mel from 0 to 4 kHz, each of height 1.

    Example:
        >>> bool((mel_filters().sum(1) > 0).all())
        True
    """
    top = 2595 * math.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, NUM_MELS + 2) / 2595) - 1)
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    hertz = np.arange(FFT // 2 + 1) * RATE / FFT
    filters: np.ndarray = np.clip(np.minimum((hertz - low) / (peak - low), (high - hertz) / (high - peak)), 0, None)
    filters.flags.writeable = False
    return filters


def audio_tokens(
    samples: Float32[np.ndarray, " T"],
) -> tuple[Float16[np.ndarray, "25 160"], Bool[np.ndarray, "25"]]:
    """Return one second of log-mel, four frames to a token, and which tokens hold frames that begin in the signal.

    Args:
        samples: At 8 kHz, from -1 to 1; what follows the first second is cut.

    Example:
        >>> tokens, mask = audio_tokens(np.ones(400, np.float32))
        >>> tokens.shape, int(mask.sum())
        ((25, 160), 2)
    """
    tokens = log_mel(samples).reshape(NUM_TOKENS, GROUP * NUM_MELS).astype(np.float16)
    return tokens, np.arange(NUM_TOKENS) * GROUP * HOP < len(samples)


def spectrogram(samples: Float32[np.ndarray, " T"]) -> Float16[np.ndarray, "1 112 112"]:
    """Return log power of a whole utterance as 112 frequencies by 112 frames, whatever its length.

    As in the generator of the original benchmark, frames are rectangular windows that just cover the utterance,
    padded to 223 samples for the FFT; the logarithm, which keeps numbers within half precision, is ours.

    Args:
        samples: At 8 kHz, from -1 to 1.

    Raises:
        BadFileError: If the utterance is longer than 112 windows of 223 samples (3.1 s).

    Source:
        Vielzeuf et al.: "CentralNet: a multilayer approach for multimodal fusion", ECCV workshops 2018.

    Example:
        >>> spectrogram(np.ones(3000, np.float32)).shape
        (1, 112, 112)
    """
    width = math.ceil(len(samples) / SIDE)
    if width > _SIDE_FFT:
        raise BadFileError(f"expected at most {SIDE * _SIDE_FFT} samples, got {len(samples)}")
    starts = np.arange(SIDE) * (len(samples) - width) // (SIDE - 1)
    frames = samples.astype(np.float64)[starts[:, None] + np.arange(width)]
    spectrum = np.fft.rfft(frames, _SIDE_FFT)
    power = (spectrum.real**2 + spectrum.imag**2) / width
    return np.log(power.T[None] + _FLOOR).astype(np.float16)


def _deck(pool: Sequence[Utterance], seed: Sequence[int]) -> Iterator[Utterance]:
    random = np.random.Generator(np.random.PCG64(list(seed)))
    while True:
        yield from (pool[i] for i in random.permutation(len(pool)))


@cache
def _hann() -> Float[np.ndarray, "200"]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


def _opened(path: Path) -> wave.Wave_read:
    """Open a mono 16 bit file whose announced samples are all there."""
    check_file(path)
    try:
        file = wave.open(str(path), "rb")  # noqa: SIM115
    except (OSError, EOFError, RuntimeError, wave.Error) as error:
        # The standard library raises a bare RuntimeError where a chunk announces more than the file.
        text = (getattr(error, "strerror", None) or " ".join(str(error).split()) or "a chunk beyond the end")[:80]
        raise BadFileError(f"unreadable .wav file ({type(error).__name__}: {text})") from error
    problem = _problem(file, path.stat().st_size)
    if problem:
        file.close()
        raise BadFileError(problem)
    return file


def _problem(file: wave.Wave_read, size: int) -> str:
    form = file.getnchannels(), 8 * file.getsampwidth()
    if form != (1, 16):
        return f"expected 1 channel of 16 bits, got {form[0]} of {form[1]}"
    if not 1000 <= file.getframerate() <= 400_000:
        return f"expected 1,000 to 400,000 samples a second, got {file.getframerate():,}"
    announced, held = file.getnframes(), (size - 44) // 2
    if announced > held:
        return f"the header announces {announced} samples, the file has room for {held}"
    return "" if announced else "the header announces no samples"


def _require_rate(file: wave.Wave_read) -> None:
    if file.getframerate() != RATE:
        raise BadFileError(f"expected {RATE} samples a second, got {file.getframerate()}")


def _samples(file: wave.Wave_read) -> Float32[np.ndarray, " T"]:
    data = file.readframes(file.getnframes())
    if len(data) != 2 * file.getnframes():
        raise BadFileError(f"the header announces {file.getnframes()} samples, the file holds {len(data) // 2}")
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768
