"""Random resized crops and flips of training frames: a pure function of (seed, epoch, sample)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from rollingq.errors import MissingExtraError

SCALE = (0.08, 1.0)
"""Least and largest share of the area that a crop keeps."""
RATIO = (3 / 4, 4 / 3)
"""Narrowest and widest crop, as width by height."""


@dataclass(frozen=True)
class Draws:
    """What chance decided for each sample of a batch: the same for all its frames and modalities."""

    seeds: Int[Tensor, " B"]

    @classmethod
    def of(cls, index: Int[Tensor, " B"], *, seed: int, epoch: int) -> "Draws":
        """Return the draws of samples in one epoch of one run.

        Example:
            >>> bool((Draws.of(torch.arange(3), seed=0, epoch=1).seeds == torch.arange(3) + 1_000_003).all())
            True
        """
        return cls(index + 1_000_003 * (epoch + 1_009 * seed) % 2**32)


def crop_box(size: tuple[int, int], generator: torch.Generator) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a random crop.

    Args:
        size: Height and width of the image, in pixels.
        generator: Source of chance.

    Source:
        Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6 (as in torchvision's RandomResizedCrop).

    Example:
        >>> top, left, height, width = crop_box((20, 30), torch.Generator().manual_seed(0))
        >>> 0 <= top <= 20 - height and 0 <= left <= 30 - width
        True
    """
    high, wide = size
    for _ in range(10):
        share, stretch, vertical, horizontal = torch.rand(4, generator=generator).tolist()
        area = high * wide * (SCALE[0] + share * (SCALE[1] - SCALE[0]))
        ratio = math.exp(math.log(RATIO[0]) + stretch * math.log(RATIO[1] / RATIO[0]))
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= wide and 0 < height <= high:
            return int(vertical * (high - height + 1)), int(horizontal * (wide - width + 1)), height, width
    side = min(high, wide)
    return (high - side) // 2, (wide - side) // 2, side, side


def augment(images: Tensor, draws: Draws, *, is_flow: bool = False) -> Tensor:
    """Return every sample cropped, resized back, and flipped half of the time.

    Args:
        images: uint8 ``[B, C, H, W]`` or ``[B, T, C, H, W]``; all frames of a sample get the same crop and flip.
        draws: One seed a sample.
        is_flow: Whether channel 0 is motion to the right (128 = none), which a flip turns around.

    Raises:
        MissingExtraError: Without torchvision.
    """
    try:
        from torchvision.transforms.v2.functional import resized_crop
    except ImportError as error:
        raise MissingExtraError("torchvision", "lab") from error
    size = list(images.shape[-2:])
    done = torch.empty_like(images)
    for number, seed in enumerate(draws.seeds.tolist()):
        generator = torch.Generator().manual_seed(seed)
        box = crop_box((size[0], size[1]), generator)
        sample = resized_crop(images[number], *box, size=size, antialias=True)
        is_flipped = bool(torch.rand((), generator=generator) < 0.5)
        done[number] = _flipped(sample, is_flow) if is_flipped else sample
    return done


def _flipped(sample: Tensor, is_flow: bool) -> Tensor:
    flipped = sample.flip(-1)
    if is_flow:
        sideways = flipped.select(-3, 0)
        sideways.copy_((256 - sideways.short()).clamp_max(255))
    return flipped
