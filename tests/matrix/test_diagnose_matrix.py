"""rollingq.diagnose over every form of model: mass, cosines, edits and noise equal float64 sums made by hand."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import timm.models.vision_transformer as vit
import torch
from torch import Tensor, nn

import rollingq
from rollingq.evaluation.noise import sample_noise
from rollingq.tokens import TokenLayout

DIM, HEADS, WIDTH, NUM, SIZE = 8, 2, 5, 24, 14
LENGTHS = {"audio": 3, "image": 4}
MEASURES = ("interventions", "contributions")


class Linears(nn.Module):
    """Attention with separate Linears, keys of fewer heads if asked, projected at once or a modality at a time."""

    def __init__(self, *, num_key_heads: int = HEADS, has_parts: bool = False) -> None:
        super().__init__()
        self.num_heads, self.has_parts = HEADS, has_parts
        width = num_key_heads * DIM // HEADS
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(DIM, DIM), nn.Linear(DIM, width), nn.Linear(DIM, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        parts = x.split([1, 7 - 3, 3], 1) if self.has_parts else [x]
        k, v = (torch.cat([layer(part) for part in parts], 1) for layer in (self.k_proj, self.v_proj))
        q, k, v = (part.unflatten(-1, (-1, DIM // HEADS)).transpose(1, 2) for part in (self.q_proj(x), k, v))
        k, v = (part.expand(-1, HEADS, -1, -1) for part in (k, v))
        scores = q @ k.mT / math.sqrt(DIM / HEADS)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None], -math.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


class Padded(nn.Module):
    """nn.MultiheadAttention or an nn.TransformerEncoder behind one call, whatever the order of its axes."""

    def __init__(self, inner: nn.Module, *, is_batch_first: bool) -> None:
        super().__init__()
        self.inner, self.is_batch_first = inner, is_batch_first

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x if self.is_batch_first else x.transpose(0, 1)
        pad = None if mask is None else ~mask
        if isinstance(self.inner, nn.MultiheadAttention):
            x = self.inner(x, x, x, key_padding_mask=pad, need_weights=False)[0]
        else:
            x = self.inner(x, src_key_padding_mask=pad)
        return x if self.is_batch_first else x.transpose(0, 1)


class Blocks(nn.Module):
    """Blocks of timm, which project queries, keys and values at once."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(vit.Block(DIM, HEADS, qkv_bias=True) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, attn_mask=None if mask is None else mask[:, None, None])
        return x


class Model(nn.Module):
    """Encoders, fusion, and a head that reads the class token, the mean or the last token."""

    def __init__(self, fusion: nn.Module, readout: str) -> None:
        super().__init__()
        self.audio, self.image = nn.Linear(WIDTH, DIM), nn.Linear(WIDTH, DIM)
        self.cls_token, self.fusion = nn.Parameter(torch.randn(1, 1, DIM)), fusion
        self.readout, self.head = readout, nn.Linear(DIM, 3)

    def forward(self, audio: Tensor, image: Tensor, mask: Tensor | None = None) -> Tensor:
        tokens = torch.cat([self.cls_token.expand(len(audio), -1, -1), self.audio(audio), self.image(image)], 1)
        first = 0 if self.readout == "class" else 1
        fused = self.fusion(tokens[:, first:], mask if mask is None else mask[:, first:])
        row = fused.mean(1) if self.readout == "mean" else fused[:, -1 if self.readout == "last" else 0]
        return torch.as_tensor(self.head(row))


@dataclass(frozen=True)
class Form:
    """A fusion, the paths of its attention, and what reads its output."""

    fusion: Callable[[], nn.Module]
    layers: tuple[str, ...]
    readout: str = "class"
    has_keys: bool = True

    def build(self) -> Model:
        torch.manual_seed(3)
        model = Model(self.fusion(), self.readout)
        for parameter in model.parameters():  # Large weights: attention and predictions that differ.
            parameter.data.normal_(std=0.7)
        return model

    @property
    def tokens(self) -> dict[str, int]:
        return {"cls": 1, **LENGTHS} if self.readout == "class" else LENGTHS


def mha(is_batch_first: bool) -> Callable[[], nn.Module]:
    return lambda: Padded(nn.MultiheadAttention(DIM, HEADS, batch_first=is_batch_first), is_batch_first=is_batch_first)


def encoder(is_batch_first: bool) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        layer = nn.TransformerEncoderLayer(DIM, HEADS, 16, 0.0, batch_first=is_batch_first)
        inner = nn.TransformerEncoder(layer, 2, enable_nested_tensor=is_batch_first)
        return Padded(inner, is_batch_first=is_batch_first)

    return build


TWO = ("fusion.inner.layers.0.self_attn", "fusion.inner.layers.1.self_attn")
TIMM = ("fusion.blocks.0.attn", "fusion.blocks.1.attn")
FORMS = {
    "Linears": Form(Linears, ("fusion",)),
    "Linears, mean": Form(Linears, ("fusion",), "mean"),
    "keys of one head": Form(lambda: Linears(num_key_heads=1), ("fusion",), has_keys=False),
    "keys by modality": Form(lambda: Linears(has_parts=True), ("fusion",), has_keys=False),
    "mha, batch first": Form(mha(True), ("fusion.inner",)),
    "mha, sequence first": Form(mha(False), ("fusion.inner",)),
    "mha, last": Form(mha(True), ("fusion.inner",), "last"),
    **{
        f"encoder, {order} first, {readout}": Form(encoder(order == "batch"), TWO, readout)
        for order, readout in (("batch", "class"), ("batch", "mean"), ("sequence", "class"), ("sequence", "last"))
    },
    "timm": Form(Blocks, TIMM, has_keys=False),
    "timm, mean": Form(Blocks, TIMM, "mean", has_keys=False),
}


def made_batches(is_masked: bool) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    whole = {name: 1 + torch.randn(NUM, n, WIDTH, generator=generator) for name, n in LENGTHS.items()}
    whole["label"] = torch.arange(NUM) % 3
    if is_masked:
        mask = torch.rand(NUM, 8, generator=generator) > 0.3
        mask[:, [0, 1, 7]] = True
        mask[4, 5:] = False  # No image at all.
        whole["mask"] = mask
    return [{name: part[at : at + SIZE] for name, part in whole.items()} for at in range(0, NUM, SIZE)]


def joined(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def projections(layer: Any) -> list[tuple[Tensor, Tensor]]:
    """Return weight and bias of query and key."""
    if isinstance(layer, Linears):
        pairs = [(layer.q_proj.weight, layer.q_proj.bias), (layer.k_proj.weight, layer.k_proj.bias)]
        return [(w.repeat(DIM // len(w), 1), b.repeat(DIM // len(b))) for w, b in pairs]
    packed = (layer.qkv.weight, layer.qkv.bias) if hasattr(layer, "qkv") else (layer.in_proj_weight, layer.in_proj_bias)
    return list(zip(*(part.chunk(3)[:2] for part in packed), strict=True))


def oracle(form: Form, model: Model, whole: dict[str, Tensor]) -> tuple[dict[str, float], dict[str, float]]:
    """Return mass and cosine of every modality from the tokens that reach the last layer, one sample at a time."""
    layer, seen = model.get_submodule(form.layers[-1]), []
    handle = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().double()))
    model.train()(**{name: part for name, part in whole.items() if name != "label"})  # Training: no fast path.
    handle.remove()
    x = seen[0] if seen[0].shape[0] == NUM else seen[0].transpose(0, 1)
    (wq, bq), (wk, bk) = [(w.detach().double(), b.detach().double()) for w, b in projections(layer)]
    masses, cosines = {name: [] for name in LENGTHS}, {name: [] for name in LENGTHS}
    spans, length = TokenLayout(form.tokens).spans, x.shape[1]
    for sample in range(NUM):
        real = whole["mask"][sample, -length:] if "mask" in whole else torch.ones(length, dtype=torch.bool)
        rows = [0] if form.readout == "class" else [row for row in range(length) if real[row]]
        q, k = ((x[sample] @ w.T + b).unflatten(-1, (HEADS, -1)) for w, b in ((wq, bq), (wk, bk)))
        for name in LENGTHS:
            at = [i for i in range(length)[spans[name]] if real[i]]
            shares, angles = [], []
            for row in rows:
                for head in range(HEADS):
                    scores = (k[:, head] @ q[row, head] / math.sqrt(DIM / HEADS)).masked_fill(~real, -math.inf)
                    shares.append(float(scores.softmax(0)[at].sum()))
                    if at:
                        angles.append(float(torch.cosine_similarity(q[row, head], k[at, head].mean(0), dim=0)))
            masses[name].append(sum(shares) / len(shares))
            cosines[name] += [sum(angles) / len(angles)] if angles else []
    return tuple({n: sum(values) / len(values) for n, values in found.items()} for found in (masses, cosines))


def accuracy(model: Model, whole: dict[str, Tensor], **changed: Tensor) -> float:
    given = {name: part for name, part in {**whole, **changed}.items() if name != "label"}
    with torch.no_grad():
        logits = model.train()(**given)
    return float((logits.argmax(-1) == whole["label"]).double().mean())


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("is_masked", [False, True], ids=["all real", "padded"])
@pytest.mark.parametrize("name", FORMS)
def test_every_number_is_that_of_a_calculation_by_hand(name, is_masked):
    form, batches = FORMS[name], made_batches(is_masked)
    model, whole = form.build(), joined(batches)
    state = copy.deepcopy(model.state_dict())
    tokens = tokens_of(form, is_masked)
    names = tuple(LENGTHS) if callable(tokens) else None
    report = rollingq.diagnose(model, batches, layer=form.layers, tokens=tokens, modalities=names, measures=MEASURES)
    run, diagnosis = report.comparison.runs[0], report.comparison.diagnoses[0]
    masses, cosines = oracle(form, model, whole)
    assert run.attention.score == pytest.approx(masses, abs=2e-5)
    if form.has_keys:
        assert run.attention.cosines == pytest.approx(cosines, abs=2e-5)
        assert run.attention.air == pytest.approx(cosines["audio"] - cosines["image"], abs=4e-5)
        assert "average keys" not in diagnosis.undefined
    else:
        assert math.isnan(run.attention.air)
        assert {"average keys", "AIR"} <= set(diagnosis.undefined)
    assert run.test_accuracy == accuracy(model, whole)
    check_edits(diagnosis, model, whole)
    check_inputs(run, diagnosis, model, whole)
    assert all(torch.equal(part, state[key]) for key, part in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def tokens_of(form: Form, is_masked: bool) -> Any:
    """Return the lengths; where a layer's own mask is not known to RollingQ, a callable that gives it."""
    if not is_masked or form.layers[-1].startswith("fusion.inner"):
        return form.tokens
    if form.layers[-1] == "fusion":
        return lambda x, mask: TokenLayout(form.tokens, mask)
    return lambda x, attn_mask=None, **_: TokenLayout(form.tokens, attn_mask[:, 0, 0])


def check_edits(diagnosis, model, whole):
    """Masking a modality is the model with its keys in padding; averaging all is left to the matrix of taps."""
    real = whole.get("mask", torch.ones(NUM, 8, dtype=torch.bool))
    edits = {edit.name: edit for edit in diagnosis.interventions}
    for name, span in TokenLayout({"cls": 1, **LENGTHS}).spans.items():
        if name in LENGTHS:
            hidden = real.clone()
            hidden[:, span] = False
            if model.readout == "class":
                assert edits[f"mask:{name}"].accuracy == accuracy(model, whole, mask=hidden), name
    assert all(edit.drop == diagnosis.accuracy - edit.accuracy for edit in edits.values())


def check_inputs(run, diagnosis, model, whole):
    noise = {}
    for name in LENGTHS:
        values = whole[name].double()
        eps = sample_noise(values.shape, seed=0, modality=name)
        noise[name] = (values.mean() + values.std(correction=0) * eps).float()
        assert run.accuracy_under_noise[name] == accuracy(model, whole, **{name: noise[name]}), name
    absent = {
        "zero": {name: torch.zeros_like(whole[name]) for name in LENGTHS},
        "mean": {name: whole[name].mean(0, keepdim=True).expand_as(whole[name]) for name in LENGTHS},
        "noise": noise,
    }
    for found in diagnosis.contributions:
        gone = absent[found.absent]
        audio, image = (accuracy(model, whole, **{other: gone[other]}) for other in ("image", "audio"))
        full, none = accuracy(model, whole), accuracy(model, whole, **gone)
        assert found.values["audio"] == pytest.approx((full - image + audio - none) / 2), found.absent


@pytest.mark.parametrize("name", ["Linears", "mha, batch first", "encoder, batch first, class"])
def test_a_rotated_model_gives_the_numbers_of_its_folded_copy(name):
    form, batches = FORMS[name], made_batches(False)
    model = form.build()
    plain = rollingq.diagnose(model, batches, layer=form.layers, tokens=form.tokens, measures=MEASURES)
    attached = rollingq.attach(model, form.layers[-1], tokens=form.tokens, beta=0.0, rho=3.0)
    for batch in batches:
        model.train()(batch["audio"], batch["image"])
    assert attached.step().rotated
    folded = rollingq.fold(copy.deepcopy(model), example=(batches[0]["audio"], batches[0]["image"]))
    one, two = (
        rollingq.diagnose(subject, batches, layer=form.layers, tokens=form.tokens, measures=MEASURES).comparison
        for subject in (model, folded)
    )
    assert (one.runs[0].num_rotations, two.runs[0].num_rotations) == (1, 0)
    attentions = [found.runs[0].attention for found in (one, two)]
    for part in ("score", "cosines", "token_share"):
        assert getattr(attentions[0], part) == pytest.approx(getattr(attentions[1], part), abs=1e-5)
    assert attentions[0].score != pytest.approx(plain.comparison.runs[0].attention.score, abs=1e-3)
    assert one.diagnoses[0].interventions == two.diagnoses[0].interventions
    assert one.runs[0].accuracy_under_noise == two.runs[0].accuracy_under_noise
    assert rollingq.attachments(model) == [attached]


class Planted(nn.Module):
    """One class query over tokens with a flag a modality; keys read the flag, the signal, minus it, or nothing."""

    def __init__(self, habit, names, favourite):
        super().__init__()
        self.names, self.attention = names, nn.Module()
        self.attention.query, self.attention.key = nn.Linear(1, 2, bias=False), nn.Linear(6 + len(names), 2)
        weight = torch.zeros(2, 6 + len(names))
        gain = {"locked": 4.0, "follows": 2.0, "inverts": -2.0, "spread": 0.0}[habit]
        weight[0, 6 + names.index(favourite) if habit == "locked" else 0] = gain
        self.attention.key.weight.data.copy_(weight)
        self.attention.query.weight.data.fill_(1.0)
        self.attention.forward = self.attend

    def attend(self, tokens):
        query = self.attention.query(tokens.new_ones(len(tokens), 1, 1))
        return ((query @ self.attention.key(tokens).mT).softmax(-1) @ tokens)[:, 0, 1:4]

    def forward(self, **inputs):
        flags = torch.eye(len(self.names))
        tokens = [
            torch.cat([inputs[n], flags[i].expand(*inputs[n].shape[:2], -1)], -1) for i, n in enumerate(self.names)
        ]
        return self.attention(torch.cat(tokens, 1))


@pytest.mark.parametrize("names", [("audio", "image"), ("audio", "image", "text")])
@pytest.mark.parametrize("habit", ["locked", "follows", "inverts", "spread"])
def test_planted_truth_is_told(habit, names):
    labels = torch.arange(60) % 3
    parts = {name: 0.3 * torch.randn(60, 4, 6) for name in names}
    for tokens in parts.values():  # Feature 0 says "clean", 1 to 3 hold the class.
        tokens[..., 0] += 3
        tokens[torch.arange(60), :, 1 + labels] += 1
    loader = [{**parts, "label": labels}]
    for favourite in names if habit == "locked" else names[:1]:
        model = Planted(habit, names, favourite)
        report = rollingq.diagnose(model, loader, layer="attention", tokens=dict.fromkeys(names, 4), measures=())
        said = {"locked": f"is locked on {favourite}", "follows": "follows quality", "inverts": "wrong, it should fall"}
        assert said.get(habit, "is spread about as the tokens are") in report.verdict.splitlines()[1]
        score = report.comparison.runs[0].attention.score
        if habit == "locked":
            expected = math.exp(4) / (math.exp(4) + len(names) - 1)
            assert score[favourite] == pytest.approx(expected, abs=1e-5)
        if habit == "spread":
            assert score == pytest.approx(dict.fromkeys(names, 1 / len(names)))
