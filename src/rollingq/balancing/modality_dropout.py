"""Modality dropout: some training samples lose one modality, so that no fusion can lean on one alone."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from rollingq.balancing.base import Balancing, Batch
from rollingq.config import ModalityDropoutConfig


def drop_one(is_present: Bool[Tensor, "B M"], probability: float) -> Bool[Tensor, "B M"]:
    """Return which modality each sample loses: with the given chance one of those it has, but never its last one.

    The modality is drawn uniformly; draws come from torch's global generator.

    Args:
        is_present: Which modalities each sample has, ``[B, M]``.
        probability: Chance of a sample to lose one.

    Example:
        >>> drop_one(torch.ones(2, 3, dtype=torch.bool), 1.0).sum(1)
        tensor([1, 1])
    """
    is_losing = torch.rand(len(is_present), 1, device=is_present.device) < probability
    order = torch.rand(is_present.shape, device=is_present.device).masked_fill(~is_present, -1.0)
    is_chosen = torch.zeros_like(is_present).scatter_(1, order.argmax(1, keepdim=True), True)
    return is_chosen & is_losing & (is_present.sum(1, keepdim=True) > 1)


class ModalityDropout(Balancing):
    """Replaces one modality of a sample by Gaussian noise (inputs are normalised), or makes it absent.

    Args:
        modalities: Names.
        config: Chance and replacement.
    """

    def __init__(self, modalities: Sequence[str], config: ModalityDropoutConfig) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.config = config

    def change_batch(self, batch: Batch) -> Batch:
        """Return a batch in which some samples have lost a modality; the given one stays as it is."""
        is_noise = self.config.replacement == "noise"
        masks: dict[str, Tensor] = dict(batch.get("mask", {}))
        present = torch.stack([_mask_of(batch[name], masks.get(name)).any(1) for name in self.modalities], dim=1)
        lost = drop_one(present, self.config.probability)
        changed = dict(batch)
        for name, is_lost in zip(self.modalities, lost.unbind(1), strict=True):
            inputs: Tensor = batch[name]
            spread = is_lost.reshape(-1, *[1] * (inputs.dim() - 1))
            changed[name] = torch.where(spread, torch.randn_like(inputs) if is_noise else inputs.new_zeros(()), inputs)
            if not is_noise:
                masks[name] = _mask_of(inputs, masks.get(name)) & ~is_lost.unsqueeze(1)
        return changed if is_noise else {**changed, "mask": masks}


def _mask_of(inputs: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mask of an input: its tokens, its frames, or one position for an image."""
    if mask is not None:
        return mask
    length = 1 if inputs.dim() == 4 else inputs.shape[1]
    return torch.ones(len(inputs), length, dtype=torch.bool, device=inputs.device)
