"""Recorder: one EpochRecord an epoch, and a call for whoever draws the progress bar."""

from collections.abc import Callable

import lightning.pytorch as pl

from rollingq.controller import RollingQ
from rollingq.evaluation.results import EpochRecord
from rollingq.training.module import MultimodalTask


class Recorder(pl.Callback):
    """Collects the history of a run of a :class:`~rollingq.training.module.MultimodalTask`.

    Args:
        on_epoch: Called with each finished epoch's record.
        attachment: Returns RollingQ once it is attached, or None.
    """

    def __init__(self, on_epoch: Callable[[EpochRecord], None], attachment: Callable[[], RollingQ | None]) -> None:
        self.history: list[EpochRecord] = []
        self._on_epoch = on_epoch
        self._attachment = attachment

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the epoch; validation has already run."""
        assert isinstance(pl_module, MultimodalTask), type(pl_module)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        attachment = self._attachment()
        event = attachment.history[-1] if attachment is not None and attachment.history else None
        record = EpochRecord(
            epoch=trainer.current_epoch,
            train_loss=metrics["train/loss"],
            val_loss=metrics["val/loss"],
            val_accuracy=metrics["val/accuracy"],
            air=event.air if event else None,
            cosines=event.cosines if event else None,
            rotated=bool(event and event.rotated),
            angle=event.angle if event else None,
            attention_score=pl_module.dynamics.attention_score,
            gradient_norm=pl_module.dynamics.gradient_norm,
        )
        self.history.append(record)
        self._on_epoch(record)
