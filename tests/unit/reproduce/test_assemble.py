"""Cells and changes over seeds: intervals, missing seeds, signs."""

import math
from dataclasses import replace

import pytest
from made_runs import PART, made_attention, made_run

from rollingq.evaluation.results import Correlation, Interval, RunResult, from_json, to_json
from rollingq.reproduce.assemble import Trained, cells_of, changes_of, role_names, sign_verdict, summary
from rollingq.reproduce.entries import ENTRIES
from rollingq.reproduce.entry import Training, Wanted, grid
from rollingq.reproduce.results import Reproduction

COLUMN = [("{part}", {"part": PART, "measure": "accuracy"})]
CELLS = grid(
    COLUMN,
    ("MT", {"method": "mt"}, "48.8"),
    ("MT + RollingQ", {"method": "mt+rollingq"}, "51.9"),
    ("MulT", {"method": "mult"}, "-"),
)


def trained(*accuracies: tuple[float, float]) -> dict[Training, Trained]:
    runs = [
        made_run(method, seed, test_accuracy=value)
        for seed, pair in enumerate(accuracies)
        for method, value in zip(("mt", "mt+rollingq"), pair, strict=True)
    ]
    return {Training(PART): Trained(Training(PART), runs, 2.0)}


def test_cells_are_means_over_seeds_in_per_cent() -> None:
    found = cells_of(CELLS, trained((0.5, 0.6), (0.52, 0.6)), {})
    assert [(cell.row, cell.column, cell.unit, cell.paper) for cell in found] == [
        ("MT", "CREMA-D", "%", 48.8),
        ("MT + RollingQ", "CREMA-D", "%", 51.9),
        ("MulT", "CREMA-D", "%", None),
    ]
    assert (found[2].ours, found[2].reason) == (None, "it was not run")
    assert found[0].ours is not None
    assert found[0].ours.mean == pytest.approx(51.0)
    assert found[0].ours.std == pytest.approx(math.sqrt(2))
    assert found[0].reason == ""


def test_seeds_without_a_value_are_said() -> None:
    assert summary({0: 0.5, 1: "no rotation", 2: "no rotation"})[1] == "seeds 1, 2: no rotation"
    assert summary({0: "no rotation", 1: "late"}) == (None, "no rotation; late")
    assert summary({}) == (None, "it was not run")
    one, _ = summary({0: 0.5, 1: "late"})
    assert one is not None
    assert (one.num_seeds, math.isnan(one.low)) == (1, True)


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [
        ([(0.5, 0.6), (0.52, 0.61), (0.51, 0.615)], "same sign"),
        ([(0.6, 0.5), (0.61, 0.52), (0.615, 0.51)], "other sign"),
        ([(0.5, 0.6), (0.6, 0.5), (0.51, 0.53)], "cannot be told"),
        ([(0.5, 0.6)], "cannot be told"),
    ],
)
def test_direction_of_the_change(pairs: list[tuple[float, float]], verdict: str) -> None:
    (change,) = changes_of(CELLS, trained(*pairs))
    assert change.paper == pytest.approx(3.1)
    assert (change.direction, change.verdict, change.ours.num_seeds) == (1, verdict, len(pairs))
    assert change.ours.mean == pytest.approx(100 * sum(b - a for a, b in pairs) / len(pairs))


def test_a_direction_in_words_counts_too() -> None:
    cells = tuple(replace(cell, printed="", direction=-1) for cell in CELLS[:2])
    (change,) = changes_of(cells, trained((0.6, 0.5), (0.61, 0.52), (0.615, 0.51)))
    assert (change.paper, change.verdict) == (None, "same sign")
    assert changes_of(tuple(replace(cell, printed="") for cell in CELLS), trained((0.5, 0.6))) == []


def test_a_larger_correlation_of_the_wrong_sign_is_no_success() -> None:
    def runs(method: str, *values: float) -> list[RunResult]:
        found = [{"audio": Correlation(r, 0.001, 20)} for r in values]
        return [made_run(method, n, attention=made_attention(correlation=r)) for n, r in enumerate(found)]

    columns = [cell for cell in ENTRIES["table2"].cells if cell.part.data == "crema_d"]
    training = columns[0].training
    both = [*runs("mt", 0.1, 0.12, 0.11), *runs("mt+rollingq", 0.3, 0.33, 0.31)]
    (change,) = changes_of(columns, {training: Trained(training, both, 2.0)})
    assert (change.column, change.verdict) == ("CREMA-D: r", "other sign")


def test_seeds_are_paired() -> None:
    found = trained((0.5, 0.6), (0.52, 0.6))
    one = found[Training(PART)]
    lonely = {Training(PART): replace(one, runs=one.runs[:3])}  # Seed 1 has no run with RollingQ.
    (change,) = changes_of(CELLS, lonely)
    assert change.ours.num_seeds == 1


def test_no_sign_no_verdict() -> None:
    assert sign_verdict(Interval(0.0, 0.0, 0.0, 0.0, 3), 1) == "cannot be told"
    assert sign_verdict(Interval(1.0, 0.0, math.nan, math.nan, 1), 1) == "cannot be told"
    assert sign_verdict(Interval(1.0, 0.1, 0.9, 1.1, 3), 0) == "cannot be told"


def test_roles() -> None:
    runs = [made_run()]
    assert role_names(Training(PART), runs)["biased"] == "visual"
    named = Training(replace(PART, biased="audio"))
    assert (role_names(named, runs)["biased"], role_names(named, runs)["other"]) == ("audio", "visual")
    cell = Wanted(row="{biased}", column="c", part=PART, method="unimodal:{biased}", measure="accuracy")
    found = Trained(Training(PART), [made_run("unimodal:visual", test_accuracy=0.3), *runs], 2.0)
    assert found.values(cell) == {0: pytest.approx(30.0)}


def test_gone_data_and_counts() -> None:
    gone = replace(CELLS[0], missing="CREMA-D was not run")
    (cell,) = cells_of([gone], {}, {})
    assert (cell.ours, cell.reason) == (None, "CREMA-D was not run")
    count = replace(CELLS[0], measure="parameters", printed="59.87")
    (cell,) = cells_of([count], {}, {("mt", "parameters"): 59.8702})
    assert (cell.unit, cell.ours) == ("M", Interval(59.8702, 0.0, 59.8702, 59.8702, 0))


def test_json_round_trip() -> None:
    known = trained((0.5, 0.6), (0.52, 0.61))
    found = Reproduction(
        entry="table0",
        title="t",
        data=["crema_d"],
        label="the paper's setting",
        is_papers_setting=True,
        deviations=[],
        statement="",
        cells=cells_of(CELLS, known, {}),
        changes=changes_of(CELLS, known),
        notes=[],
        seeds=2,
        runs=["a"],
        seconds=1.0,
    )
    assert from_json(Reproduction, to_json(found)) == found
