"""rollingq.diagnose on made models whose truth is known, on undefined cases, and what it promises about passes."""

import json
import math

import pytest
import torch
from made_models import DIM, NUM_TOKENS, TOKENS, MadeModel, made_loader, made_split
from torch import nn

import rollingq
from rollingq.config import DiagnoseConfig
from rollingq.data.samplers import make_loader
from rollingq.errors import AttachError, ConfigError, DataError, ShapeError
from rollingq.evaluation.variants import make_plan


def diagnosed(habit, **options):
    return rollingq.diagnose(MadeModel(habit), made_loader(), layer="attention", tokens=TOKENS, **options)


@pytest.mark.parametrize(
    ("habit", "words", "sign"),
    [("ignores", "is locked on audio", None), ("follows", "follows quality", -1), ("inverts", "wrong", 1)],
)
def test_planted_truth_gets_the_right_verdict(habit, words, sign):
    report = diagnosed(habit, measures=())
    attention = report.comparison.runs[0].attention
    assert words in report.verdict
    for modality in TOKENS:
        r = attention.correlation[modality].r
        assert abs(r) < 0.05 or math.isnan(r) if sign is None else r * sign > 0.85, (modality, r)


def test_attention_mass_and_token_share():
    ignores = diagnosed("ignores", measures=()).comparison.runs[0].attention
    mass = math.exp(4.01) / (math.exp(4.01) + 1)
    assert ignores.score["audio"] == pytest.approx(mass, abs=1e-4)
    assert ignores.score_under_noise["audio"]["audio"] == pytest.approx(mass, abs=1e-4)
    assert ignores.token_share == {"audio": 0.5, "image": 0.5}


def test_follower_keeps_accuracy_when_a_modality_is_noise_and_inverter_loses_it():
    follows, inverts = (diagnosed(h, measures=()).comparison.runs[0] for h in ("follows", "inverts"))
    assert follows.test_accuracy > 0.95
    assert min(follows.accuracy_under_noise.values()) > 0.9
    assert max(inverts.accuracy_under_noise.values()) < 0.75


def test_every_variant_is_read_once_and_shared():
    model, calls = MadeModel("follows"), []
    model.register_forward_hook(lambda *_: calls.append(1))
    loader = made_loader(60, 16)
    report = rollingq.diagnose(model, loader, layer="attention", tokens=TOKENS)
    diagnosis = report.comparison.diagnoses[0]
    # 1 clean, 2 replaced, 4 kinds x 4 levels x 3 seeds x 2 modalities of which 2 are the replaced ones, 9 coalitions
    # without the full ones of which 2 are the replaced ones, and the edits: 2 masks, 1 average, 2 x 4 of QUAG.
    assert diagnosis.num_passes == 1 + 2 + (96 - 2) + (9 - 2) + 11 == 115
    assert len(calls) == diagnosis.num_passes * len(loader)


def test_plan_counts_without_measures():
    plan = make_plan(DiagnoseConfig(measures=()), ("a", "b", "c"), ("a", "b", "c"), ("mask:a",))
    assert len(plan.variants) == 4


def test_batches_of_any_size_give_the_same_numbers():
    found = [
        rollingq.diagnose(MadeModel("follows"), made_loader(60, size), layer="attention", tokens=TOKENS)
        for size in (7, 60)
    ]
    first, second = (json.loads(report.to_json())["diagnoses"] for report in found)
    assert [c["points"] for c in first[0]["curves"]] == [
        [
            {**p, "ece": pytest.approx(p["ece"], abs=1e-6), "attention_score": pytest.approx(p["attention_score"])}
            for p in curve["points"]
        ]
        for curve in second[0]["curves"]
    ]


def test_mix_at_level_one_is_the_replaced_pass_and_level_zero_the_clean_one():
    report = diagnosed("follows", noise_seeds=1)
    run, diagnosis = report.comparison.runs[0], report.comparison.diagnoses[0]
    for curve in diagnosis.curves:
        assert curve.points[0].accuracy == [run.test_accuracy]
        if curve.kind == "mix":
            assert curve.points[-1].accuracy == [run.accuracy_under_noise[curve.modality]]
    assert {c.kind for c in diagnosis.curves} == {"mix", "additive", "dropout", "multibench"}


def test_contributions_add_up():
    for contribution in diagnosed("follows").comparison.diagnoses[0].contributions:
        full, none = contribution.coalitions["audio+image"], contribution.coalitions[""]
        assert sum(contribution.values.values()) == pytest.approx(full - none)


def test_masking_the_ignored_modality_changes_nothing_and_the_locked_one_does():
    edits = {i.name: i for i in diagnosed("ignores").comparison.diagnoses[0].interventions}
    assert edits["mask:image"].drop == pytest.approx(0.0, abs=0.05)
    assert set(edits) >= {"mask:audio", "average", "quag:average:image", "quag_attention:average:audio"}
    assert "quag:unimodal" not in edits


def test_an_edit_that_can_change_nothing_is_said_to_be_undefined():
    diagnosis = diagnosed("follows").comparison.diagnoses[0]
    assert "only class rows" in diagnosis.undefined["interventions of quadrants"]


def test_model_is_left_as_it_was():
    model = MadeModel("follows")
    model.train()
    names = [name for name, _ in model.named_modules()]
    rollingq.diagnose(model, made_loader(), layer="attention", tokens=TOKENS, measures=())
    assert [name for name, _ in model.named_modules()] == names
    assert model.training
    assert not model.attention._forward_hooks


def test_attached_rollingq_is_used_and_stays():
    model = MadeModel("ignores")
    att = rollingq.attach(model, "attention", tokens=TOKENS)
    report = rollingq.diagnose(model, made_loader(), layer="attention", tokens=TOKENS, measures=())
    assert rollingq.attachments(model) == [att]
    assert report.comparison.runs[0].attention.air > 0.5


def outside_loader(num):
    split = made_split(num, seed=9)
    noise = {name: torch.randn(num, NUM_TOKENS, DIM) for name in TOKENS}
    return make_loader(type(split)(noise, split.labels, {}, split.names), 16, 0, shuffle=False) if num else []


def test_outside_sets():
    report = diagnosed(
        "follows", measures=("ood",), outside={"noise": outside_loader(30), "nothing": []}, train_loader=made_loader()
    )
    diagnosis = report.comparison.diagnoses[0]
    (found,) = diagnosis.ood
    assert (found.name, found.num_inside, found.num_outside) == ("noise", 60, 30)
    assert found.detections[0].auroc > 0.7
    assert "nothing" in diagnosis.undefined["ood:nothing"]
    assert "features" in diagnosis.undefined["ood:noise:knn"]


class NaNModel(MadeModel):
    def forward(self, audio, image):
        return super().forward(audio, image) * float("nan")


def test_nan_outputs_are_said_and_give_no_number():
    report = rollingq.diagnose(NaNModel("follows"), made_loader(), layer="attention", tokens=TOKENS)
    assert math.isnan(report.comparison.runs[0].test_accuracy)
    assert all(math.isnan(a) for c in report.comparison.diagnoses[0].curves for p in c.points for a in p.accuracy)
    assert "60 of 60" in report.comparison.diagnoses[0].undefined["accuracy"]


def test_one_sample():
    report = rollingq.diagnose(MadeModel("follows"), made_loader(1), layer="attention", tokens=TOKENS)
    attention = report.comparison.runs[0].attention
    assert math.isnan(attention.correlation["audio"].r)
    assert report.comparison.diagnoses[0].num_samples == 1
    assert str(report)


def test_one_class_absent():
    split = made_split(60)
    chosen = torch.nonzero(split.labels != 2).flatten()
    inputs = {name: rows[chosen] for name, rows in split.inputs.items()}
    part = type(split)(inputs, split.labels[chosen], {}, [split.names[i] for i in chosen.tolist()])
    loader = make_loader(part, 16, 0, shuffle=False)
    report = rollingq.diagnose(
        MadeModel("follows"),
        loader,
        layer="attention",
        tokens=TOKENS,
        train_loader=loader,
        outside={"noise": outside_loader(30)},
        features="attention.key",
    )
    assert report.comparison.chance == pytest.approx(0.5)
    assert "class 2" in report.comparison.diagnoses[0].undefined["ood:noise:mahalanobis"]


def batches(form):
    split = made_split(8)
    parts = (split.inputs["audio"], split.inputs["image"], split.labels)
    return {
        "tuple": [parts],
        "nested": [((parts[0], parts[1]), parts[2])],
        "nested mapping": [({"audio": parts[0], "image": parts[1]}, parts[2])],
        "labels": [{"audio": parts[0], "image": parts[1], "labels": parts[2]}],
    }[form]


@pytest.mark.parametrize("form", ["tuple", "nested", "nested mapping", "labels"])
def test_batches_of_every_usual_form(form):
    report = rollingq.diagnose(MadeModel("follows"), batches(form), layer="attention", tokens=TOKENS, measures=())
    assert report.comparison.diagnoses[0].num_samples == 8


def test_errors_name_what_is_wrong():
    model = MadeModel("follows")
    cases = [
        ({"loader": iter([])}, DataError, "read again from its start"),
        ({"loader": []}, DataError, "at least one test sample"),
        ({"loader": [{"sound": torch.ones(2, 4, 6), "label": torch.zeros(2).long()}]}, DataError, "audio, image"),
        ({"loader": batches("tuple"), "label": 7}, DataError, "3 elements"),
        ({"layer": "attentoin"}, AttachError, "attention"),
        ({"layer": ()}, AttachError, "at least one attention layer"),
        ({"forward": lambda m, b: m(b["audio"], b["image"])[:, 0]}, ShapeError, "logits"),
        ({"levels": (0.5, 2.0)}, ConfigError, "levels"),
        ({"measures": ("nois",)}, ConfigError, "measures"),
        ({"forward": lambda m, b: m(b["audio"], b["image"])[:, :2]}, DataError, "labels from 0 to 1"),
    ]
    for options, kind, text in cases:
        given = {"loader": made_loader(), "layer": "attention", **options}
        loader = given.pop("loader")
        with pytest.raises(kind, match=text) as found:
            rollingq.diagnose(model, loader, tokens=TOKENS, **given)
        assert "\n" not in str(found.value)


class Embedded(nn.Module):
    """Whole numbers in, through an embedding."""

    def __init__(self):
        super().__init__()
        self.inner = MadeModel("follows")
        self.table = nn.Embedding(10, DIM)

    def forward(self, audio, image):
        return self.inner(self.table(audio), image)


def test_whole_numbers_cannot_be_noised_and_this_is_said():
    split = made_split(12)
    batch = {"audio": torch.randint(0, 10, (12, NUM_TOKENS)), "image": split.inputs["image"], "label": split.labels}
    report = rollingq.diagnose(Embedded(), [batch], layer="inner.attention", tokens=TOKENS)
    diagnosis = report.comparison.diagnoses[0]
    assert "whole numbers" in diagnosis.undefined["noise:audio"]
    assert {curve.modality for curve in diagnosis.curves} == {"image"}
    assert diagnosis.contributions == []
    assert "audio" in diagnosis.undefined["contributions"]
