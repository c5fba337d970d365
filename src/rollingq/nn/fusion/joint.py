"""Fusion from the n-th block: the last blocks of the encoder run on all modalities' tokens together."""

from typing import cast

from torch import nn

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


class JointBlocks(Fusion):
    """Earlier fusion: blocks 1 .. n-1 are each modality's own, blocks n .. N see ``[cls | modality 1 | ...]``.

    Args:
        modalities: Names, in the order of the keys.
        dim: Width D.
        num_classes: Number of classes C.
        num_layers: Number of joint blocks, N - n + 1.
        num_heads: Number of heads, those of the encoder.
        dropout: Dropout inside the blocks.
        ratio: Hidden width of the blocks over D, that of the encoder.

    Source:
        Ni et al., "RollingQ", ICML 2025, Appendix C.4 and Table 11; the structure is that of mid fusion in Nagrani
        et al., "Attention Bottlenecks for Multimodal Fusion", NeurIPS 2021.
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        dim: int,
        num_classes: int,
        *,
        num_layers: int = 1,
        num_heads: int = 4,
        dropout: float = 0.1,
        ratio: int = 4,
    ) -> None:
        super().__init__(modalities)
        self.cls_token = new_class_token(dim)
        self.blocks = nn.ModuleList(Block(dim, num_heads, dropout=dropout, ratio=ratio) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        self.classifier = nn.Linear(dim, num_classes)

    @property
    def attention_layers(self) -> tuple[Layers, ...]:
        """The attention of the last block."""
        return (f"blocks.{len(self.blocks) - 1}.attend.attention",)

    def continuing_blocks(self) -> list[tuple[list[Block], nn.LayerNorm]]:
        """Return the joint blocks."""
        return [(cast(list[Block], list(self.blocks)), self.norm)]

    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return logits from the class token, and the last block's attention weights ``[B, H, 1 + sum T_m]``."""
        sequence, mask = joined(self.cls_token, tokens, masks, self.modalities)
        for block in self.blocks[:-1]:
            sequence, _ = block(sequence, mask)
        fused, weights = self.blocks[-1](sequence, mask, rows=self.read_rows)
        return FusionOutput(self.classifier(self.norm(fused)[:, 0]), weights)
