"""Concatenation: one linear layer over all encoders' class tokens (static fusion)."""

import torch
from torch import nn

from rollingq.nn.fusion.base import Fusion, FusionOutput, ModalityMasks, ModalityTokens


class Concat(Fusion):
    """Static fusion: the weights of the modalities are learned once and are the same for every sample.

    Args:
        modalities: Names, in the order of concatenation.
        dim: Width D of each class token.
        num_classes: Number of classes C.
    """

    def __init__(self, modalities: tuple[str, ...], dim: int, num_classes: int) -> None:
        super().__init__(modalities)
        self.classifier = nn.Linear(len(modalities) * dim, num_classes)

    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return logits from the concatenated class tokens."""
        return FusionOutput(self.classifier(torch.cat([tokens[name][:, 0] for name in self.modalities], dim=-1)))
