"""InputMoments: where the inputs of a modality lie, a batch at a time."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from rollingq.data.prepare.moments import Moments
from rollingq.errors import DataError, ShapeError


class InputMoments:
    """Mean and standard deviation of a modality's inputs, a batch at a time, in double precision.

    Memory is that of one sample. What stands in padding is not counted.

    Attributes:
        num_samples: How many samples were seen.

    Example:
        >>> moments = InputMoments()
        >>> moments.add(torch.tensor([[0.0, 2.0], [4.0, 2.0]]))
        >>> moments.mean, moments.scalar_mean, round(moments.std, 4)
        (tensor([2., 2.], dtype=torch.float64), 2.0, 1.4142)
    """

    def __init__(self) -> None:
        self.num_samples = 0
        self._counts = torch.zeros(0)
        self._means = torch.zeros(0)
        self._all = Moments(0, np.zeros(1), np.zeros(1))

    def add(self, inputs: Shaped[Tensor, "B ..."], mask: Bool[Tensor, "B T"] | None = None) -> None:
        """Count a batch.

        Args:
            inputs: ``[B, ...]``.
            mask: True at real parts along axis 1, ``[B, T]``, or one column for whole samples ``[B, 1]``.

        Raises:
            ShapeError: If the samples have another shape than those before.
        """
        if not self.num_samples:
            self._counts = self._means = torch.zeros(inputs.shape[1:], dtype=torch.float64)
        if inputs.shape[1:] != self._means.shape:
            raise ShapeError(
                f"Expected samples of shape {list(self._means.shape)}, but got {list(inputs.shape[1:])}; "
                "use one InputMoments a modality."
            )
        is_real = torch.ones((), dtype=torch.bool) if mask is None else _spread(mask.cpu(), inputs)
        is_real = is_real.expand(inputs.shape)
        numbers = torch.where(is_real, inputs.detach().to("cpu", torch.float64), 0.0)
        self.num_samples += len(inputs)
        self._all += _moments(numbers, is_real)
        counts = is_real.sum(0)
        self._counts = self._counts + counts
        self._means = self._means + (numbers.sum(0) - counts * self._means) / self._counts.clamp_min(1)

    @property
    def mean(self) -> Float[Tensor, "..."]:
        """Mean of every element, ``[...]``; the scalar mean where an element was never real."""
        return torch.where(self._counts > 0, self._means, self.scalar_mean)

    @property
    def scalar_mean(self) -> float:
        """Mean of all numbers."""
        return float(self._known.mean[0])

    @property
    def std(self) -> float:
        """Standard deviation of all numbers around the scalar mean; 0 where nothing varies."""
        return float(np.sqrt(self._known.squares[0] / self._known.count))

    @property
    def _known(self) -> Moments:
        if not self._all.count:
            raise DataError("Expected at least one real number before asking for moments, but got none; add a batch.")
        return self._all


def _spread(mask: Tensor, inputs: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (inputs.dim() - mask.dim()))


def _moments(numbers: Tensor, is_real: Tensor) -> Moments:
    """Return the moments of all real numbers together."""
    count = int(is_real.sum())
    mean = numbers.sum() / max(count, 1)
    squares = torch.where(is_real, numbers - mean, 0.0).square().sum()
    return Moments(count, mean.reshape(1).numpy(), squares.reshape(1).numpy())
