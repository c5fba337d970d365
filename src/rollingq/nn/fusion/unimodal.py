"""Unimodal: a linear classifier on one encoder's class token."""

from torch import nn

from rollingq.nn.fusion.base import Fusion, FusionOutput, ModalityMasks, ModalityTokens, class_tokens


class Unimodal(Fusion):
    """The best that one modality does alone: what fusion is measured against.

    Args:
        modalities: Exactly one name.
        dim: Width D.
        num_classes: Number of classes C.
    """

    def __init__(self, modalities: tuple[str, ...], dim: int, num_classes: int) -> None:
        super().__init__(modalities)
        (self.modality,) = modalities
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return logits from the class token."""
        return FusionOutput(self.classifier(class_tokens(tokens, masks)[self.modality]))
