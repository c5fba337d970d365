"""One loop over a loader: what is summed, what is kept, what is encoded once, and masks."""

import pytest
import torch
from made_models import TOKENS, MadeModel, made_data, made_loader, made_split

from rollingq.attachment import attach
from rollingq.config import DiagnoseConfig, EncoderConfig
from rollingq.data.samplers import make_loader
from rollingq.evaluation.batches import find_form
from rollingq.evaluation.diagnose import Material, diagnose_subject
from rollingq.evaluation.reading import class_mass, read
from rollingq.evaluation.subject import of_classifier, of_model
from rollingq.evaluation.variants import CLEAN, Change, Variant, replaced
from rollingq.functional import attention_score
from rollingq.nn.registry import build_model
from rollingq.tokens import TokenLayout


def subject_of(model):
    form = find_form(next(iter(made_loader())), tuple(TOKENS))
    return of_model(model, form, forward=None, features=None, attachment=None, layers=("attention",), tokens=TOKENS)


@pytest.mark.parametrize("num", [60, 600])
def test_memory_of_what_is_summed_does_not_grow_with_the_data(num):
    variants = [CLEAN, replaced("audio", 0), Variant((Change("image", "dropout", 0.5),))]
    found = read(subject_of(MadeModel("follows")), made_loader(num), variants, kept=[CLEAN])
    assert found[CLEAN].kept().logits.shape == (num, 3)
    for variant in variants[1:]:
        assert found[variant].parts == {}
        assert found[variant].mass.shape == (2,)
        assert found[variant].bins.num_samples == num


def test_sums_are_the_means_of_what_is_kept():
    found = read(subject_of(MadeModel("follows")), made_loader(50, 7), [CLEAN], kept=[CLEAN])[CLEAN]
    kept = found.kept()
    assert found.scores == pytest.approx(kept.scores.double().mean(0).tolist())
    assert found.bins.accuracy == (kept.logits.argmax(-1) == kept.labels).double().mean()
    assert torch.allclose(kept.scores.sum(-1), torch.ones(50))


def test_changes_reach_the_named_modality_alone():
    split, seen = made_split(5), []
    model = MadeModel("follows")
    model.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs), with_kwargs=True)
    loader = make_loader(split, 5, 0, shuffle=False)
    read(subject_of(model), loader, [CLEAN, Variant((Change("audio", "zero"),))])
    assert torch.equal(seen[1]["audio"], torch.zeros_like(seen[0]["audio"]))
    assert torch.equal(seen[1]["image"], split.inputs["image"])
    assert torch.equal(seen[0]["audio"], split.inputs["audio"])


@pytest.mark.parametrize("fusion", ["mt", "mt_star", "concat", "joint:2", "mmml", "unimodal"])
def test_our_models_give_the_same_through_the_loop_as_by_themselves(fusion):
    data = made_data(20)
    shapes = data.shapes if fusion != "unimodal" else {"audio": data.shapes["audio"]}
    config = EncoderConfig(dim=8, num_heads=2, num_layers=2)
    model = build_model(fusion, shapes, 3, config)
    model.eval()
    layer = model.attention_layers[-1] if model.attention_layers else None
    attachment = None if layer is None else attach(model, layer, tokens=model.key_lengths, max_rotations=0)
    loader = make_loader(data.splits["test"], 7, 0, shuffle=False)
    kept = read(of_classifier(model, attachment), loader, [CLEAN], kept=[CLEAN])[CLEAN].kept()
    with torch.no_grad():
        output = model(data.splits["test"].batch(slice(None)))
    assert torch.allclose(kept.logits, output.logits, atol=1e-6)
    assert kept.features.dim() == 2
    assert (kept.scores is None) == (output.weights is None)
    if output.weights is not None:
        masses = attention_score(output.weights.mean(1), model.key_lengths)
        for column, name in enumerate(shapes):
            assert torch.allclose(kept.scores[:, column], masses[name], atol=1e-6)


def test_unchanged_modalities_are_encoded_once_a_batch():
    data = made_data(20)
    model = build_model("mt", data.shapes, 3, EncoderConfig(dim=8, num_heads=2, num_layers=1))
    attachment = attach(model, "fusion.attention", tokens=model.key_lengths, max_rotations=0)
    calls = dict.fromkeys(TOKENS, 0)
    for name, encoder in model.encoders.items():
        encoder.register_forward_hook(lambda *_, name=name: calls.__setitem__(name, calls[name] + 1))
    loader = make_loader(data.splits["test"], 10, 0, shuffle=False)
    config = DiagnoseConfig(measures=("noise", "interventions"), kinds=("mix",), levels=(0.5, 1.0), noise_seeds=2)
    found = diagnose_subject(
        of_classifier(model, attachment), Material(loader, is_normalised=True), config, method="mt"
    )
    # A batch: once clean, and for 2 levels of 2 seeds; the replaced pass is one of them; edits encode nothing.
    assert calls == {"audio": 2 * 5, "image": 2 * 5}
    assert found.diagnosis.num_passes == 1 + 2 * 4 + 11


def test_mass_and_share_leave_out_padding():
    mask = torch.tensor([[True, True, False, True, True], [True, True, True, True, False]])
    layout = TokenLayout({"cls": 1, "audio": 2, "image": 2}, mask)
    weights = torch.full((2, 1, 1, 5), 0.25).masked_fill(~mask[:, None, None], 0.0)
    mass, share = class_mass(weights, layout)
    assert mass.tolist() == [[0.25, 0.5], [0.5, 0.25]]
    assert torch.allclose(share, torch.tensor([[1 / 3, 2 / 3], [2 / 3, 1 / 3]]))


def test_mass_is_that_of_the_class_rows_or_of_all_real_rows():
    weights = torch.zeros(1, 1, 3, 3)
    weights[0, 0] = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    assert class_mass(weights, TokenLayout({"cls": 1, "audio": 1, "image": 1}))[0].tolist() == [[1.0, 0.0]]
    mass, _ = class_mass(weights, TokenLayout({"audio": 2, "image": 1}))
    assert torch.allclose(mass, torch.tensor([[1 / 3, 2 / 3]]))
