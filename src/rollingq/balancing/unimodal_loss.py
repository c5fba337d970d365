"""Unimodal losses: a classifier on every encoder, whose gradient feeds the encoder whatever the fusion does."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rollingq.balancing.base import Balancing
from rollingq.config import UnimodalLossConfig
from rollingq.nn.classifier import ModelOutput


class UnimodalLoss(Balancing):
    """Adds the cross-entropy of one linear head a modality.

    Args:
        modalities: Names.
        num_classes: C.
        dim: Width D of the features.
        config: Weight of each loss.
    """

    def __init__(self, modalities: Sequence[str], num_classes: int, dim: int, config: UnimodalLossConfig) -> None:
        super().__init__()
        self.config = config
        self.modalities = tuple(modalities)
        self.heads = nn.ModuleList(nn.Linear(dim, num_classes) for _ in self.modalities)

    def extra_loss(self, output: ModelOutput, labels: Int[Tensor, " B"]) -> Float[Tensor, ""]:
        """Return the weighted sum of the unimodal losses."""
        pairs = zip(self.modalities, self.heads, strict=True)
        losses = [cross_entropy(head(output.features[name]), labels) for name, head in pairs]
        return self.config.weight * torch.stack(losses).sum()
