"""Read a prepared folder: ``manifest.json`` and the safetensors shards it vouches for. No torch in here."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
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
Progress = Callable[[int, int], None]
FORMAT = 2
MANIFEST = "manifest.json"
SAMPLES = "samples.csv"
"""One line for every sample: shard, row, name, class, group."""
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


def read_manifest(folder: Path, dataset: str | None = None) -> dict[str, Any]:
    """Return the manifest of a prepared folder.

    Args:
        folder: Folder that ``rollingq data prepare`` wrote.
        dataset: Name of the dataset that the folder has to hold; any if None.

    Raises:
        DataError: If there is no readable manifest of this dataset and this format.
    """
    path = folder / MANIFEST
    advice = f"Prepare it again: rollingq data prepare {dataset or 'NAME'} --root RAW --out {folder}."
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(
            f"Expected a prepared {dataset or 'dataset'} folder, but got no readable {path} ({reason}). {advice}"
        ) from error
    except ValueError as error:
        raise DataError(f"Expected {path} to be JSON, but got damaged text. {advice}") from error
    found = manifest.get("dataset") if isinstance(manifest, dict) else None
    if not isinstance(found, str) or dataset not in (None, found):
        raise DataError(
            f"Expected {path} to describe {dataset or 'a dataset'!r}, but got {found!r}. Give the right --dir."
        )
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
    _expect_sha256(folder / file, sha256_of(data), promise.get("sha256"))
    try:
        arrays: Arrays = load(data)
    except SafetensorError as error:
        raise DataError(f"Expected {folder / file} to be safetensors, but got {error}. Prepare it again.") from error
    for problem in _problems(arrays, promise.get("tensors", {})):
        raise DataError(f"Expected {folder / file} to hold {problem}. Prepare it again.")
    return arrays


def read_samples(folder: Path, manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the names of the samples of every split, in the order of the shards.

    Raises:
        DataError: If the table of samples is missing or was changed.
    """
    data = _read(folder / SAMPLES)
    _expect_sha256(folder / SAMPLES, sha256_of(data), manifest["samples"]["sha256"])
    names: dict[str, list[str]] = {}
    for row in csv.DictReader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")):
        names.setdefault(row["shard"].rpartition("-")[0], []).append(row["name"])
    return names


def verify(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compare every shard with its sha-256, without holding it in memory.

    Raises:
        DataError: If a shard is missing or was changed.
    """
    for file, promise in manifest["shards"].items():
        try:
            with (folder / file).open("rb") as shard:
                found = hashlib.file_digest(shard, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(folder / file, error) from error
        _expect_sha256(folder / file, found, promise.get("sha256"))


def expect_shapes(path: Path, shapes: Mapping[str, list[int]], promise: Mapping[str, Any]) -> None:
    """Raise DataError unless a shard's arrays have the promised names and shapes."""
    if shapes != promise["tensors"]:
        raise DataError(f"Expected {path} to hold {promise['tensors']}, but got {dict(shapes)}. Prepare it again.")


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


def check_folder(folder: Path, dataset: str, on_progress: Progress | None = None) -> CheckReport:
    """Return the state of every shard: sha-256, shapes, finite values; all problems, not only the first.

    Args:
        folder: Prepared folder.
        dataset: Name of the dataset that it has to hold.
        on_progress: Called with shards done and in all.

    Raises:
        DataError: If the manifest itself cannot be read.
    """
    manifest = read_manifest(folder, dataset)
    shards = []
    for done, file in enumerate(sorted(manifest["shards"]), 1):
        shards.append(_check(folder, manifest, file))
        if on_progress is not None:
            on_progress(done, len(manifest["shards"]))
    if "samples" in manifest:
        shards.append(_check_samples(folder, manifest))
    return CheckReport(dataset, str(folder), tuple(shards))


def _check_samples(folder: Path, manifest: Mapping[str, Any]) -> ShardCheck:
    try:
        names = read_samples(folder, manifest)
    except DataError as error:
        return ShardCheck(SAMPLES, str(manifest["samples"]["sha256"]), {}, str(error))
    return ShardCheck(SAMPLES, manifest["samples"]["sha256"], {s: (len(rows),) for s, rows in names.items()}, None)


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
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    reason = error.strerror or type(error).__name__
    return DataError(f"Expected the shard {path}, but got: {reason}. Restore it or prepare it again.")


def _expect_sha256(path: Path, found: str, promised: object) -> None:
    if found != promised:
        raise DataError(
            f"Expected {path} to have sha-256 {str(promised)[:12]}..., but got {found[:12]}...: the file was changed "
            "or damaged. Restore it or prepare it again."
        )


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
