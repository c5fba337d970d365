import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_comparison import HOSTILE, diagnosed
from made_diagnosis import DOT, made_diagnosis

from rollingq.evaluation.diagnosis import Sample
from rollingq.reporting import browser
from rollingq.reporting.browser import MAX_NAME, MAX_SAMPLES, sample_browser
from rollingq.reporting.text import script_json

STRANGE = (
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "\"'&amp;",
    "a\u2028b\u2029c",
    "\u202egnp.exe",
    "\x00\x1b[2J",
)


def browsed(comparison, *diagnoses):
    found = sample_browser(replace(comparison, diagnoses=list(diagnoses)))
    return found, json.loads(found.json)


def rows(values, model=0):
    """Every row of a model as the page puts it together: name, label, what was read, pictures."""
    known = values["samples"]
    return [[*known[i][:2], *read, known[i][2]] for i, *read in values["models"][model]["rows"]]


def sample(name="one", **options):
    made = {"label": 0, "prediction": 1, "probability": 0.5, "attention": {}, "attention_under_noise": {}}
    return Sample(**{"name": name} | made | options)


def with_samples(samples, **options):
    return replace(made_diagnosis(num_samples=len(samples), **options), samples=list(samples))


def test_every_sample_is_there_as_it_was_read(comparison):
    found, values = browsed(comparison, *diagnosed(comparison, num_samples=12).diagnoses)
    assert found.models == [model["title"] for model in values["models"]] == ["mt", "mt+rollingq"]
    assert [m["name"] for m in values["modalities"]] == ["audio", "visual"]
    assert values["classes"] == {"0": "zero", "1": "one", "2": "two"}
    first, second, third = rows(values, 1)[:3]
    assert first == ["rec_000", 0, 0, 0.5, [0.61, 0.38], [0.21, 0.05], [[0, 0], [1, 0]]]
    assert second[:4] == ["rec_001", 1, 1, 0.5817]
    assert third[1:3] == [2, 0]
    assert third[6] == []
    assert values["models"][0]["summary"] == "70.0 % of 12 test samples are right."
    assert (found.has_pictures, found.note) == (True, "")


def test_without_samples_there_is_no_browser(comparison):
    assert sample_browser(comparison) is None
    assert sample_browser(replace(comparison, diagnoses=[with_samples([])])) is None


def test_seeds_of_one_method_are_told_apart(comparison):
    found, _ = browsed(comparison, made_diagnosis("mt", seed=3), made_diagnosis("mt", seed=1), made_diagnosis("model"))
    assert found.models == ["mt, seed 1", "mt, seed 3", "model"]


def test_what_is_not_defined_is_null_and_unknown_classes_go_by_number(comparison):
    samples = [sample(probability=math.nan, label=-1, prediction=7, attention={"audio": math.inf})]
    _, values = browsed(comparison, with_samples(samples))
    assert rows(values) == [["one", -1, 7, None, [None, None], [None, None], []]]
    assert values["classes"] == {"-1": "class -1", "7": "class 7"}


def test_without_attention_there_are_no_masses(comparison):
    _, values = browsed(comparison, made_diagnosis(has_attention=False))
    assert all(row[4] == row[5] == [] for row in rows(values))


def test_a_modality_that_the_comparison_does_not_know_is_shown_last(comparison):
    _, values = browsed(comparison, with_samples([sample(attention={"radar": 0.25, "audio": 0.75})]))
    assert [m["name"] for m in values["modalities"]] == ["audio", "visual", "radar"]
    assert rows(values)[0][4] == [0.75, None, 0.25]


def test_many_samples_are_thinned_evenly_and_said_to_be(comparison):
    many = with_samples([sample(f"rec_{i}") for i in range(3 * MAX_SAMPLES)])
    _, values = browsed(comparison, many)
    assert [row[0] for row in rows(values)] == [f"rec_{3 * i}" for i in range(MAX_SAMPLES)]
    assert values["models"][0]["summary"].endswith(f"{MAX_SAMPLES} of them, taken evenly, are shown here.")
    _, values = browsed(comparison, *(replace(many, seed=seed) for seed in range(8)))
    assert [len(model["rows"]) for model in values["models"]] == [1500] * 8
    assert len(values["samples"]) == 1500


def test_pictures_are_held_once_and_belong_to_the_sample(comparison):
    pictured, bare = sample(index=4, pictures={"visual": DOT}), sample(index=4)
    other = sample(index=5)
    _, values = browsed(comparison, with_samples([pictured]), with_samples([bare, other], method="mt+rollingq"))
    assert values["pictures"] == [DOT]
    assert [row[6] for model in (0, 1) for row in rows(values, model)] == [[[1, 0]], [[1, 0]], []]


@pytest.mark.parametrize("picture", ["", "PHN2Zz4=", f'{DOT}" onerror="x', f"javascript:{DOT}", DOT + "\n"])
def test_what_is_no_png_is_left_out_and_said_to_be(comparison, picture):
    found, values = browsed(comparison, with_samples([sample(pictures={"audio": picture})]))
    assert values["pictures"] == []
    assert rows(values)[0][6] == []
    assert found.note == "1 picture left out: no PNG, or no room on this page."


def test_pictures_beyond_the_limit_are_left_out_and_said_to_be(comparison, monkeypatch):
    monkeypatch.setattr(browser, "MAX_PICTURE_CHARACTERS", 10_000)
    pictures = ["iVBORw0KGgo" + str(i) * 4000 for i in range(4)]
    found, values = browsed(
        comparison, with_samples([sample(str(i), index=i, pictures={"audio": p}) for i, p in enumerate(pictures)])
    )
    assert values["pictures"] == pictures[:2]
    assert found.note.startswith("2 pictures left out")


@pytest.mark.parametrize("name", [HOSTILE, "x" * 10_000, *STRANGE])
def test_strange_names_cannot_leave_the_script_element(comparison, name):
    named = replace(comparison, classes=[name, name], modalities=[name, "visual"])
    found, values = browsed(named, with_samples([sample(name, attention={name: 1.0})], method=name))
    assert not set(found.json) & set("<>&\u2028\u2029\u202e\x00\x1b")
    row = rows(values)[0]
    assert row[0] == values["classes"]["0"] == values["modalities"][0]["name"]
    assert len(row[0]) <= MAX_NAME
    assert row[0][:8] == name[:8].translate(
        {0: "\ufffd", 0x1B: "\ufffd", 0x2028: "\ufffd", 0x2029: "\ufffd", 0x202E: "\ufffd"}
    )


@given(st.recursive(st.text(), lambda part: st.lists(part) | st.dictionaries(st.text(), part)))
def test_json_for_scripts_reads_back_and_holds_no_markup(value):
    text = script_json({"value": value})
    assert json.loads(text) == {"value": value}
    assert not set(text) & set("<>&\u2028\u2029")


def test_json_for_scripts_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="JSON compliant"):
        script_json({"value": math.nan})


def test_the_largest_page_leaves_room_for_its_figures(comparison):
    picture = DOT[:-8] + "{:08d}" * 500
    shown = [
        sample(
            "<" * 500,
            index=i,
            attention={"audio": 0.1234, "visual": 0.5678},
            pictures={"audio": picture.format(*[i] * 500)},
        )
        for i in range(MAX_SAMPLES)
    ]
    found, values = browsed(comparison, *(with_samples(shown, seed=seed) for seed in range(6)))
    assert found.note
    assert len(values["pictures"]) > 400
    assert len(found.json.encode()) < 3_700_000
