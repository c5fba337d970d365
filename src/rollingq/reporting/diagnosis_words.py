"""Words and the one rule of a diagnosis: when a difference between two accuracies is a change at all."""

import math

from rollingq.evaluation.diagnosis import NoiseCurve
from rollingq.reporting.text import clean, is_defined, percent

NO_CHANGE = "no clear change"
MAX_UNSEEN = 0.06
"""Largest change that may go unseen (two standard errors) where "no clear change" is read as "nothing there"."""


def standard_error(fraction: float, num: int) -> float:
    """Return the standard error of a proportion: sqrt(p (1 - p) / n).

    Args:
        fraction: p, in [0, 1]; NaN if not defined.
        num: Number of samples n.

    Returns:
        NaN without samples or where p is not defined.

    Example:
        >>> round(standard_error(0.5, 100), 3)
        0.05
    """
    if num < 1 or not is_defined(fraction):
        return math.nan
    return math.sqrt(max(0.0, fraction * (1 - fraction)) / num)


def is_clear(first: float, second: float, num: int) -> bool:
    """Return whether two accuracies on the same samples differ by more than 2 standard errors.

    The error is that of a proportion half-way between both, so that one sample, or an accuracy of 0 or 1, never looks
    like certainty. What is not defined is never clear.

    Args:
        first: Accuracy in [0, 1].
        second: Accuracy in [0, 1].
        num: Number of samples.

    Example:
        >>> is_clear(0.70, 0.68, 500), is_clear(0.70, 0.34, 500), is_clear(1.0, 0.0, 1)
        (False, True, False)
    """
    error = standard_error((first + second) / 2, num)
    return is_defined(error) and abs(first - second) > 2 * error + 1e-12


def is_telling(fraction: float, num: int) -> bool:
    """Return whether a change of :data:`MAX_UNSEEN` or more would have been seen, so that seeing none says something.

    Args:
        fraction: Accuracy in [0, 1].
        num: Number of samples.

    Example:
        >>> is_telling(0.7, 500), is_telling(0.7, 50)
        (True, False)
    """
    error = standard_error(fraction, num)
    return num > 1 and is_defined(error) and 2 * error <= MAX_UNSEEN


def edit_words(name: str) -> str:
    """Return an edit of attention in plain words.

    Example:
        >>> edit_words("mask:audio"), edit_words("quag_attention:average:audio")
        ('mask audio', 'QUAG, inputs: average audio')
    """
    family, _, rest = name.partition(":")
    action, _, modality = rest.partition(":")
    if family == "mask":
        return f"mask {clean(rest)}"
    if family == "average":
        return "average every modality"
    what = f"average {clean(modality)}" if modality else clean(action)
    return {"quag": f"QUAG: {what}", "quag_attention": f"QUAG, inputs: {what}"}.get(family, clean(name))


def noise_words(curve: NoiseCurve) -> str:
    """Return what the last level of a curve stands for: ``"is pure noise"`` or the kind and level of noise."""
    level = curve.points[-1].level
    if curve.kind == "mix" and level == 1:
        return "is pure noise"
    return f"has noise of level {level:g} ({clean(curve.kind)})"


def change_words(before: float, after: float, num: int) -> str:
    """Return ``"falls from 70.0 % to 34.0 %"``, or that there is no clear change."""
    if not is_defined(before) or not is_defined(after):
        return "is not defined"
    if not is_clear(before, after, num):
        return f"shows {NO_CHANGE} ({percent(before)} to {percent(after)})"
    return f"{'falls' if after < before else 'rises'} from {percent(before)} to {percent(after)}"
