"""Fusion from the n-th block: the last blocks of the encoder run on all modalities' tokens together."""

from typing import cast

from torch import nn

from rollingq.nn.fusion.base import Layers
from rollingq.nn.fusion.blocks import ClassBlocks
from rollingq.nn.layers import Block


class JointBlocks(ClassBlocks):
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

    @property
    def attention_layers(self) -> tuple[Layers, ...]:
        """The attention of the last block."""
        return (f"blocks.{len(self.blocks) - 1}.attend.attention",)

    @property
    def joint_layers(self) -> tuple[str, ...]:
        """The attention of each block."""
        return tuple(f"blocks.{i}.attend.attention" for i in range(len(self.blocks)))

    def continuing_blocks(self) -> list[tuple[list[Block], nn.LayerNorm]]:
        """Return the joint blocks."""
        return [(cast(list[Block], list(self.blocks)), self.norm)]
