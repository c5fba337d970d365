"""Settings of a diagnosis: which measures, at which levels of noise."""

from dataclasses import dataclass
from typing import Literal, get_args

from rollingq.config.checks import is_number, is_positive, require

Measure = Literal["noise", "interventions", "ood", "contributions", "samples"]
NoiseKind = Literal["mix", "additive", "dropout", "multibench"]


@dataclass(frozen=True, kw_only=True)
class DiagnoseConfig:
    """What is measured beside accuracy and attention, clean and with each modality replaced by noise.

    Raises:
        ConfigError: If a value is outside its range; all that is wrong is said together.
    """

    measures: tuple[Measure, ...] = get_args(Measure)
    """Noise (Table 3, calibration), interventions (Tables 8, 9), ood (Table 10), Shapley contributions, samples."""
    kinds: tuple[NoiseKind, ...] = get_args(NoiseKind)
    """Kinds of noise of the robustness curve."""
    levels: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """Levels of noise in (0, 1]; the clean level 0 is always there."""
    noise_seeds: int = 3
    """Noise seeds a point of the curve."""
    max_samples: int = 2000
    """Most samples in the browser of the report; more are thinned evenly."""

    def __post_init__(self) -> None:
        measures, kinds = get_args(Measure), get_args(NoiseKind)
        require(
            self,
            (
                ("measures", set(self.measures) <= set(measures), f"names among {', '.join(measures)}"),
                ("kinds", bool(self.kinds) and set(self.kinds) <= set(kinds), f"names among {', '.join(kinds)}"),
                ("levels", _are_levels(self.levels), "numbers in (0, 1], each once, ascending"),
                ("noise_seeds", is_positive(self.noise_seeds), "a whole number >= 1"),
                ("max_samples", is_positive(self.max_samples), "a whole number >= 1"),
            ),
        )


def _are_levels(levels: tuple[float, ...]) -> bool:
    return bool(levels) and all(is_number(x) and 0 < x <= 1 for x in levels) and sorted(set(levels)) == list(levels)
