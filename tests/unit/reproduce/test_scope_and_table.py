"""What of an entry is run, and how it is shown: texts as a reader sees them."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import PART
from rich.console import Console

from rollingq.errors import ConfigError
from rollingq.evaluation.results import Interval
from rollingq.reproduce.entries import ENTRIES
from rollingq.reproduce.results import Cell, Change, Reproduction
from rollingq.reproduce.scope import missing_lines, on_other_data, on_papers_data
from rollingq.reproduce.settings import differences, training_folder, with_changes
from rollingq.reproduce.table import change_line, list_lines, reproduction_lines, reproduction_table, title_line
from rollingq.training.settings import Settings

CREMA_D = (
    "crema_d is not prepared (needed by table1, table5). Raw files: https://github.com/CheyneyComputerScience/CREMA-D "
    "(needs Git LFS: AudioWAV and VideoFlash). Then: rollingq data prepare crema_d --root RAW --out DIR."
)
SHOWN = """
                Vanilla MT, %              Vanilla MT + RollingQ, %
                        paper        ours                     paper  ours
 ─────────────────────────────────────────────────────────────────────────
 batches of 16           49.1  50.0 ± 1.2                      50.6     –
"""
LINES = [
    "Paper: It says so.",
    "Not the paper's setting: train.epochs is 1, the recipe says 30; the data is other.",
    "RollingQ on Vanilla MT, batches of 16: paper +1.5, ours +2.0 [+1.0, +3.0]: same sign",
    "Not measured, no rotation took place: batches of 16 / Vanilla MT + RollingQ",
    "Note: A note.",
]


def made() -> Reproduction:
    row, ours = "batches of 16", Interval(50.0, 1.2, 48.0, 52.0, 3)
    cells = [
        Cell(row=row, column="Vanilla MT", unit="%", printed="49.1", paper=49.1, ours=ours),
        Cell(
            row=row,
            column="Vanilla MT + RollingQ",
            unit="%",
            printed="50.6",
            paper=50.6,
            ours=None,
            reason="no rotation took place",
        ),
    ]
    change = Change(
        row=row,
        column="Vanilla MT + RollingQ",
        unit="%",
        paper=1.5,
        direction=1,
        ours=Interval(2.0, 0.4, 1.0, 3.0, 3),
        verdict="same sign",
    )
    return Reproduction(
        entry="table5",
        title="Accuracy",
        data=["other"],
        label="same procedure on other, not the paper's data",
        is_papers_setting=False,
        deviations=["train.epochs is 1, the recipe says 30", "the data is other"],
        statement="It says so.",
        cells=[cells[0], replace(cells[1])],
        changes=[change],
        notes=["A note."],
        seeds=3,
        runs=[],
        seconds=1.0,
    )


def shown(found: Reproduction) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(reproduction_table(found))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def test_table_and_lines() -> None:
    one_row = made()
    two_rows = replace(one_row, cells=[*one_row.cells, replace(one_row.cells[0], row="batches of 64")])
    assert shown(two_rows).startswith(SHOWN.rstrip("\n"))
    assert title_line(one_row) == "table5: Accuracy (same procedure on other, not the paper's data)"
    assert reproduction_lines(one_row) == LINES


def test_wide_tables_are_turned_and_empty_sides_left_out() -> None:
    turned = shown(made())
    assert " Vanilla MT, %" not in turned
    assert "batches of 16, %" in turned
    figure = replace(made(), cells=[replace(cell, printed="", paper=None) for cell in made().cells])
    assert "paper" not in shown(figure)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdict": "other sign", "direction": -1, "paper": None}, "paper down, ours +2.0 [+1.0, +3.0]: other sign"),
        ({"verdict": "cannot be told"}, "[+1.0, +3.0]: inconclusive, the sign cannot be told"),
        (
            {"verdict": "cannot be told", "ours": Interval(2.0, 0.0, float("nan"), float("nan"), 1)},
            "ours +2.0: one seed: the sign cannot be told",
        ),
    ],
)
def test_changes_in_words(change: dict[str, object], words: str) -> None:
    assert change_line(replace(made().changes[0], **change)).endswith(words)  # type: ignore[arg-type]


def test_missing_data_is_said_once_a_dataset() -> None:
    assert missing_lines([ENTRIES["table1"], ENTRIES["table5"]], ["crema_d", "crema_d"]) == [CREMA_D]


def test_papers_data_that_is_not_here() -> None:
    found = on_papers_data(ENTRIES["table1"], {"kinetics_sound": ("audio", "visual")})
    assert found.datasets == ("kinetics_sound",)
    assert {cell.missing for cell in found.cells if cell.part.data == "crema_d"} == {"CREMA-D was not run"}
    assert "-" not in {cell.printed for cell in found.cells}
    counts = on_papers_data(ENTRIES["table4"], {})
    assert counts.trainings == ()
    assert sum(not cell.missing for cell in counts.cells) == 10
    # A cell that the paper leaves empty is not run on its data.
    assert "mult" not in [m for t in found.trainings for m in t.methods_of(found.cells)]


def test_modalities_that_were_not_prepared() -> None:
    found = on_papers_data(ENTRIES["figure6"], {"cmu_mosei": ("text", "audio")})
    reasons = {cell.part.title: cell.missing for cell in found.cells if cell.part.data == "cmu_mosei"}
    assert reasons == {"CMU-MOSEI (V+T)": "the prepared cmu_mosei has no visual", "CMU-MOSEI (A+T)": ""}
    assert [training.part.title for training in found.trainings] == ["CMU-MOSEI (A+T)"]


def test_other_data_stands_in_for_the_first() -> None:
    found = on_other_data(ENTRIES["table1"], "av_digits", ("audio", "image"))
    (training,) = found.trainings
    assert (training.part.data, training.part.title, training.part.biased) == ("av_digits", "av_digits", None)
    assert set(training.methods_of(found.cells)) == set(ENTRIES["table1"].methods)
    batches = on_other_data(ENTRIES["table5"], "av_digits", ("audio", "image"))
    assert [t.part.title for t in batches.trainings] == [f"av_digits, batches of {size}" for size in (16, 64, 256)]
    with pytest.raises(ConfigError, match="two modalities"):
        on_other_data(ENTRIES["table1"], "utd_mhad", ("inertial", "depth", "skeleton"))


def test_list() -> None:
    assert list_lines([ENTRIES["table3"]], ["kinetics_sound"]) == [
        "table3   Accuracy while audio turns to noise",
        "         kinetics_sound (here); methods: mt, mt+rollingq; diagnoses: noise",
    ]
    assert "hmdb51 (not prepared)" in list_lines([ENTRIES["table10"]], [])[1]


def test_folders_are_those_of_data_and_settings() -> None:
    def folder(*modalities: str, inside: int | None = None, settings: Settings | None = None) -> Path:
        return training_folder(Path("out"), PART.data, modalities, inside, settings or Settings())

    other = with_changes(Settings(), [("train.batch_size", 16)])
    same = with_changes(Settings(), [("train.batch_size", Settings().train.batch_size)])
    names = {folder("a", "b"), folder("b", "a"), folder("a", "b", inside=3), folder("a", "b", settings=other)}
    assert len(names) == 4
    assert folder("a", "b", settings=same) == folder("a", "b")
    assert all(len(name.name) == len("crema_d-") + 10 for name in names)


def test_differences() -> None:
    other = with_changes(Settings(), [("train.epochs", 1), ("encoder.pretrained", "hub")])
    assert differences(other, Settings(), leave_out=("encoder.pretrained",)) == [
        "train.epochs is 1, the recipe says 20"
    ]
    assert differences(Settings(), Settings()) == []
    with pytest.raises(ConfigError, match="batch_size"):
        with_changes(Settings(), [("train.batch_size", 0)])
