"""What attach refuses for streams: one line each, and nothing half-attached."""

from collections.abc import Callable
from typing import Any

import pytest
from stream_models import (
    DIM,
    HEADS,
    PAIR,
    PAIR_LAYERS,
    Host,
    Pair,
    every_host,
    layers_of,
    some_batch,
)
from torch import nn

import rollingq
from rollingq.errors import AttachError, ShapeError
from rollingq.testing.models import LinearAttention


def with_second(attention: nn.Module) -> Pair:
    model = Pair()
    model.of_image = attention
    return model


def tied() -> Pair:
    model = Pair()
    model.of_image.k_proj.weight = model.of_image.q_proj.weight
    return model


def taken(path: str) -> Pair:
    model = Pair()
    rollingq.attach(model, path, tokens={"audio": 2, "image": 2})
    return model


def shared_between_streams() -> Pair:
    model = Pair()
    model.of_image.q_proj = model.of_audio.query
    return model


TOKENS = {"audio": 4, "image": 3}
ERRORS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], str]] = {
    "names in another order": (Pair, {"tokens": {"image": 3, "audio": 4}}, "audio, image in this order"),
    "another name": (Pair, {"tokens": {"audio": 4, "visual": 3}}, "audio, image in this order"),
    "more tokens than streams": (Pair, {"tokens": {**TOKENS, "text": 2}}, "audio, image in this order"),
    "more streams than tokens": (Pair, {"layer": {**PAIR_LAYERS, "text": "of_text"}}, "of_text"),
    "a class token": (Pair, {"tokens": {"cls": 1, **TOKENS}}, "no 'cls' in tokens"),
    "a callable": (Pair, {"tokens": lambda *_: TOKENS, "modalities": PAIR}, "tokens as a mapping"),
    "no mapping": (Pair, {"tokens": [4, 3]}, "tokens as a mapping"),
    "names beside a mapping": (Pair, {"modalities": PAIR}, "modalities= only beside a callable"),
    "another width": (lambda: Pair(dims=(8, 4)), {}, "one width"),
    "another number of heads": (lambda: with_second(LinearAttention(DIM, 4)), {}, "number of heads"),
    "heads that do not divide": (lambda: Pair(num_heads=3), {}, "heads"),
    "all queries": (Pair, {"scope": "all_queries"}, "scope='query'"),
    "one layer twice": (Pair, {"layer": {"audio": "of_audio", "image": "of_audio"}}, "of_audio"),
    "one stream alone": (Pair, {"layer": {"audio": "of_audio"}, "tokens": {"audio": 4}}, "at least two"),
    "no stream": (Pair, {"layer": {}}, "at least two"),
    "a path that is not there": (
        Pair,
        {"layer": {"audio": "of_audio", "image": "of_imgae"}},
        "'of_imgae' is not in the model.*'of_image'",
    ),
    "a layer that is no attention": (Pair, {"layer": {"audio": "of_audio", "image": "head"}}, "in 'head'"),
    "packed projections": (lambda: with_second(nn.MultiheadAttention(DIM, HEADS)), {}, "of_image"),
    "the first already attached": (lambda: taken("of_audio"), {}, "already carries it"),
    "the second already attached": (lambda: taken("of_image"), {}, "already carries it"),
    "query and key of one weight": (tied, {}, "share one weight"),
    "one query Linear for both": (shared_between_streams, {}, ""),
    "a query name": (Pair, {"query": "q_proj", "key": "k_proj"}, "query="),
    "a number of heads": (Pair, {"num_heads": 4}, "num_heads="),
}


@pytest.mark.parametrize(("build", "options", "text"), ERRORS.values(), ids=ERRORS)
def test_streams_that_cannot_be_attached_to(build: Callable[[], nn.Module], options: dict[str, Any], text: str) -> None:
    model = build()
    before = [(name, len(module._forward_hooks)) for name, module in model.named_modules()]
    with pytest.raises(AttachError, match=rf"^Expected .*{text}") as caught:
        rollingq.attach(model, **{"layer": PAIR_LAYERS, "tokens": TOKENS, **options})
    assert "\n" not in str(caught.value)
    assert [(name, len(module._forward_hooks)) for name, module in model.named_modules()] == before, "half-attached"


@pytest.mark.parametrize("again", [PAIR_LAYERS, dict(reversed(PAIR_LAYERS.items())), "of_audio", "of_image"])
def test_streams_are_attached_to_once(again: Any) -> None:
    model = Pair()
    rollingq.attach(model, PAIR_LAYERS, tokens=TOKENS)
    tokens = {name: TOKENS[name] for name in again} if isinstance(again, dict) else TOKENS
    with pytest.raises(AttachError, match=r"^Expected a layer without RollingQ, but .* already carries it; detach"):
        rollingq.attach(model, again, tokens=tokens)


@every_host
@pytest.mark.parametrize("wrong", PAIR)
def test_another_number_of_keys_is_named_with_its_stream(host: Host, wrong: str) -> None:
    model = host.build()
    rollingq.attach(model, layers_of(model), tokens=host.tokens | {wrong: 9})
    with pytest.raises(ShapeError, match=rf"^Expected 9 key positions in .* \({wrong}\), but got ") as caught:
        model(*some_batch(host))
    assert "\n" not in str(caught.value)
