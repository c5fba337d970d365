"""rollingq complexity: the table, JSON, presets, and bad input."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from rollingq.cli.complexity import read_preset
from rollingq.evaluation.complexity import ComplexityReport
from rollingq.evaluation.results import from_json
from rollingq.reporting.complexity_table import complexity_lines, complexity_table

SMALL = ["--encoder.dim", "8", "--encoder.num_layers", "1", "--encoder.num_heads", "2"]


def shown(report: ComplexityReport) -> str:
    console = Console(width=100, highlight=False)
    with console.capture() as capture:
        console.print(complexity_table(report))
    return capture.get()


@pytest.fixture(scope="module")
def table4() -> ComplexityReport:
    from rollingq.cli.__main__ import main

    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda text: lines.append(text))
        assert main(["complexity", "--preset", "paper-table4", "--json"]) == 0
    return from_json(ComplexityReport, "\n".join(lines))


def test_the_preset_gives_what_the_paper_prints(table4: ComplexityReport) -> None:
    assert [row.method for row in table4.rows] == ["mt", "mbt", "mmml", "jmt", "mt+rollingq"]
    assert table4.batch_size == 128
    near = {"mmml": (0.12, 0.02), "jmt": (0.005, 0.5)}  # The others agree to the last printed digit.
    for row in table4.rows:
        assert row.paper is not None
        parameters, macs = near.get(row.method, (0.005, 0.005))
        assert row.thop_parameters / 1e6 == pytest.approx(row.paper.parameters, abs=parameters)
        assert row.thop_macs / 1e9 == pytest.approx(row.paper.macs, abs=macs)
    vanilla, rotated = table4.rows[0], table4.rows[-1]
    assert (rotated.parameters, rotated.flops) == (vanilla.parameters, vanilla.flops)
    assert rotated.rotation is not None
    assert (rotated.rotation.folded_numbers, rotated.rotation.folded_flops) == (0, 0)


def test_the_table_shows_the_paper_beside_ours(table4: ComplexityReport) -> None:
    text = shown(table4)
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "Vanilla MT 59.87 59.87 60.16 1489.13 1489.13 22.35 48.8" in rows
    assert "MBT 114.21 114.21 114.50 2746.90 2746.90 39.03 51.5" in rows
    assert "Vanilla MT + RollingQ 60.46 60.46 60.16 1489.20 1489.20 22.35 51.9" in rows
    assert max(map(len, text.splitlines())) <= 100
    lines = complexity_lines(table4)
    assert "MT fusion, absorbed projections: 5.880 MFLOPs a sample instead of 2201.48." in lines
    (rotation,) = [line for line in lines if line.startswith("Vanilla MT + RollingQ:")]
    assert rotation.endswith("+ 1,540 numbers, + 6,152 FLOPs; folded + 0, + 0.")
    assert any(line.startswith("JMT:") and "nn.MultiheadAttention" in line for line in lines)
    assert 'the paper calls them "GFLOPs"' in " ".join(lines)


def test_a_row_without_printed_values_shows_a_dash(table4: ComplexityReport) -> None:
    mixed = replace(table4, rows=[table4.rows[0], replace(table4.rows[1], paper=None)])
    row = next(line.split() for line in shown(mixed).splitlines() if "MBT" in line)
    assert row.count("\N{EN DASH}") == 3


def test_a_dataset_as_table(main_in: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_in("complexity", "--methods", "unimodal,mt+rollingq,mt_star+rollingq", *SMALL) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].strip() == "av_digits: audio 12 x 80, image 16 x 4; 10 classes"
    assert "in the" not in out.partition("thop:")[0]
    assert all(name in out for name in ("unimodal:audio", "unimodal:image", "mt+rollingq", "mt_star+rollingq"))
    assert "cannot be folded" in out
    assert "Linear probes: not counted." in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 100
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_as_json(main_in: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--methods", "concat,mt", "--modalities", "image,audio", "--fusion.mt.num_heads", "2", "--json"]
    assert main_in("complexity", *options, *SMALL) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["shapes"] == {"image": [16, 4], "audio": [12, 80]}
    assert list(report["shapes"]) == ["image", "audio"]
    concat, mt = report["rows"]
    length = 1 + 13 + 17
    assert concat["fusion_flops"] == 2 * 2 * 8 * 10
    assert mt["fusion_flops"] == 8 * 8**2 + 4 * length * 8 * 2 + 2 * 8 * 10
    assert mt["rotation"] is None
    assert mt["paper"] is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--preset", "paper-table3"], "Did you mean 'paper-table4'?"),
        (["--preset"], "Expected --preset NAME [--json], but argument --preset: expected one argument"),
        (["--preset", "paper-table4", "--epochs", "3"], "but got --epochs 3"),
        (["--methods", "mtt"], "Did you mean 'mt'?"),
        (["--data", "av_digit"], "Did you mean 'av_digits'?"),
        (["--modalities", "audio", "--methods", "mt"], "at least two modalities"),
        (["--encoder.name", "vit"], "choose --encoder.name sequence"),
        (["--fusion.mt.num_heads", "0"], "num_heads"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], expected: str, main_in: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_in("complexity", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rollingq: Expected")
    assert err.count("\n") == 1
    assert expected in err


def test_help_names_the_preset(main_in: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main_in("complexity", "--help")
    assert end.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "--preset paper-table4" in out
    assert "--fusion.mt.num_heads" in out


def test_the_preset_says_what_it_counts() -> None:
    preset = read_preset("paper-table4")
    assert [row["title"] for row in preset["rows"] if row.get("probes")] == ["Vanilla MT", "Vanilla MT + RollingQ"]
    assert {row["method"]: row["paper"]["accuracy"] for row in preset["rows"]} == {
        "mt": 48.8,
        "mbt": 51.5,
        "mmml": 52.0,
        "jmt": 50.7,
        "mt+rollingq": 51.9,
    }
