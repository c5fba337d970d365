"""Padded keys: through a TokenLayout, a callable, or the layer's own mask, and whatever they hold."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import rollingq
from rollingq import RollingQ, TokenLayout
from rollingq.nn.layers import Attention
from rollingq.testing import oracle
from rollingq.testing.expected import observed
from rollingq.testing.forms import DIM, FORMS, TOKENS
from rollingq.testing.models import AttentionModel

# [cls | audio 3 | visual 4]; the last sample has no visual token.
REAL = torch.tensor(
    [[1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 1, 0, 0, 0], [1, 1, 1, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]],
    dtype=torch.bool,
)
NAMES = ("audio", "visual")


def with_layout(model: AttentionModel, path: str) -> tuple[RollingQ, dict[str, Any]]:
    return rollingq.attach(model, path, tokens=TokenLayout(TOKENS, REAL), beta=0.0), {}


def with_callable(model: AttentionModel, path: str) -> tuple[RollingQ, dict[str, Any]]:
    def tokens(*_: Any, **__: Any) -> TokenLayout:
        return TokenLayout(TOKENS, REAL)

    return rollingq.attach(model, path, tokens=tokens, modalities=NAMES, beta=0.0), {}


def with_mask_argument(model: AttentionModel, path: str) -> tuple[RollingQ, dict[str, Any]]:
    def tokens(sequence: Tensor, mask: Tensor) -> TokenLayout:
        assert sequence.shape[1] == 8
        return TokenLayout(TOKENS, mask)

    return rollingq.attach(model, path, tokens=tokens, modalities=NAMES, beta=0.0), {"mask": REAL}


def with_bool_padding(model: AttentionModel, path: str) -> tuple[RollingQ, dict[str, Any]]:
    return rollingq.attach(model, path, tokens=TOKENS, beta=0.0), {"key_padding_mask": ~REAL}


def with_float_padding(model: AttentionModel, path: str) -> tuple[RollingQ, dict[str, Any]]:
    padding = torch.zeros(4, 8).masked_fill(~REAL, -torch.inf)
    return rollingq.attach(model, path, tokens=TOKENS, beta=0.0), {"key_padding_mask": padding}


Given = Callable[[AttentionModel, str], tuple[RollingQ, dict[str, Any]]]
WAYS: list[tuple[str, Given]] = [
    *[("query key", way) for way in (with_layout, with_callable, with_mask_argument)],
    *[
        (f"mha {order} first, {rows}", way)
        for order in ("batch", "sequence")
        for rows in ("class", "all")
        for way in (with_layout, with_callable, with_bool_padding, with_float_padding)
    ],
]


@pytest.mark.parametrize(("name", "give"), WAYS, ids=[f"{name}, {way.__name__}" for name, way in WAYS])
@pytest.mark.parametrize("garbage", [None, 1e4])
def test_padding_never_counts(name: str, give: Given, garbage: float | None) -> None:
    form = FORMS[name]
    model, tokens = form.build(), torch.randn(4, 7, DIM)
    attachment, options = give(model, form.layer)
    dirty = tokens if garbage is None else tokens.masked_fill(~REAL[:, 1:, None], garbage)
    model(dirty, **options)
    event = attachment.step()
    has_both = REAL[:, 4:].any(1)
    queries, keys = observed(model, tokens[has_both], is_real=REAL[has_both].tolist())
    audio_only = observed(model, tokens[~has_both], {"cls": 1, "audio": 3}, is_real=REAL[~has_both].tolist())
    visual = np.mean([oracle.cosine(q[h], k[1, h]) for q, k in zip(queries, keys, strict=True) for h in (0, 1)])
    audio = np.mean(
        [oracle.cosine(q[h], k[0, h]) for q, k in zip(queries, keys, strict=True) for h in (0, 1)]
        + [oracle.cosine(audio_only[0][0, h], audio_only[1][0, 0, h]) for h in (0, 1)]
    )
    assert event.cosines == pytest.approx({"audio": audio, "visual": visual}, abs=1e-5)
    assert event.rotated


def test_a_layouts_own_mask_and_the_padding_mask_both_count() -> None:
    form = FORMS["mha batch first, class"]
    events = []
    for layout_mask, padding in ((REAL, None), (REAL, ~torch.ones_like(REAL)), (torch.ones_like(REAL), ~REAL)):
        model = form.build()
        attachment = rollingq.attach(model, form.layer, tokens=TokenLayout(TOKENS, layout_mask), beta=0.0)
        model(torch.ones(4, 7, 1) * torch.arange(7 * DIM).reshape(7, DIM).sin(), key_padding_mask=padding)
        events.append(attachment.step().cosines)
    assert events[1] == pytest.approx(events[0])
    assert events[2] == pytest.approx(events[0])


def test_lengths_that_change_from_batch_to_batch() -> None:
    model = FORMS["query key"].build()

    def tokens(sequence: Tensor, mask: Tensor | None = None) -> dict[str, int]:
        return {"cls": 1, "audio": 3, "visual": sequence.shape[1] - 4}

    attachment = rollingq.attach(model, "attention", tokens=tokens, modalities=NAMES, beta=0.0)
    for length in (7, 5, 12):
        model(torch.randn(2, length, DIM))
    assert attachment.step().num_samples == 6


@pytest.mark.parametrize("num_heads", [1, 2])
def test_absorbed_attention_reports_the_projected_average_of_its_tokens(num_heads: int) -> None:
    attention = Attention(DIM, num_heads=num_heads, dropout=0.0)
    attachment = rollingq.attach(attention, "", tokens=TOKENS, beta=0.0)
    sequence, watched = torch.randn(4, 8, DIM), []
    sequence[:, 1:4][~REAL[:, 1:4]] = float("nan")
    with attachment.watch(watched.append):
        attention(sequence[:, :1], sequence.nan_to_num(), mask=REAL)
    keys = torch.nn.functional.linear(sequence, attention.key.weight, attention.key.bias).detach()
    for i in range(4):
        expected = oracle.average_key(keys[i, 1:4], REAL[i, 1:4])
        np.testing.assert_allclose(watched[0].average_keys[i, 0].flatten().numpy(), expected, atol=1e-6)
    assert watched[0].is_present.tolist() == [[True, True]] * 3 + [[True, False]]


def test_silent_tokens_are_not_damaged_tokens() -> None:
    """A muted modality holds zeros: that is a measurement, not damage, and no warning is due."""
    attention = Attention(DIM, dropout=0.0)
    attachment = rollingq.attach(attention, "", tokens=TOKENS, beta=0.0)
    sequence = torch.randn(4, 8, DIM)
    sequence[:, 4:] = 0.0
    attention(sequence[:, :1], sequence)
    expected = np.mean([oracle.cosine(q, attention.key.bias) for q in attention.query(sequence[:, 0])])
    event = attachment.step()
    assert event.num_samples == 4
    assert event.cosines["visual"] == pytest.approx(expected, abs=1e-6)
