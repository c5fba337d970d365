"""AV-Digits, the embedded dataset: real handwritten digits paired with spoken digits made by espeak-ng."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from rollingq.data.base import MultimodalData, Split
from rollingq.data.prepare.moments import moments_of
from rollingq.data.rows import Normaliser
from rollingq.data.shards import Arrays, described_by_manifest, read_manifest, read_shard, sha256_of
from rollingq.data.spec import ModalitySpec
from rollingq.errors import DataError, MissingExtraError

NAME = "av_digits"
FOLDER = Path(__file__).parent / "embedded" / NAME
SPLITS = ("train", "val", "test")
Raw = dict[str, Float32[np.ndarray, "N L F"]]


def load(*, dir: Path | None = None, modalities: Sequence[str] = ("audio", "image")) -> MultimodalData:
    """Return AV-Digits, normalised by its training split.

    Args:
        dir: Folder to read instead of the embedded one.
        modalities: Which of "audio" ``[N, 12, 80]`` and "image" ``[N, 16, 4]``, in this order.

    Raises:
        DataError: If a file is missing or its sha-256 is wrong, or scikit-learn's images are other ones.
        MissingExtraError: If images are asked for and scikit-learn is not installed.

    Example:
        >>> data = load(modalities=["audio"])
        >>> data.splits["train"].inputs["audio"].shape
        torch.Size([1024, 12, 80])
    """
    folder = dir or FOLDER
    manifest = read_manifest(folder, NAME)
    with described_by_manifest(folder):
        shards = {split: read_shard(folder, manifest, f"{split}.safetensors") for split in SPLITS}
        digits = _digit_images(manifest) if "image" in modalities else None
        raw = {split: _tokens(shards[split], split, digits, manifest["recipe"], modalities) for split in SPLITS}
        specs = {name: ModalitySpec.from_json(manifest["modalities"][name]) for name in modalities}
        moments = {name: moments_of(raw["train"][name], spec) for name, spec in specs.items()}
        normalisers = {name: Normaliser(spec, *moments[name].statistics) for name, spec in specs.items()}
        return MultimodalData(
            name=NAME,
            modalities=specs,
            classes=tuple(manifest["classes"]),
            splits={split: _split(raw[split], shards[split], normalisers, manifest) for split in SPLITS},
            manifest=manifest,
        )


def audio_tokens(features: UInt8[np.ndarray, "N T F"], group: int) -> Float32[np.ndarray, "N L G"]:
    """Return log-mel frames as numbers from 0 to 1, ``group`` consecutive frames to a token."""
    return (features.astype(np.float32) / 255).reshape(len(features), -1, group * features.shape[2])


def image_tokens(images: Float32[np.ndarray, "N 8 8"], patch: int) -> Float32[np.ndarray, "N L P"]:
    """Return square patches of pixels as tokens, row by row.

    Example:
        >>> image_tokens(np.arange(64, dtype=np.float32).reshape(1, 8, 8), 2)[0, :2].tolist()
        [[0.0, 1.0, 8.0, 9.0], [2.0, 3.0, 10.0, 11.0]]
    """
    number, side = len(images), images.shape[1] // patch
    patches = images.reshape(number, side, patch, side, patch).transpose(0, 1, 3, 2, 4)
    return patches.reshape(number, side * side, patch * patch)


def _tokens(
    shard: Arrays,
    split: str,
    digits: Float32[np.ndarray, "I 8 8"] | None,
    recipe: Mapping[str, Any],
    modalities: Sequence[str],
) -> Raw:
    raw = {"audio": audio_tokens(shard["audio"], recipe["group"])}
    if digits is not None:
        chosen = digits[shard["image"]]
        noise = np.random.RandomState(recipe["image_noise_seeds"][SPLITS.index(split)]).standard_normal(chosen.shape)
        noisy = chosen + np.float32(recipe["image_noise"]) * noise.astype(np.float32)
        raw["image"] = image_tokens(noisy, recipe["image_patch"])
    return {name: raw[name] for name in modalities}


def _split(raw: Raw, shard: Arrays, normalisers: Mapping[str, Normaliser], manifest: Mapping[str, Any]) -> Split:
    inputs = {name: normalisers[name](torch.from_numpy(array)) for name, array in raw.items()}
    words = manifest["classes"]
    pairs = zip(shard["label"], shard["image"], strict=True)
    names = [f"{number:04d}_{words[label]}_image{image}" for number, (label, image) in enumerate(pairs)]
    return Split(inputs, torch.from_numpy(shard["label"].astype(np.int64)), {}, names)


def _digit_images(manifest: Mapping[str, Any]) -> Float32[np.ndarray, "I 8 8"]:
    """Return scikit-learn's handwritten digits, 0 white and 1 black, after checking that they are the ones we know."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "lab") from error
    images: np.ndarray = load_digits().images
    if sha256_of(images.astype(np.uint8).tobytes()) != manifest["image_sha256"]:
        raise DataError(
            "Expected the 1797 images of scikit-learn's load_digits, but got other ones. Reinstall scikit-learn."
        )
    return (images / 16).astype(np.float32)
