"""Variants: every way in which a test sample is shown to a model, planned once so that measures share passes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from rollingq.config import DiagnoseConfig
from rollingq.evaluation.noise import ABSENT, absent, noised
from rollingq.evaluation.shapley import coalitions


@dataclass(frozen=True)
class Scale:
    """Where the inputs of a modality lie: what noise is scaled by, and what stands for an absent one.

    Attributes:
        mean: Mean over all elements and samples.
        std: Standard deviation over all of them.
        element_mean: Mean of every element over the samples ``[...]``, or one number for all of them.
    """

    mean: float = 0.0
    std: float = 1.0
    element_mean: Float[Tensor, "..."] | float = 0.0


@dataclass(frozen=True)
class Change:
    """What is done to the input of one modality.

    Attributes:
        modality: Which.
        kind: A kind of noise (:data:`rollingq.evaluation.noise.KINDS`), "zero" or "mean".
        level: Level of the noise in (0, 1].
        seed: Seed of the noise.
    """

    modality: str
    kind: str
    level: float = 1.0
    seed: int = 0

    def of(self, inputs: Float[Tensor, "B ..."], scale: Scale, first: int) -> Float[Tensor, "B ..."]:
        """Return changed inputs ``[B, ...]`` of the samples first, first + 1, ...

        The noise is a pure function of seed, modality and number of the sample, whatever the batches are.
        """
        stream: dict[str, Any] = {"seed": self.seed, "first": first, "modality": self.modality}
        if self.kind in ABSENT:
            return absent(inputs, self.kind, mean=scale.element_mean, std=scale.std, **stream)
        return noised(inputs, self.kind, self.level, mean=scale.mean, std=scale.std, **stream)


@dataclass(frozen=True)
class Variant:
    """One way to show the data: changed inputs, and an edit of the attention by its name."""

    changes: tuple[Change, ...] = ()
    edit: str | None = None


CLEAN = Variant()
"""The data as it is."""


def replaced(modality: str, seed: int) -> Variant:
    """Return the variant with one modality replaced by pure noise (paper, Fig. 1c, Table 2)."""
    return Variant((Change(modality, "mix", 1.0, seed),))


def noise_levels(config: DiagnoseConfig, modality: str, kind: str, first_seed: int) -> dict[float, list[Variant]]:
    """Return level -> one variant a seed of the noise; level 1 of "mix" is :func:`replaced`."""
    seeds = range(first_seed, first_seed + config.noise_seeds)
    return {level: [Variant((Change(modality, kind, level, seed),)) for seed in seeds] for level in config.levels}


def coalition_variants(modalities: tuple[str, ...], absent: str, seed: int) -> dict[frozenset[str], Variant]:
    """Return present modalities -> the variant in which the others are absent; "noise" shares :func:`replaced`."""
    kind = "mix" if absent == "noise" else absent
    seed = seed if absent == "noise" else 0
    return {
        present: Variant(tuple(Change(name, kind, 1.0, seed) for name in modalities if name not in present))
        for present in coalitions(modalities)
    }


@dataclass(frozen=True)
class Plan:
    """Which variants the measures need; each is read once, however many measures ask for it.

    Attributes:
        noise: Modality replaced by noise -> variant.
        curves: (kind, modality) -> level -> variants, one a seed.
        coalitions: Absent kind -> present modalities -> variant.
        edits: Name of the edit -> variant.
    """

    noise: Mapping[str, Variant]
    curves: Mapping[tuple[str, str], Mapping[float, list[Variant]]]
    coalitions: Mapping[str, Mapping[frozenset[str], Variant]]
    edits: Mapping[str, Variant]

    @property
    def variants(self) -> list[Variant]:
        """All variants, each once, the clean one first."""
        return list(dict.fromkeys(self._all()))

    @property
    def kept(self) -> set[Variant]:
        """The variants whose values are kept a sample: clean, and each modality replaced by noise."""
        return {CLEAN, *self.noise.values()}

    def _all(self) -> Iterable[Variant]:
        yield CLEAN
        yield from self.noise.values()
        yield from (v for levels in self.curves.values() for variants in levels.values() for v in variants)
        yield from (v for found in self.coalitions.values() for v in found.values())
        yield from self.edits.values()


MAX_COALITIONS = 6
"""Most modalities for which all coalitions are read: there are 2^M of them."""


def make_plan(
    config: DiagnoseConfig,
    modalities: tuple[str, ...],
    changeable: tuple[str, ...],
    edits: Iterable[str],
    *,
    first_seed: int = 0,
) -> Plan:
    """Return what has to be read for the measures.

    Args:
        config: Which measures, at which levels.
        modalities: Names of the modalities.
        changeable: Those whose inputs can be noised.
        edits: Names of the edits of attention.
        first_seed: First seed of the noise.

    Example:
        >>> plan = make_plan(DiagnoseConfig(measures=("contributions",)), ("audio", "image"), ("audio", "image"), ())
        >>> len(plan.variants)
        10
    """
    has = set(config.measures)
    is_small = "contributions" in has and changeable == modalities and len(modalities) <= MAX_COALITIONS
    return Plan(
        noise={name: replaced(name, first_seed) for name in changeable},
        curves={
            (kind, name): noise_levels(config, name, kind, first_seed)
            for kind in (config.kinds if "noise" in has else ())
            for name in changeable
        },
        coalitions={how: coalition_variants(modalities, how, first_seed) for how in (ABSENT if is_small else ())},
        edits={name: Variant(edit=name) for name in (edits if "interventions" in has else ())},
    )
