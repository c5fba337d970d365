"""UTD-MHAD: 27 human actions as inertial signals, depth video and skeletons, from a prepared folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rollingq.data.base import ModalitySpec, MultimodalData, Split
from rollingq.data.normalise import Statistics, normalise
from rollingq.data.shards import read_manifest, read_shard
from rollingq.errors import DataError

NAME = "utd_mhad"
SPLITS = ("train", "val", "test")


def load(*, dir: Path, modalities: Sequence[str] = ("inertial", "depth", "skeleton")) -> MultimodalData:
    """Return UTD-MHAD, normalised by the training statistics of its manifest.

    Args:
        dir: Folder that ``rollingq data prepare utd_mhad`` wrote.
        modalities: Which of "inertial" ``[N, 12, 24]``, "depth" ``[N, 8, 600]`` and "skeleton" ``[N, 12, 120]`` (with
            the recipe's own sizes), in this order.

    Raises:
        DataError: If the folder is another one, or a file is missing, changed, of a wrong shape or not finite.
    """
    manifest = read_manifest(dir, NAME)
    try:
        return MultimodalData(
            name=NAME,
            modalities={name: ModalitySpec(**manifest["modalities"][name]) for name in modalities},
            classes=tuple(manifest["classes"]),
            splits={split: _split(dir, manifest, split, modalities) for split in SPLITS},
            manifest=manifest,
        )
    except (KeyError, TypeError) as error:
        raise DataError(
            f"Expected the manifest of {dir} to describe {', '.join(modalities)}, but got a damaged one "
            f"({type(error).__name__}: {error}). Prepare it again."
        ) from error


def _split(folder: Path, manifest: Mapping[str, Any], split: str, modalities: Sequence[str]) -> Split:
    arrays = read_shard(folder, manifest, f"{split}.safetensors")
    statistics = {name: Statistics(**_vectors(manifest["statistics"][name])) for name in modalities}
    inputs = {name: torch.from_numpy(normalise(arrays[name], statistics[name])) for name in modalities}
    return Split(inputs, torch.from_numpy(arrays["label"]), {}, list(manifest["splits"][split]["names"]))


def _vectors(table: Mapping[str, Sequence[float]]) -> dict[str, np.ndarray]:
    return {key: np.asarray(values, np.float64) for key, values in table.items()}
