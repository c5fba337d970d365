"""Shapley values: what every modality adds to a measure, on average over the orders in which they join."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from rollingq.errors import ConfigError, DataError


def coalitions(modalities: Sequence[str]) -> list[frozenset[str]]:
    """Return all 2^M sets of modalities: by size from none to all, and within a size in the order given.

    Args:
        modalities: Names, each once.

    Raises:
        ConfigError: If a name stands twice.

    Example:
        >>> [coalition_name(members, ["image", "audio"]) for members in coalitions(["image", "audio"])]
        ['', 'image', 'audio', 'image+audio']
    """
    twice = sorted({name for name in modalities if list(modalities).count(name) > 1})
    if twice:
        raise ConfigError(f"Expected every modality once, but got {', '.join(twice)} more than once; name each once.")
    sizes = range(len(modalities) + 1)
    return [frozenset(members) for size in sizes for members in combinations(modalities, size)]


def coalition_name(coalition: frozenset[str], modalities: Sequence[str]) -> str:
    """Return the members joined by "+" in the order of ``modalities``; "" = none.

    Args:
        coalition: Members.
        modalities: All names, in their order.

    Example:
        >>> coalition_name(frozenset({"audio", "image"}), ["image", "audio"])
        'image+audio'
    """
    return "+".join(name for name in modalities if name in coalition)


def shapley_values(value: Mapping[frozenset[str], float], modalities: Sequence[str]) -> dict[str, float]:
    """Return the Shapley value of every modality: ``sum_S |S|! (M - |S| - 1)! / M! * (v(S + m) - v(S))``.

    S runs over the sets of the other modalities. The values sum to v(all) - v(none), up to rounding.

    Args:
        value: Set of modalities that are present -> value; sets with other names are not read.
        modalities: Names, each once.

    Returns:
        Modality -> value, in the unit of ``value``; NaN where a value that it needs is NaN.

    Raises:
        ConfigError: If a name stands twice.
        DataError: If the value of a set is missing.

    Source:
        Shapley, "A Value for n-Person Games", Contributions to the Theory of Games II, 1953.

    Example:
        >>> none, a, b, both = coalitions(["audio", "image"])
        >>> shapley_values({none: 0.0, a: 0.5, b: 0.25, both: 1.0}, ["audio", "image"])
        {'audio': 0.625, 'image': 0.375}
    """
    sets = coalitions(modalities)
    missing = [coalition_name(members, modalities) or "none" for members in sets if members not in value]
    if missing:
        raise DataError(
            f"Expected a value of every set of the modalities {', '.join(modalities)}, but got none of: "
            f"{', '.join(missing)}; measure every one of coalitions(modalities)."
        )
    return {name: math.fsum(_shares(value, name, sets)) for name in modalities}


def _shares(value: Mapping[frozenset[str], float], name: str, sets: Sequence[frozenset[str]]) -> list[float]:
    """Return what ``name`` adds to every set without it, times the share of orders in which that set comes first."""
    num_others = len(sets[-1]) - 1
    others = [members for members in sets if name not in members]
    return [
        (value[members | {name}] - value[members]) / (math.comb(num_others, len(members)) * (num_others + 1))
        for members in others
    ]
