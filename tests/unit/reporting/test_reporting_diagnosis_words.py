"""What planted models do is known; these are the words that a reader gets about them."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_comparison import HOSTILE, diagnosed, made_comparison, made_diagnosis, made_single

from rollingq.evaluation.diagnosis import Detection, Intervention, OODResult
from rollingq.reporting.caveats import caveats
from rollingq.reporting.diagnosis_findings import auroc_error, diagnosis_findings, is_overconfident
from rollingq.reporting.diagnosis_words import change_words, edit_words, is_clear, standard_error
from rollingq.reporting.verdict import headline, verdict_lines

OUTSIDE = (
    "Outside samples: model: left-out classes (near): AUROC {} by gen, catching 95 % of them flags {} of inside "
    "samples; another dataset (far): AUROC {} by gen, catching 95 % of them flags {} of inside samples."
)
ONE_RUN = "Mind: One run of one model: training it again with another seed may give other numbers."
LOST = "not shown to be above the most frequent class (34.0 %): no other modality is seen to help."
SNAPSHOTS = {
    "ignores": [
        "Attention is locked on audio: 93 % of the mass on clean samples, 92 % when audio is pure noise.",
        "Attention: Attention of model is locked on audio: audio holds 93 % of the mass on clean samples (its share of "
        "the tokens is 55 %) and 92 % when audio is pure noise.",
        "Reaction to noise: Attention on a modality must fall when it turns to noise. model: on audio it hardly falls "
        "(r = -0.05), on visual it hardly falls (r = -0.05).",
        f"Under noise: model: accuracy falls from 70.0 % to 34.0 % when audio is pure noise, {LOST}",
        "Attention edited: model: averaging attention changes accuracy by +0.2 points (no clear change): the attention "
        "pattern carries nothing; masking audio costs 34.0 points and visual shows no clear change (-0.4 points).",
        "Contributions: model: audio earns 95 % of what the inputs add to accuracy (Shapley value) and holds 93 % of "
        "the attention.",
        "Calibration: model: the calibration error rises from 6.0 % to 60.0 % when audio is pure noise: the model is "
        "overconfident.",
        OUTSIDE.format("65.0 %", "74 %", "77.0 %", "74 %"),
        ONE_RUN,
    ],
    "follows": [
        "Attention follows quality: audio holds 61 % of the mass on clean samples, 21 % when audio is pure noise.",
        "Attention: Attention of model follows quality: audio holds 61 % of the mass on clean samples (its share of "
        "the tokens is 55 %) and 21 % when audio is pure noise.",
        "Reaction to noise: Attention on a modality must fall when it turns to noise. model: on audio it falls clearly "
        "(r = -0.70), on visual it falls clearly (r = -0.70).",
        "Under noise: model: accuracy falls from 70.0 % to 63.0 % when audio is pure noise, still above the most "
        "frequent class (34.0 %).",
        "Attention edited: model: averaging attention costs 12.0 points: the model uses the attention pattern; masking "
        "audio costs 8.0 points and visual costs 10.0 points.",
        "Contributions: model: audio earns 58 % of what the inputs add to accuracy (Shapley value) and holds 61 % of "
        "the attention.",
        "Calibration: model: the calibration error rises from 6.0 % to 9.0 % when audio is pure noise.",
        OUTSIDE.format("69.0 %", "70 %", "81.0 %", "70 %"),
        ONE_RUN,
    ],
    "inverts": [
        "Attention leans on audio: 60 % of the mass on clean samples, 85 % when audio is pure noise (wrong, it should "
        "fall).",
        "Attention: Attention of model leans on audio: audio holds 60 % of the mass on clean samples (its share of the "
        "tokens is 55 %) and 85 % when audio is pure noise. Attention on audio rises from 60 % to 85 % when audio is "
        "pure noise: wrong, it should fall.",
        "Reaction to noise: Attention on a modality must fall when it turns to noise. model: on audio it rises, which "
        "is wrong (r = +0.60), on visual it rises, which is wrong (r = +0.60).",
        f"Under noise: model: accuracy falls from 70.0 % to 30.0 % when audio is pure noise, {LOST}",
        "Attention edited: model: averaging attention gains 5.0 points: the attention pattern does harm; masking audio "
        "shows no clear change (-2.0 points) and visual costs 20.0 points.",
        "Contributions: model: audio earns 20 % of what the inputs add to accuracy (Shapley value) and holds 60 % of "
        "the attention: attention is not where the accuracy comes from, which is visual.",
        "Calibration: model: the calibration error rises from 6.0 % to 62.0 % when audio is pure noise: the model is "
        "overconfident.",
        OUTSIDE.format("65.0 %", "74 %", "77.0 %", "74 %"),
        ONE_RUN,
    ],
}


def told(comparison):
    return {finding.topic: finding for finding in diagnosis_findings(comparison)}


@pytest.mark.parametrize("reaction", SNAPSHOTS)
def test_the_whole_verdict_of_a_planted_model(reaction):
    assert verdict_lines(made_single(reaction=reaction)) == SNAPSHOTS[reaction]


def test_the_tones_of_planted_models():
    tones = {r: [f.tone for f in diagnosis_findings(made_single(reaction=r))] for r in SNAPSHOTS}
    assert tones == {
        "ignores": ["bad", "note", "note", "bad", "note"],
        "follows": ["note", "note", "note", "note", "note"],
        "inverts": ["bad", "bad", "bad", "bad", "note"],
    }


def test_a_model_is_held_against_the_other_modality_alone():
    text = told(diagnosed(made_comparison()))["Under noise"].text
    assert text == (
        "mt: accuracy falls from 70.0 % to 34.0 % when audio is pure noise, below visual alone (65.1 %): the model "
        "cannot switch. mt+rollingq: accuracy falls from 70.0 % to 63.0 % when audio is pure noise, not clearly below "
        "visual alone (65.1 %): the model switches."
    )


def test_a_probe_stands_in_for_a_modality_that_was_not_trained_alone():
    single = made_single()
    summary = replace(single.summaries[0], probes={"audio": 0.70, "visual": 0.62})
    text = told(replace(single, summaries=[summary]))["Under noise"].text
    assert text.endswith("below a probe on its visual encoder (62.0 %): the model cannot switch.")


def test_one_sample_shows_nothing():
    found = told(made_single(num_samples=1))
    assert found["Under noise"].text == (
        "model: accuracy shows no clear change (70.0 % to 34.0 %) when audio is pure noise."
    )
    assert "whether the attention pattern carries anything, 1 sample cannot decide" in found["Attention edited"].text
    assert found["Contributions"].text == (
        "model: no clear change with inputs or without, so no modality earns a share."
    )
    assert "no clear change (6.0 % to 60.0 %)" in found["Calibration"].text
    assert "not told from inside samples" in found["Outside samples"].text
    assert {finding.tone for finding in found.values()} == {"note", "open"}


def test_few_samples_leave_it_open_whether_a_model_switches():
    comparison = made_comparison()
    few = made_diagnosis("mt", reaction="ignores", num_samples=40)
    curve = few.curves[0]
    last = replace(curve.points[-1], accuracy=[0.55])
    few = replace(few, accuracy=0.95, curves=[replace(curve, points=[replace(curve.points[0], accuracy=[0.95]), last])])
    finding = told(replace(comparison, diagnoses=[few]))["Under noise"]
    assert (finding.text, finding.tone) == (
        "mt: accuracy falls from 95.0 % to 55.0 % when audio is pure noise, not clearly below visual alone (65.1 %), "
        "which 40 samples cannot decide.",
        "open",
    )


def test_a_probe_on_a_starved_encoder_does_not_show_that_a_model_switches():
    comparison = made_comparison()
    alone = {run.method for run in comparison.runs if len(run.modalities) == 1}
    part = replace(
        comparison,
        runs=[run for run in comparison.runs if run.method not in alone],
        summaries=[summary for summary in comparison.summaries if summary.method not in alone],
        diagnoses=[made_diagnosis("mt", reaction="follows")],
    )
    finding = told(part)["Under noise"]
    assert "a probe on its visual encoder" in finding.text
    assert "switches" not in finding.text
    assert finding.tone == "note"


def test_what_is_not_defined_is_said_with_its_reason():
    single = made_single(has_attention=False)
    assert headline(single) == "model reaches 70.0 %; no attention was read."
    found = told(single)
    assert "Attention edited" not in found
    assert found["Not measured"].text == "interventions: concat has no attention whose keys are of all modalities."
    text = "model: audio earns 95 % of what the inputs add to accuracy (Shapley value, +34.2 of +36.0 points)."
    assert found["Contributions"].text == text


def test_what_several_methods_lack_is_said_once():
    comparison = made_comparison()
    lacking = {
        "mt": {"ood": "no samples were given", "quadrants": "only class rows"},
        "concat": {"ood": "no samples were given", "attention": "no softmax", "interventions": "no softmax"},
    }
    diagnoses = [replace(made_diagnosis(method), undefined=found) for method, found in lacking.items()]
    assert told(replace(comparison, diagnoses=diagnoses))["Not measured"].text == (
        "ood: no samples were given. attention and interventions for concat: no softmax. "
        "quadrants for mt: only class rows."
    )


def test_values_that_are_not_numbers_give_no_sentence():
    nan = math.nan
    single = made_single()
    diagnosis = single.diagnoses[0]
    curves = [
        replace(c, points=[replace(p, accuracy=[nan] * len(p.accuracy), ece=[nan]) for p in c.points])
        for c in diagnosis.curves
    ]
    empty = replace(
        diagnosis,
        accuracy=nan,
        curves=curves,
        interventions=[Intervention("average", nan, nan)],
        ood=[OODResult("noise", "far", 10, 10, nan, [Detection("gen", nan, nan, nan)])],
        contributions=[replace(c, values=dict.fromkeys(c.values, nan)) for c in diagnosis.contributions],
    )
    assert diagnosis_findings(replace(single, diagnoses=[empty])) == []
    assert diagnosis_findings(replace(single, diagnoses=[])) == []


def test_scores_that_work_the_wrong_way_round_are_called_so():
    single = made_single()
    inverted = OODResult("other rooms", "far", 500, 500, 0.7, [Detection("gen", 0.2, 0.99, math.nan)])
    finding = told(replace(single, diagnoses=[replace(single.diagnoses[0], ood=[inverted])]))["Outside samples"]
    assert (finding.text, finding.tone) == (
        "model: other rooms (far): look more familiar than inside samples, the wrong way round (AUROC 20.0 % by gen).",
        "bad",
    )


def test_seeds_are_averaged_and_a_part_is_said_to_be_one():
    comparison = made_comparison()
    seeds = [made_diagnosis("mt", seed=s, reaction=r) for s, r in enumerate(("ignores", "follows"))]
    both = replace(comparison, diagnoses=seeds)
    assert "accuracy falls from 70.0 % to 48.5 % when audio is pure noise" in told(both)["Under noise"].text
    assert "The diagnosis stands on 2 of 3 seeds for mt." in caveats(both)
    fewer = replace(comparison, diagnoses=[made_diagnosis("mt", num_samples=100)])
    assert "The diagnosis stands on 1 of 3 seeds and 100 of 500 test samples for mt." in caveats(fewer)


def test_many_methods_are_told_of_in_the_tables():
    many = replace(made_comparison(), diagnoses=[made_diagnosis(f"m{i}") for i in range(9)])
    assert told(many)["Under noise"].text.endswith("3 more methods in the tables.")


def test_hostile_names_stay_one_line():
    names = (HOSTILE + "\n\x1b[2J", "visual")
    lines = verdict_lines(diagnosed(made_comparison(names)))
    assert not [line for line in lines if "\n" in line or "\x1b" in line]


@given(st.floats(0, 1), st.floats(0, 1), st.integers(-1, 5000))
def test_a_clear_change_is_one_beyond_two_standard_errors(first, second, num):
    is_seen = is_clear(first, second, num)
    assert is_seen == is_clear(second, first, num)
    assert not (is_seen and num < 2)
    assert ("no clear change" in change_words(first, second, num)) != is_seen
    assert is_seen <= (abs(first - second) > 0)


def test_the_standard_error_of_a_proportion():
    assert standard_error(0.5, 400) == pytest.approx(0.025)
    assert standard_error(0.0, 10) == standard_error(1.0, 10) == 0.0
    assert math.isnan(standard_error(0.5, 0))
    assert math.isnan(standard_error(math.nan, 5))
    assert not is_clear(math.nan, 0.5, 100)
    assert change_words(math.nan, 0.5, 100) == "is not defined"


@given(st.lists(st.tuples(st.floats(0.25, 1), st.floats(0, 1), st.integers(1, 50)), min_size=1, max_size=8))
def test_overconfidence_is_only_claimed_where_it_is_certain(bins):
    total = sum(num for _, _, num in bins)
    accuracy = sum(right * num for _, right, num in bins) / total
    over = sum(max(0.0, sure - right) * num for sure, right, num in bins) / total
    under = sum(max(0.0, right - sure) * num for sure, right, num in bins) / total
    if is_overconfident(accuracy, over + under + 0.0, 4):
        assert over >= under - 1e-9


def test_the_error_of_a_guessing_score():
    assert auroc_error(50, 50) == pytest.approx(math.sqrt(101 / 30000))
    assert auroc_error(0, 50) == math.inf


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mask:audio", "mask audio"),
        ("average", "average every modality"),
        ("quag:unimodal", "QUAG: unimodal"),
        ("quag:average:audio", "QUAG: average audio"),
        ("quag_attention:crossmodal", "QUAG, inputs: crossmodal"),
        ("another", "another"),
    ],
)
def test_edits_in_words(name, words):
    assert edit_words(name) == words
