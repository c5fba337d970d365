"""The paper's values, cell by cell, and that what an entry names exists."""

import subprocess
import sys
from importlib import resources

import pytest

from rollingq.data.entries import DATASETS
from rollingq.errors import ConfigError
from rollingq.reproduce.entries import ENTRIES, entries_of
from rollingq.reproduce.entry import Entry
from rollingq.reproduce.settings import with_changes
from rollingq.training.methods import check_methods, parse_methods
from rollingq.training.settings import Settings


def printed(name: str) -> dict[tuple[str, str], str]:
    """Return (row, column) -> what the paper prints, with the part's title and modalities filled in."""
    found = {}
    for cell in ENTRIES[name].cells:
        first, second = cell.part.modalities
        words = {"part": cell.part.title, "first": first, "second": second}
        words |= {"biased": cell.part.biased or first, "other": second}
        found[cell.row.format(**words), cell.column.format(**words)] = cell.printed
    return found


TABLE1 = """
Unimodal audio: 47.6 53.9 .
Unimodal visual: 36.3 57.0 47.1
Unimodal text: . . 60.9
Concat: 49.3 68.0 62.8
OGM: 51.2 68.2 62.7
PMR: 50.1 68.2 63.0
Vanilla MT: 48.8 67.0 62.7
Vanilla MT*: 51.5 69.1 62.2
MulT: - - 62.4
MBT: 51.5 72.2 63.0
JMT: 50.7 67.7 62.6
MMML: 52.0 69.8 62.8
Vanilla MT + RollingQ: 51.9 69.3 63.2
Vanilla MT* + RollingQ: 52.2 70.1 62.9
MulT + RollingQ: - - 62.5
MMML + RollingQ: 52.7 70.7 63.2
"""
PAIRS = {
    "table3": "0.00: 67.0 69.3|0.25: 62.7 67.2|0.50: 52.9 58.2|0.75: 43.2 47.5|1.00: 34.7 40.6",
    "table5": "16: 49.1 50.6|64: 48.8 51.9|256: 47.8 48.5",
    "table6": "2 layers: 57.6 58.5|4 layers: 67.0 69.3|6 layers: 73.6 74.6",
    "table11": "2nd block: 42.3 42.5|3rd block: 41.1 42.2|4th block: 41.4 43.7",
}
OTHERS = {
    "table2": {"CREMA-D: |r|": "0.52 0.76", "Kinetics-Sound: |r|": "0.44 0.78"},
    "table4": {
        "Accuracy": "48.8 51.5 52.0 50.7 51.9",
        "Parameters": "59.87 114.21 77.88 62.23 60.46",
        "GMACs of 128": "1489.13 2746.90 1828.29 1494.87 1489.20",
    },
    "table7": {"CREMA-D": "60.1 40.1 61.4 60.8 62.6"},
    "table8": {
        "Vanilla MT": "46.6 40.3 67.0 1.2 -2.3",
        "Vanilla MT + RollingQ": "47.4 42.1 69.3  ",
        "Alone": "53.9 57.0",
    },
    "table9": {
        "Vanilla MT*": "69.1 67.8 65.5 64.8 65.6",
        "Vanilla MT* + RollingQ": "70.1 63.8 63.8 62.9 62.1",
        "Alone": "53.9 57.0",
    },
    "table10": {
        "HMDB51 (near): ID accuracy": "51.6 54.0",
        "HMDB51 (near): FPR95": "77.3 74.9",
        "HMDB51 (near): AUROC": "64.4 68.6",
        "UCF-101 (far): ID accuracy": "48.7 51.8",
        "UCF-101 (far): FPR95": "77.9 76.9",
        "UCF-101 (far): AUROC": "70.4 73.2",
    },
}


def test_table1_cell_by_cell() -> None:
    found = printed("table1")
    columns = ("CREMA-D", "Kinetics-Sound", "CMU-MOSEI (V+T)")
    lines = [line.rsplit(": ", 1) for line in TABLE1.strip().splitlines()]
    expected = {
        (row, column): value
        for row, values in lines
        for column, value in zip(columns, values.split(), strict=True)
        if value != "."
    }
    assert found == expected


@pytest.mark.parametrize("name", PAIRS)
def test_tables_with_and_without_rollingq(name: str) -> None:
    lines = [line.split(": ") for line in PAIRS[name].split("|")]
    columns = ("Vanilla MT", "Vanilla MT + RollingQ")
    expected = {(row, c): v for row, values in lines for c, v in zip(columns, values.split(), strict=True)}
    assert printed(name) == expected


@pytest.mark.parametrize("name", OTHERS)
def test_other_tables_column_by_column(name: str) -> None:
    columns: dict[str, list[str]] = {}
    for (_, column), value in printed(name).items():
        columns.setdefault(column, []).append(value)
    assert {column: columns[column] for column in OTHERS[name]} == {c: v.split(" ") for c, v in OTHERS[name].items()}


def test_p_values_are_printed_as_bounds() -> None:
    cells = [cell for cell in ENTRIES["table2"].cells if cell.measure.startswith("trusted")]
    assert [(cell.printed, cell.paper) for cell in cells] == [("<0.01", None)] * 4


def test_numbers_of_cells() -> None:
    counts = {name: (len(entry.cells), len(entry.trainings)) for name, entry in ENTRIES.items()}
    assert counts == {
        "table1": (45, 5),
        "table2": (12, 2),
        "table3": (10, 1),
        "table4": (15, 2),
        "table5": (6, 3),
        "table6": (6, 3),
        "table7": (5, 1),
        "table8": (12, 2),
        "table9": (12, 1),
        "table10": (12, 1),
        "table11": (6, 1),
        "figure1": (6, 1),
        "figure2": (10, 2),
        "figure3": (7, 1),
        "figure4": (13, 1),
        "figure5": (8, 1),
        "figure6": (30, 6),
        "figure7": (6, 2),
        "figure8": (36, 2),
        "figure9": (24, 2),
    }


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_what_an_entry_names_exists(entry: Entry) -> None:
    recipes = {path.name for path in resources.files("rollingq.recipes").iterdir()}
    for training in entry.trainings:
        part = training.part
        assert f"{part.data}.yaml" in recipes
        assert set(part.modalities) <= set(DATASETS[part.data].modalities)
        settings = with_changes(Settings(), part.changes)
        methods = parse_methods(training.methods_of(entry.cells), part.modalities)
        check_methods(methods, settings.encoder.num_layers, "query", "streams")
    assert entry.name.startswith("table") or (entry.statement and not any(cell.printed for cell in entry.cells))


def test_what_tables_vary() -> None:
    varied = {name: [t.part.changes for t in ENTRIES[name].trainings] for name in ("table5", "table6", "table7")}
    assert varied == {
        "table5": [(("train.batch_size", size),) for size in (16, 64, 256)],
        "table6": [(("encoder.num_layers", number),) for number in (2, 4, 6)],
        "table7": [(("encoder.name", "resnet18"),)],
    }
    assert ENTRIES["table11"].methods == tuple(f"joint:{n}{r}" for n in (2, 3, 4) for r in ("", "+rollingq"))
    assert ENTRIES["table9"].methods == ("mt_star", "mt_star+rollingq", "unimodal")
    assert {name: ENTRIES[name].measures for name in ("table2", "table3", "table8", "table10")} == {
        "table2": (),
        "table3": ("noise",),
        "table8": ("interventions",),
        "table10": ("ood",),
    }


def test_names() -> None:
    assert [entry.name for entry in entries_of(["all"])] == list(ENTRIES)
    assert [entry.name for entry in entries_of(["figure2", "all"])][:2] == ["figure2", "table1"]
    with pytest.raises(ConfigError, match="Did you mean 'table11'"):
        entries_of(["tabel11"])


def test_entries_need_no_torch() -> None:
    code = "import sys; import rollingq.reproduce.entries, rollingq.reproduce.scope; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
