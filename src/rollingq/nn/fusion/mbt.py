"""MBT: modalities keep their own streams and exchange information through a few bottleneck tokens."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from rollingq.nn.fusion.base import Fusion, FusionOutput, ModalityMasks, ModalityTokens, class_tokens
from rollingq.nn.layers import Block


class MBT(Fusion):
    """In each layer every modality's block sees ``[bottlenecks | its tokens]``; the new bottlenecks are their mean.

    Args:
        modalities: Names.
        dim: Width D.
        num_classes: Number of classes C.
        num_layers: Number of blocks with bottlenecks.
        num_bottlenecks: Number of bottleneck tokens.
        num_heads: Number of heads, those of the encoder.
        dropout: Dropout inside the blocks.
        ratio: Hidden width of the blocks over D, that of the encoder.

    Source:
        Nagrani et al., "Attention Bottlenecks for Multimodal Fusion", NeurIPS 2021, Eq. 8 and 9.
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        dim: int,
        num_classes: int,
        *,
        num_layers: int = 2,
        num_bottlenecks: int = 4,
        num_heads: int = 4,
        dropout: float = 0.1,
        ratio: int = 4,
    ) -> None:
        super().__init__(modalities)
        self.num_bottlenecks = num_bottlenecks
        self.bottlenecks = nn.Parameter(0.02 * torch.randn(1, num_bottlenecks, dim))
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: Block(dim, num_heads, dropout=dropout, ratio=ratio) for name in modalities})
            for _ in range(num_layers)
        )
        self.norms = nn.ModuleDict({name: nn.LayerNorm(dim) for name in modalities})
        self.classifier = nn.Linear(len(modalities) * dim, num_classes)

    def continuing_blocks(self) -> list[tuple[list[Block], nn.LayerNorm]]:
        """Return every stream's blocks."""
        layers = cast(list[nn.ModuleDict], list(self.layers))
        return [
            ([cast(Block, layer[m]) for layer in layers], cast(nn.LayerNorm, self.norms[m])) for m in self.modalities
        ]

    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return logits from the concatenated class tokens of all streams."""
        streams = {name: tokens[name] for name in self.modalities}
        wide = {m: pad(mask, (self.num_bottlenecks, 0), value=True) for m, mask in masks.items() if m in streams}
        bottlenecks = self.bottlenecks.expand(len(streams[self.modalities[0]]), -1, -1)
        *layers, last = cast(list[nn.ModuleDict], list(self.layers))
        for layer in layers:
            streams, bottlenecks = self._exchange(layer, streams, bottlenecks, wide)
        read = {m: self._read(last[m], torch.cat([bottlenecks, streams[m]], dim=1), wide.get(m)) for m in streams}
        found = class_tokens({m: self.norms[m](stream) for m, stream in read.items()}, masks)
        return FusionOutput(self.classifier(torch.cat([found[m] for m in self.modalities], dim=-1)))

    def _exchange(
        self, layer: nn.ModuleDict, streams: dict[str, Tensor], bottlenecks: Tensor, wide: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return all streams after one layer, and the mean of the bottlenecks that they wrote at the same time."""
        count = self.num_bottlenecks
        seen = {
            name: layer[name](torch.cat([bottlenecks, stream], dim=1), wide.get(name))[0]
            for name, stream in streams.items()
        }
        mean = torch.stack([both[:, :count] for both in seen.values()]).mean(0)
        return {name: both[:, count:] for name, both in seen.items()}, mean

    def _read(self, block: nn.Module, both: Tensor, mask: Tensor | None) -> Tensor:
        """Return a stream after the last layer: only its class row, which stands behind the bottlenecks."""
        count = self.num_bottlenecks
        rows = slice(None) if self.is_plain else slice(count, count + 1)
        seen: Tensor = block(both, mask, rows=rows)[0]
        return seen[:, count:] if self.is_plain else seen
