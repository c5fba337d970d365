"""Tokens and masks for fusions, and the comparison with a formula for one sample in float64 NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rollingq.nn.fusion import Fusion
from rollingq.testing.oracle import Array, as_array

D, C = 4, 3
LENGTHS = {"audio": 4, "image": 3, "text": 5}
MASKS = {  # Full, shorter, with a hole, and (audio only) absent.
    "audio": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]).bool(),
    "text": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 1], [1, 1, 1, 1, 0]]).bool(),
}
Sample = dict[str, Array]
Real = dict[str, list[bool]]
two_or_three = pytest.mark.parametrize("number", [2, 3])
masked_or_not = pytest.mark.parametrize("is_masked", [False, True])


def names(number: int) -> tuple[str, ...]:
    return tuple(LENGTHS)[:number]


def some_tokens(seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(4, length, D, generator=generator, dtype=torch.float64) for name, length in LENGTHS.items()
    }


def check(
    fusion: Fusion,
    formula: Callable[[Any, Sample, Real], Array],
    is_masked: bool,
    *,
    size: int = 4,
    tolerance: float = 1e-11,
) -> None:
    """Compare the logits of the first samples with the formula."""
    tokens = {name: part[:size] for name, part in some_tokens().items()}
    masks = {name: mask[:size] for name, mask in MASKS.items()} if is_masked else {}
    found = fusion(tokens, masks).logits.detach().numpy()
    assert found.shape == (size, C)
    for i in range(size):
        sample = {name: as_array(tokens[name][i]) for name in fusion.modalities}
        real = {name: masks[name][i].tolist() if name in masks else [True] * len(sample[name]) for name in sample}
        np.testing.assert_allclose(found[i], formula(fusion, sample, real), rtol=tolerance, atol=tolerance)


def class_row(stream: Array, real: list[bool]) -> Array:
    """Return the class token, zero where the modality is absent."""
    return stream[0] if any(real) else np.zeros_like(stream[0])


def class_rows(sample: Sample, real: Real) -> list[Array]:
    return [class_row(sample[name], real[name]) for name in sample]


def joined(fusion: Any, sample: Sample, real: Real) -> tuple[Array, list[bool]]:
    sequence = np.concatenate([as_array(fusion.cls_token)[0], *sample.values()])
    return sequence, [True, *(r for part in real.values() for r in part)]
