import csv
import io
import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from made_comparison import HOSTILE, diagnosed, made_comparison, made_diagnosis, made_single, with_dynamics
from made_diagnosis import KINDS
from matplotlib.colors import to_hex
from matplotlib.image import imread

from rollingq.reporting.figures import FIGURES, available_figures, figure_bytes, numbers_csv
from rollingq.reporting.plots.contributions import contributions_numbers
from rollingq.reporting.plots.detection import detection_numbers
from rollingq.reporting.plots.dynamics import dynamics_numbers, mean_line
from rollingq.reporting.plots.interventions import interventions_numbers
from rollingq.reporting.plots.robustness import robustness_numbers
from rollingq.reporting.plots.style import METHOD_COLORS, OKABE_ITO, looks, method_looks

NEW = ["robustness", "dynamics", "interventions", "contributions", "calibration", "detection"]
MAX_SVG = 400_000


@pytest.fixture(scope="module")
def whole():
    return with_dynamics(diagnosed(made_comparison(("audio", "visual", "text")), kinds=KINDS))


@pytest.fixture(scope="module")
def drawn(whole):
    return {name: FIGURES[name].draw(whole) for name in NEW}


def test_a_diagnosis_adds_its_figures(whole):
    assert [kind.name for kind in available_figures(whole)] == list(FIGURES)
    assert set(NEW) < set(FIGURES)


@pytest.mark.parametrize("name", NEW)
def test_new_figures_are_not_empty_and_small(name, whole, drawn):
    pixels = imread(io.BytesIO(figure_bytes(drawn[name], "png")))[..., :3]
    assert len(np.unique(pixels.sum(axis=-1))) > 20
    svg = figure_bytes(drawn[name], "svg")
    assert len(svg) < MAX_SVG
    assert ET.fromstring(svg).tag.endswith("svg")  # noqa: S314
    rows = list(csv.DictReader(io.StringIO(numbers_csv(FIGURES[name].numbers(whole)))))
    assert all(None not in row and None not in row.values() for row in rows)


@pytest.mark.parametrize("name", NEW)
def test_new_figures_are_told_in_words(name, whole):
    kind = FIGURES[name]
    assert kind.alt(whole).endswith(".")
    assert any(character.isdigit() for character in kind.alt(whole))
    assert kind.reading.endswith(".")
    assert kind.title


@pytest.mark.parametrize("name", NEW)
def test_new_figures_can_be_drawn_of_nothing(name, comparison):
    assert FIGURES[name].numbers(comparison) == []
    assert figure_bytes(FIGURES[name].draw(comparison), "png").startswith(b"\x89PNG")
    FIGURES[name].draw(replace(comparison, summaries=[], runs=[]))


def test_one_run_alone_has_the_figures_of_its_diagnosis():
    names = [kind.name for kind in available_figures(made_single())]
    assert names == ["accuracy", "attention", "robustness", "keys", *NEW[2:]]
    names = [kind.name for kind in available_figures(made_single(has_attention=False))]
    assert names == ["accuracy", "robustness", "contributions", "calibration", "detection"]


def test_the_same_diagnosis_gives_the_same_bytes(whole, drawn):
    again = FIGURES["interventions"].draw(whole)
    assert figure_bytes(drawn["interventions"], "svg") == figure_bytes(again, "svg")


def test_a_modality_has_its_colour_in_every_figure(whole, drawn):
    styles = looks(whole)
    for name in ("robustness", "dynamics", "calibration"):
        colors = {to_hex(line.get_color()).upper() for axes in drawn[name].axes for line in axes.get_lines()}
        assert colors >= {look.color for look in styles.values()}
        assert not colors & set(OKABE_ITO[3:7])


def test_no_value_lies_outside_of_its_panel(whole, drawn):
    grown = replace(whole, diagnoses=[made_diagnosis("mt", reaction="follows"), made_diagnosis("mt+rollingq")])
    for name, figure in [*drawn.items(), ("grown", FIGURES["calibration"].draw(grown))]:
        for axes in figure.axes:
            low, high = sorted(axes.get_ylim())
            values = [float(y) for line in axes.get_lines() for y in np.ravel(line.get_ydata())]
            assert all(low <= y <= high for y in values), name


def test_kinds_of_noise_and_modalities_differ_in_more_than_colour(drawn, whole):
    panel = drawn["robustness"].axes[0]
    lines = [line for line in panel.get_lines() if len(line.get_xdata()) == 5]
    assert len({line.get_linestyle() for line in lines}) == len(KINDS)
    assert lines[0].get_linewidth() > max(line.get_linewidth() for line in lines[1:])
    lines = [line for line in drawn["calibration"].axes[0].get_lines() if line.get_linestyle() != "None"]
    assert len({line.get_linestyle() for line in lines}) == len({line.get_marker() for line in lines}) == 3


def test_methods_never_have_the_colour_of_a_modality():
    styles = method_looks(["a", "b", "c", "d"])
    assert len({look.marker for look in styles.values()}) == 4
    assert not {color.lower() for color in METHOD_COLORS} & {color.lower() for color in OKABE_ITO}


def test_the_best_other_modality_and_chance_are_drawn(drawn):
    panel = drawn["robustness"].axes[0]
    heights = [line.get_ydata()[0] for line in panel.get_lines() if len(line.get_xdata()) == 2]
    assert heights == pytest.approx([65.0666, 34.0], abs=0.01)
    assert "visual alone" in {text.get_text() for text in panel.texts}


def test_the_whole_of_the_shapley_values_is_marked(drawn):
    panel = drawn["contributions"].axes[0]
    marks = [line.get_xdata()[0] for line in panel.get_lines() if line.get_marker() == "D"]
    assert marks == pytest.approx([36.0] * 3)
    assert sum(patch.get_width() for patch in panel.patches) == pytest.approx(3 * 36.0)


def test_rotations_are_marked_and_seeds_are_thin(drawn, whole):
    pairs = drawn["dynamics"].axes
    rings = [line for line in pairs[-2].get_lines() if line.get_markeredgewidth() == 1.4 and len(line.get_xdata())]
    assert {tuple(line.get_xdata()) for line in rings} == {(3,)}
    assert sum(line.get_linewidth() < 1 for line in pairs[-1].get_lines()) == 3 * len(whole.modalities)
    assert "not recorded" in {text.get_text() for text in pairs[0].texts}


def test_numbers_behind_the_new_figures(whole):
    robust = robustness_numbers(whole)[4]
    assert (robust["method"], robust["noised"], robust["kind"], robust["level"]) == ("mt", "audio", "mix", 1.0)
    assert (robust["accuracy"], robust["spread"]) == (pytest.approx(0.34), pytest.approx(0.01))
    assert robust["attention_score"] == pytest.approx(0.92)
    edit = interventions_numbers(whole)[0]
    assert (edit["edit"], edit["method"], edit["drop"], edit["num_seeds"]) == ("mask:audio", "mt", 0.34, 1)
    assert contributions_numbers(whole)[0]["full_minus_none"] == pytest.approx(0.36)
    assert detection_numbers(whole)[0]["fpr95_odin"] == pytest.approx(0.85)
    first = dynamics_numbers(whole)[0]
    assert (first["method"], first["attention_score"], first["gradient_norm"]) == ("concat", None, 1.5)
    assert mean_line(whole, "mt", "gradient_norm", "audio")[0] == pytest.approx(1.5 * (1 + 1 / 2 + 1 / 3) / 3)


def test_values_that_are_not_numbers_are_not_drawn():
    single = made_single()
    assert FIGURES["accuracy"].numbers(single)[0]["val_accuracy"] is None
    diagnosis = single.diagnoses[0]
    curves = [replace(c, points=[replace(p, ece=[math.nan]) for p in c.points]) for c in diagnosis.curves]
    edits = [replace(e, drop=math.nan) for e in diagnosis.interventions]
    broken = replace(single, diagnoses=[replace(diagnosis, curves=curves, interventions=edits)])
    names = [kind.name for kind in available_figures(broken)]
    assert "calibration" not in names
    assert "interventions" not in names
    assert "robustness" in names


@pytest.mark.parametrize("name", NEW)
def test_strange_names_are_drawn_as_they_are(name):
    made = with_dynamics(diagnosed(made_comparison(("$x_{\x00\u97f3", HOSTILE), num_seeds=1), num_shown=0))
    svg = figure_bytes(FIGURES[name].draw(made), "svg")
    assert ET.fromstring(svg).tag.endswith("svg")  # noqa: S314
    assert b"<script" not in svg
