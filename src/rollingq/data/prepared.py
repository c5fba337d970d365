"""Load any prepared folder: its manifest says everything, so that no dataset needs a loader of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rollingq.data.base import MultimodalData, Split
from rollingq.data.rows import MappedRows, Normaliser, Rows
from rollingq.data.shards import described_by_manifest, expect_shapes, read_manifest, read_samples, verify
from rollingq.data.spec import MASK, ModalitySpec
from rollingq.errors import DataError, unknown_name

SPLITS = ("train", "val", "test")
VERIFIED = 2**30
"""A folder of fewer bytes is checked against its sha-256 at every load; a larger one by ``rollingq data check``."""
IN_MEMORY = 2**28
"""Samples of fewer bytes (in single precision) are normalised once and held in memory, unless they are augmented."""


def load_folder(
    folder: str | Path,
    *,
    name: str | None = None,
    modalities: Sequence[str] | None = None,
    like: MultimodalData | None = None,
    is_normalised: bool = True,
) -> MultimodalData:
    """Return a prepared dataset, normalised by the training statistics of its manifest.

    Shards are mapped into memory and read a batch at a time; small ones are held in memory.

    Args:
        folder: What ``rollingq data prepare`` or ``prepare_source`` wrote.
        name: Dataset that the folder has to hold; any if None.
        modalities: Which modalities, in which order; all of the folder if None.
        like: Dataset whose training statistics normalise this one, as for what is out of its distribution; the
            folder's own if None.
        is_normalised: False gives the numbers as they are stored, in single precision.

    Raises:
        DataError: If the folder has no training split and ``like`` is None, the folder is another one or has no such
            modality, or a file is missing, changed or of another shape than promised.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, name)
    with described_by_manifest(folder):
        specs = {n: ModalitySpec.from_json(table) for n, table in manifest["modalities"].items()}
        chosen = {n: _known(n, specs) for n in (specs if modalities is None else modalities)}
        if sum(shard["bytes"] for shard in manifest["shards"].values()) < VERIFIED:
            verify(folder, manifest)
        statistics = manifest["statistics"] if like is None else like.manifest["statistics"]
        if is_normalised and not statistics:
            raise DataError(
                f"Expected {folder} to have a training split, but got a test split alone. Load it with like=DATA, the "
                "dataset that a model was trained on."
            )
        normalisers = {
            n: Normaliser(spec, **statistics[n]) if is_normalised else Normaliser.of_nothing(spec)
            for n, spec in chosen.items()
        }
        names = read_samples(folder, manifest)
        return MultimodalData(
            name=manifest["dataset"],
            modalities=chosen,
            classes=tuple(manifest["classes"]),
            splits={split: _split(folder, manifest, split, chosen, normalisers, names) for split in SPLITS},
            manifest=manifest,
        )


def _known(name: str, specs: Mapping[str, ModalitySpec]) -> ModalitySpec:
    if name not in specs:
        raise DataError(unknown_name("modality", name, specs))
    return specs[name]


def _split(
    folder: Path,
    manifest: Mapping[str, Any],
    split: str,
    specs: Mapping[str, ModalitySpec],
    normalisers: Mapping[str, Normaliser],
    names: Mapping[str, list[str]],
) -> Split:
    shards = [
        map_shard(folder, manifest, file, specs) for file in sorted(manifest["shards"]) if file.startswith(f"{split}-")
    ]
    none: list[Tensor] = []
    labels = torch.cat([shard["label"] for shard in shards] or [torch.zeros(0, dtype=torch.int64)])
    masks = {
        n: torch.cat([shard[n + MASK] for shard in shards] or [torch.zeros(0, *spec.mask_shape, dtype=torch.bool)])
        for n, spec in specs.items()
        if spec.has_mask
    }
    rows = {
        n: MappedRows([s[n] for s in shards] or none, spec, normalisers[n], masks.get(n)) for n, spec in specs.items()
    }
    return Split({n: _held(found, specs[n]) for n, found in rows.items()}, labels, masks, names.get(split, []))


def _held(rows: MappedRows, spec: ModalitySpec) -> Rows:
    """Return small samples as a tensor, others as they are."""
    is_small = 4 * rows.shape.numel() < IN_MEMORY
    return rows[:] if is_small and not spec.is_augmented else rows


def map_shard(
    folder: Path, manifest: Mapping[str, Any], file: str, specs: Mapping[str, ModalitySpec]
) -> dict[str, Tensor]:
    """Return the arrays of one shard, mapped into memory, after checking their forms.

    Raises:
        DataError: If the file is missing, of another size, no safetensors, or of another shape than promised.
    """
    path = folder / file
    try:
        with safe_open(path, "pt") as shard:
            tensors = {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise DataError(f"Expected the shard {path}, but got: {reason}. Restore it or prepare it again.") from error
    expect_shapes(path, {name: list(tensor.shape) for name, tensor in tensors.items()}, manifest["shards"][file])
    for name, spec in specs.items():
        found = tensors[name]
        masks = [(tensors[name + MASK], spec.mask_shape, torch.bool)] if spec.has_mask else []
        for tensor, shape, dtype in [(found, spec.shape, getattr(torch, spec.dtype)), *masks]:
            if tensor.shape != (len(tensors["label"]), *shape) or tensor.dtype != dtype:
                raise DataError(
                    f"Expected {path} to hold {name} as {spec.dtype} {list(spec.shape)}, but got {found.dtype} "
                    f"{list(found.shape[1:])}. Prepare it again."
                )
    return tensors
