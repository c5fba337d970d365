import csv
import io
import xml.etree.ElementTree as ET
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from made_comparison import HOSTILE, made_comparison, renamed
from matplotlib.image import imread

from rollingq.reporting.figures import FIGURES, alt_text, available_figures, figure_bytes, numbers_csv, save_figures
from rollingq.reporting.plots.attention import attention_numbers
from rollingq.reporting.plots.imbalance import mean_air
from rollingq.reporting.plots.keys import MAX_CLOUD, clouds
from rollingq.reporting.plots.probes import probe_values
from rollingq.reporting.plots.style import HATCHES, MARKERS, OKABE_ITO, looks

ALL = ["accuracy", "attention", "imbalance", "keys", "probes"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory, comparison_of_three):
    return save_figures(comparison_of_three, tmp_path_factory.mktemp("figures") / "new" / "folder")


def test_every_figure_is_saved_as_svg_png_and_csv(saved):
    assert [path.name for path in saved] == [f"{name}.{form}" for name in ALL for form in ("svg", "png", "csv")]


@pytest.mark.parametrize("name", ALL)
def test_figures_are_not_empty(saved, name):
    files = {path.suffix: path for path in saved if path.stem == name}
    pixels = imread(files[".png"])[..., :3]
    assert len(np.unique(pixels.sum(axis=-1))) > 20
    assert pixels.shape[1] > 800
    assert ET.fromstring(files[".svg"].read_text()).tag.endswith("svg")  # noqa: S314
    rows = list(csv.DictReader(io.StringIO(files[".csv"].read_text())))
    assert rows
    assert all(None not in row and None not in row.values() for row in rows)


@pytest.mark.parametrize("name", ALL)
def test_alt_texts_are_sentences_with_numbers(comparison, name):
    text = alt_text(name, comparison)
    assert text.endswith(".")
    assert any(character.isdigit() for character in text)
    assert FIGURES[name].reading.endswith(".")


def test_alt_text_says_what_the_figure_shows(comparison):
    text = alt_text("attention", comparison)
    assert (
        "mt: share of tokens: audio 55 %, visual 44 %; clean: audio 93 %, visual 6 %; audio is noise: audio 92 %"
        in text
    )


def test_an_unknown_figure_is_refused(comparison):
    with pytest.raises(ValueError, match=r"but got 'probe'\. Did you mean 'probes'\?"):
        alt_text("probe", comparison)


def test_the_same_comparison_gives_the_same_bytes_whatever_the_readers_settings(comparison):
    first = figure_bytes(FIGURES["attention"].draw(comparison), "svg")
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": "other"}):
        second = figure_bytes(FIGURES["attention"].draw(comparison), "svg")
        assert mpl.rcParams["font.size"] == 30
    assert first == second


def test_figures_without_numbers_are_left_out():
    comparison = made_comparison(has_attention=False)
    assert [kind.name for kind in available_figures(comparison)] == ["accuracy", "probes"]
    assert [kind.name for kind in available_figures(replace(comparison, summaries=[], runs=[]))] == []


@pytest.mark.parametrize("name", ALL)
def test_every_figure_can_be_drawn_of_one_seed_and_of_nothing(name, comparison):
    for made in (made_comparison(num_seeds=1), replace(comparison, summaries=[], runs=[])):
        assert figure_bytes(FIGURES[name].draw(made), "png").startswith(b"\x89PNG")


def test_modalities_differ_in_more_than_colour(comparison_of_three):
    found = looks(comparison_of_three).values()
    for part in ("color", "marker", "hatch"):
        assert len({getattr(look, part) for look in found}) == 3
    assert len(OKABE_ITO) == len(set(MARKERS)) == len(set(HATCHES)) == 8


def test_numbers_behind_the_figures(comparison):
    rows = attention_numbers(comparison)
    clean = {
        row["modality"]: row["attention_score"] for row in rows if (row["method"], row["samples"]) == ("mt", "clean")
    }
    assert clean == pytest.approx({"audio": 0.93, "visual": 0.06})
    assert probe_values(comparison)["visual"]["mt"] == pytest.approx([0.37, 0.38, 0.39])
    assert list(probe_values(comparison)["audio"]) == ["alone", "concat", "mt", "mt+rollingq"]
    runs = [run for run in comparison.runs if run.method == "mt"]
    assert mean_air(comparison, "mt")[0] == pytest.approx(np.mean([run.history[0].air for run in runs]))


def test_clouds_are_of_one_seed_and_thinned_evenly(comparison):
    assert {cloud.seed for cloud in clouds(comparison)} == {0}
    assert len(clouds(comparison)) == 8
    long = {m: [i / 1000 for i in range(1000)] for m in comparison.modalities}
    runs = [
        r
        if r.attention is None
        else replace(r, attention=replace(r.attention, clean=replace(r.attention.clean, cosine=long, key_norm=long)))
        for r in comparison.runs
    ]
    thin = next(cloud for cloud in clouds(replace(comparison, runs=runs)) if not cloud.is_noise)
    assert len(thin.cosine) == MAX_CLOUD
    assert thin.cosine[-1] == pytest.approx(0.996)


@pytest.mark.parametrize("names", [("$x_{", HOSTILE, "_hidden"), ("\x00\x1b", "音声", r"\frac$")])
def test_strange_names_are_drawn_as_they_are(names):
    comparison = renamed(made_comparison(names[:2]), names[2])
    for kind in available_figures(comparison):
        svg = figure_bytes(kind.draw(comparison), "svg")
        assert ET.fromstring(svg).tag.endswith("svg")  # noqa: S314
        assert b"<script" not in svg


def test_spreadsheets_run_no_formula():
    rows = list(csv.reader(io.StringIO(numbers_csv([{"method": '=HYPERLINK("x")', "r": -0.5}]))))
    assert rows == [["method", "r"], ['\'=HYPERLINK("x")', "-0.5"]]
