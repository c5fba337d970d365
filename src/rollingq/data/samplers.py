"""Order of the samples: a pure function of (seed, epoch), and loaders that fetch whole batches at once."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from rollingq.data.augment import Draws
from rollingq.data.base import Split
from rollingq.errors import DataError


def epoch_order(num_samples: int, *, seed: int, epoch: int) -> Int[Tensor, " N"]:
    """Return the order in which an epoch visits the samples; the global random state is not touched.

    Args:
        num_samples: Samples in the split.
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.

    Example:
        >>> bool((epoch_order(9, seed=0, epoch=1) == epoch_order(9, seed=0, epoch=1)).all())
        True
    """
    mixed = (seed * 1_000_003 + epoch) % 2**63
    return torch.randperm(num_samples, generator=torch.Generator().manual_seed(mixed))


class BatchIndex(NamedTuple):
    """Which samples make a batch, and in which epoch; this is what a worker process is told."""

    samples: Int[Tensor, " B"]
    epoch: int


class EpochSampler(Sampler[BatchIndex]):
    """Yields one index a batch; shuffled by (seed, epoch), so a resumed run sees the same order.

    Given as ``sampler=`` (not ``batch_sampler=``) of a loader with ``batch_size=None``: Lightning then calls
    ``set_epoch`` at the start of every epoch. A loop of one's own calls ``loader.sampler.set_epoch(epoch)``.
    """

    def __init__(self, num_samples: int, batch_size: int, *, seed: int = 0, shuffle: bool = True) -> None:
        if num_samples < 1 or batch_size < 1:
            raise DataError(
                f"Expected a split of at least 1 sample and a batch size of at least 1, but got {num_samples} and "
                f"{batch_size}."
            )
        self.num_samples, self.batch_size, self.seed, self.shuffle = num_samples, batch_size, seed, shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration yields."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[BatchIndex]:
        if self.shuffle:
            order = epoch_order(self.num_samples, seed=self.seed, epoch=self.epoch)
        else:
            order = torch.arange(self.num_samples)
        return (BatchIndex(samples, self.epoch) for samples in order.split(self.batch_size))

    def __len__(self) -> int:
        return -(-self.num_samples // self.batch_size)


class _Batches(Dataset[dict[str, Any]]):
    """A split as a dataset whose items are whole batches."""

    def __init__(self, split: Split, seed: int | None) -> None:
        self.split, self.seed = split, seed

    def __getitem__(self, index: BatchIndex) -> dict[str, Any]:
        draws = None if self.seed is None else Draws.of(index.samples, seed=self.seed, epoch=index.epoch)
        return self.split.batch(index.samples, draws)

    def __len__(self) -> int:
        return len(self.split)


def make_loader(
    split: Split,
    batch_size: int,
    seed: int = 0,
    shuffle: bool = True,
    *,
    is_augmented: bool = False,
    num_workers: int = 0,
) -> DataLoader[dict[str, Any]]:
    """Return a loader of ``{modality: [B, ...], "label": [B], "mask": {...}}``, fetched by fancy indexing.

    Args:
        split: The samples.
        batch_size: Samples of a batch; the last one of an epoch may be smaller.
        seed: Seed of order, crops and flips.
        shuffle: Whether the order changes by epoch; False keeps the order of the split.
        is_augmented: Whether modalities that allow it are cropped and flipped at random: never at test time.
        num_workers: Processes that read batches ahead; 0 reads in this one.

    Raises:
        DataError: If the split is empty or the batch size below 1.
    """
    sampler = EpochSampler(len(split), batch_size, seed=seed, shuffle=shuffle)
    generator = torch.Generator().manual_seed(seed)
    batches = _Batches(split, seed if is_augmented else None)
    return DataLoader(batches, batch_size=None, sampler=sampler, num_workers=num_workers, generator=generator)
