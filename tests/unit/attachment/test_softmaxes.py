"""Which softmaxes are caught, in which shape they are shown, and that no row invents attention."""

from typing import Any

import pytest
import torch
from tap_samples import MASK_AUDIO, NAMES, TOKENS, D, Seen, Softmax, X, watched
from torch import Tensor, nn
from torch.nn import functional as F

import rollingq
from rollingq.attachment.softmaxes import SoftmaxCatch
from rollingq.attachment.tap import tapped
from rollingq.evaluation.interventions import interventions
from rollingq.testing.models import LinearAttention
from rollingq.tokens import TokenLayout

# --- torch's own ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("is_attached", [True, False])
def test_weights_are_those_that_multihead_attention_returns(batch_first: bool, is_attached: bool) -> None:
    mha = nn.MultiheadAttention(D, 2, batch_first=batch_first).eval()
    x = X if batch_first else X.transpose(0, 1)
    if is_attached:
        rollingq.attach(mha, "", tokens=TOKENS)
    _, expected = mha(x, x, x, average_attn_weights=False)
    _, ((_, shown, _),) = watched(mha, [""], x, x, x)
    torch.testing.assert_close(shown, expected, rtol=0, atol=1e-7)
    (_, returned), ((_, shown, _),) = watched(mha, [""], x, x, x, edit=MASK_AUDIO)
    assert torch.equal(returned, shown.mean(1)), "what it returns is edited too"
    unbatched = X[0]
    _, ((_, alone, _),) = watched(mha, [""], unbatched, unbatched, unbatched)
    torch.testing.assert_close(alone, expected[:1], rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("path", ["layers.0.self_attn", "layers.1", ""])
def test_an_encoder_makes_no_nested_tensors_of_padded_input_meanwhile(path: str) -> None:
    layer = nn.TransformerEncoderLayer(D, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=True).eval()
    padding = torch.zeros(2, 8, dtype=torch.bool)
    padding[:, -1] = True
    with torch.no_grad():
        before = model(X, src_key_padding_mask=padding)
        seen: Seen = []
        with tapped(model, [path], TOKENS, on_weights=lambda *a: seen.append(a)):
            found = model(X, src_key_padding_mask=padding)
            assert not found.is_nested
        assert torch.equal(model(X, src_key_padding_mask=padding), before)
    assert len(seen) == (2 if path == "" else 1)
    torch.testing.assert_close(found[:, :-1], before[:, :-1], rtol=0, atol=1e-5)
    assert all(torch.equal(layout.mask, ~padding) for _, _, layout in seen)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "options",
    [
        {"is_causal": True},
        {"scale": 0.3},
        {"attn_mask": torch.tensor([[False] * 8, *[[True, False] * 4] * 7])},
        {"attn_mask": torch.linspace(-1, 1, 64).view(8, 8)},
        {"enable_gqa": True},
    ],
    ids=["causal", "scale", "bool mask, one row empty", "float mask", "grouped"],
)
def test_fused_attention_is_computed_step_by_step(options: dict[str, Any], dtype: torch.dtype) -> None:
    options = {k: v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in options.items()}
    heads = 2 if options.get("enable_gqa") else 4
    q, k, v = (torch.randn(2, number, 8, 6).to(dtype) for number in (4, heads, heads))
    model = Softmax(lambda x: F.scaled_dot_product_attention(x, k, v, **options))
    out, ((_, weights, _),) = watched(model, [""], q)
    assert out.dtype == dtype
    assert weights.shape == (2, 4, 8, 8)
    torch.testing.assert_close(
        out, model(q), rtol=0, atol={torch.bfloat16: 2e-2, torch.float32: 2e-6}.get(dtype, 1e-12)
    )


def test_gradients_pass_through_an_edit() -> None:
    model = LinearAttention(D, 2, rows="all").double().eval()

    def run(x: Tensor) -> Tensor:
        with tapped(model, [""], TOKENS, edit=interventions(NAMES)[-1]):
            return model(x)

    assert torch.autograd.gradcheck(run, X.double().requires_grad_(), fast_mode=True)


# --- shapes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 8), (5, 1, 1, 8)),
        ((5, 2, 8), (5, 2, 1, 8)),
        ((6, 7, 8), (3, 2, 7, 8)),
        ((5, 7, 8), (5, 1, 7, 8)),
        ((5, 2, 7, 8), (5, 2, 7, 8)),
        ((5, 2, 3, 7, 8), (5, 6, 7, 8)),
    ],
)
def test_weights_are_shown_as_samples_heads_rows_keys(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    scores = torch.randn(shape)
    out, ((_, weights, _),) = watched(Softmax(), [""], scores)
    assert torch.equal(out, scores.softmax(-1))
    assert weights.shape == expected
    assert torch.equal(weights.reshape(shape), out)


def test_folded_heads_are_told_from_heads_by_the_number_of_samples() -> None:
    """Two rows and two heads: [B, H, L] or [B H, Q, L]?"""
    catch = SoftmaxCatch("", Softmax(), TokenLayout(TOKENS), {4, 8}, None, None)
    assert catch._shape(torch.zeros(4, 2, 8)) == (4, 2, 1, 8)
    assert catch._shape(torch.zeros(8, 2, 8)) == (8, 2, 1, 8)
    catch.num_samples = {3, 2}
    assert catch._shape(torch.zeros(6, 2, 8)) == (3, 2, 2, 8)


def test_other_axes_and_lengths_are_left_alone() -> None:
    scores = torch.randn(2, 2, 8, 8)
    model = Softmax(lambda x: x.softmax(2) + x[..., :5].softmax(-1).sum() + torch.softmax(x, dim=-1))
    _, seen = watched(model, [""], scores)
    assert len(seen) == 1
    assert torch.equal(seen[0][1], scores.softmax(-1))


def test_a_key_that_some_row_sees_is_no_padding() -> None:
    scores = torch.randn(2, 2, 8, 8).masked_fill(~torch.ones(8, 8, dtype=torch.bool).tril(), -torch.inf)
    scores[1, ..., 6:] = -torch.inf
    _, ((_, _, layout),) = watched(Softmax(), [""], scores)
    assert layout.mask.tolist() == [[True] * 8, [True] * 6 + [False] * 2]


def test_a_row_that_can_see_nothing_gets_zeros() -> None:
    """Image is padding, and audio is hidden: padding must not come back."""
    tokens = {"audio": 3, "image": 5}
    for low in (-torch.inf, torch.finfo(torch.float32).min, -1e9):
        scores = torch.randn(2, 2, 1, 8)
        scores[1, ..., 3:] = low
        out, _ = watched(Softmax(), [""], scores, tokens=tokens, edit=MASK_AUDIO)
        assert (out[1] == 0).all()
        torch.testing.assert_close(out[0].sum(-1), torch.ones(2, 1))
        assert (out[0, ..., :3] == 0).all()


def test_what_is_not_a_number_is_never_taken_for_padding() -> None:
    scores = torch.zeros(1, 1, 1, 8)
    scores[..., 2] = torch.nan
    out, _ = watched(Softmax(), [""], scores, edit=next(e for e in interventions(NAMES) if e.name == "average"))
    assert out[..., 1:].isnan().all()
