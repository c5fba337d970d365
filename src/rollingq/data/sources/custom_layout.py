"""The two ways to lay out one's own data: a table samples.csv, or folders of splits and classes. No torch in here."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from rollingq.data.prepare.source import SPLITS, Skipped
from rollingq.data.sources.audio_visual import files_below
from rollingq.data.sources.custom_files import KINDS, kind_of
from rollingq.data.sources.splits import at_lines, read_csv
from rollingq.errors import DataError

TABLE = "samples.csv"
COLUMNS = ("name", "split", "label", "group", "start", "end")
"""Columns that are no modality; only name and label have to be there."""
LAYOUT = (
    f"the table {TABLE} with the columns name, label and one for each modality, "
    "or files such as train/dog/clip1.audio.wav"
)
SUFFIXES = ", ".join(suffix for suffixes in KINDS.values() for suffix in suffixes)
_MODALITY = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Sample:
    """One sample as the user states it."""

    name: str
    split: str
    """Empty if the user leaves it to us."""
    label: str
    files: Mapping[str, str]
    """Modality -> path below the root."""
    group: str = ""
    start: float = 0.0
    end: float = 0.0


def read_layout(root: Path) -> tuple[list[Sample], list[Skipped]]:
    """Return the user's samples, by the table if there is one, and files that are none.

    Raises:
        DataError: If there is no sample, or the table has a mistake.
    """
    if not root.is_dir():
        raise DataError(f"Expected --root to hold {LAYOUT}, but got {root}, which is no folder. Check the path.")
    samples, skipped = (from_table(root / TABLE), []) if (root / TABLE).is_file() else from_folders(root)
    if not samples:
        raise DataError(f"Expected {root} to hold {LAYOUT}, but got none of them. See the layout in the docs.")
    return samples, skipped


def from_table(path: Path) -> list[Sample]:
    """Return the samples of the table, in its order.

    Raises:
        DataError: For the first kind of mistake; it names the first lines that have it.
    """
    lines = read_csv(path)
    header = lines[0][1] if lines else []
    _check_header(path, header)
    ragged = [number for number, cells in lines[1:] if len(cells) != len(header)]
    _refuse(path, ragged, f"{len(header)} cells as in the header")
    rows = {n: dict(zip(header, cells, strict=True)) for n, cells in lines[1:]}
    modalities = [column for column in header if column not in COLUMNS]
    _check_rows(path, rows, modalities)
    return [_sample(row, modalities) for row in rows.values()]


def from_folders(root: Path) -> tuple[list[Sample], list[Skipped]]:
    """Return the samples of ``split/class/name.modality.suffix``, sorted, and the files of other names.

    Raises:
        DataError: If one modality of a sample has two files.
    """
    samples: dict[str, Sample] = {}
    skipped = []
    for file in _files(root):
        stem, reason = _parse(file)
        if reason:
            skipped.append(Skipped(stem, file, reason))
            continue
        name, _, modality = stem.rpartition(".")
        split, label, _ = file.split("/")
        sample = samples.setdefault(f"{split}/{label}/{name}", Sample(f"{split}/{label}/{name}", split, label, {}))
        if modality in sample.files:
            raise DataError(f"Expected one file of each modality, but got {sample.files[modality]} and {file}.")
        samples[sample.name] = Sample(sample.name, split, label, {**sample.files, modality: file})
    return list(samples.values()), skipped


def kinds_of(samples: Sequence[Sample]) -> dict[str, str]:
    """Return modality -> kind of its files, in the order in which they are named.

    Raises:
        DataError: If a modality has files of several kinds.

    Example:
        >>> kinds_of([Sample("one", "train", "dog", {"audio": "a.wav", "visual": "a.mp4"})])
        {'audio': 'sound', 'visual': 'video'}
    """
    first: dict[str, str] = {}
    for sample in samples:
        for modality, file in sample.files.items():
            other = first.setdefault(modality, file)
            if kind_of(file, modality) != kind_of(other, modality):
                raise DataError(
                    f"Expected all files of {modality} to be of one kind, but got {other} and {file}. Convert some."
                )
    return {modality: kind_of(file, modality) or "" for modality, file in first.items()}


def sorted_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct labels: by value if all are numbers, else by text.

    Example:
        >>> sorted_labels(["10", "9", "9"]), sorted_labels(["dog", "cat"])
        (('9', '10'), ('cat', 'dog'))
    """
    distinct = sorted(set(labels))
    return tuple(sorted(distinct, key=float) if all(_is_finite(label) for label in distinct) else distinct)


def is_inside(file: str) -> bool:
    """Return whether a path stays below the root it is joined to.

    Example:
        >>> is_inside("a/b.wav"), is_inside("../b.wav"), is_inside("/b.wav"), is_inside("C:/b.wav")
        (True, False, False, False)
    """
    return not (PurePosixPath(file).is_absolute() or PureWindowsPath(file).anchor or ".." in re.split(r"[/\\]", file))


def _check_header(path: Path, header: Sequence[str]) -> None:
    modalities = [column for column in header if column not in COLUMNS]
    missing = [column for column in ("name", "label") if column not in header]
    odd = [repr(column) for column in modalities if not _MODALITY.fullmatch(column)]
    if missing or odd or not modalities or len(set(header)) < len(header):
        got = ", ".join(header) or "an empty file"
        raise DataError(
            f"Expected {path} to have the columns name, label and one of letters and digits for each modality, each "
            f"once, but got {got} in line 1. Mend the header."
        )


def _check_rows(path: Path, rows: Mapping[int, Mapping[str, str]], modalities: Sequence[str]) -> None:
    if not rows:
        raise DataError(f"Expected {path} to have a line for each sample, but got the header alone. Add the samples.")
    files = {number: {m: row[m] for m in modalities if row[m]} for number, row in rows.items()}
    names: dict[str, int] = {}
    twice = [n for n, row in rows.items() if names.setdefault(row["name"], n) != n]
    has_split = any(row.get("split") for row in rows.values())
    kinds = {n: [kind_of(file, m) for m, file in row.items()] for n, row in files.items()}
    _refuse(path, [n for n, row in rows.items() if not (row["name"] and row["label"])], "a name and a label")
    _refuse(path, twice, "every name once")
    splits = f"a split of {', '.join(SPLITS)}, or none in any line,"
    _refuse(path, [n for n, row in rows.items() if has_split and row["split"] not in SPLITS], splits)
    _refuse(path, [n for n, row in files.items() if not row], "a file of at least one modality")
    _refuse(path, [n for n, row in files.items() if not all(map(is_inside, row.values()))], "paths below the root")
    _refuse(path, [n for n, found in kinds.items() if None in found], f"files of the types {SUFFIXES}")
    _refuse(path, [n for n, row in rows.items() if not _has_times(row)], "start and end in seconds, start before end,")


def _refuse(path: Path, lines: Sequence[int], expected: str) -> None:
    if lines:
        raise DataError(f"Expected {expected} in {path}, but got something else in {at_lines(lines)}. Mend the table.")


def _has_times(row: Mapping[str, str]) -> bool:
    texts = [row.get(column) or "0" for column in ("start", "end")]
    if not all(map(_is_finite, texts)):
        return False
    start, end = map(float, texts)
    return start >= 0 and (end > start or end == 0)


def _sample(row: Mapping[str, str], modalities: Sequence[str]) -> Sample:
    files = {modality: PurePosixPath(row[modality]).as_posix() for modality in modalities if row[modality]}
    start, end = (float(row.get(column) or 0) for column in ("start", "end"))
    return Sample(row["name"], row.get("split", ""), row["label"], files, row.get("group", ""), start, end)


def _files(root: Path) -> list[str]:
    """Return all files below the folders of the splits; hidden ones do not count."""
    folders = (root / split for split in SPLITS)
    files = (f"{folder.name}/{file}" for folder in folders if folder.is_dir() for file in files_below(folder))
    return sorted(file for file in files if not any(part.startswith(".") for part in file.split("/")))


def _parse(file: str) -> tuple[str, str]:
    """Return name and modality of a file with a dot between them, and why it is no sample's file, if it is not."""
    stem = PurePosixPath(file).stem
    name, _, modality = stem.rpartition(".")
    if file.count("/") != 2 or not name or not _MODALITY.fullmatch(modality) or modality in COLUMNS:
        return stem, "expected a file such as train/dog/clip1.audio.wav, got another name or depth"
    if kind_of(file, modality) is None:
        return stem, f"expected a file of the types {SUFFIXES}, got {PurePosixPath(file).suffix or 'none'}"
    return stem, ""


def _is_finite(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False
