"""Every form of attention, tapped: what is shown and what an edit does equal float64 loops over samples and heads."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import timm.layers
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rollingq
from rollingq.attachment.tap import tapped
from rollingq.evaluation.interventions import interventions
from rollingq.nn.layers import Attention
from rollingq.testing.models import LinearAttention, Packed
from rollingq.tokens import TokenLayout

CLASS = slice(0, 1)
BATCH, LENGTH, DIM, HEADS = 3, 8, 8, 2
TOKENS = {"cls": 1, "audio": 3, "image": 4}
SPANS = TokenLayout(TOKENS).spans
MODALITIES = ("audio", "image")
NAMES = ("mask:audio", "average", "quag:crossmodal", "quag_attention:unimodal", "quag_attention:average:image")
EDITS = {None: None, **{edit.name: edit for edit in interventions(MODALITIES) if edit.name in NAMES}}
MASK = torch.ones(BATCH, LENGTH, dtype=torch.bool)
MASK[1, 3], MASK[1, 6:], MASK[2, 4:] = False, False, False


class Written(nn.Module):
    """Attention as people write it, around any function of (q, k, v, is_real) with ``[B, H, Q, D]``."""

    def __init__(self, attend: Callable[..., Tensor], num_key_heads: int = HEADS) -> None:
        super().__init__()
        self.attend, self.num_heads = attend, HEADS
        self.query, self.output = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)
        width = DIM // HEADS * num_key_heads
        self.key, self.value = nn.Linear(DIM, width), nn.Linear(DIM, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (-1, DIM // HEADS)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        attended = self.attend(q, k, v, None if mask is None else mask[:, None, None])
        return torch.as_tensor(self.output(attended.transpose(1, 2).flatten(2)))


def scores_of(q: Tensor, k: Tensor, mask: Tensor | None, low: float = -math.inf) -> Tensor:
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return scores if mask is None else scores.masked_fill(~mask, low)


def folded(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    scores = scores_of(q, k, mask).flatten(0, 1)
    return (torch.softmax(scores, 2) @ v.flatten(0, 1)).unflatten(0, (-1, HEADS))


def added(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    bias = 0.0 if mask is None else torch.where(mask, 0.0, torch.finfo(q.dtype).min)
    return F.softmax(scores_of(q, k, None) + bias, dim=-1, dtype=torch.float32) @ v


def fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    bias = None if mask is None else torch.zeros(mask.shape).masked_fill(~mask, -math.inf)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=0.0, enable_gqa=k.shape[1] < HEADS)


class OurOwn(nn.Module):
    """The library's Attention, asked by the class row or by all."""

    def __init__(self, rows: slice) -> None:
        super().__init__()
        self.rows, self.inner = rows, Attention(DIM, num_heads=HEADS)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.as_tensor(self.inner(x[:, self.rows], x, mask)[0])


def run_padded(model: nn.Module, x: Tensor, mask: Tensor | None, name: str = "key_padding_mask") -> Tensor:
    return torch.as_tensor(model(x, **({} if mask is None else {name: ~mask})))


def run_masked(model: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    return torch.as_tensor(model(x) if mask is None else model(x, mask))


def run_timm(model: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    return torch.as_tensor(model(x, attn_mask=None if mask is None else mask[:, None, None]))


@dataclass(frozen=True)
class Form:
    """How a model is built, called and tapped; ``inside`` is the module that holds the projections.

    ``is_exact``: attention is not fused, so that no bit changes under a tap.
    """

    build: Callable[[], nn.Module]
    run: Callable[[nn.Module, Tensor, Tensor | None], Tensor] = run_masked
    layer: str = ""
    inside: str = ""
    is_class: bool = False
    is_block: bool = False
    can_attach: bool = True
    is_exact: bool = False

    @property
    def rows(self) -> slice:
        return CLASS if self.is_class else slice(None)


def encoder_layer() -> nn.Module:
    return nn.TransformerEncoderLayer(DIM, HEADS, 16, 0.0, batch_first=True)


def run_encoder(model: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    return run_padded(model, x, mask, "src_key_padding_mask")


def timm_attention(is_fused: bool) -> nn.Module:
    attention = timm.layers.Attention(DIM, HEADS, qkv_bias=True)
    attention.fused_attn = is_fused
    return attention


FORMS = {
    "ours, class row": Form(lambda: OurOwn(CLASS), layer="inner", inside="inner", is_class=True, is_exact=True),
    "ours, all rows": Form(lambda: OurOwn(slice(None)), layer="inner", inside="inner"),
    "Linears, SDPA, class row": Form(lambda: LinearAttention(DIM, HEADS), is_class=True),
    "Linears, SDPA, all rows": Form(lambda: LinearAttention(DIM, HEADS, rows="all")),
    "Tensor.softmax": Form(lambda: Written(lambda q, k, v, m: scores_of(q, k, m).softmax(-1) @ v), is_exact=True),
    "Tensor.softmax, -1e9": Form(
        lambda: Written(lambda q, k, v, m: scores_of(q, k, m, -1e9).softmax(dim=3) @ v), is_exact=True
    ),
    "torch.softmax, folded": Form(lambda: Written(folded), is_exact=True),
    "F.softmax in float32, added mask": Form(lambda: Written(added), is_exact=True),
    "nn.Softmax": Form(lambda: Written(lambda q, k, v, m: nn.Softmax(-1)(scores_of(q, k, m)) @ v), is_exact=True),
    "special.softmax": Form(
        lambda: Written(lambda q, k, v, m: torch.special.softmax(scores_of(q, k, m), -1) @ v), is_exact=True
    ),
    "SDPA, float mask": Form(lambda: Written(fused)),
    "SDPA, grouped keys": Form(lambda: Written(fused, num_key_heads=1), can_attach=False),
    **{
        f"mha {order}, {rows}, {'weights' if needs else 'no weights'}": Form(
            lambda order=order, rows=rows: Packed(DIM, HEADS, rows=rows, batch_first=order == "batch first"),
            lambda model, x, mask, needs=needs: torch.as_tensor(
                model(x, need_weights=needs, key_padding_mask=None if mask is None else ~mask)
            ),
            "mha",
            "mha",
            is_class=rows == "class",
        )
        for order in ("batch first", "sequence first")
        for rows in ("class", "all")
        for needs in (True, False)
    },
    "mha inside an encoder layer": Form(encoder_layer, run_encoder, "self_attn", "self_attn", is_block=True),
    "encoder layer": Form(encoder_layer, run_encoder, "", "self_attn", is_block=True, can_attach=False),
    "timm, fused": Form(lambda: timm_attention(True), run_timm, can_attach=False),
    "timm": Form(lambda: timm_attention(False), run_timm, can_attach=False, is_exact=True),
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
masked_or_not = pytest.mark.parametrize("mask", [None, MASK], ids=["full", "padded"])


def made(form: Form) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model = form.build().eval()
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, std=0.5) if "bias" in name else nn.init.normal_(parameter, std=0.6)
    return model, torch.randn(BATCH, LENGTH, DIM, generator=torch.Generator().manual_seed(1))


def projections(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Return weight and bias of query, key, value and output."""
    if isinstance(model, nn.MultiheadAttention):
        packed = zip(model.in_proj_weight.chunk(3), model.in_proj_bias.chunk(3), strict=True)
        return [*packed, (model.out_proj.weight, model.out_proj.bias)]
    if hasattr(model, "qkv"):
        packed = zip(model.qkv.weight.chunk(3), model.qkv.bias.chunk(3), strict=True)
        return [*packed, (model.proj.weight, model.proj.bias)]
    return [(layer.weight, layer.bias) for layer in (model.query, model.key, model.value, model.output)]


def attended(scores: Tensor, real: Tensor, edit: str | None) -> Tensor:
    """Return the weights of one head of one sample from its scores ``[Q, L]``, edited by blocks of matrices."""
    kind, _, what = (edit or "").partition(":")
    name = what.removeprefix("average:")
    scores = scores.masked_fill(~real, -math.inf)
    if kind == "mask":
        scores[:, SPANS[name]] = -math.inf
    values = scores if kind == "quag_attention" else scores.softmax(-1)
    found = values.clone()
    for row, key in blocks("average" if kind == "average" else what, len(scores)) if kind not in ("", "mask") else ():
        seen = real[SPANS[key]]
        if seen.any():
            found[row, SPANS[key]] = found.new_tensor(-math.inf if kind == "quag_attention" else 0.0)
            block = values[row, SPANS[key]][:, seen].mean(1, keepdim=True)
            found[row, SPANS[key]] = torch.where(seen, block, found[row, SPANS[key]])
    return found.softmax(-1) if kind == "quag_attention" else found


def blocks(what: str, num_rows: int) -> list[tuple[slice, str]]:
    if what == "average":
        return [(slice(None), name) for name in MODALITIES]
    if what.startswith("average:"):
        return [(slice(None), what.removeprefix("average:"))]
    pairs = [(a, b) for a in MODALITIES for b in MODALITIES if (a == b) == (what == "unimodal")]
    return [(SPANS[a], b) for a, b in pairs] if num_rows == LENGTH else []


def expected(
    form: Form, model: nn.Module, x: Tensor, mask: Tensor | None, edit: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs and weights in float64."""
    model, x = copy.deepcopy(model).double(), x.double()
    parts = projections(model.get_submodule(form.inside))
    weights = torch.empty(BATCH, HEADS, len(range(LENGTH)[form.rows]), LENGTH, dtype=torch.float64)
    rows = torch.empty(*weights.shape[::2], HEADS, DIM // HEADS, dtype=torch.float64)
    for sample, head in np.ndindex(BATCH, HEADS):
        q, k, v = (F.linear(x[sample], *part).unflatten(-1, (-1, DIM // HEADS)) for part in parts[:3])
        q, k, v = q[form.rows, head], k[:, head % k.shape[1]], v[:, head % v.shape[1]]
        real = torch.ones(LENGTH, dtype=torch.bool) if mask is None else mask[sample]
        weights[sample, head] = attended(q @ k.T / math.sqrt(DIM // HEADS), real, edit)
        rows[sample, :, head] = weights[sample, head] @ v
    out = F.linear(rows.flatten(2), *parts[3])
    if form.is_block:
        out = model.norm1(x + out)
        out = model.norm2(out + model.linear2(torch.relu(model.linear1(out))))
    return out.detach().numpy(), weights.detach().numpy()


def tap(form: Form, model: nn.Module, x: Tensor, mask: Tensor | None, edit: str | None) -> tuple[Tensor, Any, Any]:
    """Return outputs, weights and layout without gradients: where fast paths are taken if they are not stopped."""
    shown: list[Any] = []
    with (
        torch.no_grad(),
        tapped(model, [form.layer], TOKENS, on_weights=lambda *seen: shown.append(seen), edit=EDITS[edit]),
    ):
        out = form.run(model, x, mask)
    ((path, weights, layout),) = shown
    assert path == form.layer
    return out, weights, layout


@every_form
@masked_or_not
def test_outputs_and_weights_equal_the_oracle(form: Form, mask: Tensor | None) -> None:
    model, x = made(form)
    for edit in EDITS:
        outputs, weights = expected(form, model, x, mask, edit)
        found, shown, layout = tap(form, model, x, mask, edit)
        np.testing.assert_allclose(shown.numpy(), weights, rtol=0, atol=2e-6, err_msg=str(edit))
        np.testing.assert_allclose(found.numpy(), outputs, rtol=0, atol=2e-5, err_msg=str(edit))
        assert torch.equal(layout.mask, torch.ones_like(MASK) if mask is None else mask)


@every_form
@masked_or_not
def test_without_an_edit_nothing_changes_and_nothing_stays(form: Form, mask: Tensor | None) -> None:
    model, x = made(form)
    before = form.run(model, x, mask).detach()
    found, _, _ = tap(form, model, x, mask, None)
    torch.testing.assert_close(found, before, rtol=0, atol=0.0 if form.is_exact else 3e-6)
    assert not [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert torch.equal(form.run(model, x, mask), before)


@pytest.mark.parametrize("is_rotated", [False, True], ids=["idle", "rotated"])
@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.can_attach])
def test_attached_layers_show_the_rotated_query(name: str, is_rotated: bool) -> None:
    form = FORMS[name]
    model, x = made(form)
    edits = (None, "mask:audio", "quag_attention:average:image")
    plain = [tap(form, model, x, MASK, edit) for edit in edits]
    scope = "query" if form.is_class else "all_queries"  # Folding is exact in every row then.
    attachment = rollingq.attach(
        model, form.layer, tokens=TOKENS, rho=2.0, beta=0.0 if is_rotated else 2.0, scope=scope
    )
    form.run(model.train(), x, MASK)
    assert attachment.step().rotated == is_rotated
    model.eval()
    found = [tap(form, model, x, MASK, edit) for edit in edits]
    attachment.fold()
    for edit, before, now in zip(edits, plain, found, strict=True):
        assert ((now[1] - before[1]).abs().max() > 1e-2) == is_rotated, edit
        assert torch.equal(now[2].mask, MASK)
        torch.testing.assert_close(tap(form, model, x, MASK, edit)[:2], now[:2], rtol=0, atol=1e-5)
