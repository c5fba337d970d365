"""Vanilla MT: one attention layer over ``[cls | modality 1 | modality 2 ...]``, read out at the class token."""

import torch
from torch import Tensor, nn

from rollingq.nn.fusion.attention import ClassAttention
from rollingq.nn.fusion.base import Fusion, FusionOutput, ModalityMasks, ModalityTokens


class VanillaMT(Fusion):
    """The paper's vanilla multimodal transformer: its query is one learned vector, the same for all samples.

    Args:
        modalities: Names, in the order of the keys.
        dim: Width D.
        num_classes: Number of classes C.
        num_heads: Number of heads (paper: 1).
        dropout: See :class:`ClassAttention`.

    Source:
        Ni et al., "RollingQ", ICML 2025, section 3.1.
    """

    attention_layer = "attention"

    def __init__(
        self, modalities: tuple[str, ...], dim: int, num_classes: int, *, num_heads: int = 1, dropout: float = 0.2
    ) -> None:
        super().__init__(modalities)
        self.cls_token = nn.Parameter(torch.empty(1, dim))
        self.attention = ClassAttention(dim, num_heads=num_heads, dropout=dropout)
        self.classifier = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.cls_token, std=0.02)

    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return logits from the fused class token, and the attention weights ``[B, H, 1 + sum L_m]``."""
        parts = [tokens[name] for name in self.modalities]
        cls_token = self.cls_token.expand(len(parts[0]), 1, -1)
        fused, weights = self.attention(self.cls_token, torch.cat([cls_token, *parts], dim=1), self._mask(parts, masks))
        return FusionOutput(self.classifier(fused), weights)

    def _mask(self, parts: list[Tensor], masks: ModalityMasks) -> Tensor | None:
        """Return which of all positions are real, or None if all are."""
        if not masks:
            return None
        lengths = {name: part.shape[1] for name, part in zip(self.modalities, parts, strict=True)}
        real = [masks.get(name, parts[0].new_ones(len(parts[0]), n, dtype=torch.bool)) for name, n in lengths.items()]
        return torch.cat([real[0].new_ones(len(real[0]), 1), *real], dim=1)
