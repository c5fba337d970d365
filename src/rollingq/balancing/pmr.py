"""PMR: the modality that lags also learns from its distances to class prototypes."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rollingq.balancing.base import Scheduled, TrainingPass
from rollingq.config import PMRConfig
from rollingq.nn.classifier import ModelOutput

FAR = -1e9
"""Similarity to a class that was never seen: its probability is 0, and no softmax is NaN if no class was seen."""


def class_prototypes(
    features: Float[Tensor, "N D"], labels: Int[Tensor, " N"], num_classes: int
) -> tuple[Float[Tensor, "C D"], Bool[Tensor, " C"]]:
    """Return each class's mean feature (PMR, its prototype), zero for classes without samples, and which have any.

    Args:
        features: ``[N, D]``.
        labels: ``[N]``.
        num_classes: C.

    Example:
        >>> class_prototypes(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]), 2)
        (tensor([[2.],
                [0.]]), tensor([ True, False]))
    """
    sums = features.new_zeros(num_classes, features.shape[1]).index_add_(0, labels, features)
    counts = torch.bincount(labels, minlength=num_classes)
    return sums / counts.clamp_min(1).unsqueeze(1), counts > 0


def prototype_similarity(features: Float[Tensor, "B D"], prototypes: Float[Tensor, "C D"]) -> Float[Tensor, "B C"]:
    """Return ``-||z_i - c_y||_2`` of every sample to every class (PMR's code); no gradient at distance 0.

    Args:
        features: ``[B, D]``.
        prototypes: ``[C, D]``.

    Example:
        >>> prototype_similarity(torch.tensor([[3.0]]), torch.tensor([[1.0], [0.0]]))
        tensor([[-2., -3.]])
    """
    squared = (features.unsqueeze(1) - prototypes).square().sum(-1)
    is_apart = squared > 0
    return -torch.where(is_apart, squared, 1.0).sqrt() * is_apart  # sqrt has no gradient at 0.


def prototype_cross_entropy(
    similarity: Float[Tensor, "B C"], labels: Int[Tensor, " B"], is_seen: Bool[Tensor, " C"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the loss ``-mean_i log p_i`` and the score ``sum_i p_i``, ``p_i = softmax(similarity_i)[y_i]`` (PMR, PCE).

    Our decision, where PMR's code gives NaN: a class without prototype is in no softmax, and a sample of such a
    class counts nowhere; both are 0 if no sample is left. The score is detached.

    Args:
        similarity: ``[B, C]``.
        labels: ``[B]``.
        is_seen: Which classes have a prototype, ``[C]``.

    Example:
        >>> prototype_cross_entropy(torch.zeros(2, 3), torch.tensor([0, 2]), torch.tensor([True, True, False]))
        (tensor(0.6931), tensor(0.5000))
    """
    is_known = is_seen[labels]
    logs = similarity.masked_fill(~is_seen, FAR).log_softmax(-1).gather(1, labels.unsqueeze(1))[:, 0]
    loss = -torch.where(is_known, logs, 0.0).sum() / is_known.sum().clamp_min(1)
    return loss, (logs.detach().exp() * is_known).sum()


class PMR(Scheduled):
    """Adds the prototype cross-entropy of the modality that lags (PCE; the entropy term PER is not in public code).

    Prototypes are class means over the first batches of a pass, before training and after each epoch, smoothed
    over epochs; samples without the modality (a feature of zeros) are in no mean. The modality with the smallest
    score lags: the published rule at M = 2, our decision for more.

    Args:
        modalities: Names.
        num_classes: C.
        dim: Width D of the features.
        config: Weight, smoothing, share of the batches, epochs.

    Source:
        Fan et al., "PMR: Prototypical Modal Rebalance for Multimodal Learning", CVPR 2023; the rest is as in its code.
    """

    prototypes: Tensor
    is_seen: Tensor
    num_updates: Tensor

    def __init__(self, modalities: Sequence[str], num_classes: int, dim: int, config: PMRConfig) -> None:
        super().__init__(config.first_epoch, config.last_epoch)
        self.modalities, self.num_classes, self.config = tuple(modalities), num_classes, config
        self.register_buffer("prototypes", torch.zeros(len(self.modalities), num_classes, dim))
        self.register_buffer("is_seen", torch.zeros(len(self.modalities), num_classes, dtype=torch.bool))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.long))

    def start_training(self, training_pass: TrainingPass) -> None:
        """Compute the first prototypes, unless a checkpoint brought some."""
        if not int(self.num_updates):
            self._update(training_pass(self.config.fraction))

    def end_epoch(self, training_pass: TrainingPass) -> None:
        """Renew the prototypes."""
        self._update(training_pass(self.config.fraction))

    @torch.no_grad()
    def _update(self, batches: Iterable[tuple[ModelOutput, Tensor]]) -> None:
        seen = [(torch.stack([output.features[m] for m in self.modalities]), labels) for output, labels in batches]
        features, labels = torch.cat([f for f, _ in seen], dim=1), torch.cat([found for _, found in seen])
        for index, part in enumerate(features):
            has_it = (part != 0).any(1)
            means, is_seen = class_prototypes(part[has_it].to(self.prototypes), labels[has_it], self.num_classes)
            old = self.prototypes[index]
            share = self.config.momentum * self.is_seen[index].unsqueeze(1)  # A class seen first now has no past.
            self.prototypes[index] = torch.where(is_seen.unsqueeze(1), (1.0 - share) * means + share * old, old)
            self.is_seen[index] |= is_seen
        self.num_updates += 1

    def extra_loss(self, output: ModelOutput, labels: Int[Tensor, " B"]) -> Float[Tensor, ""] | None:
        """Return ``alpha`` times the prototype cross-entropy of the modality with the smallest score."""
        if not self.is_active:
            return None
        found = [self._loss_and_score(index, output, labels) for index in range(len(self.modalities))]
        losses, scores = (torch.stack(part) for part in zip(*found, strict=True))
        is_lagging = torch.arange(len(scores), device=scores.device) == scores.argmin()  # Indexing would synchronize.
        return self.config.alpha * torch.where(is_lagging, losses, 0.0).sum()

    def _loss_and_score(self, index: int, output: ModelOutput, labels: Tensor) -> tuple[Tensor, Tensor]:
        features = output.features[self.modalities[index]].float()
        return prototype_cross_entropy(
            prototype_similarity(features, self.prototypes[index]), labels, self.is_seen[index]
        )
