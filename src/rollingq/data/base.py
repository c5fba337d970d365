"""What a dataset is: named modalities, three splits, and a manifest that tells its story."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Int
from torch import Tensor

from rollingq.data.augment import Draws
from rollingq.data.rows import MappedRows, Rows
from rollingq.data.spec import ModalitySpec


@dataclass(frozen=True)
class Split:
    """One split: N samples of every modality, their labels, and masks where tokens or modalities can be absent."""

    inputs: Mapping[str, Rows]
    """Modality -> samples ``[N, ...]``: a tensor, or rows that are read when they are asked for."""
    labels: Int[Tensor, " N"]
    masks: Mapping[str, Bool[Tensor, "N T"]]
    """Modality -> True at real tokens (frames; one column for an image); one without an entry is always whole."""
    names: list[str]
    """One name a sample, for people (file stem or source)."""

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Int[Tensor, " B"] | slice, draws: Draws | None = None) -> dict[str, Any]:
        """Return the samples at ``index`` as ``{modality: tensor, "label": tensor, "mask": {...}}``.

        Args:
            index: Which samples.
            draws: Chance for crops and flips of the modalities that training augments; None changes nothing.
        """
        return {
            **{name: _read(rows, index, draws) for name, rows in self.inputs.items()},
            "label": self.labels[index],
            "mask": {name: mask[index] for name, mask in self.masks.items()},
        }


def _read(rows: Rows, index: Tensor | slice, draws: Draws | None) -> Tensor:
    if draws is not None and isinstance(index, Tensor) and isinstance(rows, MappedRows) and rows.is_augmented:
        return rows.augmented(index, draws)
    return rows[index]


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
