"""Read a prepared folder: ``manifest.json`` and the safetensors shards it vouches for. No torch in here."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from rollingq.errors import DataError

Arrays = dict[str, NDArray[Any]]
FORMAT = 1
MANIFEST = "manifest.json"
_KEYS = {"dataset", "classes", "splits", "shards", "recipe", "modalities"}


@dataclass(frozen=True)
class ShardCheck:
    """What ``check`` found in one shard."""

    file: str
    sha256: str
    shapes: Mapping[str, tuple[int, ...]]
    problem: str | None
    """One line on what is wrong, or None."""


@dataclass(frozen=True)
class CheckReport:
    """What ``check`` found in a prepared folder."""

    dataset: str
    folder: str
    shards: tuple[ShardCheck, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for every damaged shard; empty if the folder is sound."""
        return tuple(shard.problem for shard in self.shards if shard.problem)


def sha256_of(data: bytes) -> str:
    """Return the hexadecimal sha-256.

    Example:
        >>> sha256_of(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def read_manifest(folder: Path, dataset: str) -> dict[str, Any]:
    """Return the manifest of a prepared folder.

    Args:
        folder: Folder that ``rollingq data prepare`` wrote.
        dataset: Registry name that the folder has to hold.

    Raises:
        DataError: If there is no readable manifest of this dataset and this format.
    """
    path = folder / MANIFEST
    advice = f"Prepare it again: rollingq data prepare {dataset} --root RAW --out {folder}."
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(
            f"Expected a prepared {dataset} folder, but got no readable {path} ({reason}). {advice}"
        ) from error
    except ValueError as error:
        raise DataError(f"Expected {path} to be JSON, but got damaged text. {advice}") from error
    found = manifest.get("dataset") if isinstance(manifest, dict) else None
    if found != dataset:
        raise DataError(f"Expected {path} to describe {dataset!r}, but got {found!r}. Give the right --dir.")
    if manifest.get("format") != FORMAT or not manifest.keys() >= _KEYS or not _is_table(manifest["shards"]):
        raise DataError(f"Expected {path} to be of format {FORMAT}, but got another or an incomplete one. {advice}")
    return dict(manifest)


def read_shard(folder: Path, manifest: Mapping[str, Any], file: str) -> Arrays:
    """Return the arrays of one shard after checking its sha-256, shapes and values.

    Raises:
        DataError: If the file is missing, changed, of another shape than promised, or holds NaN or infinity.
    """
    data = _read(folder / file)
    promise = manifest["shards"].get(file, {})
    if sha256_of(data) != promise.get("sha256"):
        raise DataError(
            f"Expected {folder / file} to have sha-256 {str(promise.get('sha256'))[:12]}..., but got "
            f"{sha256_of(data)[:12]}...: the file was changed or damaged. Restore it or prepare it again."
        )
    try:
        arrays: Arrays = load(data)
    except SafetensorError as error:
        raise DataError(f"Expected {folder / file} to be safetensors, but got {error}. Prepare it again.") from error
    for problem in _problems(arrays, promise.get("tensors", {})):
        raise DataError(f"Expected {folder / file} to hold {problem}. Prepare it again.")
    return arrays


@contextmanager
def described_by_manifest(folder: Path) -> Iterator[None]:
    """Turn what a damaged manifest makes go wrong inside the block into one line.

    Raises:
        DataError: If an entry is absent or of the wrong form.
    """
    try:
        yield
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(
            f"Expected {folder / MANIFEST} to describe its shards, but got a damaged one "
            f"({type(error).__name__}: {error}). Prepare it again."
        ) from error


def check_folder(folder: Path, dataset: str) -> CheckReport:
    """Return the state of every shard: sha-256, shapes, finite values; all problems, not only the first.

    Raises:
        DataError: If the manifest itself cannot be read.
    """
    manifest = read_manifest(folder, dataset)
    return CheckReport(
        dataset, str(folder), tuple(_check(folder, manifest, file) for file in sorted(manifest["shards"]))
    )


def _check(folder: Path, manifest: Mapping[str, Any], file: str) -> ShardCheck:
    promise = manifest["shards"][file]
    try:
        arrays = read_shard(folder, manifest, file)
    except DataError as error:
        return ShardCheck(file, str(promise.get("sha256")), {}, str(error))
    return ShardCheck(file, promise["sha256"], {name: array.shape for name, array in arrays.items()}, None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"Expected the shard {path}, but got: {reason}. Restore it or prepare it again.") from error


def _is_table(shards: object) -> bool:
    """Return whether every key is a plain file name (nothing outside the folder) with a table as its value."""
    return isinstance(shards, dict) and all(Path(k).name == k and isinstance(v, dict) for k, v in shards.items())


def _problems(arrays: Arrays, promised: Mapping[str, Any]) -> Iterator[str]:
    if arrays.keys() != promised.keys():
        yield f"{', '.join(sorted(promised))}, but got {', '.join(sorted(arrays))}"
    for name, array in arrays.items():
        if list(array.shape) != promised.get(name):
            yield f"{name} of shape {promised.get(name)}, but got {list(array.shape)}"
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            yield f"finite numbers in {name}, but got NaN or infinity"
