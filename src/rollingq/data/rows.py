"""Samples that stay on the disk: shards mapped into memory, read and normalised a batch at a time."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rollingq.data.augment import Draws, augment
from rollingq.data.spec import ModalitySpec


class Rows(Protocol):
    """N samples of one modality: a tensor, or anything that gives the samples at an index of integers."""

    @property
    def shape(self) -> torch.Size:
        """``(N, ...)``."""

    def __getitem__(self, index: Any, /) -> Tensor:  # noqa: ANN401
        """Return the samples at ``index``."""


class Normaliser:
    """Subtracts a mean and divides by a standard deviation; single precision out.

    Args:
        spec: Form of the modality: says which axis the statistics belong to.
        mean: One number a feature, a channel, or one for all.
        std: As many.

    Raises:
        ValueError: If there are more or fewer of them, or one cannot be divided by.
    """

    def __init__(self, spec: ModalitySpec, mean: Sequence[float], std: Sequence[float]) -> None:
        self._spec = spec
        # What is stored in single precision is normalised in double; the grids of uint8 and half precision are coarser.
        dtype = torch.float64 if spec.dtype == "float32" else torch.float32
        size = spec.num_statistics
        if not len(mean) == len(std) == size:
            raise ValueError(f"expected {size} statistics, got {len(mean)} means and {len(std)} deviations")
        form = (size, 1, 1) if spec.statistics == "channel" else (size,)
        self.mean, self.std = (torch.tensor(numbers, dtype=dtype).reshape(form) for numbers in (mean, std))
        if not (self.mean.isfinite().all() and self.std.isfinite().all() and (self.std > 0).all()):
            raise ValueError("statistics are not finite, or a standard deviation is 0")

    @classmethod
    def of_nothing(cls, spec: ModalitySpec) -> "Normaliser":
        """Return one that leaves numbers as they are."""
        return cls(spec, [0.0] * spec.num_statistics, [1.0] * spec.num_statistics)

    def __call__(self, raw: Tensor, mask: Bool[Tensor, "B T"] | None = None) -> Float[Tensor, "B ..."]:
        """Return normalised samples, with zeros where the mask is False."""
        numbers = raw.to(self.mean.dtype)
        normalised = numbers.sub_(self.mean) if numbers is not raw else numbers - self.mean
        normalised = normalised.div_(self.std).float()
        if mask is None:
            return normalised
        per_part = mask if len(self._spec.shape) in (2, 4) else mask[:, 0]
        return normalised.masked_fill_(~per_part.reshape(*per_part.shape, *[1] * (raw.dim() - per_part.dim())), 0.0)


class MappedRows:
    """Samples in the shards of one split, normalised when they are read.

    Args:
        shards: Tensors ``[n, ...]`` that together are the samples; mapped files, or parts of them in memory.
        spec: Form of a sample.
        normaliser: Applied to every batch.
        mask: ``[N, T]``, True where real, or None.
    """

    def __init__(
        self, shards: Sequence[Tensor], spec: ModalitySpec, normaliser: Normaliser, mask: Tensor | None = None
    ) -> None:
        self._shards = list(shards) or [torch.zeros(0, *spec.shape, dtype=getattr(torch, spec.dtype))]
        self._ends = torch.tensor([len(shard) for shard in self._shards]).cumsum(0)
        self._spec, self._normalise, self._mask = spec, normaliser, mask

    @property
    def shape(self) -> torch.Size:
        """``(N, ...)``."""
        return torch.Size((int(self._ends[-1]), *self._spec.shape))

    def __getitem__(self, index: Int[Tensor, " B"] | slice) -> Float[Tensor, "B ..."]:
        """Return normalised samples."""
        at = torch.arange(self.shape[0])[index] if isinstance(index, slice) else index
        return self._normalise(self.raw(at), None if self._mask is None else self._mask[at])

    def augmented(self, index: Int[Tensor, " B"], draws: Draws) -> Float[Tensor, "B ..."]:
        """Return normalised samples, cropped and flipped at random."""
        images = augment(self.raw(index), draws, is_flow=self._spec.kind == "flow")
        return self._normalise(images, None if self._mask is None else self._mask[index])

    @property
    def is_augmented(self) -> bool:
        """Whether training should ask for ``augmented`` samples."""
        return self._spec.is_augmented

    def raw(self, index: Int[Tensor, " B"]) -> Tensor:
        """Return samples as they are stored.

        Raises:
            IndexError: If there is no such sample.
        """
        if len(self._shards) == 1:
            return self._shards[0][index]
        index = torch.where(index < 0, index + self.shape[0], index)
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < self.shape[0]:
            raise IndexError(f"expected samples below {self.shape[0]}, got {index.tolist()}")
        shard = torch.bucketize(index, self._ends, right=True)
        found = torch.empty(len(index), *self._spec.shape, dtype=self._shards[0].dtype)
        for number in shard.unique().tolist():
            here = (shard == number).nonzero()[:, 0]
            start = int(self._ends[number - 1]) if number else 0
            found[here] = self._shards[number][index[here] - start]
        return found
