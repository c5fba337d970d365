"""RotationEvent: what one step of RollingQ saw and did."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RotationEvent:
    """What one :meth:`RollingQ.step` saw and did; printed as one line."""

    step: int
    rotated: bool
    reason: str
    num_rotations: int
    max_rotations: int
    air: float | None = None
    """Mean over heads; positive = first modality favoured (never negative for more than two)."""
    cosines: dict[str, float] | None = None
    weights: dict[str, float] | None = None
    """Share of each modality in the anchor (Eq. 11)."""
    angle: float | None = None
    """Mean angle of the heads that turned, in degrees."""
    num_samples: int = 0
    dominant_modality: str | None = None
    weaker_modality: str | None = None

    def __str__(self) -> str:
        is_level = self.dominant_modality == self.weaker_modality
        favoured = "no modality" if is_level else self.dominant_modality
        air = "AIR -" if self.air is None else f"AIR {self.air:+.2f} ({favoured} favoured)"
        done = f"rotated {self.angle:.1f} deg" if self.rotated else f"not rotated: {self.reason}"
        return f"{air} -> {done}, {self.num_rotations} of {self.max_rotations}"
