"""The catalogue of methods, free of torch: fusions and balancing methods, what each needs, its name for people."""

from dataclasses import dataclass
from typing import Literal

from rollingq.errors import ConfigError

Kind = Literal["unimodal", "static", "dynamic"]


@dataclass(frozen=True)
class FusionCard:
    """What a fusion is and needs; its page is docs/methods/NAME.md.

    Attributes:
        name: As it stands in method names.
        title: For people.
        kind: "static" weighs modalities alike in every sample, "dynamic" by attention.
        min_modalities: Fewest modalities.
        max_modalities: Most modalities, None = any number.
        rollingq: Whether RollingQ has an attention to drive: "paper" as the paper defines it, "our reading"
            where the paper says that it does but not how, None if not.
        argument: What may follow ":" in a method name, None if nothing.
    """

    name: str
    title: str
    kind: Kind
    min_modalities: int = 2
    max_modalities: int | None = None
    rollingq: Literal["paper", "our reading"] | None = None
    argument: Literal["modality", "block"] | None = None

    def takes(self, num_modalities: int) -> bool:
        """Return whether the fusion is defined for so many modalities."""
        return self.min_modalities <= num_modalities <= (self.max_modalities or num_modalities)

    @property
    def need(self) -> str:
        """How many modalities it needs, in words."""
        if self.max_modalities is None:
            return "at least two modalities"
        return "exactly one modality" if self.max_modalities == 1 else "exactly two modalities"


@dataclass(frozen=True)
class BalancingCard:
    """What a balancing method is; its page is docs/methods/NAME.md."""

    name: str
    title: str


FUSIONS = {
    card.name: card
    for card in (
        FusionCard("unimodal", "Unimodal", "unimodal", 1, 1, argument="modality"),
        FusionCard("sum", "Sum", "static"),
        FusionCard("concat", "Concat", "static"),
        FusionCard("film", "FiLM", "static", max_modalities=2),
        FusionCard("gated", "Gated", "static", max_modalities=2),
        FusionCard("mt", "Vanilla MT", "dynamic", rollingq="paper"),
        FusionCard("mt_star", "Vanilla MT*", "dynamic", rollingq="paper"),
        FusionCard("mult", "MulT", "dynamic", rollingq="our reading"),
        FusionCard("mbt", "MBT", "dynamic"),
        FusionCard("jmt", "JMT", "dynamic"),
        FusionCard("mmml", "MMML", "dynamic", max_modalities=2, rollingq="our reading"),
        FusionCard("joint", "Fusion from the n-th block", "dynamic", rollingq="our reading", argument="block"),
    )
}
"""Name -> fusion."""

BALANCING = {
    card.name: card
    for card in (
        BalancingCard("rollingq", "RollingQ"),
        BalancingCard("ogm", "OGM"),
        BalancingCard("ogm_ge", "OGM-GE"),
        BalancingCard("pmr", "PMR"),
        BalancingCard("unimodal_loss", "Unimodal losses"),
        BalancingCard("modality_dropout", "Modality dropout"),
    )
}
"""Name -> balancing method."""


def own_blocks(argument: str, num_layers: int) -> int:
    """Return how many of an encoder's blocks each modality keeps to itself in "joint:ARGUMENT" (default: all but one).

    Args:
        argument: Number of the first joint block, from 1, as text; empty = the last block.
        num_layers: Blocks of the encoder.

    Raises:
        ConfigError: If there is no such block, or none would stay before it.

    Example:
        >>> own_blocks("3", 4), own_blocks("", 4)
        (2, 3)
    """
    first = int(argument) if argument.isdecimal() else 0 if argument else num_layers
    if not 2 <= first <= num_layers:
        got = f"joint:{argument}" if argument else "an encoder of one block"
        raise ConfigError(f"Expected joint:N with N from 2 to encoder.num_layers={num_layers}, but got {got}.")
    return first - 1
