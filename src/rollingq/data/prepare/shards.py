"""Write a prepared folder: safetensors shards and a manifest, all of it or nothing. No torch in here."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from rollingq.data.shards import FORMAT, MANIFEST, Arrays, read_manifest, sha256_of
from rollingq.errors import DataError


@dataclass(frozen=True)
class Skipped:
    """One recording that is not in the shards, and why."""

    name: str
    file: str
    """Path below the root of the raw files."""
    reason: str


@dataclass(frozen=True)
class PrepareSummary:
    """What ``prepare`` did: where, how many recordings of each split and class, and what it left out."""

    dataset: str
    folder: str
    counts: Mapping[str, Mapping[str, int]]
    """Split -> class -> recordings."""
    skipped: tuple[Skipped, ...]
    """Damaged or incomplete recordings; each is named, and a command should exit with 1 if there are any."""
    absent: tuple[str, ...]
    """Recordings of the published dataset that the root holds no file of."""

    @property
    def total(self) -> int:
        """Number of recordings written."""
        return sum(sum(split.values()) for split in self.counts.values())


def write_folder(out: Path, shards: Mapping[str, Arrays], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write shards and manifest into ``out``: first into a sibling folder, then renamed as a whole.

    Args:
        out: Folder to make. One that holds an earlier prepared folder of the same dataset is replaced.
        shards: File name without suffix -> arrays by name.
        manifest: Everything but "format" and "shards", which are added here.

    Returns:
        The manifest as written.

    Raises:
        DataError: If ``out`` is in use for something else, or cannot be written.

    Example:
        >>> import numpy as np, tempfile, pathlib
        >>> out = pathlib.Path(tempfile.mkdtemp()) / "made"
        >>> written = write_folder(out, {"train": {"x": np.zeros((2, 3))}}, {"dataset": "made"})
        >>> written["shards"]["train.safetensors"]["tensors"]
        {'x': [2, 3]}
    """
    refuse_foreign(out, str(manifest["dataset"]))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        full = _fill(temporary, shards, manifest)
        _swap(temporary, out)
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return full


def refuse_foreign(out: Path, dataset: str) -> None:
    """Raise DataError unless ``out`` is new, empty, or an earlier prepared folder of the same dataset."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        read_manifest(out, dataset)
    except DataError as error:
        raise DataError(
            f"Expected --out to be new, empty or an earlier prepared {dataset} folder, but got {out} with other "
            "content. Give another folder; nothing was written."
        ) from error


def _fill(folder: Path, shards: Mapping[str, Arrays], manifest: Mapping[str, Any]) -> dict[str, Any]:
    folder.chmod(0o755)
    table = {}
    for name, arrays in shards.items():
        data = save({key: np.ascontiguousarray(array) for key, array in arrays.items()})
        _write(folder / f"{name}.safetensors", data)
        shapes = {key: list(array.shape) for key, array in arrays.items()}
        table[f"{name}.safetensors"] = {"sha256": sha256_of(data), "bytes": len(data), "tensors": shapes}
    full = {"format": FORMAT, **manifest, "shards": table}
    _write(folder / MANIFEST, (json.dumps(full, indent=1, sort_keys=True) + "\n").encode())
    return full


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _swap(new: Path, out: Path) -> None:
    """Rename ``new`` to ``out``; an earlier ``out`` is put aside first and comes back if the rename fails."""
    if not out.exists():
        new.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent)) / "old"
    out.rename(old)
    try:
        new.rename(out)
    except OSError:
        old.rename(out)
        raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)


def _unwritable(out: Path, error: OSError) -> DataError:
    reason = error.strerror or type(error).__name__
    return DataError(f"Expected to write {out}, but got: {reason}. Check the disk and its permissions.")
