"""What a dataset is: named modalities of token sequences, three splits, and a manifest that tells its story."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class ModalitySpec:
    """Form of one modality's input: ``length`` tokens of ``dim`` numbers."""

    length: int
    dim: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample's input."""
        return self.length, self.dim


@dataclass(frozen=True)
class Split:
    """One split, in memory: N samples of every modality, their labels, and masks where lengths differ."""

    inputs: Mapping[str, Float[Tensor, "N L F"]]
    labels: Int[Tensor, " N"]
    masks: Mapping[str, Bool[Tensor, "N L"]]
    """Modality -> True at real tokens; a modality without an entry has no padding."""
    names: list[str]
    """One name a sample, for people (file stem or source)."""

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return the samples at ``index`` as ``{modality: tensor, "label": tensor, "mask": {...}}``."""
        return {
            **{name: tensor[index] for name, tensor in self.inputs.items()},
            "label": self.labels[index],
            "mask": {name: mask[index] for name, mask in self.masks.items()},
        }


@dataclass(frozen=True)
class MultimodalData:
    """A dataset ready for training: ``splits`` holds "train", "val" and "test", normalised by "train"."""

    name: str
    modalities: Mapping[str, ModalitySpec]
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    manifest: Mapping[str, Any]
    """Source, licence, recipe, checksums, counts, skipped recordings: what the report prints."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Modality -> shape of one sample's input."""
        return {name: spec.shape for name, spec in self.modalities.items()}
