"""Scores that tell samples inside of the distribution from samples outside; higher = more inside."""

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rollingq.errors import ConfigError, DataError, RollingQWarning, ShapeError
from rollingq.functional import unit_vector

ROWS = 1024
"""Samples whose distances to all train features are in memory at once."""
EPS = torch.finfo(torch.float64).eps


def exact(values: Tensor) -> Tensor:
    """Return the values in float64 on the CPU: all scores are computed there."""
    return values.detach().cpu().double()


def finite(values: Float[Tensor, "N D"], what: str) -> Float[Tensor, "N D"]:
    """Return the values in float64, all of them finite.

    Args:
        values: One row a sample, ``[N, D]``.
        what: Their name in the error.

    Raises:
        DataError: If there is no sample, or one has NaN or an infinite number.
    """
    if len(values) == 0:
        raise DataError(f"Expected {what} of at least one sample, but got none; give samples.")
    num_bad = int((~values.isfinite()).any(-1).sum())
    if num_bad:
        raise DataError(
            f"Expected finite {what}, but got NaN or infinity in {num_bad} of {len(values)} samples; "
            "look for a training that diverged."
        )
    return exact(values)


def msp(logits: Float[Tensor, "N C"]) -> Float[Tensor, " N"]:
    """Return the maximum softmax probability: ``max_c p_c``.

    Args:
        logits: ``[N, C]``.

    Returns:
        Scores in [1 / C, 1], ``[N]``; probabilities above 1 - 1e-16 are ties at 1.

    Source:
        Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural
        Networks", ICLR 2017.

    Example:
        >>> msp(torch.tensor([[0.0, 0.0], [-1e4, 1e4]]))
        tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    return exact(logits).softmax(-1).amax(-1)


def energy(logits: Float[Tensor, "N C"], temperature: float = 1.0) -> Float[Tensor, " N"]:
    """Return the negative free energy: ``T log sum_c exp(l_c / T)``.

    Args:
        logits: ``[N, C]``.
        temperature: T > 0; the smaller, the nearer to the largest logit.

    Returns:
        Scores, ``[N]``, in units of logits.

    Raises:
        ConfigError: If the temperature is not positive.

    Source:
        Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020.

    Example:
        >>> energy(torch.tensor([[0.0, 0.0], [-1e4, 1e4]]))
        tensor([6.9315e-01, 1.0000e+04], dtype=torch.float64)
    """
    if not temperature > 0:
        raise ConfigError(f"Expected temperature > 0, but got {temperature}; 1.0 is usual.")
    return temperature * (exact(logits) / temperature).logsumexp(-1)


def max_logit(logits: Float[Tensor, "N C"]) -> Float[Tensor, " N"]:
    """Return the largest logit.

    Args:
        logits: ``[N, C]``.

    Source:
        Hendrycks et al., "Scaling Out-of-Distribution Detection for Real-World Settings", ICML 2022.

    Example:
        >>> max_logit(torch.tensor([[0.5, -1.0]]))
        tensor([0.5000], dtype=torch.float64)
    """
    return exact(logits).amax(-1)


def gen(logits: Float[Tensor, "N C"], gamma: float = 0.1, top: int | None = None) -> Float[Tensor, " N"]:
    """Return the generalised entropy with its sign turned: ``-sum over the top p of p^gamma (1 - p)^gamma``.

    Both factors are taken from log-probabilities: for a small gamma, (1 - p)^gamma is far from 0 where p is next to 1.

    Args:
        logits: ``[N, C]``.
        gamma: In (0, 1); the smaller, the more the small probabilities count.
        top: How many of the largest probabilities are summed; None = all C, as MultiOOD does.

    Returns:
        Scores <= 0, ``[N]``; 0 for one-hot probabilities.

    Raises:
        ConfigError: If gamma or top is outside its range.

    Source:
        Liu et al., "GEN: Pushing the Limits of Softmax-Based Out-of-Distribution Detection", CVPR 2023; the score of
        Table 10.

    Example:
        >>> gen(torch.zeros(1, 2), gamma=0.5)
        tensor([-1.], dtype=torch.float64)
    """
    num_classes = logits.shape[-1]
    if not 0 < gamma < 1:
        raise ConfigError(f"Expected gamma in (0, 1), but got {gamma}; 0.1 is usual.")
    if top is not None and not 1 <= top <= num_classes:
        raise ConfigError(f"Expected top from 1 to the {num_classes} classes, but got {top}; leave it out for all.")
    log_p = exact(logits).log_softmax(-1).sort(-1, descending=True).values
    return -(gamma * (log_p + _log_complement(log_p)))[..., :top].exp().sum(-1)


def _log_complement(log_p: Tensor) -> Tensor:
    """Return log(1 - p) of probabilities that fall along the last axis, without cancellation in the first one."""
    first = log_p[..., 1:].logsumexp(-1, keepdim=True)
    return torch.cat([first, torch.log1p(-log_p[..., 1:].exp())], -1)


@dataclass(frozen=True, eq=False)
class Mahalanobis:
    """Distance to the nearest class mean under one covariance for all classes: ``-min_c (x - mu_c)' S^+ (x - mu_c)``.

    S^+ is the pseudo-inverse: directions in which train features leave their class mean by no more than rounding (as
    the sum of features behind a LayerNorm, which is constant) do not count. It is held as
    ``W W'`` with W ``[D, R]``, R the rank of S, so that distances are plain ones between ``W' x`` and ``W' mu_c``.

    Source:
        Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks",
        NeurIPS 2018.

    Example:
        >>> features = torch.tensor([[-1.0], [1.0], [9.0], [11.0]])
        >>> Mahalanobis.fit(features, torch.tensor([0, 0, 1, 1]), 2).score(torch.tensor([[0.5], [13.0]]))
        tensor([-0.2500, -9.0000], dtype=torch.float64)
    """

    center: Float[Tensor, " D"]
    """Mean of the class means."""
    whitening: Float[Tensor, "D R"]
    means: Float[Tensor, "C R"]
    """Whitened class means, as seen from the center."""

    @classmethod
    def fit(cls, features: Float[Tensor, "N D"], labels: Int[Tensor, " N"], num_classes: int) -> "Mahalanobis":
        """Return the score of these train features; S is the mean over all N of ``(x - mu_c) (x - mu_c)'``.

        Args:
            features: ``[N, D]``.
            labels: From 0 to ``num_classes - 1``, ``[N]``; every class has a feature.
            num_classes: Number of classes C.

        Raises:
            DataError: If a class has no feature, a label is no class, features are not finite or do not vary within
                any class.
        """
        found, labels = finite(features, "train features"), labels.detach().cpu().long()
        counts = _class_counts(labels, num_classes)
        means = torch.zeros(num_classes, found.shape[1], dtype=found.dtype).index_add_(0, labels, found)
        means /= counts.unsqueeze(-1)
        offsets = found - means[labels]
        covariance = finite(offsets.T @ offsets / len(found), "covariances of train features")
        rounding = max(torch.finfo(features.dtype).eps, len(found) * EPS) * float(found.abs().max())
        whitening = _whitening(covariance, rounding**2)
        if whitening.shape[1] == 0:
            raise DataError(
                f"Expected train features that vary within a class, but got {len(found)} samples of {num_classes} "
                "classes without any spread; give several different samples a class."
            )
        center = means.mean(0)
        return cls(center, whitening, (means - center) @ whitening)

    def score(self, features: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """Return minus the squared distance to the nearest class mean, ``[N]``, <= 0.

        Args:
            features: ``[N, D]``.

        Raises:
            ShapeError: If the width is not that of the train features.
            DataError: If features are not finite.
        """
        whitened = (_like(features, self.center) - self.center) @ self.whitening
        distances = torch.cdist(whitened, self.means, compute_mode="donot_use_mm_for_euclid_dist")
        return -distances.amin(-1).square()


def _whitening(covariance: Tensor, floor: float) -> Tensor:
    """Return W with ``W W'`` the pseudo-inverse; variances of no more than rounding (of features, of sums) are zero."""
    variances, directions = torch.linalg.eigh(covariance)
    is_used = variances > max(floor, len(covariance) * EPS * float(variances[-1]))
    whitening: Tensor = directions[:, is_used] / variances[is_used].sqrt()
    return whitening


@dataclass(frozen=True, eq=False)
class KNN:
    """Distance of directions to the k-th nearest train feature: ``-||x / |x| - z_(k)||`` with unit z.

    A feature of zeros has no direction; its distance to every direction is 1.

    Source:
        Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022.

    Example:
        >>> KNN.fit(torch.eye(2), k=1).score(torch.tensor([[3.0, 0.0], [-1.0, 0.0]]))
        tensor([-0.0000, -1.4142], dtype=torch.float64)
    """

    directions: Float[Tensor, "N D"]
    k: int

    @classmethod
    def fit(cls, features: Float[Tensor, "N D"], k: int = 10) -> "KNN":
        """Return the score of these train features.

        Args:
            features: ``[N, D]``.
            k: Which neighbour, from 1; with fewer train features the farthest is taken, and a warning says so.

        Raises:
            ConfigError: If k is below 1.
            DataError: If there are no features, or they are not finite.
        """
        if k < 1:
            raise ConfigError(f"Expected k >= 1, but got {k}; 10 is usual.")
        directions, _ = unit_vector(finite(features, "train features"))
        if k > len(directions):
            text = f"Expected at least k={k} train features, but got {len(directions)}; the farthest of them is taken."
            warnings.warn(text, RollingQWarning, stacklevel=2)
        return cls(directions, min(k, len(directions)))

    def score(self, features: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """Return minus the distance to the k-th nearest train feature, ``[N]``, in [-2, 0].

        Args:
            features: ``[N, D]``.

        Raises:
            ShapeError: If the width is not that of the train features.
            DataError: If features are not finite.
        """
        directions, _ = unit_vector(_like(features, self.directions))
        return torch.cat([self._rows(rows) for rows in directions.split(ROWS)])

    def _rows(self, rows: Tensor) -> Tensor:
        """Find the neighbour by its dot product, then take its distance anew: the product cancels near 0."""
        nearest = (rows @ self.directions.T).topk(self.k, dim=-1).indices[:, -1]
        distances: Tensor = (rows - self.directions[nearest]).norm(dim=-1)
        return -distances


def _class_counts(labels: Tensor, num_classes: int) -> Tensor:
    """Return how many features each class has, none of them zero."""
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise DataError(
            f"Expected train labels from 0 to {num_classes - 1}, but got {int(labels.min())} to {int(labels.max())}; "
            "give train samples of known classes only."
        )
    counts = labels.bincount(minlength=num_classes)
    absent = (counts == 0).nonzero().flatten().tolist()
    if absent:
        raise DataError(
            f"Expected train features of all {num_classes} classes, but got none of {len(absent)} of them, such as "
            f"class {absent[0]}; give features of the whole train split."
        )
    return counts


def _like(features: Tensor, fitted: Tensor) -> Tensor:
    if features.ndim != 2 or features.shape[-1] != fitted.shape[-1]:
        raise ShapeError(
            f"Expected features [N, {fitted.shape[-1]}] like the train features, but got {list(features.shape)}; "
            "take both from the same layer."
        )
    return finite(features, "features")
