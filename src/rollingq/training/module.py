"""MultimodalTask: the LightningModule around a classifier: one loss, its optimizer and its schedule."""

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from rollingq.nn.classifier import ModelOutput, MultimodalClassifier
from rollingq.training.settings import TrainSettings


class MultimodalTask(pl.LightningModule):
    """Trains encoders and fusion by the fused loss; the probes' losses ride in the same backward pass.

    The probes see detached class tokens, so their loss changes no encoder.

    Args:
        model: The classifier.
        settings: Optimizer, rate and schedule.
    """

    def __init__(self, model: MultimodalClassifier, settings: TrainSettings) -> None:
        super().__init__()
        self.model = model
        self.settings = settings

    def forward(self, batch: dict[str, Any]) -> ModelOutput:
        """Return what the classifier says of a batch."""
        output: ModelOutput = self.model(batch)
        return output

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        output = self(batch)
        fused = cross_entropy(output.logits, batch["label"])
        self.log("train/loss", fused.detach(), on_step=False, on_epoch=True, batch_size=len(batch["label"]))
        return fused + sum(cross_entropy(logits, batch["label"]) for logits in output.probes.values())

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log loss and accuracy."""
        output = self(batch)
        is_right = (output.logits.argmax(-1) == batch["label"]).float().mean()
        values = {"val/loss": cross_entropy(output.logits, batch["label"]), "val/accuracy": is_right}
        self.log_dict(values, batch_size=len(batch["label"]))

    def configure_optimizers(self) -> Any:  # noqa: ANN401
        """Return optimizer and cosine schedule with linear warm-up, stepped every batch."""
        settings = self.settings
        common: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay, "fused": True}
        optimizer: torch.optim.Optimizer
        if settings.optimizer == "sgd":
            optimizer = torch.optim.SGD(self.parameters(), momentum=0.9, **common)
        else:
            optimizer = torch.optim.AdamW(self.parameters(), **common)
        total = int(self.trainer.estimated_stepping_batches)
        warmup = settings.warmup_epochs * total / settings.epochs
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: cosine_factor(step, total, warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def cosine_factor(step: int, total: int, warmup: float) -> float:
    """Return the learning-rate factor of a step: linear from 0 over ``warmup`` steps, then half a cosine to 0.

    Example:
        >>> [round(cosine_factor(s, 10, 2.0), 2) for s in (0, 1, 2, 6, 10)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return step / warmup
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, total - warmup))))
