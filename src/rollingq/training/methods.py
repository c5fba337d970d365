"""Method names: a fusion and what balances it, such as ``mt+rollingq``, ``joint:3`` or ``unimodal:audio``."""

from collections.abc import Sequence
from dataclasses import dataclass

from rollingq.catalogue import BALANCING, FUSIONS, FusionCard, own_blocks
from rollingq.errors import ConfigError, unknown_name

EVERYTHING = "all"
"""The method name that stands for every system of the paper's Table 1 and ours."""


@dataclass(frozen=True)
class Method:
    """One row of a comparison.

    Attributes:
        name: As it stands in tables.
        fusion: Name of the fusion, with its argument.
        balancing: Names of the balancing methods.
        modalities: What it sees, in the order of the keys.
    """

    name: str
    fusion: str
    balancing: tuple[str, ...]
    modalities: tuple[str, ...]


def parse_methods(names: Sequence[str], modalities: Sequence[str]) -> list[Method]:
    """Return the methods behind the names; "unimodal" stands for one method a modality, "all" for every system.

    Args:
        names: Such as ``["unimodal", "concat", "mt", "mt+rollingq+ogm"]``.
        modalities: The modalities of the comparison.

    Raises:
        ConfigError: If a name is unknown or does not fit the modalities.

    Example:
        >>> [m.name for m in parse_methods(["unimodal", "mt+rollingq"], ["audio", "image"])]
        ['unimodal:audio', 'unimodal:image', 'mt+rollingq']
    """
    if not names:
        raise ConfigError("Expected at least one method, but got none; give --methods, such as mt,mt+rollingq.")
    wanted = [one for name in names for one in (systems(len(modalities)) if name == EVERYTHING else [name])]
    methods = [method for name in wanted for method in _parse(name, tuple(modalities))]
    return list(dict.fromkeys(methods))


def systems(num_modalities: int) -> list[str]:
    """Return every fusion that is defined for so many modalities, alone and balanced as the paper's Table 1 does it.

    Example:
        >>> "film" in systems(2), "film" in systems(3), "concat+ogm" in systems(3)
        (True, False, True)
    """
    names = [name for name, card in FUSIONS.items() if card.kind == "unimodal" or card.takes(num_modalities)]
    balanced = ["concat+ogm", "concat+ogm_ge", "concat+pmr", "concat+unimodal_loss", "concat+modality_dropout"]
    rolling = [f"{name}+rollingq" for name in names if FUSIONS[name].rollingq]
    return [*names, *balanced, *rolling, "mt+rollingq+ogm"]


def left_out(num_modalities: int) -> list[str]:
    """Return why each fusion is not among ``systems``: one sentence each.

    Example:
        >>> left_out(3)[0]
        'film needs exactly two modalities'
    """
    fusions = (card for card in FUSIONS.values() if card.kind != "unimodal" and not card.takes(num_modalities))
    return [f"{card.name} needs {card.need}" for card in fusions]


def check_methods(methods: Sequence[Method], num_layers: int, scope: str, mult_memory: str) -> None:
    """Raise ConfigError if a method does not fit the settings, before anything is trained.

    Args:
        methods: What will be trained.
        num_layers: Blocks of the encoders.
        scope: Which queries RollingQ rotates.
        mult_memory: MulT's memory.
    """
    for method in methods:
        base, _, argument = method.fusion.partition(":")
        if base == "joint":
            own_blocks(argument, num_layers)
        is_streams = base == "mmml" or (base == "mult" and mult_memory == "streams")
        if is_streams and "rollingq" in method.balancing and scope != "query":
            raise ConfigError(
                f"Expected --rollingq.scope query for {method.name!r}: its streams rotate class rows alone."
            )


def _parse(name: str, modalities: tuple[str, ...]) -> list[Method]:
    fusion, *balancing = name.split("+")
    base, _, argument = fusion.partition(":")
    if base not in FUSIONS:
        raise ConfigError(unknown_name("the fusion of a method", base, FUSIONS))
    for part in balancing:
        if part not in BALANCING:
            raise ConfigError(unknown_name("what follows '+' in a method", part, BALANCING))
    repeated = sorted({part for part in balancing if balancing.count(part) > 1})
    if repeated:
        raise ConfigError(f"Expected each balancing method once in {name!r}, but got {', '.join(repeated)} twice.")
    if {"ogm", "ogm_ge"} <= set(balancing):
        raise ConfigError(f"Expected either ogm or ogm_ge in {name!r}: the second is the first with noise.")
    if base == "unimodal":
        return _unimodal(name, argument, balancing, modalities)
    _check(name, FUSIONS[base], argument, balancing, modalities)
    return [Method(name, fusion, tuple(balancing), modalities)]


def _unimodal(name: str, only: str, balancing: list[str], modalities: tuple[str, ...]) -> list[Method]:
    if balancing:
        raise ConfigError(f"Expected nothing to balance in {name!r}: a unimodal model has one modality.")
    if only and only not in modalities:
        raise ConfigError(unknown_name("the modality of a unimodal method", only, modalities))
    return [Method(f"unimodal:{m}", "unimodal", (), (m,)) for m in ([only] if only else modalities)]


def _check(name: str, card: FusionCard, argument: str, balancing: list[str], modalities: tuple[str, ...]) -> None:
    """Raise ConfigError if a fusion does not take its argument, the modalities or RollingQ."""
    if argument and card.argument is None:
        raise ConfigError(f"Expected {card.name!r} without ':{argument}'; choose its modalities with --modalities.")
    if not card.takes(len(modalities)):
        raise ConfigError(f"Expected {card.need} for {name!r}, but got {', '.join(modalities)}.")
    if "rollingq" in balancing and not card.rollingq:
        raise ConfigError(
            "Expected a fusion with attention in which modalities compete before '+rollingq' "
            f"({', '.join(c.name for c in FUSIONS.values() if c.rollingq)}), but got {name!r}."
        )
