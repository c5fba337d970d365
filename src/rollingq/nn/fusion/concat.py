"""Concatenation: one linear layer over all encoders' class tokens (static fusion)."""

from torch import nn
from torch.nn.functional import linear

from rollingq.nn.fusion.base import Fusion, FusionOutput, ModalityMasks, ModalityTokens, class_tokens


class Concat(Fusion):
    """Static fusion: the weights of the modalities are learned once and are the same for every sample.

    The logits are a sum of unimodal logits, ``z_m W_m^T + b / M``, where W_m are the columns of modality m.

    Args:
        modalities: Names, in the order of concatenation.
        dim: Width D of each class token.
        num_classes: Number of classes C.

    Source:
        Peng et al., "Balanced Multimodal Learning via On-the-fly Gradient Modulation", CVPR 2022, Eq. 3 (the split).
    """

    def __init__(self, modalities: tuple[str, ...], dim: int, num_classes: int) -> None:
        super().__init__(modalities)
        self.classifier = nn.Linear(len(modalities) * dim, num_classes)

    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return logits from the concatenated class tokens, and each modality's part of them."""
        read = class_tokens(tokens, masks)
        columns = self.classifier.weight.chunk(len(self.modalities), dim=1)
        share = self.classifier.bias / len(self.modalities)
        unimodal = {name: linear(read[name], w, share) for name, w in zip(self.modalities, columns, strict=True)}
        return FusionOutput(sum(unimodal.values()), unimodal=unimodal)  # type: ignore[arg-type]
