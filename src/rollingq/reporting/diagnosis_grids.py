"""The tables of a diagnosis as plain data: noise, calibration, edits of attention, outside samples, contributions."""

import math
from collections.abc import Callable, Iterable, Sequence

from rollingq.evaluation.diagnosis import Contribution, Detection, NoiseCurve, NoisePoint
from rollingq.evaluation.results import Comparison
from rollingq.reporting.correlation_grid import correlation_grid
from rollingq.reporting.diagnosis_lookup import (
    clean_accuracy,
    diagnosed_methods,
    diagnoses_of,
    full_minus_none,
    mean_contributions,
    mean_detections,
    mean_interventions,
    mean_of,
    noise_curves,
    ood_sets,
    spread_of,
    undefined_of,
)
from rollingq.reporting.diagnosis_words import edit_words
from rollingq.reporting.grids import Cell, Grid, method_cell, percent_cell
from rollingq.reporting.text import clean, count, is_defined, joined, percent, points

MEASURES = {
    "noise": ("noise",),
    "interventions": ("interventions", "attention", "mask", "average", "quag"),
    "ood": ("ood", "msp", "energy", "max_logit", "gen", "mahalanobis", "knn"),
    "contributions": ("contributions",),
}
"""Table -> how the names in :attr:`Diagnosis.undefined` that belong to it begin."""


def diagnosis_grids(comparison: Comparison) -> list[Grid]:
    """Return the tables of all diagnoses; those without rows are left out."""
    made = [
        robustness_grid(comparison),
        correlation_grid(comparison),
        interventions_grid(comparison),
        contributions_grid(comparison),
        calibration_grid(comparison),
        detection_grid(comparison),
    ]
    return [grid for grid in made if grid.rows]


def robustness_grid(comparison: Comparison) -> Grid:
    """Return accuracy per level of noise (paper, Table 3): a row a method, noised modality and kind of noise."""
    note = "Mean ± standard deviation over noise seeds; level 0 is clean."
    return _noise_grid(comparison, "Accuracy under noise, %", lambda point: point.accuracy, note)


def calibration_grid(comparison: Comparison) -> Grid:
    """Return the expected calibration error per level of noise, in points."""
    note = "How far stated probabilities are from the share of right answers, in points; 0 is perfect."
    return _noise_grid(comparison, "Calibration error under noise, points", lambda point: point.ece, note)


def _noise_grid(comparison: Comparison, title: str, values: Callable[[NoisePoint], list[float]], note: str) -> Grid:
    found = [(method, curve) for method in diagnosed_methods(comparison) for curve in noise_curves(comparison, method)]
    levels = sorted({point.level for _, curve in found for point in curve.points})
    header = ["Method", "Noised", "Kind", *(f"{level:g}" for level in levels)]
    rows = [
        [method_cell(comparison, method), Cell(clean(curve.modality)), Cell(clean(curve.kind)), *cells]
        for method, curve in found
        for cells in [_level_cells(curve, levels, values)]
        if any(cell.value is not None for cell in cells)
    ]
    notes = [note, *_seed_notes(comparison, dict.fromkeys(m for m, _ in found)), *_notes(comparison, "noise")]
    groups = [("", 3), ("noise level", len(levels))]
    return Grid(title, header, rows, notes, groups)


def _level_cells(curve: NoiseCurve, levels: list[float], values: Callable[[NoisePoint], list[float]]) -> list[Cell]:
    by_level = {point.level: values(point) for point in curve.points}
    return [_spread_cell(by_level.get(level, [])) for level in levels]


def _spread_cell(values: Sequence[float]) -> Cell:
    mean, spread = mean_of(values), spread_of(values)
    text = points(mean, is_signed=False)
    around = f" ± {points(spread, is_signed=False)}" if is_defined(spread) else ""
    return Cell(text + around, mean if is_defined(mean) else None)


def interventions_grid(comparison: Comparison) -> Grid:
    """Return what every edit of attention costs (paper, Tables 8, 9): a row an edit and method."""
    edits = {m: {e.name: e for e in mean_interventions(comparison, m)} for m in diagnosed_methods(comparison)}
    edits = {method: found for method, found in edits.items() if found}
    names = list(dict.fromkeys(name for found in edits.values() for name in found))
    rows = [_edit_row(comparison, "none (clean)", m, clean_accuracy(comparison, m), math.nan) for m in edits]
    rows += [
        _edit_row(comparison, edit_words(name), method, found[name].accuracy, found[name].drop)
        for name in names
        for method, found in edits.items()
        if name in found
    ]
    notes = ["A drop is in points of accuracy: near 0, what was removed carried nothing; below 0, the edit helps."]
    notes += _seed_notes(comparison, edits) + _notes(comparison, "interventions")
    return Grid("Attention edited at test time", ["Edit", "Method", "Accuracy", "Drop"], rows, notes)


def _edit_row(comparison: Comparison, words: str, method: str, accuracy: float, drop: float) -> list[Cell]:
    return [Cell(words), method_cell(comparison, method), percent_cell(accuracy), _points_cell(drop)]


def _points_cell(fraction: float | None) -> Cell:
    return Cell(points(fraction), fraction if is_defined(fraction) else None)


def contributions_grid(comparison: Comparison) -> Grid:
    """Return Shapley values in points of accuracy: a row a method and a stand-in for what is absent."""
    found = {method: mean_contributions(comparison, method) for method in diagnosed_methods(comparison)}
    header = ["Method", "Absent becomes", *(clean(m) for m in comparison.modalities), "None", "All minus none"]
    rows = [
        [method_cell(comparison, method), Cell(clean(part.absent)), *_shapley_cells(comparison, part)]
        for method, parts in found.items()
        for part in parts
    ]
    notes = ["The values of a row sum to the accuracy with all modalities minus that with none."]
    notes += _seed_notes(comparison, (m for m in found if found[m])) + _notes(comparison, "contributions")
    groups = [("", 2), ("Shapley value, points", len(comparison.modalities)), ("accuracy", 2)]
    return Grid("Contributions", header, rows, notes, groups)


def _shapley_cells(comparison: Comparison, part: Contribution) -> list[Cell]:
    values = [_points_cell(part.values.get(m, math.nan)) for m in comparison.modalities]
    return [*values, percent_cell(part.coalitions.get("")), _points_cell(full_minus_none(part))]


def detection_grid(comparison: Comparison) -> Grid:
    """Return AUROC and both FPR95 (paper, Table 10): a row an outside set, method and score."""
    header = ["Outside samples", "Method", "Score", "AUROC", "FPR95 (paper)", "FPR95 (ODIN)"]
    rows = [
        [Cell(f"{clean(name)} ({clean(kind)})"), method_cell(comparison, method), Cell(clean(d.score)), *_rates(d)]
        for name, kind in ood_sets(comparison)
        for method in diagnosed_methods(comparison)
        for d in mean_detections(comparison, method, name)
    ]
    notes = [
        "In per cent. FPR95 (paper): inside samples flagged when 95 % of the outside ones are (the paper prints "
        "FRR95). FPR95 (ODIN): outside samples accepted when 95 % of the inside ones are. Lower is better.",
        *_set_notes(comparison),
    ]
    methods = [m for m in diagnosed_methods(comparison) if any(d.ood for d in diagnoses_of(comparison, m))]
    notes += _seed_notes(comparison, methods) + _notes(comparison, "ood")
    return Grid("Samples from outside of the distribution", header, rows, notes)


def _rates(detection: Detection) -> list[Cell]:
    return [percent_cell(value) for value in (detection.auroc, detection.fpr95, detection.fpr95_inside)]


def _set_notes(comparison: Comparison) -> list[str]:
    """Return how many samples each set holds and how accurate the methods are inside, a line a set."""
    lines = []
    for name, kind in ood_sets(comparison):
        found = [(d.method, r) for d in comparison.diagnoses for r in d.ood if (r.name, r.kind) == (name, kind)]
        sizes = joined(sorted({f"{r.num_inside} inside and {r.num_outside} outside samples" for _, r in found}))
        means = {m: mean_of(r.inside_accuracy for method, r in found if method == m) for m, _ in found}
        told = joined([f"{clean(method)} {percent(mean)}" for method, mean in means.items()])
        lines.append(f"{clean(name)}: {sizes}; accuracy inside: {told}.")
    return lines


def _seed_notes(comparison: Comparison, methods: Iterable[str]) -> list[str]:
    """Return how many seeds are averaged, where it is more than one."""
    seeds = {method: len(diagnoses_of(comparison, method)) for method in methods}
    told = [f"{clean(method)} over {count(num, 'seed')}" for method, num in seeds.items() if num > 1]
    return [f"Means: {joined(told)}."] if told else []


def _notes(comparison: Comparison, table: str) -> list[str]:
    """Return what is not defined in a table and why."""
    found: dict[tuple[str, str], list[str]] = {}
    for method in diagnosed_methods(comparison):
        for name, why in undefined_of(comparison, method).items():
            if name.partition(":")[0].startswith(MEASURES[table]):
                found.setdefault((clean(name), clean(why)), []).append(clean(method))
    return [f"{name} is not defined for {joined(methods)}: {why}." for (name, why), methods in found.items()]
