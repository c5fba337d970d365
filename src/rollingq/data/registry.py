"""The datasets by name, importable without torch: what they are, and how to load, prepare and check them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rollingq.data.locations import recall, remember
from rollingq.errors import DataError, unknown_name

if TYPE_CHECKING:
    from rollingq.data.base import MultimodalData
    from rollingq.data.prepare.shards import PrepareSummary
    from rollingq.data.shards import CheckReport


@dataclass(frozen=True)
class DatasetEntry:
    """One dataset: facts for people, and where its code is."""

    name: str
    title: str
    modalities: tuple[str, ...]
    num_classes: int
    licence: str
    source: str
    summary: str
    embedded: bool
    """Whether the data is in the package, so that nothing has to be prepared."""
    loader: str
    """Import path of its loader, ``module:function``."""
    preparer: str | None
    """Import path of what prepares it from raw files, or None."""


_ENTRIES = (
    DatasetEntry(
        name="av_digits",
        title="AV-Digits",
        modalities=("audio", "image"),
        num_classes=10,
        licence="images CC BY 4.0 (UCI, by way of scikit-learn); made speech features Apache-2.0",
        source="scikit-learn load_digits; espeak-ng 1.51 by scripts/make_av_digits.py",
        summary="A handwritten digit (real) and the same digit spoken in noise (made by a speech synthesiser).",
        embedded=True,
        loader="rollingq.data.av_digits:load",
        preparer=None,
    ),
    DatasetEntry(
        name="utd_mhad",
        title="UTD-MHAD",
        modalities=("inertial", "depth", "skeleton"),
        num_classes=27,
        licence="free for research; cite Chen, Jafari, Kehtarnavaz, ICIP 2015",
        source="https://personal.utdallas.edu/~kehtar/UTD-MHAD.html",
        summary="27 human actions of 8 people: a wearable inertial sensor, depth video, and skeletons.",
        embedded=False,
        loader="rollingq.data.utd_mhad:load",
        preparer="rollingq.data.prepare.utd_mhad:prepare",
    ),
)
DATASETS: dict[str, DatasetEntry] = {entry.name: entry for entry in _ENTRIES}


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


def load(name: str, *, dir: str | Path | None = None, modalities: Sequence[str] | None = None) -> "MultimodalData":
    """Return a dataset in memory, normalised by its training split.

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
    chosen = _chosen(entry, entry.modalities if modalities is None else modalities)
    folder = _folder(entry, dir)
    loaded: MultimodalData = _imported(entry.loader)(dir=folder, modalities=chosen)
    return loaded


def prepare(
    name: str,
    *,
    root: str | Path,
    out: str | Path,
    on_progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
    on_error: Literal["skip", "raise"] = "skip",
) -> "PrepareSummary":
    """Turn a dataset's raw files into a prepared folder that ``load`` reads.

    Args:
        name: Name in ``DATASETS``.
        root: Folder of the raw files, as published.
        out: Folder to make.
        on_progress: Called with recordings done and in all.
        workers: Processes that read files; as many as there are cores if None.
        on_error: "skip" writes the sound recordings and names the others; "raise" writes nothing if any is damaged.

    Raises:
        DataError: If the name is unknown, nothing has to be prepared, the raw files are missing or ``out`` is in use.
    """
    entry = entry_of(name)
    if entry.preparer is None:
        raise DataError(
            f"Expected a dataset with raw files to prepare, but got {name}, which is embedded in the package: "
            "use it as it is."
        )
    preparer = _imported(entry.preparer)
    summary: PrepareSummary = preparer(
        root=Path(root), out=Path(out), on_progress=on_progress, workers=workers, on_error=on_error
    )
    remember(name, Path(out))
    return summary


def check(name: str, *, dir: str | Path | None = None) -> "CheckReport":
    """Return the state of every shard of a dataset: sha-256, shapes, finite values.

    Args:
        name: Name in ``DATASETS``.
        dir: Prepared folder; if None, the package's own or the one that ``prepare`` last made.

    Raises:
        DataError: If the name is unknown, or there is no readable manifest.

    Example:
        >>> check("av_digits").problems
        ()
    """
    from rollingq.data.shards import check_folder

    entry = entry_of(name)
    return check_folder(_folder(entry, dir) or _embedded(entry), name)


def _chosen(entry: DatasetEntry, modalities: Sequence[str]) -> tuple[str, ...]:
    names = (modalities,) if isinstance(modalities, str) else tuple(modalities)
    for name in names:
        if name not in entry.modalities:
            raise DataError(unknown_name(f"modality of {entry.name}", name, entry.modalities))
    if not names or len(set(names)) < len(names):
        raise DataError(
            f"Expected one or more different modalities of {entry.name}, but got {list(names)}. "
            f"Choose from {', '.join(entry.modalities)}, each at most once."
        )
    return names


def _folder(entry: DatasetEntry, folder: str | Path | None) -> Path | None:
    if folder is None and not entry.embedded:
        remembered = recall(entry.name)
        if remembered is not None:
            return remembered
        raise DataError(
            f"Expected the prepared folder of {entry.name}, but got none. Prepare it with 'rollingq data prepare "
            f"{entry.name} --root RAW --out DIR' and give --dir DIR."
        )
    return None if folder is None else Path(folder)


def _embedded(entry: DatasetEntry) -> Path:
    return Path(__file__).parent / "embedded" / entry.name


def _imported(path: str) -> Callable[..., Any]:
    module, _, function = path.partition(":")
    imported: Callable[..., Any] = getattr(import_module(module), function)
    return imported
