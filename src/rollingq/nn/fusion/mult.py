"""MulT: every modality attends to every other, and a memory transformer reads the result."""

import math
from itertools import permutations
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, relu

from rollingq.nn.fusion.base import (
    Fusion,
    FusionOutput,
    Layers,
    ModalityMasks,
    ModalityTokens,
    joined,
    new_class_token,
)
from rollingq.nn.layers import Block


class MulT(Fusion):
    """Crossmodal transformers (target asks, source answers), memories over their results, read at the last real step.

    Args:
        modalities: Names.
        dim: Width D; each memory is (M - 1) D wide.
        num_classes: Number of classes C.
        num_layers: Crossmodal blocks a pair.
        num_memory_layers: Blocks of each memory.
        memory: "streams" = one memory a target, as published; "joint" = one memory over all streams, read at a
            class token, so that modalities share one softmax (our reading, for RollingQ).
        is_causal: Whether a position sees only earlier ones; a joint memory is never causal.
        num_heads: Number of heads.
        dropout: Dropout inside the blocks and the head.

    Source:
        Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language Sequences", ACL 2019.
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        dim: int,
        num_classes: int,
        *,
        num_layers: int = 1,
        num_memory_layers: int = 3,
        memory: Literal["streams", "joint"] = "streams",
        is_causal: bool = True,
        num_heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(modalities)
        width = (len(modalities) - 1) * dim
        self.num_memory_layers = num_memory_layers
        self.is_causal, self.is_joint, self.dropout = is_causal, memory == "joint", dropout

        def blocks(number: int, size: int) -> nn.ModuleList:
            return nn.ModuleList(Block(size, num_heads, dropout=dropout, activation="relu") for _ in range(number))

        self.project = nn.ModuleDict({name: nn.Linear(dim, dim, bias=False) for name in modalities})
        self.cross = nn.ModuleDict({_pair(*pair): blocks(num_layers, dim) for pair in permutations(modalities, 2)})
        self.cross_norm = nn.ModuleDict({_pair(*pair): nn.LayerNorm(dim) for pair in permutations(modalities, 2)})
        memories = ("joint",) if self.is_joint else tuple(map(_of, modalities))
        self.memory = nn.ModuleDict({name: blocks(num_memory_layers, width) for name in memories})
        self.memory_norm = nn.ModuleDict({name: nn.LayerNorm(width) for name in memories})
        self.cls_token = new_class_token(width) if self.is_joint else None
        total = len(memories) * width
        self.head = nn.ModuleList([nn.Linear(total, total), nn.Linear(total, total)])
        self.classifier = nn.Linear(total, num_classes)

    @property
    def attention_layers(self) -> tuple[Layers, ...]:
        """The last attention of the joint memory, or modality -> the last attention of its memory."""
        if self.is_joint:
            return (f"memory.joint.{self.num_memory_layers - 1}.attend.attention",)
        last = f"{self.num_memory_layers - 1}.attend.attention"
        return ({name: f"memory.{_of(name)}.{last}" for name in self.modalities},)

    @property
    def joint_layers(self) -> tuple[str, ...]:
        """Every attention of the joint memory; none where each modality has a memory of its own."""
        if not self.is_joint:
            return ()
        return tuple(f"memory.joint.{i}.attend.attention" for i in range(self.num_memory_layers))

    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return logits from the last real step of every memory (or the joint memory's class token)."""
        embedded = {name: _embed(self.project[name](tokens[name])) for name in self.modalities}
        streams = {name: self._crossed(name, embedded, masks) for name in self.modalities}
        weights = None
        if self.is_joint:
            read, weights = self._read_joint(streams, masks)
        else:
            read = torch.cat([self._read(name, streams[name], masks.get(name)) for name in self.modalities], dim=-1)
        first, second = self.head
        hidden = second(dropout(relu(first(read)), self.dropout, self.training))
        return FusionOutput(self.classifier(read + hidden), weights)

    def _crossed(self, target: str, embedded: dict[str, Tensor], masks: ModalityMasks) -> Tensor:
        """Return what a target has gathered from every other modality, side by side: ``[B, T, (M - 1) D]``."""
        found = []
        for source in (name for name in self.modalities if name != target):
            stream = embedded[target]
            # As in MulT, but of the real lengths: more padding must change nothing.
            offset = abs(_length(embedded[source], masks.get(source)) - _length(stream, masks.get(target)))
            asked = {"context": embedded[source], "is_causal": self.is_causal, "offset": offset}
            for block in _layers(self.cross[_pair(target, source)]):
                stream, _ = block(stream, masks.get(source), **asked)
            found.append(self.cross_norm[_pair(target, source)](stream))
        return torch.cat(found, dim=-1)

    def _read(self, name: str, stream: Tensor, mask: Tensor | None) -> Tensor:
        """Return the last real step of a stream after its memory; the last block computes that step alone."""
        *blocks, last = _layers(self.memory[_of(name)])
        stream = _embed(stream)
        for block in blocks:
            stream, _ = block(stream, mask, is_causal=self.is_causal)
        asking = _last_step(stream, mask)  # It sees all that is real, causal or not.
        if self.is_plain:
            asking = torch.cat([asking, stream[:, :-1]], dim=1)  # As many rows as there are steps.
        step, _ = last(asking, mask, context=stream)
        read: Tensor = self.memory_norm[_of(name)](step[:, 0])
        return read if mask is None else torch.where(mask.any(1, keepdim=True), read, 0.0)

    def _read_joint(self, streams: dict[str, Tensor], masks: ModalityMasks) -> tuple[Tensor, Tensor | None]:
        """Return the class token after the joint memory, and the last block's attention weights."""
        assert self.cls_token is not None
        placed = {name: _embed(stream) for name, stream in streams.items()}
        sequence, mask = joined(self.cls_token, placed, masks, self.modalities)
        *blocks, last = _layers(self.memory["joint"])
        for block in blocks:
            sequence, _ = block(sequence, mask)
        read, weights = last(sequence, mask, rows=self.read_rows)
        return self.memory_norm["joint"](read[:, 0]), weights


def _of(name: str) -> str:
    """Return a module name that no attribute of ModuleDict has."""
    return f"of_{name}"


def _layers(blocks: nn.Module) -> list[Block]:
    return cast(list[Block], list(blocks.children()))


def _pair(target: str, source: str) -> str:
    return f"{target}_from_{source}"


def _embed(tokens: Tensor) -> Tensor:
    """Return ``sqrt(D) x`` plus sinusoidal positions, as MulT enters each of its transformers."""
    length, dim = tokens.shape[1:]
    half = (dim + 1) // 2
    rates = torch.exp(torch.arange(half, device=tokens.device) * (-math.log(10_000.0) / max(1, half - 1)))
    angles = torch.arange(1, length + 1, device=tokens.device).unsqueeze(1) * rates
    positions = torch.cat([angles.sin(), angles.cos()], dim=1)[:, :dim]
    return math.sqrt(dim) * tokens + positions.to(tokens.dtype)


def _length(stream: Tensor, mask: Tensor | None) -> Any:  # noqa: ANN401
    """Return the number of real positions: one number, or one a sample ``[B]``."""
    return stream.shape[1] if mask is None else mask.sum(1)


def _last_step(stream: Tensor, mask: Tensor | None) -> Tensor:
    """Return the last real row of every sample, ``[B, 1, D]`` (the first row, if none is real)."""
    if mask is None:
        return stream[:, -1:]
    positions = torch.arange(stream.shape[1], device=stream.device)
    last = torch.where(mask, positions, 0).amax(1)
    return stream.take_along_dim(last[:, None, None], dim=1)
