"""FiLM: the first modality scales and shifts the features of the second (static fusion)."""

from torch import nn

from rollingq.nn.fusion.base import Fusion, FusionOutput, ModalityMasks, ModalityTokens, class_tokens


class FiLM(Fusion):
    """``C(gamma * z_2 + beta)`` with ``[gamma, beta] = W z_1 + b``.

    Args:
        modalities: Exactly two names; the first conditions the second.
        dim: Width D of each class token.
        num_classes: Number of classes C.

    Source:
        Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018.
    """

    def __init__(self, modalities: tuple[str, ...], dim: int, num_classes: int) -> None:
        super().__init__(modalities)
        self.condition = nn.Linear(dim, 2 * dim)
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return logits of the modulated class token."""
        read = class_tokens(tokens, masks)
        first, second = (read[name] for name in self.modalities)
        gamma, beta = self.condition(first).chunk(2, dim=-1)
        return FusionOutput(self.classifier(gamma * second + beta))
