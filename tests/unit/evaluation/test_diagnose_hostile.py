"""rollingq.diagnose as strangers use it: odd batches, odd models, odd data, and what must stay as it was."""

import copy
import json
import math
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from made_models import NUM_TOKENS, TOKENS, MadeModel, made_split
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

import rollingq
from rollingq.errors import AttachError, ConfigError, DataError, RollingQError, ShapeError
from rollingq.evaluation.results import Comparison, from_json, to_json
from rollingq.tokens import TokenLayout

NUM = 18
SPLIT = made_split(NUM)
NAMED = namedtuple("NAMED", "label image audio")


def batches(size=7, change=lambda batch: batch):
    whole = {**SPLIT.inputs, "label": SPLIT.labels}
    return [change({name: part[at : at + size].clone() for name, part in whole.items()}) for at in range(0, NUM, size)]


def diagnosed(loader=None, model=None, **options):
    model = MadeModel("follows") if model is None else model
    options = {"layer": "attention", "tokens": TOKENS, "measures": (), **options}
    return rollingq.diagnose(model, batches() if loader is None else loader, **options)


def numbers(report):
    """Return all numbers but the time, without what the settings say."""
    found = json.loads(report.to_json())
    for run in found["runs"]:
        del run["seconds"]
    return found["runs"], found["diagnoses"], found["classes"]


def attention_of(report):
    return report.comparison.runs[0].attention


def undefined_of(report):
    return report.comparison.diagnoses[0].undefined


class Rows(Dataset):
    def __len__(self):
        return NUM

    def __getitem__(self, at):
        return {**{name: part[at] for name, part in SPLIT.inputs.items()}, "label": int(SPLIT.labels[at])}


class Stream(IterableDataset):
    def __iter__(self):
        return map(Rows().__getitem__, range(NUM))


FORMS = {
    "named tuple, labels first": lambda b: NAMED(**b),
    "list": lambda b: [b["audio"], b["image"], b["label"]],
    "nested lists": lambda b: [[b["audio"], b["image"]], b["label"]],
    "int32 labels": lambda b: {**b, "label": b["label"].int()},
    "uint8 labels": lambda b: {**b, "label": b["label"].to(torch.uint8)},
    "labels [B, 1]": lambda b: {**b, "label": b["label"][:, None]},
    "labels in a list": lambda b: {**b, "label": b["label"].tolist()},
    "labels in an array": lambda b: {**b, "label": b["label"].numpy()},
    "more than is asked for": lambda b: {**b, "path": ["a"] * len(b["label"]), "none": None},
}


@pytest.mark.parametrize("form", FORMS)
def test_batches_of_every_form_give_the_same_numbers(form):
    assert numbers(diagnosed(batches(7, FORMS[form]))) == numbers(diagnosed())


@pytest.mark.parametrize("num_workers", [0, 1])
def test_loaders_of_every_kind_give_the_same_numbers(num_workers):
    expected = numbers(diagnosed())
    assert numbers(diagnosed(DataLoader(Rows(), 7, num_workers=num_workers))) == expected
    if not num_workers:
        assert numbers(diagnosed(DataLoader(Stream(), 7))) == expected
        assert numbers(diagnosed([*batches(), {name: part[:0] for name, part in batches()[0].items()}])) == expected


def test_the_order_of_inputs_does_not_change_who_is_who():
    report = diagnosed(model=MadeModel("ignores"), inputs={"image": "image", "audio": "audio"})
    assert numbers(report) == numbers(diagnosed(model=MadeModel("ignores")))
    assert "is locked on audio" in report.verdict


class Rude(MadeModel):
    """Changes what it is given, and takes it out of the batch."""

    def forward(self, batch):
        inputs = batch["inputs"]
        return super().forward(inputs.pop("audio").mul_(1.0), inputs.pop("image").add_(1).sub_(1).mul_(2))


class Gentle(MadeModel):
    def forward(self, batch):
        return super().forward(batch["inputs"]["audio"], batch["inputs"]["image"] * 2)


def test_a_model_that_changes_its_batch_changes_a_copy():
    loader = batches(7, lambda b: {"inputs": {"audio": b["audio"], "image": b["image"]}, "label": b["label"]})
    before = copy.deepcopy(loader)
    places = {name: ("inputs", name) for name in TOKENS}
    asked = {"inputs": places, "measures": ("contributions", "interventions")}
    rude, gentle = (diagnosed(loader, make("follows"), **asked) for make in (Rude, Gentle))
    for batch, old in zip(loader, before, strict=True):
        assert all(torch.equal(batch["inputs"][name], old["inputs"][name]) for name in TOKENS)
    assert attention_of(rude).score == pytest.approx(attention_of(gentle).score, abs=1e-5)
    one, two = (report.comparison.diagnoses[0] for report in (rude, gentle))
    assert (one.interventions, one.contributions) == (two.interventions, two.contributions)


class Centred(MadeModel):
    """Its output depends on what else is in the batch."""

    def forward(self, audio, image):
        return super().forward(audio - audio.mean(0), image)


def test_a_model_that_looks_at_its_whole_batch_sees_the_batches_as_they_are():
    model = Centred("follows")
    logits = torch.cat([model(batch["audio"], batch["image"]) for batch in batches()])
    found = diagnosed(model=model).comparison.diagnoses[0].accuracy
    assert found == float((logits.argmax(-1) == SPLIT.labels).double().mean())


class Restless(MadeModel):
    """Dropout, batch statistics, a memory of what it saw, and a failure at some call."""

    def __init__(self, fails_at=0):
        super().__init__("follows")
        self.norm, self.dropout, self.fails_at, self.calls = nn.BatchNorm1d(3), nn.Dropout(0.5), fails_at, 0

    def forward(self, audio, image):
        self.calls += 1
        if self.calls == self.fails_at:
            raise RuntimeError("the model failed")
        self.memory = super().forward(audio, image)
        return self.dropout(self.norm(self.memory))


@pytest.mark.parametrize("fails_at", [0, 1, 5])
def test_the_model_and_the_random_numbers_are_left_as_they_were(fails_at):
    model = Restless(fails_at).train()
    model.dropout.eval()
    state, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    types = [type(module) for module in model.modules()]
    loader, random = DataLoader(Rows(), 7, shuffle=True), torch.get_rng_state()
    if fails_at:
        with pytest.raises(RuntimeError, match="the model failed"):
            diagnosed(loader, model)
    else:
        diagnosed(loader, model, measures=("samples",))
    assert torch.equal(random, torch.get_rng_state())
    assert [module.training for module in model.modules()] == modes
    assert [type(module) for module in model.modules()] == types
    assert all(torch.equal(part, state[name]) for name, part in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_what_a_model_remembers_can_be_trained_on():
    model = Restless()
    diagnosed(model=model)
    (nn.Linear(3, 1)(model.memory).sum()).backward()


OUTPUTS = {
    "mapping": lambda logits: {"loss": 0.0, "logits": logits},
    "tuple": lambda logits: (logits, None),
    "object": lambda logits: SimpleNamespace(logits=logits),
    "bfloat16": lambda logits: logits.bfloat16().double() * 0 + logits,
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_logits_are_found_in_every_usual_output(output):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = MadeModel("follows")

        def forward(self, *args, **kwargs):
            return OUTPUTS[output](self.inner(*args, **kwargs))

    assert attention_of(diagnosed(model=Wrapped(), layer="inner.attention")) == attention_of(diagnosed())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions_give_nearly_the_same(dtype):
    cast = batches(7, lambda b: {name: x.to(dtype) if name in TOKENS else x for name, x in b.items()})
    found = attention_of(diagnosed(cast, MadeModel("follows").to(dtype)))
    assert found.score == pytest.approx(attention_of(diagnosed()).score, abs=0.02)


class Scaled(MadeModel):
    def forward(self, *, audio, image, scale):
        return super().forward(audio, image) * scale


SILENT = "its inputs never change"
CHANGES = {
    SILENT: lambda x: torch.full_like(x, 0.1),
    "its inputs hold NaN": lambda x: torch.where(torch.arange(len(x))[:, None, None] == 0, torch.nan, x),
    "its inputs are whole numbers": lambda x: (x * 50).clamp(0, 255).to(torch.uint8),
    "its inputs are no tensors": lambda x: x.numpy(),
}


class Converting(MadeModel):
    def forward(self, audio, image):
        return super().forward(torch.as_tensor(audio).float(), image)


@pytest.mark.parametrize("why", CHANGES)
def test_inputs_that_cannot_be_noised_are_named_with_the_reason(why):
    loader = batches(9, lambda b: {**b, "audio": CHANGES[why](b["audio"])})
    report = diagnosed(loader, Converting("follows"), measures=("noise", "contributions", "samples"), noise_seeds=1)
    diagnosis = report.comparison.diagnoses[0]
    assert diagnosis.undefined["noise:audio"].startswith(why)
    assert why in diagnosis.undefined["contributions"]
    assert {curve.modality for curve in diagnosis.curves} == {"image"}
    assert "when audio is pure noise" not in report.verdict
    assert why in str(report).replace("\n", " ")


def test_nan_in_some_samples_is_counted():
    loader = batches(9, lambda b: {**b, "audio": CHANGES["its inputs hold NaN"](b["audio"])})
    report = diagnosed(loader)
    assert undefined_of(report)["accuracy"].startswith("the logits of 2 of 18 samples")
    assert undefined_of(report)["attention"].startswith("the attention weights of 2 of 18 samples")
    assert math.isnan(attention_of(report).score["audio"])


def test_variable_lengths_and_missing_modalities():
    class Masked(MadeModel):
        def forward(self, audio, image, mask):
            self.mask = mask
            return super().forward(audio, image)

    def layout(tokens):
        return TokenLayout({"audio": tokens.shape[1] - NUM_TOKENS, "image": NUM_TOKENS}, model.mask)

    model = Masked("ignores")
    loader = []
    for length, batch in zip((4, 2, 3), batches(), strict=True):
        mask = torch.ones(len(batch["label"]), length + NUM_TOKENS, dtype=torch.bool)
        mask[0, :length], mask[1] = False, False  # One sample without audio, one without anything.
        loader.append({**batch, "audio": batch["audio"][:, :length], "mask": mask})
    report = diagnosed(loader, model, tokens=layout, modalities=tuple(TOKENS), measures=("noise", "contributions"))
    counts = [b["mask"].double().split([b["mask"].shape[1] - NUM_TOKENS, NUM_TOKENS], 1) for b in loader]
    shares = torch.cat([torch.stack([part.sum(1) for part in pair], 1) for pair in counts])
    shares = (shares / shares.sum(1, keepdim=True).clamp_min(1)).mean(0)
    assert list(attention_of(report).token_share.values()) == pytest.approx(shares.tolist())
    assert all(math.isfinite(a) for c in report.comparison.diagnoses[0].curves for p in c.points for a in p.accuracy)


def test_pictures_of_a_shuffled_loader_are_left_out_with_the_reason():
    shuffled, ordered = (
        diagnosed(DataLoader(Rows(), 7, shuffle=is_shuffled), measures=("samples",)) for is_shuffled in (True, False)
    )
    assert "another order" in undefined_of(shuffled)["pictures"]
    assert not any(sample.pictures for sample in shuffled.comparison.diagnoses[0].samples)
    assert all(sample.pictures for sample in ordered.comparison.diagnoses[0].samples)
    assert attention_of(shuffled).score == pytest.approx(attention_of(ordered).score, abs=1e-6)


def test_outside_samples_need_no_labels():
    bare = batches(7, lambda b: {name: b[name] for name in TOKENS})
    odd = batches(7, lambda b: {**b, "label": b["label"] + 90})
    found = diagnosed(measures=("ood",), outside={"bare": bare, "odd": odd}).comparison.diagnoses[0].ood
    assert [(result.name, result.num_outside) for result in found] == [("bare", NUM), ("odd", NUM)]
    assert repr(found[0].detections) == repr(found[1].detections)
    assert found[0].detections[0].auroc == 0.5  # They are the inside samples.


BAD = [
    ({"loader": batches(7, lambda b: {**b, "label": nn.functional.one_hot(b["label"], 3)})}, DataError, "one-hot"),
    ({"loader": batches(7, lambda b: {**b, "label": b["label"].float()})}, DataError, r"float32 \[7\]"),
    ({"loader": batches(7, lambda b: {**b, "label": ["a"] * len(b["label"])})}, DataError, "but got list"),
    ({"loader": batches(7, lambda b: {**b, "label": b["label"] - 100})}, DataError, "labels from -100 to -98"),
    ({"loader": batches(7, lambda b: {**b, "label": b["label"] + 1})}, DataError, "from 1 to 3"),
    ({"loader": (b for b in batches())}, DataError, "read again from its start"),
    ({"train_loader": (b for b in batches())}, DataError, "read again from its start"),
    ({"train_loader": []}, DataError, "at least one sample"),
    ({"loader": [*batches(), {"audio": torch.ones(2, 4, 6)}]}, DataError, "holds the keys 'audio'"),
    ({"classes": ["one", "two"]}, DataError, "each of the 3 classes"),
    ({"names": ["one"]}, DataError, "each of 18 test samples, but got 1"),
    ({"names": ["one"] * 19}, DataError, "each of 18 test samples, but got 19"),
    ({"names": ["a"] * NUM, "loader": DataLoader(Rows(), 7, shuffle=True)}, DataError, "shuffle=False"),
    ({"inputs": {"audio": "audio", "image": "image", "txt": "audio"}}, DataError, "but got 'txt'"),
    ({"model": Scaled("follows")}, DataError, "missing a required argument: 'scale'"),
    ({"mesures": ()}, ConfigError, "Did you mean 'measures'"),
    ({"lable": "y"}, ConfigError, "Did you mean 'label'"),
    ({"tokens": {"audio": 4, "image": 5}}, AttachError, "over 8 only; give tokens"),
    ({"layer": "attention.key"}, AttachError, "saw none.*Attention layers found: 'attention'"),
    ({"forward": lambda m, b: m(b["audio"], b["image"])[:2]}, DataError, "one row of logits"),
    ({"forward": lambda m, b: m(b["audio"], b["image"])[..., None]}, ShapeError, r"got \[7, 3, 1\]"),
]


@pytest.mark.parametrize(("options", "kind", "text"), BAD, ids=[text for _, _, text in BAD])
def test_what_is_wrong_is_said_in_one_line_before_much_was_read(options, kind, text):
    model = {"model": MadeModel("follows"), **options}["model"]
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(kind, match=text) as found:
        diagnosed(**{**options, "model": model})
    assert isinstance(found.value, RollingQError)
    assert "\n" not in str(found.value)
    assert len(calls) <= 6  # Two batches in three variants.
    assert not rollingq.attachments(model)


def test_features_that_are_not_a_row_a_sample_are_refused():
    class Turned(MadeModel):
        def __init__(self):
            super().__init__("follows")
            self.last = nn.Identity()

        def forward(self, audio, image):
            return self.last(super().forward(audio, image).T).T

    with pytest.raises(ShapeError, match=r"\[B, ...\] of 7 samples, but got \[3, 7\]"):
        diagnosed(model=Turned(), features="last")


@pytest.mark.parametrize(
    ("measures", "number"),
    [((), 3), (("samples",), 3), (("ood",), 3), (("noise",), 3), (("interventions",), 14), (("contributions",), 10)],
)
def test_each_measure_alone_takes_the_passes_it_needs(measures, number):
    options = {"kinds": ("mix",), "levels": (1.0,), "noise_seeds": 1, "max_samples": 1}
    diagnosis = diagnosed(measures=measures, **options).comparison.diagnoses[0]
    assert diagnosis.num_passes == number
    assert len(diagnosis.samples) == ("samples" in measures)


def test_the_smallest_level_is_as_good_as_clean():
    report = diagnosed(measures=("noise",), levels=(1e-12,), noise_seeds=1)
    accuracy = report.comparison.runs[0].test_accuracy
    assert all(p.accuracy == [accuracy] for c in report.comparison.diagnoses[0].curves for p in c.points)


def test_a_report_with_hostile_names_and_without_keys_is_saved_over_another_and_read_again(tmp_path):
    bad = "</script><img src=x onerror=alert(1)>\x1b[31m\n"
    report = diagnosed(layer="", measures=("samples",), name=bad, names=[bad] * NUM, classes=[bad, "b" * 999, ""])
    assert math.isnan(attention_of(report).air)
    (tmp_path / "report.html").write_text("old")
    page, frame = report.save(tmp_path).read_text(), report._repr_html_()
    assert "<img src=x" not in page
    assert frame.count("<iframe") == 1
    assert frame.count("<") == 2  # Its own start and end.
    assert "\x1b" not in str(report)
    assert to_json(from_json(Comparison, report.to_json())) == report.to_json()
    assert (tmp_path / "comparison.json").read_text().strip() == report.to_json()
