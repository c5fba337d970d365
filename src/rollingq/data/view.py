"""One sample as people should see it: its arrays, what they are, and the label. Importable without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from rollingq.data.spec import Kind
from rollingq.errors import DataError, unknown_name

if TYPE_CHECKING:
    from rollingq.data.base import MultimodalData


@dataclass(frozen=True)
class Panel:
    """One modality of a sample: as stored (pixels 0 to 255), or normalised where it is held in memory."""

    kind: Kind
    array: Shaped[np.ndarray, "..."]
    mask: Shaped[np.ndarray, " T"] | None
    """True at real tokens or frames; None if all are."""


@dataclass(frozen=True)
class SampleView:
    """One sample of a dataset."""

    dataset: str
    split: str
    index: int
    name: str
    label: str
    panels: Mapping[str, Panel]


def view_sample(data: "MultimodalData", split: str, index: int) -> SampleView:
    """Return one sample for people.

    Args:
        data: The dataset.
        split: "train", "val" or "test".
        index: Number of the sample in its split, from 0.

    Raises:
        DataError: If there is no such split, or no such sample in it.

    Example:
        >>> from rollingq.data.registry import load
        >>> view_sample(load("av_digits", modalities=["audio"]), "test", 3).panels["audio"].array.shape
        (12, 80)
    """
    import torch

    from rollingq.data.rows import MappedRows

    if split not in data.splits:
        raise DataError(unknown_name("split", split, data.splits))
    found = data.splits[split]
    if not 0 <= index < len(found):
        raise DataError(
            f"Expected an index from 0 to {len(found) - 1} in {split} of {data.name}, which has {len(found)} samples, "
            f"but got {index}; choose another."
        )
    at = torch.tensor([index])
    panels = {}
    for name, rows in found.inputs.items():
        sample = rows.raw(at) if isinstance(rows, MappedRows) else rows[at]
        mask = found.masks.get(name)
        panels[name] = Panel(
            data.modalities[name].kind, sample[0].numpy(), None if mask is None else mask[index].numpy()
        )
    label = data.classes[int(found.labels[index])]
    return SampleView(data.name, split, index, found.names[index], label, panels)
