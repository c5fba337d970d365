"""MMML: both streams attend to each other, then each to itself; read out at the class tokens."""

from typing import Literal

import torch
from torch import Tensor, nn

from rollingq.nn.fusion.base import Fusion, FusionOutput, Layers, ModalityMasks, ModalityTokens, class_tokens
from rollingq.nn.layers import FeedForward, ResidualAttention


class CrossModalLayer(nn.Module):
    """Cross-attention both ways, self-attention in each stream, feed-forward; all post-norm with separate weights.

    Args:
        modalities: The two names.
        dim: Width D.
        num_heads: Number of heads.
        dropout: Dropout.
    """

    def __init__(self, modalities: tuple[str, ...], dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()

        def attentions() -> nn.ModuleDict:
            return nn.ModuleDict(
                {name: ResidualAttention(dim, num_heads, dropout=dropout, is_pre_norm=False) for name in modalities}
            )

        self.cross, self.own = attentions(), attentions()
        self.feed_forward = nn.ModuleDict(
            {name: FeedForward(dim, dropout=dropout, activation="relu", is_pre_norm=False) for name in modalities}
        )
        self.source = dict(zip(modalities, reversed(modalities), strict=True))

    def forward(self, streams: dict[str, Tensor], masks: ModalityMasks, rows: slice) -> dict[str, Tensor]:
        """Return the chosen rows of both streams; cross-attentions see what entered the layer."""
        crossed = {
            name: self.cross[name](stream, self._asked(name, masks), context=streams[self.source[name]])[0]
            for name, stream in streams.items()
        }
        own = {name: self.own[name](stream, masks.get(name), rows=rows)[0] for name, stream in crossed.items()}
        return {name: self.feed_forward[name](stream) for name, stream in own.items()}

    def _asked(self, name: str, masks: ModalityMasks) -> Tensor | None:
        """Return what a stream may attend to in the other: nothing, where the stream itself is absent."""
        source, own = masks.get(self.source[name]), masks.get(name)
        if source is None or own is None:
            return source
        return source & own.any(1, keepdim=True)


class MMML(Fusion):
    """Cross-modal layers on two streams, a head on both class tokens, and an auxiliary head on each encoder.

    Args:
        modalities: Exactly two names.
        dim: Width D.
        num_classes: Number of classes C.
        num_layers: Number of cross-modal layers.
        reading: Which attention RollingQ drives (our readings): "self" = the last self-attentions, "cross" =
            the last cross-attentions.
        num_heads: Number of heads, those of the encoder.
        dropout: Dropout.

    Source:
        Wu et al., "Multimodal Multi-loss Fusion Network for Sentiment Analysis", NAACL 2024.
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        dim: int,
        num_classes: int,
        *,
        num_layers: int = 1,
        reading: Literal["self", "cross"] = "self",
        num_heads: int = 4,
        dropout: float = 0.3,
    ) -> None:
        super().__init__(modalities)
        self.reading = reading
        self.layers = nn.ModuleList(CrossModalLayer(modalities, dim, num_heads, dropout) for _ in range(num_layers))
        hidden = max(1, 2 * dim // 3)  # 512 at the original's width 768.
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(2 * dim, dim),
            nn.ReLU(),
            nn.Linear(dim, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )
        self.auxiliary = nn.ModuleDict({name: nn.Linear(dim, num_classes) for name in modalities})

    @property
    def attention_layers(self) -> tuple[Layers, ...]:
        """Modality -> the last attention that holds its keys."""
        last = f"layers.{len(self.layers) - 1}"
        first, second = self.modalities
        if self.reading == "self":
            return ({name: f"{last}.own.{name}.attention" for name in self.modalities},)
        return ({first: f"{last}.cross.{second}.attention", second: f"{last}.cross.{first}.attention"},)

    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return logits from both class tokens, and the auxiliary logits of each encoder's class token."""
        streams = {name: tokens[name] for name in self.modalities}
        for layer in self.layers[:-1]:
            streams = layer(streams, masks, slice(None))
        streams = self.layers[-1](streams, masks, self.read_rows)
        read = class_tokens(streams, masks)
        raw = class_tokens(tokens, masks)
        return FusionOutput(
            self.classifier(torch.cat([read[name] for name in self.modalities], dim=-1)),
            auxiliary={name: self.auxiliary[name](raw[name]) for name in self.modalities},
        )
