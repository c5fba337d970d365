"""Sum: every modality has its own linear layer, and the logits are added (static fusion)."""

from torch import nn

from rollingq.nn.fusion.base import Fusion, FusionOutput, ModalityMasks, ModalityTokens, class_tokens


class Sum(Fusion):
    """Static fusion by adding unimodal logits.

    Args:
        modalities: Names.
        dim: Width D of each class token.
        num_classes: Number of classes C.
    """

    def __init__(self, modalities: tuple[str, ...], dim: int, num_classes: int) -> None:
        super().__init__(modalities)
        self.classifiers = nn.ModuleDict({name: nn.Linear(dim, num_classes) for name in modalities})

    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return the summed logits and their parts."""
        read = class_tokens(tokens, masks)
        unimodal = {name: self.classifiers[name](read[name]) for name in self.modalities}
        return FusionOutput(sum(unimodal.values()), unimodal=unimodal)
