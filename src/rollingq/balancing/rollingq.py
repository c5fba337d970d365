"""RollingQ as a balancing method: attached to every attention that becomes the last one, stepped on the active one."""

from rollingq.attachment import attach
from rollingq.balancing.base import Balancing, TrainingPass
from rollingq.config import RollingQConfig
from rollingq.controller import RollingQ
from rollingq.errors import ConfigError
from rollingq.nn.classifier import MultimodalClassifier


class RollingQBalancing(Balancing):
    """Measures AIR on the last active attention and rotates its query once an epoch, before validation.

    In a progressively trained fusion each layer has an attachment of its own: a layer that becomes the last one
    starts from the identity and its own count of rotations, the one before keeps its rotation (paper, Appendix B).

    Args:
        model: The model to enter.
        config: Settings.

    Raises:
        ConfigError: If the fusion has no attention that RollingQ can drive.
    """

    def __init__(self, model: MultimodalClassifier, config: RollingQConfig) -> None:
        super().__init__()
        if not model.attention_layers:
            raise ConfigError(
                "Expected a fusion whose attention RollingQ can drive, such as mt, but this one has none: its "
                "modalities share no softmax."
            )
        options = {name: getattr(config, name) for name in vars(config)}
        # In containers that register nothing: the attachments live in the model.
        self._fusion = (model.fusion,)
        self.attachments: tuple[RollingQ, ...] = tuple(
            attach(model, layer, tokens=model.key_lengths, **options) for layer in model.attention_layers
        )

    @property
    def active(self) -> RollingQ:
        """The attachment on the attention that is read out now."""
        return self.attachments[self._fusion[0].num_active - 1]

    @property
    def num_rotations(self) -> int:
        """Rotations of all layers so far."""
        return sum(int(attachment.num_rotations) for attachment in self.attachments)

    def start_epoch(self, epoch: int) -> None:
        """Let only the active layer record."""
        for attachment in self.attachments:
            attachment.is_paused = attachment is not self.active

    def end_epoch(self, training_pass: TrainingPass) -> None:
        """Decide on what the epoch has shown."""
        full_pass = None
        if self.active.config.statistics == "full_pass":

            def full_pass() -> None:
                for _ in training_pass():
                    pass

        self.active.step(full_pass=full_pass)

    def numbers(self) -> dict[str, float]:
        """Return the last AIR, if there is one, and the number of rotations."""
        event = self.active.history[-1] if self.active.history else None
        if event is None or event.air is None:
            return {}
        return {"rollingq/air": event.air, "rollingq/num_rotations": float(self.num_rotations)}
