"""Write a prepared folder: safetensors shards and a manifest, all of it or nothing. No torch in here."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from rollingq.data.shards import FORMAT, MANIFEST, Arrays, sha256_of
from rollingq.errors import DataError


def write_folder(out: Path, shards: Mapping[str, Arrays], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write shards that are in memory, and their manifest: first into a sibling folder, then renamed as a whole.

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
        raise unwritable(out, error) from error
    try:
        new = temporary / "new"
        new.mkdir()
        table = {f"{name}.safetensors": write_shard(new, name, arrays) for name, arrays in shards.items()}
        full = write_manifest(new, {**manifest, "shards": table})
        swap(new, out, temporary / "old")
    except OSError as error:
        raise unwritable(out, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return full


def refuse_foreign(out: Path, dataset: str) -> None:
    """Raise DataError unless ``out`` is new, empty, or an earlier prepared folder of the same dataset."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        manifest = json.loads((out / MANIFEST).read_bytes())  # Of any format: an older one is replaced as well.
        found = manifest.get("dataset") if "format" in manifest else None
    except (OSError, ValueError, AttributeError, TypeError):
        found = None
    if found != dataset:
        raise DataError(
            f"Expected --out to be new, empty or an earlier prepared {dataset} folder, but got {out} with other "
            "content. Give another folder; nothing was written."
        )


def write_shard(folder: Path, name: str, arrays: Arrays) -> dict[str, Any]:
    """Write ``name.safetensors`` at once or not at all, and return its entry of the manifest."""
    data = save({key: np.ascontiguousarray(array) for key, array in arrays.items()})
    write_durably(folder / f"{name}.safetensors", data)
    shapes = {key: list(array.shape) for key, array in arrays.items()}
    return {"sha256": sha256_of(data), "bytes": len(data), "tensors": shapes}


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest, with its format, and return it."""
    full = {"format": FORMAT, **manifest}
    write_durably(folder / MANIFEST, (json.dumps(full, indent=1) + "\n").encode())
    return full


def write_durably(path: Path, data: bytes) -> None:
    """Write a file that is there as a whole, on the disk, or not at all."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def swap(new: Path, out: Path, aside: Path) -> None:
    """Rename ``new`` to ``out``; an earlier ``out`` moves to ``aside`` first and comes back if the rename fails."""
    new.chmod(0o755)
    if not out.exists():
        new.rename(out)
        return
    shutil.rmtree(aside, ignore_errors=True)
    out.rename(aside)
    try:
        new.rename(out)
    except OSError:
        aside.rename(out)
        raise


def unwritable(out: Path, error: OSError) -> DataError:
    """Return the one line for a folder that cannot be written."""
    reason = error.strerror or type(error).__name__
    return DataError(f"Expected to write {out}, but got: {reason}. Check the disk and its permissions.")
