"""Classes that stay inside a training and classes that are left out, to be detected at test time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rollingq.data.base import MultimodalData, Split
from rollingq.data.rows import MappedRows, Rows
from rollingq.errors import DataError, unknown_name

OUTSIDE = -1
"""Label of a sample whose class the training does not know."""


def keep_classes(data: MultimodalData, num_inside: int) -> MultimodalData:
    """Return a dataset of its first classes only, in every split; the manifest notes what stays and what is left out.

    The inputs stay normalised by *all* training samples, those of the classes that are left out too: mean and
    standard deviation are facts of the sensors, and the samples outside have to be on the same scale.

    Args:
        data: A dataset of C classes.
        num_inside: How many stay, from 1 to C - 1; in the dataset's order, so that labels are 0 .. num_inside - 1.

    Raises:
        DataError: If the number does not fit, or a split would keep no sample.

    Example:
        >>> from rollingq.data.registry import load
        >>> kept = keep_classes(load("av_digits", modalities=["audio"]), 8)
        >>> kept.name, kept.classes[-1], int(kept.splits["test"].labels.max())
        ('av_digits (8 of 10 classes)', 'seven', 7)
    """
    _check(data, num_inside)
    splits = {name: _chosen(split, split.labels < num_inside) for name, split in data.splits.items()}
    if empty := [name for name, split in splits.items() if not len(split)]:
        raise DataError(
            f"Expected samples of the first {num_inside} classes of {data.name} in every split, but got none in "
            f"{', '.join(empty)}; keep more classes."
        )
    return replace(
        data,
        name=f"{data.name} ({num_inside} of {len(data.classes)} classes)",
        classes=data.classes[:num_inside],
        splits=splits,
        manifest={**data.manifest, **_note(data.classes, num_inside)},
    )


def outside_samples(data: MultimodalData, num_inside: int, split: str = "test") -> Split:
    """Return the samples of the classes that :func:`keep_classes` leaves out; their labels are all -1.

    Args:
        data: The whole dataset, with all C classes.
        num_inside: How many classes stay inside, from 1 to C - 1.
        split: Which split to take them from.

    Raises:
        DataError: If the number or the split does not fit, or there is no such sample.

    Example:
        >>> from rollingq.data.registry import load
        >>> outside = outside_samples(load("av_digits", modalities=["audio"]), 8)
        >>> outside.inputs["audio"].shape[0] == len(outside), outside.labels.unique().tolist()
        (True, [-1])
    """
    _check(data, num_inside)
    if split not in data.splits:
        raise DataError(unknown_name("split", split, data.splits))
    found = _chosen(data.splits[split], data.splits[split].labels >= num_inside)
    if not len(found):
        raise DataError(
            f"Expected samples of the last {len(data.classes) - num_inside} classes of {data.name} in {split}, but got "
            "none; keep fewer classes."
        )
    return replace(found, labels=torch.full_like(found.labels, OUTSIDE))


def _check(data: MultimodalData, num_inside: int) -> None:
    most = len(data.classes) - 1
    if not 1 <= num_inside <= most:
        raise DataError(
            f"Expected to keep from 1 to {most} classes of {data.name}, which has {most + 1}, but got {num_inside}; "
            "some have to be left out."
        )


def _note(classes: Sequence[str], num_inside: int) -> Mapping[str, Any]:
    return {
        "classes_inside": list(classes[:num_inside]),
        "classes_outside": list(classes[num_inside:]),
        "normalised_by": "all training samples, those of the classes outside too",
    }


def _chosen(split: Split, is_chosen: Tensor) -> Split:
    at = is_chosen.nonzero()[:, 0]
    return Split(
        inputs={name: _rows(rows, at) for name, rows in split.inputs.items()},
        labels=split.labels[at],
        masks={name: mask[at] for name, mask in split.masks.items()},
        names=[split.names[number] for number in at.tolist()],
    )


def _rows(rows: Rows, at: Int[Tensor, " K"]) -> Rows:
    """Return some of the samples: what is in memory is copied, all else is read when it is asked for."""
    if isinstance(rows, Tensor):
        return rows[at]
    return _MappedPart(rows, at) if isinstance(rows, MappedRows) else _Part(rows, at)


@dataclass(frozen=True)
class _Part:
    """Samples ``at`` of any rows."""

    rows: Rows
    at: Int[Tensor, " K"]

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.at), *self.rows.shape[1:]))

    def __getitem__(self, index: Any) -> Float[Tensor, "B ..."]:  # noqa: ANN401
        return self.rows[self.at[index]]


class _MappedPart(MappedRows):
    """Samples ``at`` of mapped rows: read, normalised and augmented as those are."""

    def __init__(self, rows: MappedRows, at: Int[Tensor, " K"]) -> None:
        mask = None if rows._mask is None else rows._mask[at]
        super().__init__(rows._shards, rows._spec, rows._normalise, mask)
        self._rows, self._at = rows, at

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self._at), *self._spec.shape))

    def raw(self, index: Int[Tensor, " B"]) -> Tensor:
        return self._rows.raw(self._at[index])
