"""Checks that all settings share: each problem is one sentence, and all are said together."""

import math
from collections.abc import Iterable
from typing import Any, get_args

from rollingq.errors import ConfigError, nearest

Check = tuple[str, bool, str]
"""Name of a field, whether its value is right, and what was expected."""


def is_number(value: object) -> bool:
    """Return whether a value is a finite number (a bool is not)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_count(value: object) -> bool:
    """Return whether a value is a whole number >= 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_positive(value: object) -> bool:
    """Return whether a value is a whole number >= 1."""
    return is_count(value) and value != 0


def is_share(value: object, *, below: float = 1.0) -> bool:
    """Return whether a value is a number in [0, below)."""
    return is_number(value) and 0 <= value < below  # type: ignore[operator]


def one_of(config: object, name: str, choices: Any) -> Check:  # noqa: ANN401
    """Return the check that a field holds one of the values of a ``Literal``."""
    known, value = get_args(choices), getattr(config, name)
    return name, value in known, f"one of {', '.join(map(repr, known))}{nearest(str(value), known)}"


def require(config: object, checks: Iterable[Check]) -> None:
    """Raise ConfigError with one sentence for each check that is not right."""
    problems = [
        f"Expected {name} to be {form}, but got {getattr(config, name)!r}."
        for name, is_right, form in checks
        if not is_right
    ]
    if problems:
        raise ConfigError(" ".join(problems))
