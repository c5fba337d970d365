import subprocess
import sys

import pytest
from made_comparison import made_comparison

from rollingq import files
from rollingq.errors import MissingExtraError
from rollingq.evaluation.results import Comparison, from_json, to_json
from rollingq.reporting.figures import accuracy_figure
from rollingq.reporting.html import render_report
from rollingq.reporting.tables import comparison_table
from rollingq.reporting.verdict import verdict_lines


@pytest.mark.parametrize("options", [{}, {"num_seeds": 1}, {"has_attention": False}, {"modalities": ("a", "b", "c")}])
def test_a_comparison_survives_json(options, tmp_path):
    comparison = made_comparison(**options)
    path = files.write_text(tmp_path / "comparison.json", to_json(comparison))
    back = from_json(Comparison, path.read_text(encoding="utf-8"))
    assert to_json(back) == to_json(comparison)
    assert back.runs[0].history == comparison.runs[0].history
    assert verdict_lines(back) == verdict_lines(comparison)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = files.write_text(tmp_path / "report.html", "old")

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("package", "call"), [("rich", comparison_table), ("matplotlib", accuracy_figure), ("jinja2", render_report)]
)
def test_a_missing_package_names_the_extra(comparison, monkeypatch, package, call):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}.*rollingq\[lab\]"):
        call(comparison)


def test_importing_reporting_loads_no_drawing_package_and_no_torch():
    modules = "diagnosis_findings, diagnosis_grids, figures, html, tables, verdict"
    heavy = "{'matplotlib', 'jinja2', 'rich', 'torch'}"
    code = f"import sys; from rollingq.reporting import {modules}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
