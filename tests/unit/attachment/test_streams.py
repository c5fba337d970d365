"""Modalities with an attention layer each: what is seen, decided and rotated, on whole fusions and a made model."""

import copy
import gc
import io
import pickle
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rollingq
from rollingq import RollingQ, TokenLayout
from rollingq.errors import AttachError, FoldError, ShapeError
from rollingq.nn.fusion import MMML, MulT
from rollingq.nn.layers import use_plain_form
from rollingq.testing import oracle
from rollingq.testing.models import LinearAttention
from rollingq.testing.oracle import Array, as_array

DIM, HEADS = 8, 2
LENGTHS = {"audio": 4, "image": 3, "text": 5}
PAIR = ("audio", "image")
RHO = 3.0
Batch = tuple[dict[str, Tensor], dict[str, Tensor]]


class Pair(nn.Module):
    """Two plain attentions, one a modality, with projections of other names; masks go to their forward."""

    def __init__(self, rows: Any = "class", num_heads: int = HEADS, dims: tuple[int, int] = (DIM, DIM)) -> None:
        super().__init__()
        self.of_audio = LinearAttention(dims[0], num_heads, rows=rows)
        self.of_image = LinearAttention(dims[1], num_heads, names=("q_proj", "k_proj"), rows=rows)
        self.head = nn.Linear(sum(dims), 3)

    def forward(self, tokens: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor:
        parts = ((self.of_audio, "audio"), (self.of_image, "image"))
        read = [attention(tokens[name], masks.get(name))[:, 0] for attention, name in parts]
        return torch.as_tensor(self.head(torch.cat(read, dim=-1)))


PAIR_LAYERS = {"audio": "of_audio", "image": "of_image"}


@dataclass(frozen=True)
class Host:
    """How a model with streams is built; its layers are those that the fusion names, or those of Pair."""

    make: Callable[[], nn.Module]
    names: tuple[str, ...] = PAIR

    def build(self, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        model = self.make().double()
        for name, parameter in model.named_parameters():
            if "bias" in name:
                nn.init.normal_(parameter)
        return model

    @property
    def tokens(self) -> dict[str, int]:
        return {name: LENGTHS[name] for name in self.names}


def mult(names: tuple[str, ...], **options: Any) -> nn.Module:
    return MulT(names, DIM, 3, num_memory_layers=2, num_heads=HEADS, dropout=0.0, **options)


def mmml(**options: Any) -> nn.Module:
    return MMML(PAIR, DIM, 3, num_heads=HEADS, dropout=0.0, **options)


HOSTS = {
    "mult": Host(lambda: mult(PAIR)),
    "mult of three": Host(lambda: mult(("audio", "image", "text")), names=("audio", "image", "text")),
    "mmml self": Host(lambda: mmml(reading="self")),
    "mmml cross": Host(lambda: mmml(reading="cross")),
    "mmml cross of two layers": Host(lambda: mmml(reading="cross", num_layers=2)),
    "pair": Host(Pair),
    "pair of vectors": Host(lambda: Pair("vector")),
    "pair of all rows": Host(lambda: Pair("all")),
}
FUSIONS = [name for name in HOSTS if not name.startswith("pair")]
SOME = ("mult", "mmml cross", "pair")
ONE_ROW = ("mult", "mult of three", "mmml self", "pair", "pair of vectors")
every_host = pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
every_fusion = pytest.mark.parametrize("host", [HOSTS[name] for name in FUSIONS], ids=FUSIONS)
some_hosts = pytest.mark.parametrize("host", [HOSTS[name] for name in SOME], ids=SOME)
hosts_of_one_row = pytest.mark.parametrize("host", [HOSTS[name] for name in ONE_ROW], ids=ONE_ROW)


def is_cross(host: Host) -> bool:
    """Return whether the keys of each modality are asked by the other."""
    return getattr(host.build(), "reading", None) == "cross"


def layers_of(model: nn.Module) -> dict[str, str]:
    if isinstance(model, Pair):
        return dict(PAIR_LAYERS)
    (layers,) = model.attention_layers
    return dict(layers)


def attached(host: Host, seed: int = 0, **options: Any) -> tuple[Any, RollingQ]:
    model = host.build(seed)
    options = {"tokens": host.tokens, "rho": RHO, "beta": 0.0, **options}
    return model, rollingq.attach(model, layers_of(model), **options)


def some_batch(host: Host, *, masks: Mapping[str, Tensor] | None = None, seed: int = 1, size: int = 5) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    tokens = {
        name: torch.randn(size, LENGTHS[name], DIM, generator=generator, dtype=torch.float64) for name in host.names
    }
    return tokens, dict(masks or {})


def padding() -> dict[str, Tensor]:
    """Return masks with shorter samples of audio and image, none of them absent."""
    masks = {name: torch.ones(5, LENGTHS[name], dtype=torch.bool) for name in PAIR}
    masks["audio"][1, 2:] = masks["audio"][2, 1] = False
    masks["image"][3, 1:] = False
    return masks


def logits(model: nn.Module, batch: Batch) -> Tensor:
    output = model(*batch)
    return output if isinstance(output, Tensor) else output.logits


def mask_options(host: Host, masks: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what tells an attachment of the mask where the layer does not take one that it knows."""
    if host.make is not Pair:
        return {}
    return {"tokens": TokenLayout(host.tokens, torch.cat([masks[name] for name in PAIR], dim=1))}


# --- the oracle ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """What a model without RollingQ shows: class queries and average keys by head, ``[N, M, H, D]``."""

    queries: Array
    average_keys: Array
    is_present: Array


def projection(attention: nn.Module, kind: str) -> Any:
    return attention.get_submodule(attention.names[kind == "key"] if isinstance(attention, LinearAttention) else kind)


def shown(host: Host, batch: Batch) -> Shown:
    """Watch what enters each attention of a model without RollingQ, and project it in NumPy."""
    model, entered = host.build(), {}
    layers = {name: model.get_submodule(path) for name, path in layers_of(model).items()}
    for name, attention in layers.items():
        attention.register_forward_pre_hook(lambda _, args, name=name: entered.__setitem__(name, args))
    model(*batch)
    queries, keys, present = [], [], []
    for name, attention in layers.items():
        asking, *others = entered[name]
        context, mask = (asking, others[0]) if isinstance(attention, LinearAttention) else others
        real = np.ones(context.shape[:2], dtype=bool) if mask is None else mask.numpy()
        query, key = (projection(attention, kind) for kind in ("query", "key"))
        queries.append(as_array(asking[:, 0]) @ as_array(query.weight).T + as_array(query.bias))
        projected = as_array(context) @ as_array(key.weight).T + as_array(key.bias)
        samples = zip(projected, real, strict=True)
        keys.append([oracle.average_key(k, r) if r.any() else 0.0 * k[0] for k, r in samples])
        present.append(real.any(1))
    q, k = (np.stack(part, axis=1) for part in (queries, np.array(keys)))
    q, k = (part.reshape(*part.shape[:2], HEADS, -1) for part in (q, k))
    return Shown(q, k, np.stack(present, axis=1))


@dataclass(frozen=True)
class Decision:
    """What one step must find and do: by head and modality."""

    cosines: Array
    air: Array
    weights: Array
    anchors: Array
    mean_queries: Array
    rotations: Array


def decide(seen: Shown, heads: str = "per_head") -> Decision:
    q, k = seen.queries, seen.average_keys
    if heads == "full":
        q, k = (part.reshape(*part.shape[:2], 1, -1) for part in (q, k))
    _, modalities, num_heads, _ = k.shape
    who = [np.flatnonzero(seen.is_present[:, m]) for m in range(modalities)]
    cosines = np.array(
        [
            [np.mean([oracle.cosine(q[n, m, h], k[n, m, h]) for n in who[m]]) for m in range(modalities)]
            for h in range(num_heads)
        ]
    )
    if heads == "shared":
        cosines[:] = cosines.mean(0)
    weights = np.array([oracle.rebalance_weights(list(row), RHO) for row in cosines])
    mean_q, mean_k = (
        np.array([[part[who[m], m, h].mean(0) for m in range(modalities)] for h in range(num_heads)]) for part in (q, k)
    )
    unit = mean_k / np.linalg.norm(mean_k, axis=-1, keepdims=True)
    anchors = (weights[..., None] * unit).sum(1)
    air = cosines[:, 0] - cosines[:, 1] if modalities == 2 else cosines.max(1) - cosines.min(1)
    rotations = [
        [oracle.minimal_rotation(mean_q[h, m], anchors[h]) for m in range(modalities)] for h in range(num_heads)
    ]
    return Decision(cosines, air, weights, anchors, mean_q, np.array(rotations))


def watched(model: nn.Module, attachment: RollingQ, batch: Batch) -> Any:
    seen: list[Any] = []
    with attachment.watch(seen.append):
        model(*batch)
    (observation,) = seen
    return observation


# --- what is seen --------------------------------------------------------------------------------


@every_host
@pytest.mark.parametrize("is_masked", [False, True])
def test_every_stream_shows_its_query_and_its_keys(host: Host, is_masked: bool) -> None:
    masks = padding() if is_masked else {}
    batch = some_batch(host, masks=masks)
    model, attachment = attached(host, **(mask_options(host, masks) if is_masked else {}))
    expected, seen = shown(host, batch), watched(model, attachment, batch)
    np.testing.assert_allclose(seen.query, expected.queries, atol=1e-12)
    np.testing.assert_allclose(seen.average_keys, expected.average_keys, atol=1e-12)
    cosines = [
        [[oracle.cosine(q[m, h], k[m, h]) for m in range(len(host.names))] for h in range(HEADS)]
        for q, k in zip(expected.queries, expected.average_keys, strict=True)
    ]
    np.testing.assert_allclose(seen.cosines(), cosines, atol=1e-12)


@every_fusion
@pytest.mark.parametrize("garbage", [float("nan"), 1e6])
def test_what_stands_in_the_padding_of_keys_never_counts(host: Host, garbage: float) -> None:
    """Through the layer itself: what a padded token holds must not reach the average that is reported."""
    model, attachment = attached(host)
    path = layers_of(model)["audio"]
    observations = []
    for value in (0.0, garbage):
        handle = model.get_submodule(path).register_forward_pre_hook(
            lambda _, args, value=value: (args[0], args[1].masked_fill(~args[2][..., None], value), *args[2:]),
            prepend=True,
        )
        observations.append(watched(model, attachment, some_batch(host, masks=padding())))
        handle.remove()
    assert torch.equal(observations[0].average_keys, observations[1].average_keys)


@every_fusion
@pytest.mark.parametrize("absent", PAIR)
def test_an_absent_modality_is_left_out(host: Host, absent: str) -> None:
    masks = padding()
    masks[absent][2] = False
    tokens, _ = batch = some_batch(host, masks=masks)
    events = []
    for value in (0.0, 50.0):
        model, attachment = attached(host)
        other = tokens | {absent: tokens[absent].clone()}
        other[absent][2] += value
        model(other, masks)
        events.append(attachment.step())
    assert events[0].cosines == pytest.approx(events[1].cosines, abs=1e-12)
    assert events[0].angle == pytest.approx(events[1].angle, abs=1e-9)
    expected = shown(host, batch)
    assert not expected.is_present[2, host.names.index(absent)]
    if is_cross(host):  # What an absent modality asks is no question.
        expected.is_present[:] = expected.is_present.all(1, keepdims=True)
    by_name = dict(zip(host.names, decide(expected).cosines.mean(0), strict=True))
    assert events[0].cosines == pytest.approx(by_name, abs=1e-12)


def test_a_modality_absent_in_all_samples_stops_the_decision() -> None:
    host = HOSTS["mult"]
    model, attachment = attached(host)
    model(*some_batch(host, masks={"audio": torch.zeros(5, 4, dtype=torch.bool)}))
    event = attachment.step()
    assert (event.rotated, event.reason) == (False, "nothing seen of some modality since the last step")


@every_host
def test_evaluation_and_pauses_go_unrecorded(host: Host) -> None:
    model, attachment = attached(host)
    model.eval()(*some_batch(host))
    attachment.is_paused = True
    model.train()(*some_batch(host))
    assert attachment.step().air is None
    attachment.is_paused = False
    model(*some_batch(host))
    assert attachment.step().num_samples == 5


# --- what is decided and rotated -----------------------------------------------------------------


@every_host
@pytest.mark.parametrize(
    ("heads", "is_masked"), [("per_head", False), ("per_head", True), ("shared", False), ("full", False)]
)
def test_decision_and_rotations_equal_the_oracle(host: Host, heads: str, is_masked: bool) -> None:
    masks = padding() if is_masked else {}
    batch = some_batch(host, masks=masks)
    model, attachment = attached(host, heads=heads, **(mask_options(host, masks) if is_masked else {}))
    expected = decide(shown(host, batch), heads)
    model(*batch)
    event = attachment.step()
    assert event.rotated
    assert event.air == pytest.approx(expected.air.mean(), abs=1e-10)
    assert event.cosines == pytest.approx(dict(zip(host.names, expected.cosines.mean(0), strict=True)), abs=1e-10)
    assert event.weights == pytest.approx(dict(zip(host.names, expected.weights.mean(0), strict=True)), abs=1e-10)
    angles = [
        np.degrees(np.arccos(oracle.cosine(q, anchor)))
        for queries, anchor in zip(expected.mean_queries, expected.anchors, strict=True)
        for q in queries
    ]
    assert event.angle == pytest.approx(np.mean(angles), abs=1e-6)
    found = attachment.rotation.matrix().unflatten(0, (-1, len(host.names)))
    np.testing.assert_allclose(found, expected.rotations, atol=1e-10)


@every_host
@pytest.mark.parametrize(("rotation", "heads"), [("minimal", "per_head"), ("svd", "per_head"), ("minimal", "full")])
def test_every_mean_query_points_to_the_anchor_and_keeps_its_norm(host: Host, rotation: str, heads: str) -> None:
    batch = some_batch(host)
    model, attachment = attached(host, rotation=rotation, heads=heads)
    expected = decide(shown(host, batch), heads)
    model(*batch)
    attachment.step()
    turned = watched(model, attachment, batch)
    means = turned.query.mean(0).transpose(0, 1).numpy()
    for h, m in np.ndindex(*means.shape[:2]):
        assert oracle.cosine(means[h, m], expected.anchors[h]) == pytest.approx(1.0, abs=1e-10)
        norm = np.linalg.norm(expected.mean_queries[h, m])
        assert np.linalg.norm(means[h, m]) == pytest.approx(norm, rel=1e-10)


@every_host
def test_a_second_step_turns_what_the_first_has_turned(host: Host) -> None:
    model, attachment = attached(host, max_rotations=2)
    batches = [some_batch(host, seed=seed) for seed in (1, 2)]
    for batch in batches:
        model(*batch)
        assert attachment.step().rotated
    first, second = (shown(host, batch) for batch in batches)
    turns = decide(first).rotations
    turned = np.einsum("hmij,nmhj->nmhi", turns, second.queries)
    both = decide(Shown(turned, second.average_keys, second.is_present)).rotations @ turns
    found = attachment.rotation.matrix().unflatten(0, (-1, len(host.names)))
    np.testing.assert_allclose(found, both, atol=1e-10)


@every_host
def test_only_the_class_row_rotates(host: Host) -> None:
    model, attachment = attached(host)
    batch, queries = some_batch(host), []
    for path in layers_of(model).values():  # Behind the hooks of the attachment: what the layer goes on with.
        projection(model.get_submodule(path), "query").register_forward_hook(lambda *args: queries.append(args[2]))
    model(*batch)
    attachment.step()
    model(*batch)
    before, after = queries[: len(host.names)], queries[len(host.names) :]
    for old, new in zip(before, after, strict=True):
        assert old.shape == new.shape
        rows = old.dim() == 3
        assert not torch.allclose(old[:, 0] if rows else old, new[:, 0] if rows else new)
        assert not rows or torch.equal(old[:, 1:], new[:, 1:])


# --- what enters the model, and leaves it --------------------------------------------------------


@every_host
@pytest.mark.parametrize("is_training", [True, False])
def test_without_a_rotation_no_bit_changes(host: Host, is_training: bool) -> None:
    batch = some_batch(host, masks=padding())
    plain = host.build().train(is_training)
    model, _ = attached(host)
    model.train(is_training)
    found, expected = (logits(m, batch) for m in (model, plain))
    assert torch.equal(found, expected)
    for m in (found, expected):
        m.square().sum().backward()
    for mine, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None)
        assert mine.grad is None or torch.equal(mine.grad, other.grad)


@every_host
def test_detach_leaves_the_model_as_it_was(host: Host) -> None:
    batch, plain = some_batch(host), host.build()
    model, attachment = attached(host)
    model(*batch)
    attachment.step()
    assert not torch.allclose(logits(model, batch), logits(plain, batch))
    attachment.detach()
    assert torch.equal(logits(model, batch), logits(plain, batch))
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    rollingq.attach(model, layers_of(model), tokens=host.tokens)


def through_torch(model: nn.Module) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    state: dict[str, Any] = torch.load(buffer, weights_only=True)
    return state


@every_host
@pytest.mark.parametrize("rotation", ["minimal", "svd"])
def test_a_state_dict_brings_the_rotations_back(host: Host, rotation: str) -> None:
    batch = some_batch(host)
    model, attachment = attached(host, rotation=rotation, max_rotations=2)
    model(*batch)
    attachment.step()
    fresh, other = attached(host, seed=7, rotation=rotation, max_rotations=2)
    fresh.load_state_dict(through_torch(model))
    assert other.history == attachment.history
    assert torch.equal(other.rotation.matrix(), attachment.rotation.matrix())
    for _ in range(2):
        assert torch.equal(logits(fresh, batch), logits(model, batch))
        assert other.step() == attachment.step()


def through_pickle(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded: nn.Module = torch.load(buffer, weights_only=False)
    return loaded


def with_pickle(model: nn.Module) -> nn.Module:
    copied: nn.Module = pickle.loads(pickle.dumps(model))  # noqa: S301
    return copied


@some_hosts
@pytest.mark.parametrize("copied", [copy.deepcopy, with_pickle, through_pickle])
@pytest.mark.parametrize("num_steps", [0, 1])
def test_a_copy_stands_on_its_own(host: Host, copied: Callable[[nn.Module], nn.Module], num_steps: int) -> None:
    batch = some_batch(host)
    model, attachment = attached(host, max_rotations=2)
    for _ in range(num_steps):
        model(*batch)
        attachment.step()
    twin = copied(model)
    (other,) = rollingq.attachments(twin)
    before = logits(model, batch)
    assert torch.equal(logits(twin, batch), before)
    assert other.step().rotated
    assert not torch.allclose(logits(twin, batch), before)
    assert int(attachment.num_rotations) == num_steps
    assert torch.equal(logits(model, batch), before), "the copy turned the original"
    assert attachment.step().num_samples == 10


@every_fusion
@pytest.mark.parametrize("is_training", [True, False])
def test_nothing_of_a_batch_outlives_its_forward(host: Host, is_training: bool) -> None:
    """A kept token would keep the whole graph behind it: all activations of the encoders, until the next forward."""
    model, _ = attached(host)
    entered: list[Any] = []
    for path in layers_of(model).values():
        model.get_submodule(path).register_forward_pre_hook(lambda _, args: entered.append(weakref.ref(args[1])))
    model.train(is_training)(*some_batch(host, masks=padding()))
    gc.collect()
    assert len(entered) == len(host.names)
    assert [context() for context in entered] == [None] * len(entered)


@hosts_of_one_row
def test_fold_keeps_outputs_and_gradients(host: Host) -> None:
    model, attachment = attached(host, max_rotations=2)
    for seed in (1, 2):
        model(*some_batch(host, seed=seed))
        attachment.step()
    results = []
    for is_folded in (False, True):
        if is_folded:
            attachment.fold()
        tokens, masks = some_batch(host, masks=padding(), seed=3)
        tokens = {name: part.requires_grad_() for name, part in tokens.items()}
        found = logits(model, (tokens, masks))
        results.append([found, *torch.autograd.grad(found.square().sum(), list(tokens.values()))])
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)
    assert rollingq.attachments(model) == []
    assert model.state_dict().keys() == host.build().state_dict().keys()


@hosts_of_one_row
def test_fold_keeps_float32_outputs(host: Host) -> None:
    model, attachment = attached(host)
    model.float()
    tokens, masks = some_batch(host)
    batch = {name: part.float() for name, part in tokens.items()}, masks
    model(*batch)
    assert attachment.step().rotated
    before = logits(model, batch)
    attachment.fold()
    assert (logits(model, batch) - before).abs().max() <= 1e-6 * before.abs().max().clamp(min=1.0)


@pytest.mark.parametrize("name", ["mmml cross", "mmml cross of two layers", "pair of all rows"])
@pytest.mark.parametrize("has_example", [False, True])
def test_fold_refuses_where_other_rows_would_rotate_too(name: str, has_example: bool) -> None:
    host = HOSTS[name]
    model, attachment = attached(host)
    batch = some_batch(host)
    model(*batch)
    attachment.step()
    before = logits(model, batch)
    if has_example and name == "pair of all rows":  # The other rows reach no output, as the example proves.
        attachment.fold(example=batch)
    else:
        with pytest.raises(FoldError) as caught:
            attachment.fold(example=batch if has_example else None)
        assert "\n" not in str(caught.value)
        assert "all_queries" not in str(caught.value), "streams have no such scope"
        assert rollingq.attachments(model) == [attachment]
    torch.testing.assert_close(logits(model, batch), before)


@every_fusion
def test_the_plain_form_of_a_rotated_model_says_the_same(host: Host) -> None:
    batch = some_batch(host, masks=padding())
    model, attachment = attached(host)
    model(*batch)
    attachment.step()
    plain, other = attached(host)
    plain.load_state_dict(model.state_dict())
    use_plain_form(plain)
    torch.testing.assert_close(logits(plain, batch), logits(model, batch), rtol=1e-11, atol=1e-11)
    fast, slow = watched(model, attachment, batch), watched(plain, other, batch)
    torch.testing.assert_close(slow.query, fast.query, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(slow.average_keys, fast.average_keys, rtol=1e-11, atol=1e-11)


# --- what is refused -----------------------------------------------------------------------------


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
