"""The tables as plain data: titles, headers and cells that HTML and Markdown show alike."""

from dataclasses import dataclass, field

from rollingq.evaluation.results import Comparison, MethodSummary
from rollingq.reporting.lookup import (
    CHOSEN_ON_TEST,
    alone_accuracy,
    attention_summaries,
    fusion_summaries,
    is_chosen_on_test,
    reading_of,
)
from rollingq.reporting.text import (
    DASH,
    bounds,
    clean,
    has_spread,
    is_defined,
    mean_and_spread,
    number,
    p_value,
    percent,
    points,
)

WRONG_SIGN = "wrong sign"
"""The mark of a correlation of attention with noise that is positive."""


@dataclass(frozen=True)
class Cell:
    """One cell: what is shown, the number to sort by, and a mark in words."""

    text: str
    value: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Grid:
    """One table; the first cell of every row is its header."""

    title: str
    header: list[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    groups: list[tuple[str, int]] = field(default_factory=list)
    """What stands over the header: ``(name, number of columns)``, an empty name over columns that need none."""


def grids(comparison: Comparison) -> list[Grid]:
    """Return the tables of a report: accuracy, attention, encoders; those without rows are left out."""
    made = [accuracy_grid(comparison), attention_grid(comparison), encoder_grid(comparison)]
    return [grid for grid in made if grid.rows]


def method_cell(comparison: Comparison, method: str) -> Cell:
    """Return the row header of a method, marked if it is our reading or its epoch was chosen on the test split."""
    marks = [reading_of(comparison, method), CHOSEN_ON_TEST if is_chosen_on_test(comparison, method) else ""]
    return Cell(clean(method), note="; ".join(mark for mark in marks if mark))


def percent_cell(fraction: float | None, digits: int = 1) -> Cell:
    """Return a cell that shows a fraction in per cent."""
    return Cell(percent(fraction, digits), fraction if is_defined(fraction) else None)


def number_cell(value: float | None, digits: int = 2, *, is_signed: bool = False) -> Cell:
    """Return a cell that shows a number."""
    return Cell(number(value, digits, is_signed=is_signed), value if is_defined(value) else None)


def correlation_cell(r: float | None) -> Cell:
    """Return a signed correlation of attention with noise; a positive one is marked, since attention must fall."""
    cell = number_cell(r, is_signed=True)
    is_wrong = cell.value is not None and round(cell.value, 2) > 0
    return Cell(cell.text, cell.value, WRONG_SIGN if is_wrong else "")


def accuracy_grid(comparison: Comparison) -> Grid:
    """Return accuracy over seeds with its interval, and accuracy with every modality replaced by noise."""
    header = ["Method", "Accuracy, %", "95 % interval", "Seeds"]
    names = [clean(m) for m in comparison.modalities]
    notes = [f"Always guessing the most frequent test class gives {percent(comparison.chance)}."]
    rows = [_accuracy_row(comparison, s) for s in comparison.summaries]
    return Grid(
        "Accuracy on test", header + names, rows, notes, [("", len(header)), ("when noise replaces", len(names))]
    )


def _accuracy_row(comparison: Comparison, summary: MethodSummary) -> list[Cell]:
    accuracy = summary.accuracy
    start = [
        method_cell(comparison, summary.method),
        Cell(mean_and_spread(accuracy), accuracy.mean if is_defined(accuracy.mean) else None),
        Cell(bounds(accuracy), accuracy.low if has_spread(accuracy) else None),
        Cell(str(accuracy.num_seeds), accuracy.num_seeds),
    ]
    return start + [percent_cell(summary.accuracy_under_noise.get(m)) for m in comparison.modalities]


def attention_grid(comparison: Comparison) -> Grid:
    """Return where attention goes, AIR, rotations and the correlation of attention with noise."""
    names = [clean(m) for m in comparison.modalities]
    header = ["Method", *names, *names, *names, "AIR", "Rotations", *names]
    groups = [
        ("", 1),
        ("score, clean", len(names)),
        ("score when it is noise", len(names)),
        ("cosine", len(names)),
        ("", 2),
    ]
    groups.append(("r with its noise", len(names)))
    rows = [_attention_row(comparison, s) for s in attention_summaries(comparison)]
    notes = [
        "Score: share of the attention mass. Cosine: of the query and the average key; AIR: how far cosines are apart. "
        "Mass is something else: lengths, norms and spread of the keys count in it as well.",
        "Attention must fall when its modality is noise: r below 0 is right, above 0 is wrong.",
    ]
    return Grid("Attention", header, rows, token_share_lines(comparison) + notes, groups)


def _attention_row(comparison: Comparison, summary: MethodSummary) -> list[Cell]:
    score, correlation = summary.attention_score or {}, summary.correlation or {}
    noisy = summary.score_under_noise or {}
    return [
        method_cell(comparison, summary.method),
        *(percent_cell(score.get(m), 0) for m in comparison.modalities),
        *(percent_cell(noisy.get(m, {}).get(m), 0) for m in comparison.modalities),
        *(number_cell((summary.cosines or {}).get(m), is_signed=True) for m in comparison.modalities),
        number_cell(summary.air, is_signed=True),
        number_cell(summary.num_rotations, 1),
        *(correlation_cell(correlation.get(m)) for m in comparison.modalities),
    ]


def token_share_lines(comparison: Comparison) -> list[str]:
    """Return the mass that indifference would give, one line where all methods agree."""
    shares: dict[str, list[str]] = {}
    for s in attention_summaries(comparison):
        if s.token_share:
            line = ", ".join(f"{clean(m)} {percent(share, 0)}" for m, share in s.token_share.items())
            shares.setdefault(line, []).append(clean(s.method))
    whose = {line: "" if len(shares) == 1 else f" ({', '.join(methods)})" for line, methods in shares.items()}
    return [f"Indifferent attention{whose[line]} would be the share of the tokens: {line}." for line in shares]


def encoder_grid(comparison: Comparison) -> Grid:
    """Return probes inside every fusion against the accuracy of every modality alone."""
    alone, fusions = alone_accuracy(comparison), fusion_summaries(comparison)
    rows = [[method_cell(comparison, s.method), *_probes(comparison, s.probes)] for s in fusions if s.probes]
    if alone and rows:
        rows.insert(0, [Cell("trained alone", note=_alone_note(comparison)), *_probes(comparison, alone)])
    notes = ["Inside a fusion: accuracy of a linear probe on the encoder. Far below alone means starved."]
    names = [clean(m) for m in comparison.modalities]
    return Grid("Encoders", ["Method", *names], rows, notes, [("", 1), ("accuracy of the encoder", len(names))])


def _probes(comparison: Comparison, values: dict[str, float]) -> list[Cell]:
    return [percent_cell(values.get(m)) for m in comparison.modalities]


def _alone_note(comparison: Comparison) -> str:
    is_marked = any(run.selection == "paper" for run in comparison.runs if len(run.modalities) == 1)
    return CHOSEN_ON_TEST if is_marked else ""


def difference_grid(comparison: Comparison) -> Grid:
    """Return the paired differences in test accuracy; a pair is marked if either method was chosen on test."""
    rows = []
    for d in comparison.differences:
        marks = [method_cell(comparison, name).note for name in (d.method, d.baseline)]
        row = [
            Cell(f"{clean(d.method)} - {clean(d.baseline)}", note=max(marks)),
            Cell(points(d.accuracy.mean), d.accuracy.mean if is_defined(d.accuracy.mean) else None),
            Cell(bounds(d.accuracy, is_signed=True), d.accuracy.low if has_spread(d.accuracy) else None),
            Cell(p_value(d).removeprefix("p = ").removeprefix("p ") if has_spread(d.accuracy) else DASH, d.p),
            Cell(clean(d.verdict)),
        ]
        rows.append(row)
    notes = ["Same seeds on both sides; two-sided paired t-test, not corrected for the number of pairs."]
    return Grid("Paired differences", ["Pair", "Points", "95 % interval", "p", "Verdict"], rows, notes)
