"""Replace a modality's input by Gaussian noise (paper, Fig. 1c, Table 2)."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rollingq.data.base import Split


@dataclass(frozen=True)
class NoiseRows:
    """I.i.d. N(0, 1) noise in place of samples that are too many for memory: a pure function of (seed, sample)."""

    shape: torch.Size
    seed: int

    def __getitem__(self, index: Any) -> Tensor:  # noqa: ANN401
        """Return the noise of the samples at ``index``."""
        at = torch.arange(self.shape[0])[index]
        found = torch.empty(len(at), *self.shape[1:])
        for number, sample in enumerate(at.tolist()):
            found[number].normal_(generator=torch.Generator().manual_seed((self.seed * 1_000_003 + sample) % 2**32))
        return found


def replace_by_noise(split: Split, modality: str, *, seed: int = 0) -> Split:
    """Return the split with one modality's input replaced by i.i.d. N(0, 1) noise.

    Inputs are normalised by the training split, so the noise has their scale and holds no information.

    Args:
        split: The clean split.
        modality: What to replace.
        seed: Of the noise; the same seed gives the same noise.
    """
    rows = split.inputs[modality]
    noise: Tensor | NoiseRows
    if isinstance(rows, Tensor):
        noise = torch.randn(rows.shape, generator=torch.Generator().manual_seed(seed))
    else:
        noise = NoiseRows(rows.shape, seed)
    return replace(split, inputs={**split.inputs, modality: noise})
