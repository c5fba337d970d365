"""Settings of a comparison, free of torch: what the command line and the recipes fill in."""

from dataclasses import dataclass, field
from typing import Literal

from rollingq.config import BalancingConfig, EncoderConfig, FusionConfig, RollingQConfig
from rollingq.errors import ConfigError


@dataclass(frozen=True)
class TrainSettings:
    """How every method is trained.

    Attributes:
        epochs: Passes over the training split.
        batch_size: Samples a step.
        optimizer: "sgd" (momentum 0.9) or "adamw".
        learning_rate: Peak rate of the cosine schedule.
        weight_decay: Weight decay.
        warmup_epochs: Epochs of linear warm-up.
        augment: Whether training crops and flips frames at random; digits, spectrograms and tokens never are.
    """

    epochs: int = 20
    batch_size: int = 64
    optimizer: Literal["sgd", "adamw"] = "adamw"
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-4
    warmup_epochs: float = 0.0
    augment: bool = True

    def __post_init__(self) -> None:
        problems = [
            f"Expected {name} {form}, but got {value!r}."
            for name, value, is_right, form in (
                ("epochs", self.epochs, self.epochs >= 1, ">= 1"),
                ("batch_size", self.batch_size, self.batch_size >= 1, ">= 1"),
                ("learning_rate", self.learning_rate, self.learning_rate > 0, "> 0"),
                ("weight_decay", self.weight_decay, self.weight_decay >= 0, ">= 0"),
                ("warmup_epochs", self.warmup_epochs, self.warmup_epochs >= 0, ">= 0"),
            )
            if not is_right
        ]
        if problems:
            raise ConfigError(" ".join(problems))


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run besides its method and seed.

    Attributes:
        selection: Best epoch by "validation" accuracy; "paper" chooses it on the test split, to mirror the
            original, and is marked in every table.
        train: How every method is trained.
        encoder: Which encoders, and their size.
        fusion: Settings of the fusions.
        rollingq: Settings of RollingQ.
        balancing: Settings of the other balancing methods.
    """

    selection: Literal["validation", "paper"] = "validation"
    train: TrainSettings = field(default_factory=TrainSettings)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    rollingq: RollingQConfig = field(default_factory=RollingQConfig)
    balancing: BalancingConfig = field(default_factory=BalancingConfig)
