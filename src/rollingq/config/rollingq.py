"""Settings of RollingQ: when to rotate, how far, and on which statistics."""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from rollingq.config.checks import is_count, is_number
from rollingq.errors import ConfigError, nearest

Scope = Literal["query", "all_queries"]
Heads = Literal["per_head", "shared", "full"]
RotationMethod = Literal["minimal", "svd"]
Statistics = Literal["last_batch", "epoch", "full_pass"]


@dataclass(frozen=True, kw_only=True)
class RollingQConfig:
    """When to rotate, how far, and on which statistics.

    The paper publishes neither rho nor beta; the defaults are those that the validation split chose on the
    embedded dataset (benchmarks/search_defaults.py).

    Raises:
        ConfigError: If a value is outside its range; all that is wrong is said together.
    """

    rho: float = 10.0
    """Sensitivity of the anchor to the imbalance (Eq. 11), > 0."""
    beta: float = 0.2
    """Threshold on the absolute AIR that triggers a rotation, in [0, 2]."""
    max_rotations: int = 2
    """Rotations allowed in the whole training (paper: 1 or 3); 0 only measures."""
    first_epoch: int = 0
    """First epoch (first `step()` is 0) at whose end a rotation is allowed."""
    scope: Scope = "query"
    """Rotate the queries at the class positions only, or those of all positions."""
    heads: Heads = "per_head"
    """One AIR and one plane a head; one AIR for all heads; or all heads as one vector (the paper's one head)."""
    rotation: RotationMethod = "minimal"
    """Closed form in the plane of query and anchor, or the original's SVD completion."""
    statistics: Statistics = "epoch"
    """Means over the last batch (Algorithm 1), the epoch, or a full pass (the original code)."""

    def __post_init__(self) -> None:
        problems = [*self._range_problems(), *self._choice_problems()]
        if problems:
            raise ConfigError(" ".join(problems))

    def _range_problems(self) -> list[str]:
        checks = {
            "rho": (is_number(self.rho) and self.rho > 0, "a number > 0"),
            "beta": (is_number(self.beta) and 0 <= self.beta <= 2, "a number in [0, 2] (AIR lies in [-2, 2])"),
            "max_rotations": (is_count(self.max_rotations), "a whole number >= 0"),
            "first_epoch": (is_count(self.first_epoch), "a whole number >= 0"),
        }
        return [
            f"Expected {name} to be {form}, but got {getattr(self, name)!r}."
            for name, (is_right, form) in checks.items()
            if not is_right
        ]

    def _choice_problems(self) -> list[str]:
        hints = get_type_hints(type(self))
        found = []
        for name in ("scope", "heads", "rotation", "statistics"):
            value, known = getattr(self, name), get_args(hints[name])
            if value not in known:
                options = ", ".join(map(repr, known))
                found.append(f"Expected {name} to be one of {options}, but got {value!r}.{nearest(str(value), known)}")
        return found

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> "RollingQConfig":
        """Build from keyword options; an unknown name is a ConfigError that names the nearest one."""
        known = [field.name for field in fields(cls)]
        unknown = [name for name in options if name not in known]
        if unknown:
            hints = " ".join(f"{name!r} is unknown.{nearest(name, known)}" for name in unknown)
            raise ConfigError(f"Expected options {', '.join(known)}, but got {', '.join(unknown)}. {hints}")
        return cls(**options)
