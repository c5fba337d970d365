"""What attach refuses: one line each, with what was expected, what was found and what to do."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rollingq
from rollingq.errors import AttachError, ConfigError, RollingQError, ShapeError
from rollingq.testing.forms import DIM, FORMS, TOKENS
from rollingq.testing.models import AttentionModel, LinearAttention, Packed


class TwoPairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name in ("q_audio", "k_audio", "q_visual", "k_visual"):
            self.add_module(name, nn.Linear(DIM, DIM))


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM // 2)


class NotStock(nn.MultiheadAttention):
    pass


def tied() -> nn.Module:
    layer = LinearAttention(DIM)
    layer.key.weight = layer.query.weight
    return layer


def model() -> AttentionModel:
    return FORMS["query key"].build()


def holding(layer: nn.Module) -> nn.Module:
    return nn.ModuleDict({"fusion": layer, "head": nn.Linear(DIM, 3)})


LAYER_ERRORS: dict[str, tuple[Callable[[], nn.Module], str, dict[str, Any], str]] = {
    "unknown layer": (model, "attnetion", {}, r"'attnetion' is not in.* Nearest: 'attention'.*found: 'attention'"),
    "nothing like it": (model, "zzz", {}, r"'zzz' is not in.* layers found: 'attention' \(Linear.*width 8"),
    "no attention at all": (
        lambda: nn.Sequential(nn.Linear(2, 2)),
        "1",
        {},
        r"No attention layer was found; give query=",
    ),
    "not attention": (model, "head", {}, r"in 'head' \(Linear\), but found none.*found: 'attention'"),
    "the model instead of the layer": (model, "", {}, r"in '' \(AttentionModel\), but found none.*found: 'attention'"),
    "two pairs": (
        lambda: holding(TwoPairs()),
        "fusion",
        {},
        r"found several \(q_audio / k_audio, q_visual / k_visual\)",
    ),
    "query alone": (model, "attention", {"query": "query"}, r"both query= and key=.*got only one"),
    "key alone": (model, "attention", {"key": "key"}, r"both query= and key=.*got only one"),
    "unknown query": (model, "attention", {"query": "qurey", "key": "key"}, r"'qurey' is not in .*Nearest: 'query'"),
    "query that is no Linear": (
        lambda: holding(model()),
        "fusion",
        {"query": "attention", "key": "head"},
        r"a torch\.nn\.Linear at fusion\.attention, but got LinearAttention",
    ),
    "one module twice": (model, "attention", {"query": "query", "key": "query"}, r"share one weight.*Untie"),
    "tied weights": (lambda: holding(tied()), "fusion", {}, r"share one weight.*Untie"),
    "grouped keys": (lambda: holding(Grouped()), "fusion", {}, r"one width.*got 8 and 4"),
    "heads do not divide": (
        model,
        "attention",
        {"num_heads": 3},
        r"width 8 .*number of heads, but got 3; give num_heads",
    ),
    "no heads": (model, "attention", {"num_heads": 0}, r"num_heads.*but got 0"),
    "negative heads": (model, "attention", {"num_heads": -2}, r"num_heads.*but got -2"),
    "subclass of MultiheadAttention": (
        lambda: holding(NotStock(DIM, 2)),
        "fusion",
        {},
        r"MultiheadAttention itself at 'fusion'.*NotStock",
    ),
    "query= for MultiheadAttention": (
        lambda: Packed(DIM),
        "mha",
        {"query": "a", "key": "b"},
        r"query=.*MultiheadAttention",
    ),
    "num_heads= for MultiheadAttention": (
        lambda: Packed(DIM),
        "mha",
        {"num_heads": 4},
        r"num_heads.*MultiheadAttention",
    ),
    "one modality": (
        model,
        "attention",
        {"tokens": {"cls": 1, "audio": 7}},
        r"at least two modalities.*\{'cls': 1, 'audio': 7\}",
    ),
    "empty modality": (model, "attention", {"tokens": {"audio": 7, "visual": 0}}, r"visual has none"),
    "callable without names": (
        model,
        "attention",
        {"tokens": lambda *_: TOKENS},
        r"modalities= beside a callable.*such as modalities=",
    ),
    "names beside a mapping": (
        model,
        "attention",
        {"modalities": ("audio", "visual")},
        r"modalities= only beside a callable",
    ),
    "callable of one modality": (
        model,
        "attention",
        {"tokens": lambda *_: TOKENS, "modalities": ("audio",)},
        r"at least two modalities",
    ),
    "callable of none": (
        model,
        "attention",
        {"tokens": lambda *_: TOKENS, "modalities": ()},
        r"at least two modalities",
    ),
}


@pytest.mark.parametrize(("build", "path", "options", "text"), LAYER_ERRORS.values(), ids=LAYER_ERRORS)
def test_layers_that_cannot_be_attached_to(
    build: Callable[[], nn.Module], path: str, options: dict[str, Any], text: str
) -> None:
    target = build()
    before = [(name, type(module), len(module._forward_hooks)) for name, module in target.named_modules()]
    with pytest.raises(AttachError, match=rf"^Expected .*{text}") as caught:
        rollingq.attach(target, path, **{"tokens": TOKENS, **options})
    assert "\n" not in str(caught.value)
    after = [(name, type(module), len(module._forward_hooks)) for name, module in target.named_modules()]
    assert after == before, "nothing half-attached"


@pytest.mark.parametrize("name", ["query key", "mha batch first, class"])
def test_already_attached(name: str) -> None:
    target = FORMS[name].build()
    FORMS[name].attach(target)
    with pytest.raises(AttachError, match=r"^Expected a layer without RollingQ, but .* already carries it; detach"):
        FORMS[name].attach(target)


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({"rho": 0}, ["Expected rho to be a number > 0, but got 0."]),
        ({"beta": 2.5}, ["Expected beta to be a number in [0, 2]", "but got 2.5."]),
        ({"rotatoin": "svd"}, ["'rotatoin' is unknown. Did you mean 'rotation'?"]),
        ({"rho": -1, "beta": 9, "scope": "all_query"}, ["rho", "beta", "scope", "Did you mean 'all_queries'?"]),
    ],
)
def test_settings(options: dict[str, Any], texts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        rollingq.attach(model(), "attention", tokens=TOKENS, **options)
    assert all(text in str(caught.value) for text in texts)
    assert "\n" not in str(caught.value)


CHANGED: dict[str, dict[str, Any]] = {
    "too few": {"tokens": {"cls": 1, "audio": 3, "visual": 3}},
    "no class": {"tokens": {"audio": 3, "visual": 4}},
    "callable, too few": {
        "tokens": lambda *_, **__: {"cls": 1, "audio": 2, "visual": 4},
        "modalities": ("audio", "visual"),
    },
    "callable, other names": {"tokens": lambda *_, **__: TOKENS, "modalities": ("visual", "audio")},
    "callable, more names": {"tokens": lambda *_, **__: TOKENS, "modalities": ("audio", "visual", "text")},
}
FIRST_FORWARD = ("query key", "class row of all", "mha batch first, class", "mha sequence first, all")


@pytest.mark.parametrize("name", FIRST_FORWARD)
@pytest.mark.parametrize("options", CHANGED.values(), ids=CHANGED)
@pytest.mark.parametrize("is_training", [True, False])
def test_another_number_of_tokens_at_the_first_forward(name: str, options: dict[str, Any], is_training: bool) -> None:
    target = FORMS[name].build().train(is_training)
    rollingq.attach(target, FORMS[name].layer, **options)
    with pytest.raises(RollingQError, match=r"^Expected .*but .*; ?.*give .*") as caught:
        target(torch.randn(2, 7, DIM))
    assert isinstance(caught.value, ShapeError)
    assert "\n" not in str(caught.value)


def test_without_class_positions_a_full_self_attention_is_ambiguous() -> None:
    target = FORMS["class row of all"].build()
    rollingq.attach(target, "attention", tokens={"audio": 4, "visual": 4})
    with pytest.raises(ShapeError, match=r"to query with its class rows alone.*scope='all_queries'"):
        target(torch.randn(2, 7, DIM))


def test_projections_outside_the_layer() -> None:
    class Outside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = LinearAttention(DIM)

        def forward(self, tokens: Tensor) -> Tensor:
            return torch.as_tensor(self.attention.query(tokens[:, :1]))

    target = Outside()
    rollingq.attach(target, "attention", tokens=TOKENS)
    with pytest.raises(ShapeError, match=r"^Expected the projections of .* to run inside its forward.*attach to"):
        target(torch.randn(2, 8, DIM))
