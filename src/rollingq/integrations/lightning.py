"""RollingQCallback: RollingQ in a Lightning Trainer, in one line."""

from collections.abc import Callable
from typing import Any

from rollingq.attachment import attach, attachments
from rollingq.controller import RollingQ
from rollingq.errors import ConfigError, MissingExtraError
from rollingq.tokens import Tokens

try:
    import lightning.pytorch as pl
except ImportError as error:
    raise MissingExtraError("lightning", "lab") from error


class RollingQCallback(pl.Callback):
    """Attach RollingQ to a layer of the LightningModule and rotate once an epoch, before validation.

    Lightning validates before ``on_train_epoch_end``; so that the validated and saved model is the rotated
    one, the decision falls in ``on_train_batch_end`` of the epoch's last batch. The rotation, the counters
    and the history are part of the module's state dict. With ``statistics="full_pass"`` its
    ``training_step`` sees every batch of the training loader once more, without gradients and logs; metrics that the
    step updates by itself count them too.

    Args:
        layer: Path of the attention layer in the LightningModule.
        tokens: See :func:`rollingq.attach`.
        **options: Everything else that :func:`rollingq.attach` takes.

    Attributes:
        attachment: The attachment, from ``setup`` on.

    Example:
        >>> callback = RollingQCallback("model.fusion.attention", tokens={"cls": 1, "audio": 6, "image": 5})
        >>> # Trainer(callbacks=[callback])
    """

    def __init__(self, layer: str, *, tokens: Tokens, **options: Any) -> None:  # noqa: ANN401
        self.layer = layer
        self.tokens = tokens
        self.options = options
        self.attachment: RollingQ | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Attach before the model is wrapped and before a checkpoint is restored."""
        if not any(found is self.attachment for found in attachments(pl_module)):
            self.attachment = attach(pl_module, self.layer, tokens=self.tokens, **self.options)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Decide at the epoch's last batch."""
        if not trainer.is_last_batch or self.attachment is None:
            return
        full_pass = None
        if self.attachment.config.statistics == "full_pass":
            full_pass = _full_pass(trainer, pl_module)
        event = self.attachment.step(full_pass=full_pass)
        if event.air is not None:
            values = {"rollingq/air": event.air, "rollingq/num_rotations": float(event.num_rotations)}
            pl_module.log_dict(values, on_step=False, on_epoch=True, batch_size=1)


def _full_pass(trainer: pl.Trainer, pl_module: pl.LightningModule) -> Callable[[], None]:
    """Return a function that shows the module all training batches, by its training step with logging muted."""
    if not pl_module.automatic_optimization:
        raise ConfigError(
            "Expected automatic optimization for statistics='full_pass', but the module steps its optimizers by hand: "
            "a full pass would train. Use statistics='epoch'."
        )

    def run() -> None:
        pl_module.log = lambda *_, **__: None  # type: ignore[method-assign]
        try:
            for index, batch in enumerate(trainer.train_dataloader):  # type: ignore[arg-type]
                pl_module.training_step(pl_module.transfer_batch_to_device(batch, pl_module.device, 0), index)
        finally:
            del pl_module.log

    return run
