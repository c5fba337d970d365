"""MultimodalTask: the LightningModule around a classifier: one loss, what balances it, its optimizer and schedule."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rollingq.balancing.base import Balancing
from rollingq.controller import evaluating
from rollingq.nn.classifier import ModelOutput, MultimodalClassifier
from rollingq.training.dynamics import Dynamics
from rollingq.training.settings import TrainSettings


class MultimodalTask(pl.LightningModule):
    """Trains encoders and fusion by the fused loss; all other losses ride in the same backward pass.

    The probes see detached class tokens, so their loss changes no encoder.

    Args:
        model: The classifier.
        settings: Optimizer, rate and schedule.
        balancing: Methods that change the training, in the order in which they are called.

    Attributes:
        dynamics: Attention and encoder gradients of the epoch that runs, or ran last.
    """

    def __init__(
        self, model: MultimodalClassifier, settings: TrainSettings, balancing: Sequence[Balancing] = ()
    ) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.balancing = nn.ModuleList(balancing)
        self._methods = tuple(balancing)
        self.dynamics = Dynamics(model.modality_modules, model.key_lengths)

    def forward(self, batch: Any) -> ModelOutput:  # noqa: ANN401
        """Return what the classifier says of a batch."""
        output: ModelOutput = self.model(batch)
        return output

    def on_train_start(self) -> None:
        """Let every method prepare."""
        for method in self._methods:
            method.start_training(self.training_pass)

    def on_train_epoch_start(self) -> None:
        """Tell the fusion, then every method, which epoch begins."""
        self.dynamics.start_epoch()
        self.model.fusion.start_epoch(self.current_epoch, self.settings.epochs)
        for method in self._methods:
            method.start_epoch(self.current_epoch)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the sum of all losses of one batch."""
        labels = batch["label"]
        changed: Any = batch
        for method in self._methods:
            changed = method.change_batch(changed)
        output = self(changed)
        self.dynamics.see_attention(output.weights)
        fused = cross_entropy(output.logits, labels)
        self.log("train/loss", fused.detach(), on_step=False, on_epoch=True, batch_size=len(labels))
        heads = (*output.auxiliary.values(), *output.probes.values())
        extra = (method.extra_loss(output, labels) for method in self._methods)
        return sum((loss for loss in extra if loss is not None), fused) + sum(cross_entropy(h, labels) for h in heads)

    def on_after_backward(self) -> None:
        """Record the gradients, then let every method change them; Lightning unscales and clips after this."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        self.dynamics.see_gradients(None if scaler is None else scaler.get_scale())
        for method in self._methods:
            method.change_gradients()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """End the epoch at its last batch: Lightning validates before it calls ``on_train_epoch_end``."""
        if self.trainer.is_last_batch:
            for method in self._methods:
                method.end_epoch(self.training_pass)
                self.log_dict(method.numbers(), on_step=False, on_epoch=True, batch_size=1)

    def training_pass(self, fraction: float = 1.0) -> Iterator[tuple[ModelOutput, Tensor]]:
        """Yield output and labels of the first batches of the training loader, in eval mode; see ``TrainingPass``."""
        loader: Any = self.trainer.train_dataloader
        number = max(1, round(fraction * len(loader)))
        with evaluating(self.model), torch.no_grad():
            for _, batch in zip(range(number), loader, strict=False):
                moved = self.transfer_batch_to_device(batch, self.device, 0)
                yield self(moved), moved["label"]

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log loss and accuracy."""
        output = self(batch)
        is_right = (output.logits.argmax(-1) == batch["label"]).float().mean()
        values = {"val/loss": cross_entropy(output.logits, batch["label"]), "val/accuracy": is_right}
        self.log_dict(values, batch_size=len(batch["label"]))

    def configure_optimizers(self) -> Any:  # noqa: ANN401
        """Return optimizer and cosine schedule with linear warm-up, stepped every batch."""
        settings = self.settings
        common: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
        # Fused: one kernel for all parameters. SGD's needs all of them to start together, which phases do not do.
        common["fused"] = settings.optimizer != "sgd" or not self.model.fusion.is_progressive
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
