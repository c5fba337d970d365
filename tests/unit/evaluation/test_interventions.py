"""Every edit against plain loops over rows and keys, for two and three modalities, with and without class rows."""

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rollingq.attachment.softmaxes import Edit, Parts, row_parts
from rollingq.attachment.tap import tapped
from rollingq.errors import ShapeError
from rollingq.evaluation.interventions import changes_nothing, interventions
from rollingq.functional import absorbed_attention
from rollingq.nn.layers import Attention
from rollingq.tokens import TokenLayout

TWO = {"cls": 1, "audio": 3, "image": 2}
LAYOUTS = {
    "two": TWO,
    "three": {"cls": 1, "audio": 3, "image": 2, "text": 4},
    "no class": {"audio": 3, "image": 4},
    "cls inside": {"audio": 2, "cls": 2, "image": 3},
}
every_layout = pytest.mark.parametrize("lengths", LAYOUTS.values(), ids=LAYOUTS)


def names_of(lengths: dict[str, int]) -> list[str]:
    return [name for name in lengths if name != "cls"]


def made(lengths: dict[str, int], num_rows: int, seed: int = 0) -> tuple[Tensor, Parts]:
    """Return scores with -inf at padding, and the parts; some samples lack whole modalities."""
    layout, generator = TokenLayout(lengths), torch.Generator().manual_seed(seed)
    real = torch.rand(3, 1, 1, layout.total, generator=generator) < 0.7
    real[..., layout.spans.get("cls", slice(0, 1))] = True
    scores = 2 * torch.randn(3, 2, num_rows, layout.total, generator=generator, dtype=torch.float64)
    real = real.expand(scores.shape)
    return scores.masked_fill(~real, -math.inf), Parts(row_parts(num_rows, layout), layout.spans, real)


def edited(edit: Edit, scores: Tensor, parts: Parts) -> Tensor:
    weights = (scores if edit.scores is None else edit.scores(scores, parts)).softmax(-1).nan_to_num(0.0)
    return weights if edit.weights is None else edit.weights(weights, parts)


def owner(lengths: dict[str, int], position: int) -> str:
    return [name for name, number in lengths.items() for _ in range(number)][position]


def looped(name: str, scores: Tensor, real: Tensor, lengths: dict[str, int], official: bool = False) -> np.ndarray:
    """Return one row after another, key by key."""
    found = np.zeros(scores.shape)
    num_rows, total = scores.shape[-2:]
    kind, _, what = name.partition(":")
    for index in np.ndindex(*scores.shape[:-1]):
        row = owner(lengths, index[-1]) if num_rows == total else "cls"
        logits = {k: float(scores[(*index, k)]) for k in range(total) if real[(*index, k)]}
        if kind == "mask":
            logits = {k: s for k, s in logits.items() if owner(lengths, k) != what}
        chosen = [] if kind == "mask" else [m for m in names_of(lengths) if is_averaged(name, row, m)]
        groups = [[k for k in logits if owner(lengths, k) == m] for m in chosen]
        if kind == "quag_attention":
            for group in filter(None, groups):
                mean = math.fsum(logits[k] for k in group) / len(group)
                token = mean * math.log(len(group)) if official else mean + math.log(len(group))
                logits |= dict.fromkeys(group, token - math.log(len(group)))
        total_mass = math.fsum(map(math.exp, logits.values()))
        weights = {k: math.exp(s) / total_mass for k, s in logits.items()}
        if kind in ("average", "quag"):
            for group in filter(None, groups):
                weights |= dict.fromkeys(group, math.fsum(weights[k] for k in group) / len(group))
        for k, weight in weights.items():
            found[(*index, k)] = weight
    return found


def is_averaged(name: str, row: str, key: str) -> bool:
    if name.endswith(":unimodal"):
        return row == key
    if name.endswith(":crossmodal"):
        return row not in ("cls", key)
    return name == "average" or name.endswith(f":average:{key}")


def test_the_names_are_those_of_the_results() -> None:
    assert [edit.name for edit in interventions(["audio", "image"])] == [
        "mask:audio",
        "mask:image",
        "average",
        "quag:unimodal",
        "quag:crossmodal",
        "quag:average:audio",
        "quag:average:image",
        "quag_attention:unimodal",
        "quag_attention:crossmodal",
        "quag_attention:average:audio",
        "quag_attention:average:image",
    ]
    assert len(interventions(["a", "b", "c"])) == 3 + 1 + 2 + 3 + 2 + 3


@every_layout
@pytest.mark.parametrize("rows", ["all", "one", "two"])
def test_every_edit_equals_the_loops(lengths: dict[str, int], rows: str) -> None:
    num_rows = {"all": sum(lengths.values()), "one": 1, "two": 2}[rows]
    scores, parts = made(lengths, num_rows)
    before = scores.clone()
    for edit in interventions(names_of(lengths)):
        found = edited(edit, scores, parts).numpy()
        expected = looped(edit.name, scores, parts.is_real, lengths)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14, err_msg=edit.name)
        assert torch.equal(scores, before), "pure"


@every_layout
def test_the_official_scale_equals_the_loops(lengths: dict[str, int]) -> None:
    scores, parts = made(lengths, sum(lengths.values()))
    for edit in interventions(names_of(lengths), use_official_scale=True):
        expected = looped(edit.name, scores, parts.is_real, lengths, official=True)
        np.testing.assert_allclose(edited(edit, scores, parts).numpy(), expected, rtol=0, atol=1e-14)


@every_layout
@given(seed=st.integers(0, 10_000))
def test_averaged_weights_keep_the_mass_on_every_modality(lengths: dict[str, int], seed: int) -> None:
    scores, parts = made(lengths, sum(lengths.values()), seed)
    weights = scores.softmax(-1)
    for edit in interventions(names_of(lengths)):
        if edit.weights is not None:
            for keys in parts.keys.values():
                kept = edited(edit, scores, parts)[..., keys].sum(-1)
                torch.testing.assert_close(kept, weights[..., keys].sum(-1), rtol=0, atol=1e-12)


def test_class_rows_change_in_columns_and_never_in_quadrants() -> None:
    scores, parts = made(TWO, 6)
    for edit in interventions(names_of(TWO)):
        same = torch.equal(edited(edit, scores, parts)[..., 0, :], scores.softmax(-1)[..., 0, :])
        assert same == edit.needs_modality_rows == edit.name.endswith("modal"), edit.name


@pytest.mark.parametrize("num_rows", [1, 6])
def test_it_is_said_which_edits_change_nothing(num_rows: int) -> None:
    scores, parts = made(TWO, num_rows)
    for edit in interventions(names_of(TWO)):
        is_same = torch.allclose(edited(edit, scores, parts), scores.softmax(-1))
        assert changes_nothing(edit, parts.rows) == is_same, edit.name


def test_where_nothing_is_left_there_is_no_attention() -> None:
    """A sample of audio alone, with audio hidden, in the layer itself: zeros, and not attention to padding."""
    layer = Attention(4).eval()
    context, mask = torch.randn(2, 7, 4), torch.ones(2, 7, dtype=torch.bool)
    mask[1, 3:] = False
    shown: list[Tensor] = []
    for edit in interventions(["audio", "image"])[:2]:
        tokens = TokenLayout({"audio": 3, "image": 4})
        with torch.no_grad(), tapped(layer, [""], tokens, on_weights=lambda _, w, __: shown.append(w), edit=edit):
            out, _ = layer(torch.randn(1, 1, 4), context, mask)
        assert out.isfinite().all()
    assert (shown[0][1] == 0).all()
    torch.testing.assert_close(shown[0][0].sum(), torch.tensor(1.0))
    torch.testing.assert_close(shown[1][1, ..., :3].sum(), torch.tensor(1.0))


def test_averaged_inputs_of_our_attention_equal_the_edit() -> None:
    """Keys and values of audio really replaced by their mean at the input of the layer (projection is linear)."""
    layer = Attention(4, num_heads=2).double().eval()
    context, query = torch.randn(2, 6, 4, dtype=torch.float64), torch.randn(1, 1, 4, dtype=torch.float64)
    mean = context[:, 1:4].mean(1, keepdim=True)
    replaced = torch.cat([context[:, :1], mean.expand(-1, 3, -1), context[:, 4:]], dim=1)
    edit = next(e for e in interventions(["audio", "image"]) if e.name == "quag_attention:average:audio")
    with torch.no_grad():
        expected, _ = layer(query, replaced)
        with tapped(layer, [""], TWO, edit=edit):
            found, _ = layer(query, context)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    assert (found - layer(query, context)[0]).abs().max() > 1e-3


def test_one_averaged_token_needs_the_log_of_its_number() -> None:
    """The additive form: one token with the score plus log 3 is three tokens."""
    tokens = torch.randn(1, 6, 4, dtype=torch.float64)
    query, eye = torch.randn(1, 4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    tokens[:, 1:4] = tokens[:, 1:4].mean(1, keepdim=True)
    _, weights = absorbed_attention(query, tokens, eye, eye)
    scores = tokens[0] @ query[0] / 2.0
    short = torch.stack([scores[0], scores[1] + math.log(3), scores[4], scores[5]]).softmax(-1)
    torch.testing.assert_close(weights[0, 0, 1:4].sum(), short[1])


def test_an_unknown_modality_is_named() -> None:
    scores, parts = made(TWO, 1)
    with pytest.raises(ShapeError, match=r"one of audio, image, but got 'imag'\. Did you mean 'image'\?"):
        edited(interventions(["audio", "imag"])[1], scores, parts)


def test_edits_can_be_sent_to_another_process() -> None:
    scores, parts = made(TWO, 6)
    for edit in interventions(names_of(TWO)):
        twin = pickle.loads(pickle.dumps(edit))  # noqa: S301
        assert torch.equal(edited(twin, scores, parts), edited(edit, scores, parts))
