"""Where the inputs of every modality lie: what noise is scaled by, and what stands for an absent modality."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from rollingq.errors import DataError
from rollingq.evaluation.batches import BatchForm
from rollingq.evaluation.moments import InputMoments
from rollingq.evaluation.variants import Scale

MAX_MOMENTS = 1000
"""Most training samples that the mean input is taken over."""
ROUNDING = 1e-12
"""Spread of constant inputs that is rounding alone, as a share of their mean."""


def measure_scales(
    form: BatchForm, loader: Iterable[Any], *, is_normalised: bool, needs_mean: bool
) -> tuple[dict[str, Scale], dict[str, str]]:
    """Return modality -> where its inputs lie, and modality -> why its inputs cannot be noised.

    Args:
        form: Where the inputs stand in a batch.
        loader: Batches; at most ``MAX_MOMENTS`` samples are read.
        is_normalised: Whether inputs have mean 0 and deviation 1.
        needs_mean: Whether the mean of every element is needed; without, one batch of normalised inputs is read.

    Raises:
        DataError: If there is no sample to measure.
    """
    inputs: dict[str, _Inputs] = {name: _Inputs() for name in form.inputs}
    seen = 0
    for batch in loader:
        for name, values in form.modalities(batch).items():
            inputs[name].add(values, form.mask(batch, name))
        seen += len(form.labels(batch))
        if seen >= MAX_MOMENTS or (is_normalised and not needs_mean):
            break
    if not seen:
        raise DataError("Expected at least one sample, but the loader gave none.")
    fixed = {name: why for name, found in inputs.items() if (why := found.why_fixed(is_normalised))}
    return {name: found.scale(is_normalised) for name, found in inputs.items() if name not in fixed}, fixed


class _Inputs:
    """Moments of one modality's inputs, of every element as long as all batches have one shape."""

    def __init__(self) -> None:
        self._elements, self._all = InputMoments(), InputMoments()
        self._shapes: set[torch.Size] = set()
        self._fixed = ""

    def add(self, values: Any, mask: Tensor | None) -> None:  # noqa: ANN401
        if not isinstance(values, Tensor):
            self._fixed = f"its inputs are no tensors ({type(values).__name__}), to which no noise can be added"
        elif not values.is_floating_point():
            self._fixed = "its inputs are whole numbers, to which no noise can be added"
        elif values.numel():
            self._shapes.add(values.shape[1:])
            self._all.add(values.reshape(-1))
            if len(self._shapes) == 1:
                self._elements.add(values, mask)

    def why_fixed(self, is_normalised: bool) -> str:
        if self._fixed or is_normalised:
            return self._fixed
        if not self._all.num_samples:
            return "its inputs are empty"
        if not math.isfinite(self._all.std):
            return "its inputs hold NaN or infinity, so that noise has no scale"
        is_constant = self._all.std <= ROUNDING * abs(self._all.scalar_mean)
        return "its inputs never change, so that noise has no scale" if is_constant else ""

    def scale(self, is_normalised: bool) -> Scale:
        mean, std = (0.0, 1.0) if is_normalised else (self._all.scalar_mean, self._all.std)
        return Scale(mean, std, self._elements.mean if len(self._shapes) == 1 else self._all.scalar_mean)
