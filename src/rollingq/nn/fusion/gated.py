"""Gated: the first modality gates the features of the second (static fusion)."""

from torch import nn

from rollingq.nn.fusion.base import Fusion, FusionOutput, ModalityMasks, ModalityTokens, class_tokens


class Gated(Fusion):
    """``C(sigmoid(W_1 z_1) * (W_2 z_2))``.

    Args:
        modalities: Exactly two names; the first is the gate.
        dim: Width D of each class token.
        num_classes: Number of classes C.

    Source:
        Kiela et al., "Efficient Large-Scale Multi-Modal Classification", AAAI 2018.
    """

    def __init__(self, modalities: tuple[str, ...], dim: int, num_classes: int) -> None:
        super().__init__(modalities)
        self.gate = nn.Linear(dim, dim)
        self.project = nn.Linear(dim, dim)
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return logits of the gated class token."""
        read = class_tokens(tokens, masks)
        first, second = (read[name] for name in self.modalities)
        return FusionOutput(self.classifier(self.gate(first).sigmoid() * self.project(second)))
