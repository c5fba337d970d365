"""What an entry is: a table or figure of the paper, the trainings behind it, and what is read off for each cell."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

NEEDS = {"noise": "noise", "intervention": "interventions", "change": "interventions", "ood": "ood"}
"""Measure of a cell -> measure of ``rollingq diagnose`` behind it; the others are in every run."""
NOT_COMPARED = ("correlation",)
"""Measures whose change by RollingQ says nothing: the size of r grows with the wrong sign too."""
COUNTED = ("parameters", "macs")
"""Measures that need no data."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One way to train: a dataset, two modalities, and what is changed in the dataset's recipe."""

    title: str
    """As the paper calls it."""
    data: str
    """Name of the dataset."""
    modalities: tuple[str, str]
    biased: str | None = None
    """The modality that the paper says attention favours; None = it is measured."""
    changes: tuple[tuple[str, Any], ...] = ()
    """Settings, such as ("train.batch_size", 16)."""
    is_half: bool = False
    """Whether only the first half of the classes is trained on; the others are from outside of the distribution."""
    is_pretrained: bool = False
    """Whether the paper starts from ImageNet-21k."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One cell: what the paper prints, and where ours comes from.

    ``row``, ``column``, ``method`` and ``measure`` may hold {part}, {first}, {second}, {biased} and {other}, which
    stand for the title of the part and for names of modalities.
    """

    row: str
    column: str
    part: Part
    method: str
    measure: str
    printed: str = ""
    """As in the paper, "" where it prints nothing and "-" where it leaves the cell empty."""
    direction: int = 0
    """Where the paper only says it in words: the sign of the change that RollingQ brings, 0 = it does not say."""
    num_layers: int | None = None
    """Blocks of the encoders where the paper's method has more than its recipe."""
    missing: str = ""
    """Why it cannot be measured, "" if it can."""

    @property
    def paper(self) -> float | None:
        """The paper's value, None where it prints no number."""
        try:
            return float(self.printed)
        except ValueError:
            return None

    @property
    def unit(self) -> str:
        """Unit of both values."""
        kind = self.measure.partition(":")[0]
        return {"parameters": "M", "macs": "GMACs"}.get(kind, "" if kind in WITHOUT_UNIT else "%")

    @property
    def is_run(self) -> bool:
        """Whether a model has to be trained for it."""
        return not self.missing and self.measure not in COUNTED

    @property
    def training(self) -> "Training":
        """What has to be trained for it."""
        if self.num_layers is None:
            return Training(self.part)
        changes = (*self.part.changes, ("encoder.num_layers", self.num_layers))
        return Training(replace(self.part, title=f"{self.part.title}, {self.num_layers} blocks", changes=changes))


WITHOUT_UNIT = frozenset(
    (
        "correlation",
        "signed_correlation",
        "cosine",
        "noisy_cosine",
        "cosine_before",
        "cosine_after",
        "gap",
        "key_norm",
        "rotations",
        "angle",
        "weight",
        "gradient",
        "gradient_ratio",
    )
)
"""Measures that are not in per cent."""


@dataclass(frozen=True)
class Training:
    """Runs that share data and settings."""

    part: Part

    def methods_of(self, cells: Sequence[Wanted]) -> tuple[str, ...]:
        """Return the methods to train, each once, in the order of the cells."""
        names = [cell.method for cell in cells if cell.is_run and cell.training == self]
        return tuple(dict.fromkeys("unimodal" if "{" in name else name for name in names))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One table or figure of the paper."""

    name: str
    """Such as "table1"."""
    title: str
    cells: tuple[Wanted, ...]
    statement: str = ""
    """What the paper says, where it prints no numbers."""
    notes: tuple[str, ...] = ()
    """What a reader has to know to compare."""
    seeds: int = 3

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the paper's datasets, in its order."""
        return tuple(dict.fromkeys(cell.part.data for cell in self.cells if not cell.missing))

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods behind the cells, unimodal ones as "unimodal"."""
        names = ("unimodal" if cell.method.startswith("unimodal") else cell.method for cell in self.cells)
        return tuple(dict.fromkeys(names))

    @property
    def measures(self) -> tuple[str, ...]:
        """Measures of ``rollingq diagnose`` that it needs."""
        kinds = (cell.measure.partition(":")[0] for cell in self.cells if not cell.missing)
        return tuple(sorted({NEEDS[kind] for kind in kinds if kind in NEEDS}))

    @property
    def trainings(self) -> tuple[Training, ...]:
        """What has to be trained, each once."""
        return tuple(dict.fromkeys(cell.training for cell in self.cells if cell.is_run))


Fields = Mapping[str, Any]


def grid(columns: Sequence[tuple[str, Fields]], *rows: tuple[str, Fields, str]) -> tuple[Wanted, ...]:
    """Return the cells of a table; row and column say half of each cell's fields.

    Args:
        columns: Heading and fields of each column.
        rows: Heading, fields and what the paper prints, one word a column; "." = there is no such cell, "~" = the
            paper prints nothing, but we measure it.

    Example:
        >>> part = Part(title="CREMA-D", data="crema_d", modalities=("audio", "visual"))
        >>> grid([("Acc", {"part": part, "measure": "accuracy"})], ("MT", {"method": "mt"}, "48.8"))[0].paper
        48.8
    """
    return tuple(_cells(columns, rows))


def _cells(columns: Sequence[tuple[str, Fields]], rows: Sequence[tuple[str, Fields, str]]) -> Iterator[Wanted]:
    for row, fields, values in rows:
        for (column, more), printed in zip(columns, values.split(), strict=True):
            if printed != ".":
                yield Wanted(row=row, column=column, printed=printed.replace("~", ""), **{**more, **fields})
