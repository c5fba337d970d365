"""What the diagnosis of one model found: plain dataclasses that go to JSON and back, read by reporting."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NoisePoint:
    """A model at one level of noise; one value a seed of the noise in every list."""

    level: float
    """From 0 (clean: one value) to 1."""
    accuracy: list[float]
    """Fraction in [0, 1]."""
    ece: list[float]
    """Expected calibration error in [0, 1]."""
    attention_score: list[float] | None
    """Mean attention mass on the modality that is noised; None without attention."""


@dataclass(frozen=True)
class NoiseCurve:
    """Accuracy, calibration and attention while one modality turns to noise (paper, Table 3)."""

    kind: str
    """"additive", "mix", "dropout" or "multibench"; see :mod:`rollingq.evaluation.noise`."""
    modality: str
    points: list[NoisePoint]
    """By level, from 0 up."""


@dataclass(frozen=True)
class Intervention:
    """Accuracy with the attention edited at test time (paper, Tables 8, 9)."""

    name: str
    """"mask:audio", "average", "quag:unimodal", "quag:crossmodal", "quag:average:audio", and the same three with
    "quag_attention" for averaged inputs in place of averaged weights."""
    accuracy: float
    drop: float
    """Clean accuracy minus this one; negative where the edit helps."""


@dataclass(frozen=True)
class Detection:
    """How well one score tells samples from outside of the distribution (paper, Table 10); NaN = not defined."""

    score: str
    """"msp", "energy", "max_logit", "gen", "mahalanobis" or "knn"."""
    auroc: float
    fpr95: float
    """The paper's ("FRR95"): share of inside samples that are flagged when 95 % of outside samples are."""
    fpr95_inside: float
    """ODIN's: share of outside samples that are accepted when 95 % of inside samples are."""


@dataclass(frozen=True)
class OODResult:
    """Detection of one set of samples from outside of the distribution."""

    name: str
    """What the outside samples are, such as "left-out classes"."""
    kind: str
    """"near" (same dataset, other classes) or "far" (another dataset)."""
    num_inside: int
    num_outside: int
    inside_accuracy: float
    detections: list[Detection]


@dataclass(frozen=True)
class Contribution:
    """Shapley value of every modality in accuracy; the values sum to full minus none."""

    absent: str
    """What stands in place of an absent modality: "zero", "mean" or "noise"."""
    values: dict[str, float]
    coalitions: dict[str, float]
    """Modalities that are present, joined by "+" ("" = none) -> accuracy."""


@dataclass(frozen=True)
class Sample:
    """One test sample in the browser of the report."""

    name: str
    label: int
    prediction: int
    probability: float
    """Of the prediction, in [0, 1]."""
    attention: dict[str, float]
    """Modality -> mass on the clean sample; empty without attention."""
    attention_under_noise: dict[str, float]
    """Modality -> its mass when it is noise."""
    pictures: dict[str, str] = field(default_factory=dict)
    """Modality -> PNG in base64; only some samples have them."""
    index: int = 0
    """Number of the sample in its split."""


@dataclass(frozen=True)
class Diagnosis:
    """Everything measured on one trained model beyond its :class:`~rollingq.evaluation.results.RunResult`."""

    method: str
    seed: int
    num_samples: int
    accuracy: float
    ece: float
    curves: list[NoiseCurve] = field(default_factory=list)
    interventions: list[Intervention] = field(default_factory=list)
    ood: list[OODResult] = field(default_factory=list)
    contributions: list[Contribution] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    """Attention layers that were edited."""
    num_passes: int = 0
    """How many times each test sample went through the model."""
    undefined: dict[str, str] = field(default_factory=dict)
    """Measure -> why it is not defined for this model or data."""
    settings: dict[str, Any] = field(default_factory=dict)
