"""What the page shows, as plain data: pure functions from a comparison to the template's context."""

from collections.abc import Sequence
from dataclasses import dataclass

from rollingq.evaluation.results import Comparison, EpochRecord, MethodSummary, RunResult
from rollingq.reporting.browser import sample_browser
from rollingq.reporting.caveats import caveats
from rollingq.reporting.diagnosis_grids import diagnosis_grids
from rollingq.reporting.grids import Cell, Grid, difference_grid, grids, number_cell, percent_cell
from rollingq.reporting.lookup import rotation_pairs, runs_of
from rollingq.reporting.patterns import mean_pattern
from rollingq.reporting.provenance import provenance
from rollingq.reporting.text import clean, count, number, percent
from rollingq.reporting.verdict import findings, headline

MAX_EPOCHS = 200
"""Most epochs of a run shown in its history; longer ones are thinned evenly, and the page says so."""

TONES = {"good": "good", "bad": "problem", "open": "inconclusive", "note": "note"}
"""Tone of a finding -> the word shown with it."""

GLOSSARY = (
    ("Attention score", "the share of the attention mass that a modality's tokens get from the class token's query."),
    ("AIR", "attention imbalance rate: cosine of the query to one modality's average key minus that to another's."),
    ("Probe", "a linear classifier on an encoder inside a fusion model; it shows what that encoder has learned."),
    (
        "Rotation",
        "RollingQ turns the query away from the favoured modality after an epoch whose AIR is beyond a threshold.",
    ),
    ("Correlation (r)", "of a modality's attention score with 'this modality is noise'; below 0 is right."),
)
DIAGNOSIS_GLOSSARY = (
    (
        "Noise level",
        "how much of a modality's input is noise: 0 is clean; with the kind 'mix', 1 is noise in place of the input.",
    ),
    ("Calibration error", "how far stated probabilities are from the share of right answers, over 15 bins (ECE)."),
    ("Edited attention", "weights masked or averaged at test time, without training again: what they were worth."),
    ("QUAG", "averages of the attention within or across modalities: what their interactions were worth."),
    ("Shapley value", "a modality's fair share of the accuracy that all inputs bring over none."),
    ("AUROC", "how often a sample from inside scores above one from outside of the data; 50 % is guessing."),
)
"""Words that only a diagnosis uses."""
MAX_FINDINGS = 6
"""Most findings that stand open below the headline; the others are one click away."""


@dataclass(frozen=True)
class Tile:
    """One number at a glance."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True)
class History:
    """The epochs of one method, all seeds in one table."""

    title: str
    grid: Grid
    note: str


def page(comparison: Comparison) -> dict[str, object]:
    """Return the template's context, apart from the figures."""
    return {
        "kind": "diagnosis" if len(comparison.summaries) == 1 and comparison.diagnoses else "comparison",
        "title": clean(comparison.title),
        "data": clean(comparison.data),
        "headline": headline(comparison),
        "findings": findings(comparison),
        "max_findings": MAX_FINDINGS,
        "tones": TONES,
        "tiles": tiles(comparison),
        "caveats": caveats(comparison),
        "grids": grids(comparison),
        "differences": difference_grid(comparison),
        "diagnosis": diagnosis_grids(comparison),
        "browser": sample_browser(comparison),
        "glossary": GLOSSARY + DIAGNOSIS_GLOSSARY if comparison.diagnoses else GLOSSARY,
        "histories": histories(comparison),
        "provenance": provenance(comparison),
    }


def tiles(comparison: Comparison) -> list[Tile]:
    """Return the numbers at a glance, of the first method that was compared with and without RollingQ."""
    pairs = rotation_pairs(comparison)
    if not pairs:
        return []
    base, rotated = pairs[0]
    accuracy = Tile("Accuracy", percent(rotated.accuracy.mean), f"without RollingQ {percent(base.accuracy.mean)}")
    turns = Tile("Rotations a run", number(rotated.num_rotations, 1), count(rotated.accuracy.num_seeds, "seed"))
    return [*_attention_tiles(base, rotated), accuracy, turns]


def _attention_tiles(base: MethodSummary, rotated: MethodSummary) -> list[Tile]:
    pattern = mean_pattern(base)
    if pattern is None or pattern.share_under_noise is None:
        return []
    modality = pattern.dominant_modality
    after = (rotated.score_under_noise or {}).get(modality, {}).get(modality)
    detail = f"without RollingQ {percent(pattern.share_under_noise, 0)}"
    return [Tile(f"Attention on {clean(modality)} when it is noise", percent(after, 0), detail)]


def histories(comparison: Comparison) -> list[History]:
    """Return the epochs of every method that recorded them."""
    found = {s.method: [run for run in runs_of(comparison, s.method) if run.history] for s in comparison.summaries}
    return [_history(method, runs) for method, runs in found.items() if runs]


def _history(method: str, runs: list[RunResult]) -> History:
    header = ["Seed", "Epoch", "Train loss", "Val loss", "Val accuracy", "AIR", "Rotated by"]
    rows = [_epoch_row(run, record) for run in runs for record in thinned(run.history)]
    longest = max(len(run.history) for run in runs)
    note = f"Every run is shown with {MAX_EPOCHS} of its {longest} epochs." if longest > MAX_EPOCHS else ""
    seconds = sum(run.seconds for run in runs) / len(runs)
    title = f"{clean(method)}: {count(len(runs), 'run')}, {runs[0].num_parameters:,} parameters, {seconds:.0f} s a run"
    return History(title, Grid(f"Epochs of {clean(method)}", header, rows), note)


def thinned(records: Sequence[EpochRecord], limit: int = MAX_EPOCHS) -> list[EpochRecord]:
    """Return at most ``limit`` records, evenly; every epoch with a rotation stays."""
    if len(records) <= limit:
        return list(records)
    kept = {i * len(records) // limit for i in range(limit)}
    return [record for index, record in enumerate(records) if index in kept or record.rotated]


def _epoch_row(run: RunResult, record: EpochRecord) -> list[Cell]:
    best = "best" if record.epoch == run.best_epoch else ""
    turned = Cell("") if not record.rotated else Cell(f"{number(record.angle, 1)} degrees", record.angle)
    return [
        Cell(str(run.seed), run.seed),
        Cell(str(record.epoch), record.epoch, best),
        number_cell(record.train_loss, 3),
        number_cell(record.val_loss, 3),
        percent_cell(record.val_accuracy),
        number_cell(record.air, is_signed=True),
        turned,
    ]
