"""TokenLayout: spans, averages over real positions, and one clear line for every wrong layout."""

from typing import Any

import numpy as np
import pytest
import torch

from rollingq import TokenLayout
from rollingq.errors import AttachError, RollingQError, ShapeError
from rollingq.testing import oracle
from rollingq.tokens import as_layout


def test_spans_follow_the_order_of_the_mapping() -> None:
    layout = TokenLayout({"visual": 2, "cls": 1, "audio": 3})
    assert layout.modalities == ("visual", "audio")
    assert layout.spans == {"visual": slice(0, 2), "cls": slice(2, 3), "audio": slice(3, 6)}
    assert layout.cls_span == slice(2, 3)
    assert (layout.total, str(layout)) == (6, "visual 2 + cls 1 + audio 3")


@pytest.mark.parametrize("lengths", [{"audio": 2, "visual": 3}, {"cls": 0, "audio": 2, "visual": 3}])
def test_without_class_positions(lengths: dict[str, int]) -> None:
    assert TokenLayout(lengths).cls_span is None


def test_average_equals_the_oracle_and_leaves_the_class_token_out() -> None:
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 1, 0, 1, 0, 0]], dtype=torch.bool)
    layout = TokenLayout({"cls": 1, "audio": 2, "visual": 3}, mask)
    keys = torch.randn(2, 6, 4, dtype=torch.float64)
    found = layout.average(keys).numpy()
    for i in range(2):
        np.testing.assert_allclose(found[i, 0], oracle.average_key(keys[i, 1:3], mask[i, 1:3]), atol=1e-15)
        np.testing.assert_allclose(found[i, 1], oracle.average_key(keys[i, 3:], mask[i, 3:]), atol=1e-15)


def test_presence_says_which_sample_has_which_modality() -> None:
    mask = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]], dtype=torch.bool)
    presence = TokenLayout({"cls": 1, "audio": 2, "visual": 1}, mask).presence()
    assert presence is not None
    assert presence.tolist() == [[True, True], [False, True], [True, False]]
    assert TokenLayout({"audio": 1, "visual": 1}).presence() is None


@pytest.mark.parametrize("length", [5, 7, 1])
def test_other_lengths_are_refused(length: int) -> None:
    layout = TokenLayout({"cls": 1, "audio": 2, "visual": 3})
    with pytest.raises(ShapeError, match=rf"^Expected 6 key positions .*audio 2.*the layer got {length}; give .+\.$"):
        layout.average(torch.ones(2, length, 4))


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        ({}, "at least two modalities"),
        ({"cls": 4}, "at least two modalities"),
        ({"cls": 1, "audio": 5}, "at least two modalities.*Name the layer"),
        ({"audio": 5, "visual": 0}, "visual has none"),
        ({"audio": 0, "visual": 0}, "audio, visual has none"),
        ({"audio": 5, "visual": -1}, "whole numbers.*wrong: visual"),
        ({"audio": 2.0, "visual": 3}, "whole numbers.*wrong: audio"),
        ({"audio": "2", "visual": 3}, "whole numbers.*wrong: audio"),
    ],
)
def test_wrong_layouts_are_one_clear_line(lengths: dict[str, Any], text: str) -> None:
    with pytest.raises(AttachError, match=rf"^Expected .*{text}.*\.$") as caught:
        TokenLayout(lengths)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "mask",
    [
        torch.ones(2, 5, dtype=torch.bool),
        torch.ones(2, 7, dtype=torch.bool),
        torch.ones(6, dtype=torch.bool),
        torch.ones(2, 6),
        torch.ones(2, 6, dtype=torch.long),
    ],
    ids=["without cls", "too long", "no batch", "float", "int"],
)
def test_a_mask_that_does_not_fit_is_refused(mask: torch.Tensor) -> None:
    with pytest.raises(RollingQError, match=r"^Expected .*mask.*but got"):
        TokenLayout({"cls": 1, "audio": 2, "visual": 3}, mask).average(torch.ones(2, 6, 4))


@pytest.mark.parametrize("tokens", [None, 6, ["cls", "audio"]])
def test_tokens_of_another_type_are_refused(tokens: Any) -> None:
    with pytest.raises(RollingQError, match=r"^Expected .*but got"):
        as_layout(tokens)
