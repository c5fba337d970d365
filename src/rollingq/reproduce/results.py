"""What came out of reproducing an entry: plain dataclasses that go to JSON."""

from dataclasses import dataclass, field

from rollingq.evaluation.results import Interval


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One value of the paper and ours."""

    row: str
    column: str
    unit: str
    """"%", "M", "GMACs" or "" (none); of both values."""
    printed: str
    """As in the paper, "" where it prints nothing."""
    paper: float | None
    """None where the paper prints no number."""
    ours: Interval | None
    """Mean over seeds; None where it was not measured."""
    reason: str = ""
    """Why ours is missing, or which seeds are."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What RollingQ changes in one value, ours and the paper's, paired over seeds."""

    row: str
    column: str
    unit: str
    paper: float | None
    """None where the paper says the direction only in words."""
    direction: int
    """Sign of the paper's change: 1, -1 or 0."""
    ours: Interval
    verdict: str
    """"same sign", "other sign" or "cannot be told" (the 95 % interval holds 0, fewer than 2 seeds, or no sign)."""


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """One table or figure of the paper, ours beside the paper's."""

    entry: str
    title: str
    data: list[str]
    """Names of the datasets that were run."""
    label: str
    """What was run, in words: the paper's setting, or how it differs."""
    is_papers_setting: bool
    deviations: list[str]
    """What differs from the paper's setting, as far as the paper states it."""
    statement: str
    """What the paper says, where it prints no numbers."""
    cells: list[Cell]
    changes: list[Change]
    notes: list[str]
    seeds: int
    runs: list[str]
    """Folders of the runs."""
    seconds: float
    """Time of this call; runs kept from before take none."""
    reports: list[str] = field(default_factory=list)
    """The pages written."""
