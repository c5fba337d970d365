"""Settings of the balancing methods; where a default comes from stands on its card in docs/methods."""

from dataclasses import dataclass, field
from typing import Literal

from rollingq.config.checks import is_count, is_number, is_positive, is_share, one_of, require

Replacement = Literal["noise", "absent"]


@dataclass(frozen=True, kw_only=True)
class OGMConfig:
    """OGM and OGM-GE: the gradients of the encoder that leads are made smaller."""

    alpha: float = 0.3
    """Strength, > 0 (OGM: 0.8 on CREMA-D, 0.1 on VGGSound)."""
    first_epoch: int = 0
    """First epoch in which gradients are modulated."""
    last_epoch: int | None = None
    """Last such epoch; None = the end."""
    min_ndim: int = 2
    """Fewest axes of a parameter that is modulated (OGM: 4, convolutions only; 1 = every parameter)."""

    def __post_init__(self) -> None:
        alpha = ("alpha", is_number(self.alpha) and self.alpha > 0, "a number > 0")
        require(self, [alpha, *_epochs(self), ("min_ndim", is_positive(self.min_ndim), "a whole number >= 1")])


@dataclass(frozen=True, kw_only=True)
class PMRConfig:
    """PMR: the modality that lags learns from its distance to class prototypes as well."""

    alpha: float = 1.0
    """Weight of the prototype loss, > 0 (PMR: 0.5 to 3)."""
    momentum: float = 0.2
    """Share of the old prototypes in the new ones, in [0, 1) (PMR's code: 0.2)."""
    fraction: float = 0.1
    """Share of the training batches behind the prototypes, in (0, 1] (PMR's code: 0.1)."""
    first_epoch: int = 0
    """First epoch with the prototype loss."""
    last_epoch: int | None = None
    """Last such epoch; None = the end."""

    def __post_init__(self) -> None:
        checks = [
            ("alpha", is_number(self.alpha) and self.alpha > 0, "a number > 0"),
            ("momentum", is_share(self.momentum), "a number in [0, 1)"),
            ("fraction", is_number(self.fraction) and 0 < self.fraction <= 1, "a number in (0, 1]"),
        ]
        require(self, [*checks, *_epochs(self)])


@dataclass(frozen=True, kw_only=True)
class UnimodalLossConfig:
    """Unimodal losses: a classifier on every encoder, whose gradient reaches the encoder."""

    weight: float = 1.0
    """Weight of each unimodal loss beside the fused one, > 0."""

    def __post_init__(self) -> None:
        require(self, [("weight", is_number(self.weight) and self.weight > 0, "a number > 0")])


@dataclass(frozen=True, kw_only=True)
class ModalityDropoutConfig:
    """Modality dropout: in some training samples one modality is noise, or absent."""

    probability: float = 0.2
    """Chance of a sample to lose one modality, in [0, 1]."""
    replacement: Replacement = "noise"
    """What stands in its place: Gaussian noise, or nothing."""

    def __post_init__(self) -> None:
        is_right = is_number(self.probability) and 0 <= self.probability <= 1
        require(self, [("probability", is_right, "a number in [0, 1]"), one_of(self, "replacement", Replacement)])


@dataclass(frozen=True, kw_only=True)
class BalancingConfig:
    """Settings of every balancing method besides RollingQ."""

    ogm: OGMConfig = field(default_factory=OGMConfig)
    """OGM and OGM-GE."""
    pmr: PMRConfig = field(default_factory=PMRConfig)
    """PMR."""
    unimodal_loss: UnimodalLossConfig = field(default_factory=UnimodalLossConfig)
    """Unimodal losses."""
    modality_dropout: ModalityDropoutConfig = field(default_factory=ModalityDropoutConfig)
    """Modality dropout."""


def _epochs(config: OGMConfig | PMRConfig) -> list[tuple[str, bool, str]]:
    last = config.last_epoch
    is_last = last is None or (is_count(last) and last >= config.first_epoch)
    return [
        ("first_epoch", is_count(config.first_epoch), "a whole number >= 0"),
        ("last_epoch", is_last, f"None or a whole number >= first_epoch={config.first_epoch}"),
    ]
