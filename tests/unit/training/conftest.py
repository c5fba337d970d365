"""A tiny dataset of two modalities, made on the spot."""

import pytest
import torch

from rollingq.data.base import MultimodalData, Split
from rollingq.data.spec import ModalitySpec


def split(num_samples: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_samples) % 3
    audio = torch.randn(num_samples, 5, 3, generator=generator) + labels[:, None, None]
    image = torch.randn(num_samples, 4, 2, generator=generator) - labels[:, None, None]
    mask = torch.ones(num_samples, 5, dtype=torch.bool)
    mask[::2, 3:] = False
    names = [str(i) for i in range(num_samples)]
    return Split({"audio": audio, "image": image}, labels, {"audio": mask}, names)


@pytest.fixture
def data() -> MultimodalData:
    return MultimodalData(
        name="tiny",
        modalities={"audio": ModalitySpec((5, 3)), "image": ModalitySpec((4, 2))},
        classes=("a", "b", "c"),
        splits={"train": split(24, 0), "val": split(12, 1), "test": split(12, 2)},
        manifest={},
    )
