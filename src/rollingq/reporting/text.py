"""Numbers and untrusted names as text: pure functions that every table, verdict and figure shares."""

import json
import math
import unicodedata
from collections.abc import Mapping, Sequence

from rollingq.evaluation.results import Difference, Interval

DASH = "\N{EN DASH}"
"""Shown where a value is not defined."""

_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


_MARKUP = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
"""Characters that could end a script element, begin a comment or entity in it, or end a line -> the same in JSON."""


def is_defined(value: float | None) -> bool:
    """Return whether a value is there and finite."""
    return value is not None and math.isfinite(value)


def clean(name: object, *, max_length: int = 200) -> str:
    """Return a name with control and direction characters made visible, cut to a length.

    Example:
        >>> clean("audio")
        'audio'
    """
    shown = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in _UNPRINTABLE else c for c in str(name))
    return shown if len(shown) <= max_length else shown[: max_length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _rounded(value: float, digits: int) -> float:
    return round(value, digits) + 0.0


def number(value: float | None, digits: int = 2, *, is_signed: bool = False) -> str:
    """Return a number as text, an en dash where it is not defined.

    Example:
        >>> number(-0.004), number(0.5, is_signed=True)
        ('0.00', '+0.50')
    """
    if value is None or not math.isfinite(value):
        return DASH
    return f"{_rounded(value, digits):{'+' if is_signed else ''}.{digits}f}"


def percent(fraction: float | None, digits: int = 1) -> str:
    """Return a fraction as per cent.

    Example:
        >>> percent(0.7123)
        '71.2 %'
    """
    return DASH if fraction is None or not math.isfinite(fraction) else f"{number(100 * fraction, digits)} %"


def points(fraction: float | None, *, is_signed: bool = True) -> str:
    """Return a difference of two fractions in percentage points, without the unit.

    Example:
        >>> points(0.0123)
        '+1.2'
    """
    return DASH if fraction is None else number(100 * fraction, 1, is_signed=is_signed)


def mean_and_spread(interval: Interval) -> str:
    """Return ``"71.2 ± 1.4"`` in per cent; the mean alone where the spread is not defined."""
    mean = points(interval.mean, is_signed=False)
    return f"{mean} ± {points(interval.std, is_signed=False)}" if has_spread(interval) else mean


def bounds(interval: Interval, *, is_signed: bool = False) -> str:
    """Return the 95 % interval as ``"[69.0, 73.4]"`` in per cent, an en dash where it is not defined."""
    if not has_spread(interval):
        return DASH
    return f"[{points(interval.low, is_signed=is_signed)}, {points(interval.high, is_signed=is_signed)}]"


def has_spread(interval: Interval) -> bool:
    """Return whether the interval stands on at least two seeds."""
    return interval.num_seeds >= 2 and is_defined(interval.low) and is_defined(interval.high)


def p_value(difference: Difference) -> str:
    """Return the p-value as text, ``"p not defined"`` where there is no spread to test against."""
    if not has_spread(difference.accuracy) or difference.accuracy.std < 1e-12 or not is_defined(difference.p):
        return "p not defined"
    if difference.p < 0.001:
        return "p < 0.001"
    return f"p = {difference.p:.{3 if difference.p < 0.01 else 2}f}"


def count(num: int, noun: str) -> str:
    """Return ``"1 seed"``, ``"3 seeds"``."""
    return f"{num} {noun}" if num == 1 else f"{num} {noun}s"


def joined(parts: Sequence[str]) -> str:
    """Return ``"a, b and c"``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def script_json(values: Mapping[str, object]) -> str:
    r"""Return values as JSON that may stand in a script element of a page.

    It holds no ``<``, ``>``, ``&``, U+2028 or U+2029: they are escaped.

    Args:
        values: Names -> lists, mappings, text and finite numbers.

    Raises:
        ValueError: If a number is not finite: say None instead.

    Example:
        >>> print(script_json({"name": "</script>"}))
        {"name":"\u003c/script\u003e"}
    """
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_MARKUP)
