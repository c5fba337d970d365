"""From finished runs to cells and changes, ours beside the paper's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rollingq.evaluation.compare import interval
from rollingq.evaluation.diagnosis import Diagnosis
from rollingq.evaluation.results import Interval, RunResult
from rollingq.reproduce.entry import COUNTED, NOT_COMPARED, Training, Wanted
from rollingq.reproduce.readings import Value, biased_modality, read
from rollingq.reproduce.results import Cell, Change

Seeds = dict[int, Value]


@dataclass(frozen=True)
class Trained:
    """What is known of one training: its runs, and diagnoses by (method, seed)."""

    training: Training
    runs: Sequence[RunResult]
    rho: float
    """Sensitivity of RollingQ's anchor (Eq. 11)."""
    diagnoses: Mapping[tuple[str, int], Diagnosis] = field(default_factory=dict)

    def names(self) -> dict[str, str]:
        """Return what stands for {part}, {first}, {second}, {biased} and {other} in an entry."""
        return role_names(self.training, self.runs)

    def values(self, wanted: Wanted) -> Seeds:
        """Return seed -> the value of a cell, or why there is none."""
        names = self.names()
        method, measure = wanted.method.format(**names), wanted.measure.format(**names)
        runs = [run for run in self.runs if run.method == method]
        return {run.seed: read(measure, run, self.diagnoses.get((method, run.seed)), self.rho) for run in runs}


def role_names(training: Training, runs: Sequence[RunResult] = ()) -> dict[str, str]:
    """Return what stands for {part}, {first}, {second}, {biased} and {other}; the first is biased until it is known.

    Args:
        training: What was trained.
        runs: Its runs, if they are done.
    """
    part = training.part
    first, second = part.modalities
    biased = part.biased or biased_modality(runs) or first
    return {
        "part": part.title,
        "first": first,
        "second": second,
        "biased": biased,
        "other": second if biased == first else first,
    }


def cells_of(
    wanted: Sequence[Wanted], trained: Mapping[Training, Trained], counted: Mapping[tuple[str, str], float]
) -> list[Cell]:
    """Return every cell of an entry.

    Args:
        wanted: What the entry wants.
        trained: What was trained for it.
        counted: (method, measure) -> the count of what needs no data.
    """
    return [_cell(one, trained, counted) for one in wanted]


def _cell(wanted: Wanted, trained: Mapping[Training, Trained], counted: Mapping[tuple[str, str], float]) -> Cell:
    found = trained.get(wanted.training)
    known = role_names(wanted.training) if found is None else found.names()
    names = {**known, "part": wanted.part.title}
    if wanted.measure in COUNTED:
        ours, reason = _counted(counted[wanted.method, wanted.measure]), ""
    elif found is None:
        ours, reason = None, wanted.missing
    else:
        ours, reason = summary(found.values(wanted)) if wanted.is_run else (None, wanted.missing)
    return Cell(
        row=wanted.row.format(**names),
        column=wanted.column.format(**names),
        unit=wanted.unit,
        printed=wanted.printed,
        paper=wanted.paper,
        ours=ours,
        reason=reason,
    )


def _counted(value: float) -> Interval:
    """Return a count, which has no spread."""
    return Interval(value, 0.0, value, value, 0)


def summary(values: Seeds) -> tuple[Interval | None, str]:
    """Return the interval over the seeds that have a value, and why the others have none.

    Example:
        >>> summary({0: 0.5, 1: 0.7, 2: "no rotation took place"})[1]
        'seed 2: no rotation took place'
    """
    numbers = [value for value in values.values() if isinstance(value, float)]
    reasons: dict[str, list[str]] = {}
    for seed, value in values.items():
        if isinstance(value, str):
            reasons.setdefault(value, []).append(str(seed))
    if not numbers:
        return None, "; ".join(reasons) or "it was not run"
    said = "; ".join(f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}: {reason}" for reason, seeds in reasons.items())
    return interval(numbers), said


def changes_of(wanted: Sequence[Wanted], trained: Mapping[Training, Trained]) -> list[Change]:
    """Return what RollingQ changes in every value of which the paper gives the change, in numbers or words."""
    found = []
    for one in wanted:
        base = _without_rollingq(one, wanted)
        if base is not None and one.is_run and one.training in trained:
            change = _change(one, base, trained[one.training])
            found += [] if change is None else [change]
    return found


def _without_rollingq(one: Wanted, wanted: Sequence[Wanted]) -> Wanted | None:
    if "+rollingq" not in one.method or one.measure.partition(":")[0] in NOT_COMPARED:
        return None
    method = one.method.replace("+rollingq", "")
    same = (other for other in wanted if other.method == method and other.measure == one.measure)
    return next((other for other in same if other.training == one.training), None)


def _change(one: Wanted, base: Wanted, trained: Trained) -> Change | None:
    paper = None if one.paper is None or base.paper is None else round(one.paper - base.paper, 4)
    direction = one.direction if paper is None else (paper > 0) - (paper < 0)
    before, after = trained.values(base), trained.values(one)
    deltas = [
        value - other
        for seed, value in after.items()
        if isinstance(value, float) and isinstance(other := before.get(seed), float)
    ]
    if not deltas or (paper is None and not direction):
        return None
    names = {**trained.names(), "part": one.part.title}
    ours = interval(deltas)
    return Change(
        row=one.row.format(**names),
        column=one.column.format(**names),
        unit=one.unit,
        paper=paper,
        direction=direction,
        ours=ours,
        verdict=sign_verdict(ours, direction),
    )


def sign_verdict(ours: Interval, direction: int) -> str:
    """Return whether our change has the sign of the paper's; only an interval that leaves out 0 has a sign.

    Example:
        >>> sign_verdict(Interval(0.5, 0.1, 0.25, 0.75, 3), 1), sign_verdict(Interval(0.5, 0.8, -1.5, 2.5, 3), 1)
        ('same sign', 'cannot be told')
    """
    sign = (ours.low > 0) - (ours.high < 0)
    if not sign or not direction:
        return "cannot be told"
    return "same sign" if sign == direction else "other sign"
