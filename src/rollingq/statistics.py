"""KeyStatistics: additive sums over samples behind the decision to rotate; one all_reduce makes them global."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, distributed

from rollingq.functional import masked_mean, query_key_cosine


@dataclass(frozen=True)
class Observation:
    """What one forward of the attention showed: projected (and rotated) queries and average keys, by head.

    Attributes:
        query: Queries that are read out, ``[B or 1, R, H, D]`` with R rows a sample; ``[B, M, H, D]`` where every
            modality's keys are asked by a query of their own.
        average_keys: Average key of every modality (Eq. 3), ``[B, M, H, D]``; NaN where tokens are not finite.
        is_present: Where a sample has tokens of a modality, ``[B, M]``; None = everywhere.
        row_mask: True at real query rows, ``[B, R]``; None = everywhere.
    """

    query: Float[Tensor, "#B R H D"]
    average_keys: Float[Tensor, "B M H D"]
    is_present: Bool[Tensor, "B M"] | None = None
    row_mask: Bool[Tensor, "B R"] | None = None
    is_paired: bool = False
    """Whether row m of ``query`` asks the keys of modality m alone."""

    def mean_queries(self) -> Float[Tensor, "#B Q H D"]:
        """Return the mean over real rows of each sample's queries (Q = 1), or one query a modality (Q = M)."""
        return self.query if self.is_paired else self._row_mean(self.query).unsqueeze(1)

    def cosines(self) -> Float[Tensor, "B H M"]:
        """Return the cosine of query and average key of each sample, the mean over its real rows (Eq. 9)."""
        if self.is_paired:
            return query_key_cosine(self.query, self.average_keys.unsqueeze(-2))[..., 0].transpose(1, 2)
        keys = self.average_keys.transpose(1, 2)
        if self.query.shape[1] == 1:
            return query_key_cosine(self.query[:, 0], keys)
        return self._row_mean(query_key_cosine(self.query, keys.unsqueeze(1)))

    def _row_mean(self, rows: Tensor) -> Tensor:
        if self.row_mask is None:
            return rows[:, 0] if rows.shape[1] == 1 else rows.mean(1)
        mean: Tensor = masked_mean(rows.flatten(2), self.row_mask).unflatten(-1, rows.shape[2:])
        return mean


@dataclass(frozen=True)
class Means:
    """Means over the samples seen: E[Q] ``[H, Q, D]``, E[K_hat] ``[H, M, D]``, cosines ``[H, M]``, counts ``[M]``."""

    queries: Float[Tensor, "H Q D"]
    average_keys: Float[Tensor, "H M D"]
    cosines: Float[Tensor, "H M"]
    num_samples: list[int]


class KeyStatistics:
    """Running sums of queries, average keys and cosines over samples; padding and NaN never count.

    A short last batch weighs what it holds (sums over samples, not means of batch means). Forwards are kept
    as they come and summed some at a time, since a few large operations cost less than many small ones. All
    sums live in one float64 vector, so that processes agree by a single all_reduce.
    """

    FLUSH_EVERY = 16
    """Forwards kept before they are summed."""

    def __init__(self, num_modalities: int, num_heads: int, dim: int, num_queries: int = 1) -> None:
        self._shapes = {
            "queries": (num_heads, num_queries, dim),
            "keys": (num_heads, num_modalities, dim),
            "cosines": (num_heads, num_modalities),
            "counts": (num_modalities,),
            "num_queries": (num_queries,),
            "num_skipped": (),
        }
        self._pending: list[Observation] = []
        self._sums: Tensor | None = None
        self.num_skipped = 0
        """Samples that the last ``means`` left out because a query or a key was not finite."""

    def clear(self) -> None:
        """Forget everything seen."""
        self._pending.clear()
        self._sums = None

    def add(self, seen: Observation) -> None:
        """Add one forward's samples."""
        self._pending.append(seen)
        has_many_rows = seen.query.shape[1] > 1 and not seen.is_paired
        if len(self._pending) >= self.FLUSH_EVERY or has_many_rows:  # Many rows: do not hold them.
            self._flush()

    @torch.no_grad()
    def _flush(self) -> None:
        """Sum what is pending, forwards without masks all at once."""
        plain = [seen for seen in self._pending if seen.is_present is None and seen.row_mask is None]
        masked = [seen for seen in self._pending if seen.is_present is not None or seen.row_mask is not None]
        self._pending.clear()
        for seen in [*masked, *_merged(plain)]:
            sums = _sums(seen)
            self._sums = sums if self._sums is None else self._sums.to(sums.device) + sums

    def means(self) -> Means | None:
        """Return the means over all samples and processes, or None where some modality was never seen."""
        self._flush()
        self.num_skipped = 0
        sums = self._all_reduced()
        if sums is None:
            return None
        parts = dict(zip(self._shapes, sums.split([_size(s) for s in self._shapes.values()]), strict=True))
        parts = {name: part.reshape(self._shapes[name]) for name, part in parts.items()}
        counts = parts["counts"]
        self.num_skipped = int(parts["num_skipped"])
        if not bool((counts > 0).all()):
            return None
        return Means(
            queries=parts["queries"] / parts["num_queries"][:, None],
            average_keys=parts["keys"] / counts[None, :, None],
            cosines=parts["cosines"] / counts,
            num_samples=[int(n) for n in counts],
        )

    def _all_reduced(self) -> Tensor | None:
        if not (distributed.is_available() and distributed.is_initialized()):
            return self._sums
        sums = self._sums
        if sums is None:  # This process saw nothing: it still takes part, with zeros.
            sums = torch.zeros(sum(map(_size, self._shapes.values())), dtype=torch.float64)
        sums = sums.clone()
        distributed.all_reduce(sums)
        return sums


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def _merged(plain: list[Observation]) -> list[Observation]:
    """Return forwards of one shape as one; a query shared by a batch is spread over its samples."""
    groups: dict[torch.Size, list[Observation]] = {}
    for seen in plain:
        groups.setdefault(seen.query.shape[1:], []).append(seen)
    return [
        Observation(
            torch.cat([seen.query.expand(len(seen.average_keys), -1, -1, -1) for seen in group]),
            torch.cat([seen.average_keys for seen in group]),
            is_paired=group[0].is_paired,
        )
        for group in groups.values()
    ]


def _sums(seen: Observation) -> Tensor:
    """Return all sums over the samples of an observation as one vector."""
    keys = seen.average_keys
    queries = seen.mean_queries().expand(len(keys), -1, -1, -1)
    # Each modality needs its query: its own, or the one that asks all.
    is_finite = queries.isfinite().flatten(2).all(-1) & keys.isfinite().flatten(2).all(-1)
    is_present = torch.ones_like(is_finite) if seen.is_present is None else seen.is_present
    is_used = is_present & is_finite
    keys = torch.where(is_used[..., None, None], keys, 0.0)
    is_asked = is_used if seen.is_paired else is_used.any(-1, keepdim=True)
    queries = torch.where(is_asked[..., None, None], queries, 0.0)
    cosines = torch.where(is_used.unsqueeze(1), seen.cosines(), 0.0)
    is_skipped = (is_present & ~is_finite).any(-1)
    dtype = torch.float32 if keys.device.type == "mps" else torch.float64
    parts = (queries.transpose(1, 2), keys.transpose(1, 2), cosines, is_used, is_asked, is_skipped)
    return torch.cat([part.sum(0, dtype=dtype).flatten() for part in parts])
