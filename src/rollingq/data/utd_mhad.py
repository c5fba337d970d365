"""UTD-MHAD: 27 human actions as inertial signals, depth video and skeletons, from a prepared folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rollingq.data.base import ModalitySpec, MultimodalData, Split
from rollingq.data.normalise import Statistics, normalise
from rollingq.data.shards import described_by_manifest, read_manifest, read_shard

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
    with described_by_manifest(dir):
        return MultimodalData(
            name=NAME,
            modalities={name: ModalitySpec(**manifest["modalities"][name]) for name in modalities},
            classes=tuple(manifest["classes"]),
            splits={split: _split(dir, manifest, split, modalities) for split in SPLITS},
            manifest=manifest,
        )


def _split(folder: Path, manifest: Mapping[str, Any], split: str, modalities: Sequence[str]) -> Split:
    arrays = read_shard(folder, manifest, f"{split}.safetensors")
    inputs = {
        name: torch.from_numpy(normalise(arrays[name], _statistics(manifest["statistics"][name])))
        for name in modalities
    }
    return Split(inputs, torch.from_numpy(arrays["label"]), {}, list(manifest["splits"][split]["names"]))


def _statistics(table: Mapping[str, Sequence[float]]) -> Statistics:
    statistics = Statistics(np.asarray(table["mean"], np.float64), np.asarray(table["std"], np.float64))
    if not (np.isfinite(statistics.mean).all() and np.isfinite(statistics.std).all() and (statistics.std > 0).all()):
        raise ValueError("statistics are not finite, or a standard deviation is 0")
    return statistics
