"""Calibration: how far confidence is from accuracy (Guo et al., 2017), at once or batch by batch."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rollingq.errors import ConfigError, DataError, ShapeError
from rollingq.evaluation.ood_scores import exact, msp

STEPS = 2**40
"""Confidence is summed in whole steps of 1 / STEPS, so that sums do not depend on order or batches."""


def expected_calibration_error(
    confidence: Float[Tensor, " N"], is_right: Bool[Tensor, " N"], num_bins: int = 15
) -> float:
    """Return the expected calibration error: ``sum_b |B_b| / N * |accuracy(B_b) - confidence(B_b)|``.

    Bins have equal widths and hold their upper edge: bin b is ``((b - 1) / num_bins, b / num_bins]``, the first one
    with 0. Confidence is rounded to steps of 1e-12.

    Args:
        confidence: Probability of the predicted class, in [0, 1], ``[N]``.
        is_right: Whether the prediction is the label, ``[N]``.
        num_bins: Number of bins.

    Returns:
        In [0, 1]; NaN without samples, or if any confidence is NaN.

    Raises:
        ConfigError: If there is no bin.
        DataError: If a confidence is outside [0, 1].
        ShapeError: If the two differ in length.

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, Section 2.

    Example:
        >>> expected_calibration_error(torch.tensor([0.75, 0.75, 1.0]), torch.tensor([True, False, True]), num_bins=2)
        0.16666666666666666
    """
    bins = CalibrationBins(num_bins)
    bins.add_confidence(confidence, is_right)
    return bins.ece


class CalibrationBins:
    """Accuracy and expected calibration error of any number of samples in the memory of the bins.

    The same samples give the same numbers to the last bit, whatever their order and batches, and those of
    :func:`expected_calibration_error`.

    Args:
        num_bins: Number of bins of equal width.

    Raises:
        ConfigError: If there is no bin.

    Example:
        >>> bins = CalibrationBins()
        >>> bins.add(torch.tensor([[0.0, 0.0], [-9e9, 9e9]]), torch.tensor([1, 1]))
        >>> bins.num_samples, bins.accuracy, bins.ece
        (2, 0.5, 0.25)
    """

    def __init__(self, num_bins: int = 15) -> None:
        if num_bins < 1:
            raise ConfigError(f"Expected num_bins >= 1, but got {num_bins}; 15 is usual.")
        self.num_samples = 0
        """Samples added, with undefined ones."""
        self.num_undefined = 0
        """Samples without a confidence, because their logits hold NaN or +infinity; any makes accuracy and ece NaN."""
        self._num_right = 0
        self._edges = torch.arange(1, num_bins, dtype=torch.float64) / num_bins
        self._gaps = [0] * num_bins
        """Sum of (right - confidence) of each bin, in steps; whole numbers of Python never overflow."""

    def add(self, logits: Float[Tensor, "N C"], labels: Int[Tensor, " N"]) -> None:
        """Add samples.

        Args:
            logits: ``[N, C]``.
            labels: ``[N]``.

        Raises:
            ShapeError: If the two do not fit.
        """
        if logits.ndim != 2 or labels.shape != logits.shape[:1]:
            raise ShapeError(
                f"Expected logits [N, C] and labels [N], but got {list(logits.shape)} and {list(labels.shape)}; "
                "give one row a sample."
            )
        found = exact(logits)
        self.add_confidence(msp(found), found.argmax(-1) == labels.cpu())

    def add_confidence(self, confidence: Float[Tensor, " N"], is_right: Bool[Tensor, " N"]) -> None:
        """Add samples by their confidence.

        Args:
            confidence: In [0, 1], or NaN where it is not defined, ``[N]``.
            is_right: Whether the prediction is the label, ``[N]``.

        Raises:
            DataError: If a confidence is outside [0, 1].
            ShapeError: If the two differ in length.
        """
        found, is_right = exact(confidence), is_right.detach().cpu().bool()
        _check(found, is_right)
        is_defined = ~found.isnan()
        self.num_samples += len(found)
        self.num_undefined += len(found) - int(is_defined.sum())
        found, is_right = found[is_defined], is_right[is_defined]
        self._num_right += int(is_right.sum())
        steps = is_right.long() * STEPS - (found * STEPS).round().long()
        gaps = torch.zeros(len(self._gaps), dtype=torch.int64)
        gaps.index_add_(0, torch.bucketize(found, self._edges), steps)
        self._gaps = [old + new for old, new in zip(self._gaps, gaps.tolist(), strict=True)]

    @property
    def accuracy(self) -> float:
        """Fraction of samples whose largest logit is the label; NaN without samples, or if any is undefined."""
        return self._num_right / self.num_samples if self._is_defined else math.nan

    @property
    def ece(self) -> float:
        """Expected calibration error in [0, 1]; NaN without samples, or if any is undefined."""
        return sum(map(abs, self._gaps)) / (self.num_samples * STEPS) if self._is_defined else math.nan

    @property
    def _is_defined(self) -> bool:
        return self.num_samples > 0 and self.num_undefined == 0


def _check(confidence: Tensor, is_right: Tensor) -> None:
    if confidence.ndim != 1 or confidence.shape != is_right.shape:
        raise ShapeError(
            f"Expected confidence [N] and is_right [N], but got {list(confidence.shape)} and {list(is_right.shape)}; "
            "give one value a sample."
        )
    is_outside = (confidence < 0) | (confidence > 1)
    if bool(is_outside.any()):
        raise DataError(
            f"Expected confidence in [0, 1], but got {float(confidence[is_outside][0])}; give probabilities, "
            "not logits."
        )
