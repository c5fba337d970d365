"""Fusions and the classifier: parameters in closed form, padding, and probes that change no encoder."""

import pytest
import torch
from torch import Tensor, nn

from rollingq.catalogue import FUSIONS as CARDS
from rollingq.config import EncoderConfig
from rollingq.errors import ConfigError
from rollingq.nn.classifier import MultimodalClassifier
from rollingq.nn.fusion import Concat, Unimodal, VanillaMT
from rollingq.nn.layers import Attention
from rollingq.nn.registry import FUSIONS, build_model
from rollingq.testing import oracle

SHAPES = {"audio": (5, 3), "image": (4, 2), "text": (2, 6)}
CLASSES, SMALL = 10, EncoderConfig(dim=8, num_layers=2, num_heads=2, dropout=0.0)
MASKS = {
    "audio": torch.tensor([[True] * 5, [True, True, False, False, False], [False] * 5]),
    "image": torch.tensor([[True] * 4, [True, False, False, True], [True] * 4]),
}
LAYOUTS = [(name, n) for name in FUSIONS for n in (1, 2, 3) if CARDS[name].takes(n)]
every_model = pytest.mark.parametrize(("fusion", "num_modalities"), LAYOUTS)


def built(fusion: str, num_modalities: int) -> MultimodalClassifier:
    return build_model(fusion, dict(list(SHAPES.items())[:num_modalities]), CLASSES, SMALL)


def some_batch(num_samples: int = 3) -> dict[str, Tensor]:
    return {name: torch.randn(num_samples, *shape) for name, shape in SHAPES.items()}


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_in_closed_form() -> None:
    names, dim = ("audio", "image"), 8
    assert num_parameters(Unimodal(names[:1], dim, CLASSES)) == (dim + 1) * CLASSES
    assert num_parameters(Concat(names, dim, CLASSES)) == (2 * dim + 1) * CLASSES
    assert num_parameters(VanillaMT(names, dim, CLASSES)) == dim + 4 * dim * (dim + 1) + (dim + 1) * CLASSES
    assert num_parameters(built("mt", 2).probes) == 2 * (dim + 1) * CLASSES


@every_model
@pytest.mark.parametrize("num_samples", [1, 3])
def test_shapes(fusion: str, num_modalities: int, num_samples: int) -> None:
    output = built(fusion, num_modalities)(some_batch(num_samples))
    names = list(SHAPES)[:num_modalities]
    assert output.logits.shape == (num_samples, CLASSES)
    assert {name: tuple(logits.shape) for name, logits in output.probes.items()} == dict.fromkeys(
        names, (num_samples, CLASSES)
    )
    if fusion not in ("mt", "mt_star", "joint"):
        assert output.weights is None
        return
    heads = 2 if fusion == "joint" else 1
    assert output.weights.shape == (num_samples, heads, 1 + sum(1 + SHAPES[name][0] for name in names))
    assert torch.allclose(output.weights.sum(-1), torch.ones(num_samples, heads))


@every_model
@pytest.mark.parametrize("garbage", [0.0, -1e4, 1e15])
def test_padded_tokens_change_no_output(fusion: str, num_modalities: int, garbage: float) -> None:
    model, batch = built(fusion, num_modalities).eval(), some_batch()
    dirty = batch | {name: batch[name].masked_fill(~mask[..., None], garbage) for name, mask in MASKS.items()}
    clean, found = model(batch | {"mask": MASKS}), model(dirty | {"mask": MASKS})
    assert torch.allclose(found.logits, clean.logits, atol=1e-6)
    assert all(torch.allclose(found.probes[name], clean.probes[name], atol=1e-6) for name in clean.probes)
    if clean.weights is not None:
        assert torch.allclose(found.weights, clean.weights, atol=1e-6)
        audio = found.weights[:, 0, 2:7]
        assert (audio[~MASKS["audio"]] == 0).all()
        assert (audio[MASKS["audio"]] > 0).all()


@every_model
def test_probes_reach_no_encoder(fusion: str, num_modalities: int) -> None:
    model = built(fusion, num_modalities)
    output = model(some_batch())
    sum(logits.square().sum() for logits in output.probes.values()).backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {f"probes.{name}" for name, _ in model.probes.named_parameters()}


@every_model
def test_the_fused_loss_reaches_every_encoder_and_no_probe(fusion: str, num_modalities: int) -> None:
    model = built(fusion, num_modalities)
    output = model(some_batch())
    sum(logits.square().sum() for logits in (output.logits, *output.auxiliary.values())).backward()
    for name, parameter in model.named_parameters():
        if name.startswith("probes"):
            assert parameter.grad is None
        elif not name.endswith(("key.bias", "in_proj_bias")):  # The key bias shifts all scores alike.
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


def test_attention_of_one_query_equals_the_oracle() -> None:
    attention = Attention(8, num_heads=2, dropout=0.0).double()
    sequence, mask = torch.randn(3, 6, 8, dtype=torch.float64), torch.rand(3, 6) > 0.3
    mask[:, 0] = True
    out, weights = attention(sequence[:, :1], sequence, mask)
    for i in range(3):
        q, k, v = (layer(sequence[i]) for layer in (attention.query, attention.key, attention.value))
        attended, expected = oracle.attend(q[:1], k, v, 2, mask[i])
        assert torch.allclose(weights[i], torch.as_tensor(expected[0]), atol=1e-13)
        assert torch.allclose(out[i, 0], attention.output(torch.as_tensor(attended[0])), atol=1e-13)


def test_dropout_acts_in_training_alone() -> None:
    model, batch = build_model("mt", SHAPES, CLASSES, SMALL), some_batch()
    assert not torch.equal(model(batch).logits, model(batch).logits)
    assert torch.equal(model.eval()(batch).logits, model(batch).logits)


@pytest.mark.parametrize("fusion", [name for name in FUSIONS if CARDS[name].takes(2)])
def test_attention_layers(fusion: str) -> None:
    model = built(fusion, 2)
    assert bool(model.attention_layers) == bool(CARDS[fusion].rollingq)
    for layer in model.attention_layers:
        paths = [layer] if isinstance(layer, str) else layer.values()
        assert all(isinstance(model.get_submodule(path), Attention) for path in paths)


@pytest.mark.parametrize(
    ("fusion", "num_modalities", "text"),
    [
        ("mtt", 2, r"fusion to be one of unimodal, .*, joint, but got 'mtt'\. Did you mean 'mt'\?"),
        ("unimodal", 2, "exactly one modality for 'unimodal', but got audio, image"),
        ("concat", 1, "at least two modalities for 'concat', but got audio"),
        ("mt", 1, "at least two modalities for 'mt', but got audio"),
        ("mt", 0, "at least two modalities for 'mt', but got"),
        ("concat", 0, "at least two modalities for 'concat', but got"),
        ("unimodal", 0, "exactly one modality for 'unimodal', but got"),
    ],
)
def test_models_that_cannot_be_built(fusion: str, num_modalities: int, text: str) -> None:
    with pytest.raises(ConfigError, match=f"^Expected {text}"):
        built(fusion, num_modalities)
