"""MultimodalDataModule: a prepared dataset for any Lightning Trainer."""

from typing import Any

import lightning.pytorch as pl
from torch.utils.data import DataLoader

from rollingq.data.base import MultimodalData
from rollingq.data.samplers import make_loader
from rollingq.errors import DataError, unknown_name

Loader = DataLoader[dict[str, Any]]


class MultimodalDataModule(pl.LightningDataModule):
    """Loaders of ``{modality: [B, ...], "label": [B], "mask": {...}}`` over the three splits of a dataset.

    The order of an epoch, and its crops and flips, depend on seed and epoch alone; validation and test are the same
    at every call. Inputs are normalised by the training split.

    Args:
        data: What ``rollingq.data.registry.load`` or ``rollingq.data.prepared.load_folder`` gave.
        batch_size: Samples of a training batch; validation and test take four times as many.
        seed: Of order, crops and flips.
        is_augmented: Whether training crops and flips frames at random.
        chosen_by: Split that validation reads.
        num_workers: Processes that read batches ahead.

    Raises:
        DataError: If there is no split ``chosen_by``.

    Example:
        >>> from rollingq.data.registry import load
        >>> module = MultimodalDataModule(load("av_digits", modalities=["audio"]), batch_size=8)
        >>> next(iter(module.train_dataloader()))["audio"].shape
        torch.Size([8, 12, 80])
    """

    def __init__(
        self,
        data: MultimodalData,
        batch_size: int = 64,
        *,
        seed: int = 0,
        is_augmented: bool = True,
        chosen_by: str = "val",
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if chosen_by not in data.splits:
            raise DataError(unknown_name("chosen_by", chosen_by, data.splits))
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self.is_augmented, self.chosen_by, self.num_workers = is_augmented, chosen_by, num_workers

    def train_dataloader(self) -> Loader:
        """Return the shuffled, augmented training split."""
        split = self.data.splits["train"]
        return make_loader(
            split, self.batch_size, self.seed, is_augmented=self.is_augmented, num_workers=self.num_workers
        )

    def val_dataloader(self) -> Loader:
        """Return the split that chooses, in its own order."""
        return self._in_order(self.chosen_by)

    def test_dataloader(self) -> Loader:
        """Return the test split, in its own order."""
        return self._in_order("test")

    def _in_order(self, split: str) -> Loader:
        return make_loader(
            self.data.splits[split], 4 * self.batch_size, self.seed, shuffle=False, num_workers=self.num_workers
        )
