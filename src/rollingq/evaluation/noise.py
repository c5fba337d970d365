"""Replace a modality's input by Gaussian noise (paper, Fig. 1c, Table 2)."""

from dataclasses import replace

import torch

from rollingq.data.base import Split


def replace_by_noise(split: Split, modality: str, *, seed: int = 0) -> Split:
    """Return the split with one modality's input replaced by i.i.d. N(0, 1) noise.

    Inputs are normalised by the training split, so the noise has their scale and holds no information.

    Args:
        split: The clean split.
        modality: What to replace.
        seed: Of the noise; the same seed gives the same noise.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(split.inputs[modality].shape, generator=generator)
    return replace(split, inputs={**split.inputs, modality: noise})
