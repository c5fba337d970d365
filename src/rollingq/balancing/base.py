"""What a balancing method is: the points of a training at which it may change something."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from jaxtyping import Float, Int
from torch import Tensor, nn

from rollingq.nn.classifier import ModelOutput

Batch = Mapping[str, Any]
"""``{modality: inputs, "label": [B], "mask": {modality: [B, L]}}``."""


class TrainingPass(Protocol):
    """One pass of the model over the training batches, in eval mode and without gradients."""

    def __call__(self, fraction: float = 1.0) -> Iterator[tuple[ModelOutput, Int[Tensor, " B"]]]:
        """Yield output and labels of each batch; of the first ``fraction`` of the batches only (at least one)."""


class Balancing(nn.Module):
    """What a method changes in a training step; every hook does nothing unless the method overrides it.

    Order of the hooks: ``start_training``; in every epoch ``start_epoch``; in every step ``change_batch``, the
    forward, ``extra_loss``, one backward of all losses, ``change_gradients``, the optimizer; ``end_epoch`` after the
    epoch's last step and before validation. Several methods at once are called in the order of their names.
    Parameters are trained and buffers saved with the model. References to the model go into plain containers,
    so that nothing is registered twice.
    """

    def start_training(self, training_pass: TrainingPass) -> None:
        """Prepare before the first epoch."""

    def start_epoch(self, epoch: int) -> None:
        """Learn which epoch begins, from 0."""

    def change_batch(self, batch: Batch) -> Batch:
        """Return the batch that the model gets."""
        return batch

    def extra_loss(self, output: ModelOutput, labels: Int[Tensor, " B"]) -> Float[Tensor, ""] | None:
        """Return what is added to the loss, or None."""
        return None

    def change_gradients(self) -> None:
        """Change the gradients between backward and optimizer."""

    def end_epoch(self, training_pass: TrainingPass) -> None:
        """Measure and decide once an epoch."""

    def numbers(self) -> dict[str, float]:
        """Return what is logged at the end of an epoch, by name."""
        return {}


class Scheduled(Balancing):
    """A method that acts only in some epochs.

    Args:
        first_epoch: First epoch in which it acts.
        last_epoch: Last such epoch; None = the end.
    """

    def __init__(self, first_epoch: int, last_epoch: int | None) -> None:
        super().__init__()
        self._window = first_epoch, last_epoch
        self._epoch = 0

    @property
    def is_active(self) -> bool:
        """Whether it acts in this epoch."""
        first, last = self._window
        return first <= self._epoch and (last is None or self._epoch <= last)

    def start_epoch(self, epoch: int) -> None:
        """Remember the epoch."""
        self._epoch = epoch
