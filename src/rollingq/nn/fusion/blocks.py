"""Transformer blocks over ``[cls | modality 1 | ...]``, read out at the class token: what MT* and joint share."""

from torch import nn

from rollingq.nn.fusion.base import Fusion, FusionOutput, ModalityMasks, ModalityTokens, joined, new_class_token
from rollingq.nn.layers import Block


class ClassBlocks(Fusion):
    """Blocks of which the first ``num_blocks_used`` take part; the last of them computes its class row alone.

    Args:
        modalities: Names, in the order of the keys.
        dim: Width D.
        num_classes: Number of classes C.
        num_layers: Number of blocks.
        num_heads: Number of heads.
        dropout: Dropout inside the blocks.
        ratio: Hidden width of the blocks over D.
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
        self.num_blocks_used = num_layers
        self.cls_token = new_class_token(dim)
        self.blocks = nn.ModuleList(Block(dim, num_heads, dropout=dropout, ratio=ratio) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return logits from the last active block's class token, and its attention weights ``[B, H, 1 + sum T_m]``."""
        sequence, mask = joined(self.cls_token, tokens, masks, self.modalities)
        *earlier, last = self.blocks[: self.num_blocks_used]
        for block in earlier:
            sequence, _ = block(sequence, mask)
        fused, weights = last(sequence, mask, rows=self.read_rows)
        return FusionOutput(self.classifier(self.norm(fused)[:, 0]), weights)
