"""AV-MNIST: an image of MNIST and an utterance of the Free Spoken Digit Dataset (FSDD) of the same digit.

Vielzeuf, Lechervy, Pateux, Jurie: "CentralNet: a multilayer approach for multimodal fusion", ECCV workshops 2018.
LeCun, Bottou, Bengio, Haffner: "Gradient-based learning applied to document recognition", Proc. IEEE 86(11), 1998.
Jackson et al.: "Free Spoken Digit Dataset", https://github.com/Jakobovski/free-spoken-digit-dataset.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Float32, UInt8

from rollingq.data.prepare.source import SPLITS, Arrays, BadFileError, Clip, Plan, Source
from rollingq.data.raw.idx import read_idx
from rollingq.data.sources import av_mnist_audio
from rollingq.data.sources.av_mnist_audio import NUM_TOKENS, RATE, SIDE, SPEAKERS, Utterance, pair
from rollingq.data.spec import ModalitySpec
from rollingq.errors import DataError, unknown_name

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SplitRule = Literal["speakers", "upstream"]
Form = Literal["tokens", "image"]
_IMAGES = {"train": "train-images-idx3-ubyte", "val": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
_MNIST_FOLDERS = (".", "mnist", "MNIST/raw")
_PIXELS = 28 * 28
_PATCH = 4
_BLOCK = 5000
"""Images that are projected at once; fixed, so that results do not depend on what else is read."""


class Stamp(NamedTuple):
    """A file and its state, so that what is remembered of it is dropped when it changes."""

    path: Path
    size: int
    changed: int


@dataclass(frozen=True)
class AVMNIST(Source):
    """MNIST images paired with FSDD utterances of the same digit.

    The root holds MNIST's four ``*-ubyte`` or ``*-ubyte.gz`` files (in the root, ``mnist/`` or ``MNIST/raw/``) and
    FSDD's ``recordings/`` (in the root, ``fsdd/`` or ``free-spoken-digit-dataset/``). MNIST's training part gives
    "train" and, by its last twelfth (5,000), "val"; t10k gives "test".
    """

    name: ClassVar[str] = "av_mnist"
    max_rows: ClassVar[int] = 4096

    split: SplitRule = "speakers"
    """"speakers": no speaker is in two splits; of the six, in alphabetical order, the first three (george, jackson,
    lucas) train, nicolas is "val", theo and yweweler are "test". "upstream": all speakers are in all splits, and
    recordings 0 to 4 of each are "test", 5 to 9 "val"."""
    form: Form = "tokens"
    """"tokens": 49 patches of 4x4 pixels, and one second of log-mel as 25 tokens of 4 frames (longer utterances are
    cut at their end, shorter ones padded and masked). "image": 28x28 pixels, and a 112x112 spectrogram of the whole
    utterance."""
    num_train: int | None = None
    """Use only the first so many images of the training split; all if not given."""
    seed: int = 0
    """Chooses the utterance of each image."""
    image_energy: float = 1.0
    """Share of the images' variance that is kept, by the fewest principal components of all training images that
    hold it; 0.25 for the benchmark's removal of 75 %, 1 for untouched images."""
    audio_noise: float | None = None
    """Signal-to-noise ratio in dB, over the utterance without its padding; no noise is added if not given."""
    noise_root: str = ""
    """Folder below the root with .wav files of noise, such as ESC-50/audio; white noise if empty. The first 70 % of
    the sorted files are mixed into "train", the next 10 % into "val", the last 20 % into "test"."""

    def __post_init__(self) -> None:
        if self.split not in get_args(SplitRule):
            raise DataError(unknown_name("split", self.split, get_args(SplitRule)))
        if self.form not in get_args(Form):
            raise DataError(unknown_name("form", self.form, get_args(Form)))
        if self.num_train is not None and self.num_train < 1:
            raise DataError(f"Expected num_train of at least 1, but got {self.num_train}; leave it out for all.")
        if self.seed < 0:
            raise DataError(f"Expected a seed of at least 0, but got {self.seed}; give 0 or more.")
        if not 0 < self.image_energy <= 1:
            raise DataError(f"Expected image_energy above 0 and up to 1, but got {self.image_energy}; give a share.")
        if self.audio_noise is not None and not math.isfinite(self.audio_noise):
            raise DataError(f"Expected audio_noise in dB, but got {self.audio_noise}; leave it out for no noise.")
        if self.noise_root and (self.audio_noise is None or Path(self.noise_root).is_absolute()):
            raise DataError(
                f"Expected noise_root to be a folder below --root, used with audio_noise, but got {self.noise_root!r} "
                f"and audio_noise {self.audio_noise}; give both, noise_root relative to --root."
            )

    def plan(self, root: Path) -> Plan:
        """Return one clip for each image, in MNIST's order.

        Raises:
            DataError: If files of MNIST or FSDD are missing, MNIST's are damaged, or a split lacks a digit.
        """
        labels = _labels(root, self.num_train)
        utterances, skipped = av_mnist_audio.find_utterances(root)
        pools = self._pools(utterances)
        noises = self._noises(root)
        clips = [
            clip for split in SPLITS for clip in self._clips(root, split, labels[split], pools[split], noises[split])
        ]
        published = {f"{digit}_{speaker}_{index}" for digit in range(10) for speaker in SPEAKERS for index in range(50)}
        absent = published - {PurePosixPath(utterance.file).stem for utterance in utterances}
        return Plan(CLASSES, self._modalities(), clips, skipped, sorted(absent), _notes(root, pools, clips, self.form))

    def read(self, clip: Clip, root: Path) -> Arrays:
        """Return image and audio of one pair.

        Raises:
            BadFileError: If a file is missing, damaged or of another form.
        """
        image = self._image(clip, root)
        stamp, *noise = (_stamp(root / file) for file in clip.files["audio"])
        if self.audio_noise is None:
            audio = {name: array.copy() for name, array in _clean_audio(stamp, self.form).items()}
        else:
            audio = _audio(self._noisy(clip.name, stamp, noise, self.audio_noise), self.form)
        return {"image": image, **audio}

    def _modalities(self) -> dict[str, ModalitySpec]:
        if self.form == "image":
            return {
                "image": ModalitySpec((1, 28, 28), "image", "uint8", "channel"),
                "audio": ModalitySpec((1, SIDE, SIDE), "spectrogram", "float16", "all"),
            }
        patches = _PIXELS // _PATCH**2
        size = av_mnist_audio.GROUP * av_mnist_audio.NUM_MELS
        return {
            "image": ModalitySpec((patches, _PATCH**2), "tokens", "uint8", "all"),
            "audio": ModalitySpec((NUM_TOKENS, size), "tokens", "float16", "all", has_mask=True),
        }

    def _pools(self, utterances: Sequence[Utterance]) -> dict[str, list[Utterance]]:
        if self.split == "speakers":
            by_speaker = av_mnist_audio.speaker_splits({utterance.speaker for utterance in utterances})
            split_of = {u: by_speaker[u.speaker] for u in utterances}
        else:
            split_of = {u: "test" if u.number < 5 else "val" if u.number < 10 else "train" for u in utterances}
        pools = {split: [u for u in utterances if split_of[u] == split] for split in SPLITS}
        for split, pool in pools.items():
            lacking = sorted(set(range(10)) - {utterance.digit for utterance in pool})
            if lacking:
                raise DataError(
                    f"Expected utterances of every digit for {split!r} (split={self.split!r}), but got none of "
                    f"{', '.join(map(str, lacking))}; complete the folder recordings or choose the other split."
                )
        return pools

    def _noises(self, root: Path) -> dict[str, list[str]]:
        if not self.noise_root:
            return {split: [] for split in SPLITS}
        files = sorted((root / self.noise_root).glob("*.wav"))
        if len(files) < 10:
            raise DataError(
                f"Expected {self.noise_root} below --root to hold at least 10 .wav files, but got {len(files)}; "
                "give a folder of noise such as ESC-50/audio."
            )
        names = [f"{PurePosixPath(self.noise_root)}/{file.name}" for file in files]
        bounds = [0, len(names) * 7 // 10, len(names) * 8 // 10, len(names)]
        return {split: names[bounds[i] : bounds[i + 1]] for i, split in enumerate(SPLITS)}

    def _clips(
        self,
        root: Path,
        split: str,
        labels: Mapping[int, int],
        pool: Sequence[Utterance],
        noises: Sequence[str],
    ) -> Iterator[Clip]:
        own = _idx_file(root, _IMAGES[split])
        fitted = () if self.image_energy == 1 else (_idx_file(root, _IMAGES["train"]),)
        chosen = pair(list(labels.values()), pool, (self.seed, SPLITS.index(split)))
        for (image, label), spoken in zip(labels.items(), chosen, strict=True):
            name = f"{split}_{image:05d}_{PurePosixPath(spoken.file).stem}"
            noise = (noises[int(av_mnist_audio.seeded(f"{name}/noise").integers(len(noises)))],) if noises else ()
            files = {"image": (own, *fitted), "audio": (spoken.file, *noise)}
            yield Clip(name, split, label, files, spoken.speaker)

    def _image(self, clip: Clip, root: Path) -> UInt8[np.ndarray, "..."]:
        own, *train = (_stamp(root / file) for file in clip.files["image"])
        images = _reduced_images(own, train[0], self.image_energy) if train else _images(own)
        number = int(clip.name.split("_")[1])
        if number >= len(images):
            raise BadFileError(f"expected at least {number + 1} images, got {len(images)}")
        return images[number][None].copy() if self.form == "image" else patches(images[number])

    def _noisy(self, name: str, stamp: Stamp, noise: Sequence[Stamp], ratio: float) -> Float32[np.ndarray, " T"]:
        samples = _utterance(stamp)
        heard = samples[:RATE] if self.form == "tokens" else samples
        random = av_mnist_audio.seeded(name)
        if noise:
            added = av_mnist_audio.cut_noise(_noise(noise[0]), len(heard), random)
        else:
            added = random.standard_normal(len(heard), np.float32)
        return av_mnist_audio.add_noise(heard, added, ratio)


def patches(image: UInt8[np.ndarray, "28 28"]) -> UInt8[np.ndarray, "49 16"]:
    """Return patches of 4x4 pixels as tokens, row by row.

    Example:
        >>> patches(np.arange(784).reshape(28, 28))[1, :5].tolist()
        [4, 5, 6, 7, 32]
    """
    side = 28 // _PATCH
    return image.reshape(side, _PATCH, side, _PATCH).swapaxes(1, 2).reshape(side * side, _PATCH**2)


def principal_components(
    images: UInt8[np.ndarray, "N P"], share: float
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, "P K"]]:
    """Return the mean, and the fewest leading principal components that hold a share of the variance.

    The covariance is made of sums of whole numbers, exact in double precision in any order of summing.

    Args:
        images: Pixels, flattened.
        share: From 0 to 1.

    Example:
        >>> principal_components(np.array([[0, 0, 5], [8, 8, 5], [1, 0, 5]], np.uint8), 0.9)[1].shape
        (3, 1)
    """
    products = np.zeros((images.shape[1], images.shape[1]))
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK].astype(np.float64)
        products += block.T @ block
    mean: np.ndarray = images.sum(0, dtype=np.int64) / len(images)
    values, vectors = np.linalg.eigh(products / len(images) - np.outer(mean, mean))
    held = np.cumsum(np.clip(values[::-1], 0, None))
    count = int(np.searchsorted(held, share * held[-1])) + 1
    return mean, vectors[:, ::-1][:, :count]


def projected(
    images: UInt8[np.ndarray, "N P"], mean: Float[np.ndarray, " P"], components: Float[np.ndarray, "P K"]
) -> UInt8[np.ndarray, "N P"]:
    """Return images of which only some components are kept, rounded and clipped to 0 to 255.

    Example:
        >>> projected(np.array([[10, 30]], np.uint8), np.array([5.0, 5.0]), np.array([[1.0], [0.0]])).tolist()
        [[10, 5]]
    """
    out = np.empty_like(images)
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK] - mean
        out[start : start + _BLOCK] = np.clip(np.rint(block @ components @ components.T + mean), 0, 255)
    return out


def _idx_file(root: Path, name: str) -> str:
    """Return the path of one of MNIST's files below the root."""
    places = [PurePosixPath(folder) / f"{name}{end}" for folder in _MNIST_FOLDERS for end in (".gz", "")]
    found = next((place for place in places if (root / place).is_file()), None)
    if found is None:
        raise DataError(
            f"Expected --root to hold MNIST's {name}.gz or {name}, in it or in mnist/, but got none in {root}; "
            "put MNIST's four files there."
        )
    return str(found)


def _labels(root: Path, num_train: int | None) -> dict[str, dict[int, int]]:
    """Return by split: number of the image in its file -> digit; the images are checked to be there."""
    train, test = _part(root, "train"), _part(root, "test")
    bound = _num_train(len(train))
    if bound < (num_train or 1):
        raise DataError(f"Expected num_train of at most {bound}, but got {num_train}; give fewer or leave it out.")
    return {
        "train": dict(enumerate(train[: num_train or bound])),
        "val": dict(enumerate(train[bound:], bound)),
        "test": dict(enumerate(test)),
    }


def _num_train(count: int) -> int:
    """Return how many images of MNIST's training part train; the others are "val"."""
    return count - max(1, count // 12)


def _part(root: Path, split: str) -> list[int]:
    name = _IMAGES[split]
    file = _idx_file(root, name)
    try:
        images = _images(_stamp(root / file))
        file = _idx_file(root, name.replace("images-idx3", "labels-idx1"))
        labels = read_idx(root / file)
    except BadFileError as error:
        raise DataError(f"Expected {file} to be one of MNIST's files, but got: {error}; fetch it again.") from error
    if labels.shape != images.shape[:1] or labels.max() > 9:
        raise DataError(
            f"Expected {file} to hold {len(images)} labels from 0 to 9, but got the shape {list(labels.shape)} and "
            f"labels up to {labels.max()}; fetch MNIST's files again."
        )
    digits: list[int] = labels.tolist()
    return digits


def _notes(root: Path, pools: Mapping[str, Sequence[Utterance]], clips: Sequence[Clip], form: Form) -> dict[str, Any]:
    uses = {split: Counter(clip.files["audio"][0] for clip in clips if clip.split == split) for split in SPLITS}
    speakers = {split: Counter(utterance.speaker for utterance in pool) for split, pool in pools.items()}
    heard = [name for names in speakers.values() for name in names]
    notes: dict[str, Any] = {
        "utterances_by_speaker": {split: dict(sorted(counts.items())) for split, counts in speakers.items()},
        "speakers_in_several_splits": sorted(name for name, count in Counter(heard).items() if count > 1),
        "unused_utterances": {split: len(pools[split]) - len(uses[split]) for split in SPLITS},
        "most_pairs_of_one_utterance": {split: max(uses[split].values()) for split in SPLITS},
    }
    if form == "tokens":
        lengths = {utterance.file: _length(root / utterance.file) for pool in pools.values() for utterance in pool}
        notes["utterances_cut_to_1_s"] = {s: sum(lengths[u.file] > RATE for u in pools[s]) for s in SPLITS}
        notes["pairs_cut_to_1_s"] = {s: sum(n for f, n in uses[s].items() if lengths[f] > RATE) for s in SPLITS}
    return notes


def _length(path: Path) -> int:
    """Return the number of samples; 0 for a damaged file, which is named when it is read."""
    try:
        return av_mnist_audio.num_samples(path)
    except BadFileError:
        return 0


def _audio(samples: Float32[np.ndarray, " T"], form: Form) -> Arrays:
    if form == "image":
        return {"audio": av_mnist_audio.spectrogram(samples)}
    tokens, mask = av_mnist_audio.audio_tokens(samples)
    return {"audio": tokens, "audio/mask": mask}


def _stamp(path: Path) -> Stamp:
    try:
        state = path.stat()
    except FileNotFoundError as error:
        raise BadFileError("the file is missing") from error
    except OSError as error:
        raise BadFileError(f"unreadable file ({error.strerror})") from error
    return Stamp(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=2)
def _images(stamp: Stamp) -> UInt8[np.ndarray, "N 28 28"]:
    images = read_idx(stamp.path)
    if images.shape[1:] != (28, 28):
        raise BadFileError(f"expected images of 28x28 pixels, got the shape {'x'.join(map(str, images.shape))}")
    return images


@lru_cache(maxsize=1)
def _components(train: Stamp, energy: float) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, "P K"]]:
    images = _images(train).reshape(-1, _PIXELS)
    return principal_components(images[: _num_train(len(images))], energy)


@lru_cache(maxsize=2)
def _reduced_images(stamp: Stamp, train: Stamp, energy: float) -> UInt8[np.ndarray, "N 28 28"]:
    images = _images(stamp).reshape(-1, _PIXELS)
    return projected(images, *_components(train, energy)).reshape(-1, 28, 28)


@lru_cache(maxsize=4096)
def _utterance(stamp: Stamp) -> Float32[np.ndarray, " T"]:
    return av_mnist_audio.read_utterance(stamp.path)


@lru_cache(maxsize=4096)
def _clean_audio(stamp: Stamp, form: Form) -> Arrays:
    return _audio(_utterance(stamp), form)


@lru_cache(maxsize=512)
def _noise(stamp: Stamp) -> Float32[np.ndarray, " N"]:
    return av_mnist_audio.read_noise(stamp.path)
