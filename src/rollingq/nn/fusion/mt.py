"""Vanilla MT: one attention layer over ``[cls | modality 1 | modality 2 ...]``, read out at the class token."""

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
from rollingq.nn.layers import Attention


class VanillaMT(Fusion):
    """The paper's vanilla multimodal transformer: its query is one learned vector, the same for all samples.

    No residual, no LayerNorm, no feed-forward layer: the attended class token is classified.

    Args:
        modalities: Names, in the order of the keys.
        dim: Width D.
        num_classes: Number of classes C.
        num_heads: Number of heads (paper: 1).
        dropout: On attention weights and output.

    Source:
        Ni et al., "RollingQ", ICML 2025, section 3.1.
    """

    def __init__(
        self, modalities: tuple[str, ...], dim: int, num_classes: int, *, num_heads: int = 1, dropout: float = 0.2
    ) -> None:
        super().__init__(modalities)
        self.cls_token = new_class_token(dim)
        self.attention = Attention(dim, num_heads=num_heads, dropout=dropout)
        self.classifier = nn.Linear(dim, num_classes)

    @property
    def attention_layers(self) -> tuple[Layers, ...]:
        """The one attention layer."""
        return ("attention",)

    @property
    def joint_layers(self) -> tuple[str, ...]:
        """The one attention layer."""
        return ("attention",)

    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return logits from the fused class token, and the attention weights ``[B, H, 1 + sum T_m]``."""
        sequence, mask = joined(self.cls_token, tokens, masks, self.modalities)
        queries = sequence if self.is_plain else self.cls_token
        fused, weights = self.attention(queries, sequence, mask)
        return FusionOutput(self.classifier(fused[:, 0]), weights)
