"""The table of how attention correlates with noise (paper, Table 2), with its sign."""

from rollingq.evaluation.results import Comparison, Correlation
from rollingq.reporting.diagnosis_lookup import mean_of
from rollingq.reporting.grids import Cell, Grid, correlation_cell, method_cell, number_cell
from rollingq.reporting.lookup import attention_runs, attention_summaries
from rollingq.reporting.text import DASH, clean, is_defined

SIGN_NOTE = (
    "Good cooperation has a negative sign: attention falls when its modality turns to noise. The paper prints |r|, "
    "which hides a wrong sign."
)


def correlation_grid(comparison: Comparison) -> Grid:
    """Return signed r, |r|, p and the number of samples: a row a method and noised modality, r as mean over seeds."""
    rows = []
    for summary in attention_summaries(comparison):
        for modality in comparison.modalities:
            found = correlations(comparison, summary.method, modality)
            if found:
                name = method_cell(comparison, summary.method)
                rows.append([name, Cell(clean(modality)), *_cells(found)])
    notes = [SIGN_NOTE]
    if any(row[-1].value != 1 for row in rows):
        notes.append("r is the mean over seeds, p the largest of theirs.")
    header = ["Method", "Noised", "r", "|r|", "p", "Samples a seed", "Seeds"]
    return Grid("Attention against noise", header, rows, notes)


def correlations(comparison: Comparison, method: str, modality: str) -> list[Correlation]:
    """Return the correlation of every run of a method that has one."""
    runs = attention_runs(comparison, method)
    return [attention.correlation[modality] for _, attention in runs if modality in attention.correlation]


def _cells(found: list[Correlation]) -> list[Cell]:
    r, largest = mean_of(c.r for c in found), max((c.p for c in found if is_defined(c.p)), default=None)
    num = min(c.num_samples for c in found)
    return [
        correlation_cell(r),
        number_cell(abs(r)),
        Cell(_p_words(largest), largest),
        Cell(str(num), num),
        Cell(str(len(found)), len(found)),
    ]


def _p_words(p: float | None) -> str:
    if p is None:
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.{3 if p < 0.01 else 2}f}"
