"""Models whose modalities have an attention layer each, and what RollingQ must see and do there, in NumPy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rollingq
from rollingq import RollingQ, TokenLayout
from rollingq.nn.fusion import MMML, MulT
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
    "mmml cross": Host(lambda: mmml(reading="cross", num_layers=2)),
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
    if not isinstance(host.build(), Pair):
        return {}
    return {"tokens": TokenLayout(host.tokens, torch.cat([masks[name] for name in PAIR], dim=1))}


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
