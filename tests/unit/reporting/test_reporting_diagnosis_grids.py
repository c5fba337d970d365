import io
import math
from dataclasses import replace

import pytest
from made_comparison import diagnosed, made_comparison, made_diagnosis, made_single
from made_diagnosis import KINDS
from rich.console import Console

from rollingq.evaluation.diagnosis import Detection
from rollingq.reporting.correlation_grid import correlation_grid
from rollingq.reporting.diagnosis_grids import (
    calibration_grid,
    contributions_grid,
    detection_grid,
    diagnosis_grids,
    interventions_grid,
    robustness_grid,
)
from rollingq.reporting.tables import diagnosis_tables, markdown_table
from rollingq.reporting.text import DASH

TITLES = [
    "Accuracy under noise, %",
    "Attention against noise",
    "Attention edited at test time",
    "Contributions",
    "Calibration error under noise, points",
    "Samples from outside of the distribution",
]


def lines(grid):
    return [" | ".join(cell.text for cell in row) for row in grid.rows]


@pytest.fixture(scope="module")
def both():
    return diagnosed(made_comparison())


def test_every_table_of_a_diagnosis(both):
    assert [grid.title for grid in diagnosis_grids(both)] == TITLES
    for grid in diagnosis_grids(both):
        assert {len(row) for row in grid.rows} == {len(grid.header)}
        assert not grid.groups or sum(num for _, num in grid.groups) == len(grid.header)
        assert all(note.endswith(".") for note in grid.notes)


def test_without_diagnoses_only_the_correlation_is_there(comparison):
    assert [grid.title for grid in diagnosis_grids(comparison)] == [TITLES[1]]
    assert diagnosis_grids(made_comparison(has_attention=False)) == []


def test_accuracy_at_every_level_of_noise(both):
    grid = robustness_grid(both)
    assert grid.header == ["Method", "Noised", "Kind", "0", "0.25", "0.5", "0.75", "1"]
    assert lines(grid)[0] == "mt | audio | mix | 70.0 | 67.7 ± 1.0 | 61.0 ± 1.0 | 49.8 ± 1.0 | 34.0 ± 1.0"
    assert grid.rows[0][-1].value == pytest.approx(0.34)


def test_all_kinds_of_noise_are_there_with_the_default_first():
    grid = robustness_grid(diagnosed(made_comparison(), kinds=tuple(reversed(KINDS))))
    assert [row[2].text for row in grid.rows[:4]] == ["mix", "multibench", "dropout", "additive"]
    assert len(grid.rows) == 2 * 2 * 4


def test_levels_that_a_method_lacks_are_dashes(both):
    curve = both.diagnoses[0].curves[0]
    short = replace(both.diagnoses[0], curves=[replace(curve, points=curve.points[:2])])
    grid = robustness_grid(replace(both, diagnoses=[short, both.diagnoses[1]]))
    assert lines(grid)[0] == f"mt | audio | mix | 70.0 | 67.7 ± 1.0 | {DASH} | {DASH} | {DASH}"


def test_calibration_and_contributions(both):
    assert lines(calibration_grid(both))[0].startswith("mt | audio | mix | 6.0 | 19.5 ± 0.5 | 33.0 ± 0.5")
    grid = contributions_grid(both)
    assert lines(grid)[0] == "mt | mean | +34.2 | +1.8 | 34.0 % | +36.0"
    assert [row[1].text for row in grid.rows[:3]] == ["mean", "zero", "noise"]


@pytest.mark.parametrize("modalities", [("audio", "visual"), ("audio", "visual", "text")])
def test_shapley_values_sum_to_all_minus_none(modalities):
    for row in contributions_grid(diagnosed(made_comparison(modalities))).rows:
        values = [cell.value for cell in row[2 : 2 + len(modalities)]]
        assert sum(values) == pytest.approx(row[-1].value)


def test_edits_of_attention_stand_beside_each_other(both):
    found = lines(interventions_grid(both))
    assert found[:4] == [
        f"none (clean) | mt | 70.0 % | {DASH}",
        f"none (clean) | mt+rollingq | 70.0 % | {DASH}",
        "mask audio | mt | 36.0 % | +34.0",
        "mask audio | mt+rollingq | 62.0 % | +8.0",
    ]
    assert "QUAG, inputs: average visual | mt | 65.5 % | +4.5" in found
    assert "average every modality | mt | 70.2 % | -0.2" in found


def test_both_false_positive_rates_are_named(both):
    grid = detection_grid(both)
    assert grid.header[3:] == ["AUROC", "FPR95 (paper)", "FPR95 (ODIN)"]
    assert lines(grid)[0] == "left-out classes (near) | mt | msp | 62.0 % | 80.0 % | 85.0 %"
    assert "inside samples flagged when 95 % of the outside ones are (the paper prints FRR95)" in grid.notes[0]
    assert grid.notes[1] == (
        "left-out classes: 500 inside and 375 outside samples; accuracy inside: mt 71.0 % and mt+rollingq 71.0 %."
    )


def test_what_is_not_defined_is_a_dash_and_a_reason(both):
    nan, first = math.nan, both.diagnoses[0]
    result = replace(first.ood[0], detections=[Detection("mahalanobis", nan, nan, nan)])
    why = {"mahalanobis": "no training features were kept {}", "average": "a reason"}
    grids = {
        g.title: g for g in diagnosis_grids(replace(both, diagnoses=[replace(first, ood=[result], undefined=why)]))
    }
    assert lines(grids[TITLES[5]]) == [f"left-out classes (near) | mt | mahalanobis | {DASH} | {DASH} | {DASH}"]
    assert grids[TITLES[5]].notes[-1] == "mahalanobis is not defined for mt: no training features were kept {}."
    assert grids[TITLES[2]].notes[-1] == "average is not defined for mt: a reason."
    assert not [note for note in grids[TITLES[0]].notes if "not defined" in note]


def test_seeds_are_averaged_and_their_number_is_said():
    seeds = [made_diagnosis("mt", seed=s, accuracy=a) for s, a in enumerate((0.70, 0.72, 0.74))]
    comparison = replace(made_comparison(), diagnoses=seeds)
    assert lines(robustness_grid(comparison))[0].startswith("mt | audio | mix | 72.0 ± 2.0 | ")
    assert lines(interventions_grid(comparison))[1] == "mask audio | mt | 38.0 % | +34.0"
    for grid in (robustness_grid, interventions_grid, contributions_grid, detection_grid, calibration_grid):
        assert "Means: mt over 3 seeds." in grid(comparison).notes


def test_the_sign_of_the_correlation_is_marked(comparison_of_three):
    grid = correlation_grid(comparison_of_three)
    assert lines(grid)[4] == "mt+rollingq | visual | +0.30 | 0.30 | 0.001 | 60 | 3"
    assert [row[2].note for row in grid.rows] == ["", "", "", "", "wrong sign", ""]
    assert grid.notes[0].startswith("Good cooperation has a negative sign")


def test_correlations_that_are_not_defined_are_dashes():
    single = made_single()
    attention = single.runs[0].attention
    broken = {m: replace(c, r=math.nan, p=math.nan) for m, c in attention.correlation.items()}
    runs = [replace(single.runs[0], attention=replace(attention, correlation=broken))]
    assert (
        lines(correlation_grid(replace(single, runs=runs)))[0] == f"model | audio | {DASH} | {DASH} | {DASH} | 60 | 1"
    )


@pytest.mark.parametrize("modalities", [("audio", "visual"), ("audio", "visual", "text")])
def test_terminal_tables_fit_100_columns_and_mark_what_was_chosen_on_test(modalities):
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    made = diagnosed(made_comparison(modalities, selection="paper", rotated_r=(-0.5, 0.3)), kinds=KINDS)
    for table in diagnosis_tables(made):
        console.print(table)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("* best epoch chosen on test") == len(TITLES)
    assert "wrong sign" in text
    assert "mt+rollingq *" in text


def test_markdown_holds_the_diagnosis(both):
    text = markdown_table(both)
    assert "| mt | audio | mix | 70.0 | 67.7 ± 1.0 |" in text
    assert r"\|r\|" in text
