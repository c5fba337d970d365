"""What can be done with a dataset by its name, importable without torch: load, prepare, check."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollingq.data.entries import DATASETS, DatasetEntry
from rollingq.data.locations import recall, remember
from rollingq.errors import DataError, unknown_name

if TYPE_CHECKING:
    from rollingq.data.base import MultimodalData
    from rollingq.data.prepare.engine import OnError, PrepareSummary
    from rollingq.data.prepare.source import Source
    from rollingq.data.shards import CheckReport


def entry_of(name: str) -> DatasetEntry:
    """Return the entry of a dataset.

    Raises:
        DataError: If there is no dataset of this name.

    Example:
        >>> entry_of("av_digits").num_classes
        10
    """
    if name not in DATASETS:
        raise DataError(unknown_name("dataset", name, DATASETS))
    return DATASETS[name]


def modalities_of(name: str, *, dir: str | Path | None = None) -> tuple[str, ...]:
    """Return the modalities of a dataset as it was prepared, in their order.

    Args:
        name: Name in ``DATASETS``.
        dir: Prepared folder; if None, the package's own or the one that ``prepare`` last made.

    Raises:
        DataError: If the name is unknown or the folder is not one of this dataset.

    Example:
        >>> modalities_of("av_digits")
        ('audio', 'image')
    """
    from rollingq.data.shards import read_manifest

    entry = entry_of(name)
    if entry.embedded:
        return entry.modalities
    return tuple(read_manifest(folder_of(entry, dir), name)["modalities"])


def load(name: str, *, dir: str | Path | None = None, modalities: Sequence[str] | None = None) -> "MultimodalData":
    """Return a dataset, normalised by its training split; what is large is read while training.

    Args:
        name: Name in ``DATASETS``.
        dir: Prepared folder; if None, the package's own or the one that ``prepare`` last made.
        modalities: Which modalities, in which order; all of them if None.

    Raises:
        DataError: If a name is unknown, ``modalities`` is empty or has doubles, or the data is missing or damaged.
        MissingExtraError: If a package that the dataset needs is not installed.

    Example:
        >>> load("av_digits", modalities=["audio"]).splits["val"].inputs["audio"].shape
        torch.Size([350, 12, 80])
    """
    entry = entry_of(name)
    existing = modalities_of(name, dir=dir)
    chosen = _chosen(entry, existing, existing if modalities is None else modalities)
    if entry.embedded:
        loaded: MultimodalData = _imported(f"rollingq.data.{name}:load")(
            dir=None if dir is None else Path(dir), modalities=chosen
        )
        return loaded
    from rollingq.data.prepared import load_folder

    return load_folder(folder_of(entry, dir), name=name, modalities=chosen)


def source_of(name: str) -> type["Source"]:
    """Return the class that reads a dataset's raw files; its fields are the options of ``prepare``.

    Raises:
        DataError: If the name is unknown, or nothing has to be prepared.

    Example:
        >>> source_of("utd_mhad")().depth
        'nearness'
    """
    entry = entry_of(name)
    if entry.source is None:
        raise DataError(
            f"Expected a dataset with raw files to prepare, but got {name}, which is embedded in the package: "
            "use it as it is."
        )
    found: type[Source] = _imported(entry.source)
    return found


def prepare(
    name: str,
    *,
    root: str | Path,
    out: str | Path,
    on_progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
    on_error: "OnError" = "report",
    options: Mapping[str, Any] | None = None,
) -> "PrepareSummary":
    """Turn a dataset's raw files into a prepared folder that ``load`` reads.

    Args:
        name: Name in ``DATASETS``.
        root: Folder of the raw files, as published.
        out: Folder to make.
        on_progress: Called with clips done and in all.
        workers: Processes that read files; as many as there are cores if None.
        on_error: "report" and "skip" write the sound clips and name the others; "raise" makes no folder if any is
            damaged.
        options: Fields of ``source_of(name)``.

    Raises:
        DataError: If a name or an option is unknown, nothing has to be prepared, the raw files are missing or ``out``
            is in use.
    """
    from rollingq.data.prepare.engine import prepare_source

    kind = source_of(name)
    for option in options or {}:
        if option not in kind.options():
            raise DataError(unknown_name(f"option of {name}", option, kind.options()))
    summary = prepare_source(
        kind(**(options or {})),
        root=Path(root),
        out=Path(out),
        on_progress=on_progress,
        workers=workers,
        on_error=on_error,
    )
    remember(name, Path(out))
    return summary


def check(
    name: str, *, dir: str | Path | None = None, on_progress: Callable[[int, int], None] | None = None
) -> "CheckReport":
    """Return the state of every shard of a dataset: sha-256, shapes, finite values.

    Args:
        name: Name in ``DATASETS``.
        dir: Prepared folder; if None, the package's own or the one that ``prepare`` last made.
        on_progress: Called with shards done and in all.

    Raises:
        DataError: If the name is unknown, or there is no readable manifest.

    Example:
        >>> check("av_digits").problems
        ()
    """
    from rollingq.data.shards import check_folder

    return check_folder(folder_of(entry_of(name), dir), name, on_progress)


def folder_of(entry: DatasetEntry, folder: str | Path | None) -> Path:
    """Return the prepared folder: the given one, the package's own, or the one last prepared.

    Raises:
        DataError: If there is none.
    """
    if folder is not None:
        return Path(folder)
    if entry.embedded:
        return Path(__file__).parent / "embedded" / entry.name
    remembered = recall(entry.name)
    if remembered is None:
        raise DataError(
            f"Expected the prepared folder of {entry.name}, but got none. Prepare it with 'rollingq data prepare "
            f"{entry.name} --root RAW --out DIR' and give --dir DIR; its raw files: {entry.where}."
        )
    return remembered


def _chosen(entry: DatasetEntry, existing: Sequence[str], modalities: Sequence[str]) -> tuple[str, ...]:
    names = (modalities,) if isinstance(modalities, str) else tuple(modalities)
    for name in names:
        if name not in existing:
            raise DataError(unknown_name(f"modality of {entry.name}", name, existing))
    if not names or len(set(names)) < len(names):
        raise DataError(
            f"Expected one or more different modalities of {entry.name}, but got {list(names)}. "
            f"Choose from {', '.join(existing)}, each at most once."
        )
    return names


def _imported(path: str) -> Any:  # noqa: ANN401
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
