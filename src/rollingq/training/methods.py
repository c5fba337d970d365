"""Method names: a fusion and what balances it, such as ``mt+rollingq`` or ``unimodal:audio``."""

from collections.abc import Sequence
from dataclasses import dataclass

from rollingq.balancing.registry import BALANCING
from rollingq.errors import ConfigError, unknown_name

FUSION_NAMES = ("unimodal", "concat", "mt")
"""The names in ``rollingq.nn.registry.FUSIONS``, which imports torch; a test holds them equal."""


@dataclass(frozen=True)
class Method:
    """One row of a comparison.

    Attributes:
        name: As it stands in tables.
        fusion: Name of the fusion.
        balancing: Names of the balancing methods.
        modalities: What it sees, in the order of the keys.
    """

    name: str
    fusion: str
    balancing: tuple[str, ...]
    modalities: tuple[str, ...]


def parse_methods(names: Sequence[str], modalities: Sequence[str]) -> list[Method]:
    """Return the methods behind the names; "unimodal" stands for one method a modality.

    Args:
        names: Such as ``["unimodal", "concat", "mt", "mt+rollingq"]``.
        modalities: The modalities of the comparison.

    Raises:
        ConfigError: If a name is unknown or does not fit the modalities.

    Example:
        >>> [m.name for m in parse_methods(["unimodal", "mt+rollingq"], ["audio", "image"])]
        ['unimodal:audio', 'unimodal:image', 'mt+rollingq']
    """
    if not names:
        raise ConfigError("Expected at least one method, but got none; give --methods, such as mt,mt+rollingq.")
    methods = [method for name in names for method in _parse(name, tuple(modalities))]
    return list(dict.fromkeys(methods))


def _parse(name: str, modalities: tuple[str, ...]) -> list[Method]:
    fusion, *balancing = name.split("+")
    fusion, _, only = fusion.partition(":")
    if fusion not in FUSION_NAMES:
        raise ConfigError(unknown_name("the fusion of a method", fusion, FUSION_NAMES))
    for part in balancing:
        if part not in BALANCING:
            raise ConfigError(unknown_name("what follows '+' in a method", part, BALANCING))
    if fusion != "unimodal":
        return [_fused(name, fusion, tuple(balancing), only, modalities)]
    if balancing:
        raise ConfigError(f"Expected nothing to balance in {name!r}: a unimodal model has one modality.")
    if only and only not in modalities:
        raise ConfigError(unknown_name("the modality of a unimodal method", only, modalities))
    return [Method(f"unimodal:{m}", "unimodal", (), (m,)) for m in ([only] if only else modalities)]


def _fused(name: str, fusion: str, balancing: tuple[str, ...], only: str, modalities: tuple[str, ...]) -> Method:
    if only:
        raise ConfigError(f"Expected {fusion!r} without ':{only}'; choose its modalities with --modalities.")
    if len(modalities) < 2:
        raise ConfigError(f"Expected at least two modalities for {name!r}, but got {', '.join(modalities)}.")
    if "rollingq" in balancing and fusion != "mt":
        raise ConfigError(
            f"Expected a fusion with attention before '+rollingq', such as mt+rollingq, but got {name!r}."
        )
    return Method(name, fusion, balancing, modalities)
