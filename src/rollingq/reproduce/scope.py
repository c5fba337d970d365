"""What of an entry is run: on the paper's data as far as it is here, or the same procedure on other data."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from rollingq.data.entries import DATASETS
from rollingq.errors import ConfigError
from rollingq.reproduce.entry import COUNTED, Entry, Wanted


def on_papers_data(entry: Entry, here: Mapping[str, Collection[str]]) -> Entry:
    """Return the entry with the cells whose data is not here marked as missing, with the reason.

    What the paper leaves empty is not run.

    Args:
        entry: What to run.
        here: Datasets that are to be run -> their modalities, as they were prepared.
    """
    printed = [cell for cell in entry.cells if cell.printed != "-"]
    return replace(entry, cells=tuple(_on_papers_data(cell, here) for cell in printed))


def _on_papers_data(cell: Wanted, here: Mapping[str, Collection[str]]) -> Wanted:
    part = cell.part
    if cell.measure in COUNTED or cell.missing:
        return cell
    if part.data not in here:
        return replace(cell, missing=f"{part.title} was not run")
    lacking = [name for name in part.modalities if name not in here[part.data]]
    return replace(cell, missing=f"the prepared {part.data} has no {' and no '.join(lacking)}") if lacking else cell


def with_outside(entry: Entry, kind: str) -> Entry:
    """Return the entry with its outside samples from a folder of their own: all classes of the data are inside.

    Args:
        entry: What to run.
        kind: "near" if the folder holds other classes of the same dataset, "far" if it holds another dataset.

    Raises:
        ConfigError: If the entry has no outside samples.

    Example:
        >>> from rollingq.reproduce.entries import ENTRIES
        >>> [cell.missing for cell in with_outside(ENTRIES["table10"], "far").cells][3]
        ''
    """
    if "ood" not in entry.measures:
        raise ConfigError(f"Expected no --outside for {entry.name}, which detects nothing; leave it out.")
    other = "near" if kind == "far" else "far"
    return replace(entry, cells=tuple(_with_outside(cell, f"ood:{other}:", kind) for cell in entry.cells))


def _with_outside(cell: Wanted, left_out: str, kind: str) -> Wanted:
    missing = f"the samples of --outside are {kind}" if cell.measure.startswith(left_out) else ""
    return replace(cell, part=replace(cell.part, is_half=False), missing=missing)


def on_other_data(entry: Entry, data: str, modalities: tuple[str, ...]) -> Entry:
    """Return the same procedure on another dataset, which stands in for the first of the entry's own.

    Other datasets of the entry are left out. What the paper leaves empty is run too. The favoured modality is
    measured, and every method has the encoders of the dataset's recipe, but for what the entry varies.

    Args:
        entry: What to run.
        data: Name of the dataset.
        modalities: Two of its modalities.

    Raises:
        ConfigError: If the modalities are not two.

    Example:
        >>> from rollingq.reproduce.entries import ENTRIES
        >>> on_other_data(ENTRIES["table7"], "av_mnist", ("audio", "image")).cells[0].method
        'unimodal:{first}'
    """
    if len(modalities) != 2:
        raise ConfigError(
            f"Expected two modalities, as everywhere in the paper, but got {', '.join(modalities)}; give --modalities."
        )
    first = entry.cells[0].part
    kept = [cell for cell in entry.cells if (cell.part.data, cell.part.modalities) == (first.data, first.modalities)]
    return replace(entry, cells=tuple(_moved(cell, data, (modalities[0], modalities[1])) for cell in kept))


def _moved(cell: Wanted, data: str, modalities: tuple[str, str]) -> Wanted:
    title = cell.part.title.replace(DATASETS[cell.part.data].title, data)
    part = replace(cell.part, title=title, data=data, modalities=modalities, biased=None, is_pretrained=False)
    return replace(cell, part=part, num_layers=None)


def missing_lines(entries: Collection[Entry], missing: Collection[str]) -> list[str]:
    """Return one line a missing dataset: for what it is needed, where it is from, how to prepare it.

    Args:
        entries: What was asked for.
        missing: Names of the datasets that are not here.

    Example:
        >>> from rollingq.reproduce.entries import ENTRIES
        >>> missing_lines([ENTRIES["table5"]], ["crema_d"])[0][:49]
        'crema_d is not prepared (needed by table5). Raw f'
    """
    return [
        f"{data} is not prepared (needed by {', '.join(entry.name for entry in entries if data in entry.datasets)}). "
        f"{how_to_get(data)}"
        for data in dict.fromkeys(missing)
    ]


def how_to_get(data: str) -> str:
    """Return where a dataset's raw files are and the command that prepares them."""
    return f"Raw files: {DATASETS[data].where}. Then: rollingq data prepare {data} --root RAW --out DIR."
