"""Make the spoken half of AV-Digits: digits said by espeak-ng, in noise, as quantised log-mel features.

Run once by a maintainer: ``python scripts/make_av_digits.py`` (needs the program espeak-ng and the extra "lab").
The same espeak-ng, numpy and scipy give the same bytes: every random choice comes from RandomState, whose stream
numpy keeps frozen.
"""

import argparse
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import spectrogram
from sklearn.datasets import load_digits

from rollingq.data.prepare.shards import write_folder
from rollingq.data.shards import Arrays, sha256_of
from rollingq.data.spec import ModalitySpec

OUT = Path(__file__).parents[1] / "src/rollingq/data/embedded/av_digits"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en-gb", "en-us", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc")
VOICES = {
    "train": ("m1", "m3", "m5", "m7", "f1", "f3", "f5", "Andy", "Annie", "Diogo", "Gene", "Lee", "Mario", "linda"),
    "val": ("m2", "m6", "f2", "Michael", "steph"),
    "test": ("m4", "m8", "f4", "Alicia", "Hugo", "Denis", "belinda"),
}
IMAGES = {"train": 947, "val": 350, "test": 500}
PAIRS = {"train": 1024, "val": 350, "test": 500}
SAMPLE_RATE = 22050
Audio = NDArray[np.float64]


@dataclass(frozen=True)
class Recipe:
    """Every number that shapes the data (rates in words a minute, times in seconds, levels in dB)."""

    seed: int = 0
    snr_db: float = 10.0
    latest_start: float = 0.12
    rates: tuple[int, int] = (130, 220)
    pitches: tuple[int, int] = (20, 80)
    frames: int = 48
    mels: int = 20
    hop: float = 0.02
    window: float = 0.032
    lowest_hz: float = 80.0
    highest_hz: float = 8000.0
    floor_db: float = -60.0
    group: int = 4
    """Frames that make one token."""
    image_patch: int = 2
    """Side of the square of pixels that makes one token."""
    image_noise: float = 0.15
    """Standard deviation of the noise added to images (0 white, 1 black) when they are loaded."""
    image_noise_seeds: tuple[int, int, int] = (11, 12, 13)


@dataclass(frozen=True)
class Utterance:
    """What espeak-ng is asked to say."""

    digit: int
    accent: str
    variant: str
    rate: int
    pitch: int


def split_images(labels: NDArray[np.int64], random: np.random.RandomState) -> dict[str, NDArray[np.int64]]:
    """Return disjoint image numbers for every split, in random order."""
    ends = np.cumsum(list(IMAGES.values()))[:-1]
    return dict(zip(IMAGES, np.split(random.permutation(len(labels)), ends), strict=True))


def plan(recipe: Recipe, split: str, digits: NDArray[np.int64], random: np.random.RandomState) -> list[Utterance]:
    """Return one utterance for every digit, its voice, accent, rate and pitch drawn from the split's own."""

    def draw(digit: int) -> Utterance:
        variant, accent = VOICES[split][random.randint(len(VOICES[split]))], ACCENTS[random.randint(len(ACCENTS))]
        return Utterance(
            digit, accent, variant, int(random.randint(*recipe.rates)), int(random.randint(*recipe.pitches))
        )

    return [draw(int(digit)) for digit in digits]


def say(utterance: Utterance) -> Audio:
    """Return the waveform of one utterance, silence cut off both ends, root mean square 1."""
    voice = f"{utterance.accent}+{utterance.variant}"
    command = ["espeak-ng", "-v", voice, "-s", str(utterance.rate), "-p", str(utterance.pitch), "--stdout"]
    wav = subprocess.run([*command, WORDS[utterance.digit]], check=True, capture_output=True).stdout
    samples = np.frombuffer(wav, "<i2", offset=44).astype(np.float64)
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
    trimmed = samples[loud[0] : loud[-1] + 1]
    return np.asarray(trimmed / np.sqrt(np.mean(trimmed**2)))


def place(speech: Audio, recipe: Recipe, random: np.random.RandomState) -> Audio:
    """Return a window of fixed length: white noise, and speech from a random early moment, at the recipe's SNR."""
    total = round((recipe.frames - 1) * recipe.hop * SAMPLE_RATE) + round(recipe.window * SAMPLE_RATE)
    speech = speech[:total]
    latest = min(total - len(speech), round(recipe.latest_start * SAMPLE_RATE))
    start = random.randint(latest + 1)
    mixture = 10 ** (-recipe.snr_db / 20) * random.standard_normal(total)
    mixture[start : start + len(speech)] += speech
    return mixture


def mel_filters(recipe: Recipe, frequencies: Audio) -> Audio:
    """Return triangular filters ``[mels, frequencies]``, evenly spaced on the mel scale of O'Shaughnessy (1987)."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (recipe.lowest_hz, recipe.highest_hz))
    edges = 700 * (10 ** (np.linspace(low, high, recipe.mels + 2) / 2595) - 1)
    rising = (frequencies - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequencies) / np.diff(edges)[1:, None]
    return np.clip(np.minimum(rising, falling), 0, None)


def log_mel(waveform: Audio, recipe: Recipe) -> NDArray[np.uint8]:
    """Return ``[frames, mels]``: dB below the loudest, 0 at the floor and 255 at the top."""
    window, hop = round(recipe.window * SAMPLE_RATE), round(recipe.hop * SAMPLE_RATE)
    frequencies, _, power = spectrogram(waveform, SAMPLE_RATE, "hann", window, window - hop, mode="psd", detrend=False)
    decibels = 10 * np.log10(mel_filters(recipe, frequencies) @ power + 1e-12).T
    scaled = np.clip((decibels - decibels.max()) / -recipe.floor_db + 1, 0, 1)
    return np.asarray(np.round(scaled * 255), np.uint8)


def make_split(recipe: Recipe, split: str, images: NDArray[np.int64], labels: NDArray[np.int64]) -> Arrays:
    """Return the pairs of one split: features, the image's number, the label, and how it was said."""
    random = np.random.RandomState([recipe.seed, list(PAIRS).index(split)])
    chosen = images[np.arange(PAIRS[split]) % len(images)]
    utterances = plan(recipe, split, labels[chosen], random)
    with ThreadPoolExecutor() as pool:
        spoken = list(pool.map(say, utterances))
    return {
        "audio": np.stack([log_mel(place(speech, recipe, random), recipe) for speech in spoken]),
        "image": chosen.astype(np.int16),
        "label": labels[chosen].astype(np.uint8),
        "voice": np.array([VOICES[split].index(u.variant) for u in utterances], np.uint8),
        "accent": np.array([ACCENTS.index(u.accent) for u in utterances], np.uint8),
        "rate": np.array([u.rate for u in utterances], np.int16),
        "pitch": np.array([u.pitch for u in utterances], np.int16),
    }


def describe(recipe: Recipe, splits: dict[str, Arrays], images: NDArray[np.float64]) -> dict[str, Any]:
    """Return the manifest without the shards' own table."""
    version = subprocess.run(["espeak-ng", "--version"], check=True, capture_output=True, text=True).stdout
    tokens, patches = recipe.frames // recipe.group, (8 // recipe.image_patch) ** 2
    return {
        "dataset": "av_digits",
        "classes": list(WORDS),
        "modalities": {
            "audio": ModalitySpec((tokens, recipe.group * recipe.mels)).to_json(),
            "image": ModalitySpec((patches, recipe.image_patch**2)).to_json(),
        },
        "recipe": {**asdict(recipe), "sample_rate": SAMPLE_RATE, "voices": VOICES, "accents": ACCENTS},
        "versions": {"espeak-ng": version.split("Data at")[0].split(":")[-1].strip(), "numpy": np.__version__},
        "image_sha256": sha256_of(images.astype(np.uint8).tobytes()),
        "splits": {name: _counts(arrays) for name, arrays in splits.items()},
    }


def _counts(arrays: Arrays) -> dict[str, Any]:
    per_class = Counter(WORDS[label] for label in arrays["label"])
    return {
        "count": len(arrays["label"]),
        "images": len(np.unique(arrays["image"])),
        "voices": len(np.unique(arrays["voice"])),
        "per_class": {word: per_class[word] for word in WORDS},
    }


def make(out: Path, recipe: Recipe) -> dict[str, Any]:
    """Write the folder and return its manifest."""
    digits = load_digits()
    images = split_images(digits.target, np.random.RandomState(recipe.seed))
    splits = {name: make_split(recipe, name, images[name], digits.target) for name in PAIRS}
    return write_folder(out, splits, describe(recipe, splits, digits.images))


def main() -> None:
    """Read the command line and make the data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write (default: inside the package)")
    manifest = make(parser.parse_args().out, Recipe())
    for name, shard in manifest["shards"].items():
        print(f"{name}: {shard['bytes']} bytes, sha-256 {shard['sha256']}")


if __name__ == "__main__":
    main()
