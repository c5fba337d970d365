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
        # A bare name could clash with an attribute of ModuleDict, such as "values".
        self.heads = nn.ModuleDict({f"of_{name}": nn.Linear(dim, num_classes) for name in self.modalities})

    def extra_loss(self, output: ModelOutput, labels: Int[Tensor, " B"]) -> Float[Tensor, ""]:
        """Return the weighted sum of the unimodal losses."""
        losses = [cross_entropy(self.heads[f"of_{m}"](output.features[m]), labels) for m in self.modalities]
        return self.config.weight * torch.stack(losses).sum()
