"""Find, load and check the feature pickle of CMU-MOSEI, as MultiBench and MulT publish it. No torch in here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Num

from rollingq.data.prepare.source import BadFileError
from rollingq.data.raw.pickles import load_arrays
from rollingq.data.sources.sequences import finite
from rollingq.errors import DataError

FILES = ("mosei_senti_data.pkl", "mosei_senti_data_noalign.pkl", "mosei_raw.pkl")
KEYS = {"text": "text", "audio": "audio", "visual": "vision"}
"""Our name of a modality -> the pickle's."""
SPLIT_KEYS = {"train": "train", "val": "valid", "test": "test"}
_ADVICE = "Give MultiBench's or MulT's pickle of CMU-MOSEI, downloaded anew."


@dataclass(frozen=True)
class Split:
    """One split.

    Attributes:
        arrays: Modality -> ``[N, T, F]``, as in the pickle.
        sentiments: ``[N]``, from -3 to 3.
        names: What the pickle calls each entry; empty texts if it has no ids.
        videos: The video that each entry is from; empty texts if it has no ids.
    """

    arrays: Mapping[str, Num[np.ndarray, "N T F"]]
    sentiments: Float[np.ndarray, " N"]
    names: Sequence[str]
    videos: Sequence[str]

    def steps(self, index: int) -> tuple[dict[str, Float32[np.ndarray, "T F"]], dict[str, int]]:
        """Return the features of one entry by modality, and how many of them were not finite and are 0 now."""
        pairs = {modality: finite(array[index]) for modality, array in self.arrays.items()}
        return {m: steps for m, (steps, _) in pairs.items()}, {m: count for m, (_, count) in pairs.items()}


@dataclass(frozen=True)
class Content:
    """All of a pickle.

    Attributes:
        splits: "train", "val" and "test".
        widths: Modality -> features of a step.
        is_aligned: Whether the modalities have the same steps.
    """

    splits: Mapping[str, Split]
    widths: Mapping[str, int]
    is_aligned: bool


def find_pickle(root: Path, file: str = "") -> str:
    """Return the path of the pickle below ``root``; "." if the root is the pickle.

    Args:
        root: The pickle or its folder.
        file: Path of the pickle below the folder, if it is known.

    Raises:
        DataError: If there is none, or several.
    """
    if root.is_file() and not file:
        return "."
    found = [name for name in ([file] if file else FILES) if (root / name).is_file()]
    if not found:
        wanted = file or f"one of {', '.join(FILES)}"
        raise DataError(f"Expected --root to hold {wanted}, but got {root} without. Give the pickle's folder or path.")
    if len(found) > 1:
        raise DataError(f"Expected one pickle in {root}, but got {' and '.join(found)}. Choose one with file.")
    return found[0]


def load(path: Path) -> Content:
    """Return the content of a pickle; the last one is remembered until the file changes.

    Args:
        path: The pickle.

    Raises:
        DataError: If it is missing, damaged or of another form.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"Expected to read {path.name}, but got: {error.strerror}. Check --root.") from error
    return _load(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=1)
def _load(path: Path, _size: int, _changed: int) -> Content:
    try:
        table = load_arrays(path)
    except BadFileError as error:
        raise DataError(f"Expected a sound pickle, but got {path.name}: {error}. {_ADVICE}") from error
    try:
        return parse(table)
    except BadFileError as error:
        raise DataError(f"Expected {path.name} to be CMU-MOSEI, but got: {error}. {_ADVICE}") from error


def parse(table: object) -> Content:
    """Return what the unpickled table holds.

    Args:
        table: "train", "valid" and "test" -> "vision", "audio", "text" ``[N, T, F]``, "labels" ``[N]``, ``[N, 1]`` or
            ``[N, 1, 1]`` and, if there are ids, "id" with N entries.

    Raises:
        BadFileError: If anything is missing or of another form.
    """
    parts = _members(table, SPLIT_KEYS.values(), "the pickle")
    splits = {split: _split(parts[key], key) for split, key in SPLIT_KEYS.items()}
    widths = {m: sorted({split.arrays[m].shape[2] for split in splits.values()}) for m in KEYS}
    for modality, found in widths.items():
        if len(found) > 1:
            raise BadFileError(f"{KEYS[modality]} of {' and '.join(map(str, found))} features in different splits")
    lengths = [{array.shape[1] for array in split.arrays.values()} for split in splits.values()]
    return Content(splits, {m: found[0] for m, found in widths.items()}, all(len(found) == 1 for found in lengths))


def _split(table: object, key: str) -> Split:
    parts = _members(table, (*KEYS.values(), "labels"), key)
    arrays = {modality: _features(parts[name], f"{key}/{name}") for modality, name in KEYS.items()}
    sentiments = _labels(parts["labels"], f"{key}/labels")
    sizes = {name: len(arrays[m]) for m, name in KEYS.items()} | {"labels": len(sentiments)}
    pairs = [("", "")] * len(sentiments) if parts.get("id") is None else _identities(parts["id"], f"{key}/id")
    sizes = {name: len(arrays[m]) for m, name in KEYS.items()} | {"labels": len(sentiments), "id": len(pairs)}
    if len(set(sizes.values())) > 1:
        raise BadFileError(f"{key} with {', '.join(f'{size} {name}' for name, size in sizes.items())}")
    return Split(arrays, sentiments, [name for name, _ in pairs], [video for _, video in pairs])


def _members(table: object, keys: Iterable[str], where: str) -> dict[Any, Any]:
    if not isinstance(table, dict):
        raise BadFileError(f"{where} as {type(table).__name__}, not as a dict")
    missing = [key for key in keys if key not in table]
    if missing:
        raise BadFileError(f"no {' and no '.join(missing)} in {where}")
    return table


def _features(array: object, where: str) -> Num[np.ndarray, "N T F"]:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise BadFileError(f"no array of numbers as {where}")
    if array.ndim != 3 or array.shape[2] == 0:
        raise BadFileError(f"{where} of shape {list(array.shape)}, not [entries, steps, features]")
    return array


def _labels(array: object, where: str) -> Float[np.ndarray, " N"]:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise BadFileError(f"no array of numbers as {where}")
    if array.ndim == 0 or array.size != len(array):
        raise BadFileError(f"{where} of shape {list(array.shape)}, not one label for each entry")
    return array.reshape(-1).astype(np.float64)


def _identities(ids: object, where: str) -> list[tuple[str, str]]:
    """Return the name of each entry and its video, from "video[3]" or (video, start, end)."""
    if not isinstance(ids, list | tuple | np.ndarray) or (isinstance(ids, np.ndarray) and ids.ndim == 0):
        raise BadFileError(f"{where} as {type(ids).__name__}, not as a list")
    return [_identity(row, where) for row in ids]


def _identity(row: object, where: str) -> tuple[str, str]:
    parts = row.ravel().tolist() if isinstance(row, np.ndarray) else row if isinstance(row, list | tuple) else [row]
    texts = [_text(part, where) for part in parts[:3]]
    return "_".join(texts), texts[0].partition("[")[0] if texts else ""


def _text(part: object, where: str) -> str:
    if not isinstance(part, str | bytes | int | float | np.generic):
        raise BadFileError(f"{where} with {type(part).__name__}, not with texts and numbers")
    text = str(part, "utf-8", "replace") if isinstance(part, bytes) else str(part)
    return "".join(c if c.isprintable() and c != " " else "?" for c in text)[:60]
