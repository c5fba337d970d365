"""PMR: the modality that lags also learns from its distances to class prototypes."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rollingq.balancing.base import Balancing, TrainingPass
from rollingq.config import PMRConfig
from rollingq.nn.classifier import ModelOutput

FAR = -1e9
"""Similarity to the prototype of a class that was never seen."""


def class_prototypes(
    features: Float[Tensor, "N D"], labels: Int[Tensor, " N"], num_classes: int
) -> tuple[Float[Tensor, "C D"], Bool[Tensor, " C"]]:
    """Return the mean feature of every class, zero for classes without samples, and which classes have any.

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


def prototype_similarity(
    features: Float[Tensor, "B D"], prototypes: Float[Tensor, "C D"], is_seen: Bool[Tensor, " C"]
) -> Float[Tensor, "B C"]:
    """Return ``-||z - c_y||`` for every class, far away for classes never seen; its gradient at distance 0 is 0.

    Args:
        features: ``[B, D]``.
        prototypes: ``[C, D]``.
        is_seen: Which classes have a prototype, ``[C]``.

    Example:
        >>> prototype_similarity(torch.tensor([[3.0]]), torch.tensor([[1.0], [0.0]]), torch.tensor([True, True]))
        tensor([[-2., -3.]])
    """
    squared = (features.unsqueeze(1) - prototypes).square().sum(-1)
    is_apart = squared > 0
    distance = torch.where(is_apart, squared, 1.0).sqrt() * is_apart  # sqrt has no gradient at 0.
    return torch.where(is_seen, -distance, FAR)


class PMR(Balancing):
    """Adds the prototype cross-entropy of the modality that lags (PCE; the entropy term PER is not in public code).

    Prototypes are class means over the first batches of a pass, before training and after each epoch, smoothed
    over epochs. The modality with the smallest score lags: at M = 2 this is the published rule.

    Args:
        modalities: Names.
        num_classes: C.
        dim: Width D of the features.
        config: Weight, smoothing, share of the batches, epochs.

    Source:
        Fan et al., "PMR: Prototypical Modal Rebalance for Multimodal Learning", CVPR 2023.
    """

    prototypes: Tensor
    is_seen: Tensor
    num_updates: Tensor

    def __init__(self, modalities: Sequence[str], num_classes: int, dim: int, config: PMRConfig) -> None:
        super().__init__()
        self.modalities, self.num_classes, self.config = tuple(modalities), num_classes, config
        self.register_buffer("prototypes", torch.zeros(len(self.modalities), num_classes, dim))
        self.register_buffer("is_seen", torch.zeros(num_classes, dtype=torch.bool))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.long))
        self._epoch = 0

    @property
    def is_active(self) -> bool:
        """Whether this epoch has the prototype loss."""
        last = self.config.last_epoch
        return self.config.first_epoch <= self._epoch and (last is None or self._epoch <= last)

    def start_training(self, training_pass: TrainingPass) -> None:
        """Compute the first prototypes, unless a checkpoint brought some."""
        if not int(self.num_updates):
            self._update(training_pass(self.config.fraction))

    def start_epoch(self, epoch: int) -> None:
        """Remember the epoch."""
        self._epoch = epoch

    def end_epoch(self, training_pass: TrainingPass) -> None:
        """Renew the prototypes."""
        self._update(training_pass(self.config.fraction))

    @torch.no_grad()
    def _update(self, batches: Iterable[tuple[ModelOutput, Tensor]]) -> None:
        seen = [(torch.stack([output.features[m] for m in self.modalities]), labels) for output, labels in batches]
        features, labels = torch.cat([f for f, _ in seen], dim=1), torch.cat([found for _, found in seen])
        for index, part in enumerate(features):
            current, is_seen = class_prototypes(part.to(self.prototypes), labels, self.num_classes)
            share = self.config.momentum * self.is_seen.unsqueeze(1)  # A class seen for the first time has no past.
            mixed = (1.0 - share) * current + share * self.prototypes[index]
            self.prototypes[index] = torch.where(is_seen.unsqueeze(1), mixed, self.prototypes[index])
        self.is_seen |= is_seen
        self.num_updates += 1

    def extra_loss(self, output: ModelOutput, labels: Int[Tensor, " B"]) -> Float[Tensor, ""] | None:
        """Return ``alpha`` times the prototype cross-entropy of the modality with the smallest score."""
        if not self.is_active:
            return None
        is_known = self.is_seen[labels]
        logs = torch.stack([self._log_probability(i, output, labels) for i in range(len(self.modalities))])
        logs = torch.where(is_known, logs, 0.0)
        lagging = (logs.detach().exp() * is_known).sum(1).argmin()
        return -self.config.alpha * logs[lagging].sum() / is_known.sum().clamp_min(1)

    def _log_probability(self, index: int, output: ModelOutput, labels: Tensor) -> Tensor:
        """Return the log-probability that a modality's prototypes give to each label, ``[B]``."""
        features = output.features[self.modalities[index]].float()
        similarity = prototype_similarity(features, self.prototypes[index], self.is_seen)
        return similarity.log_softmax(-1).gather(1, labels.unsqueeze(1))[:, 0]
