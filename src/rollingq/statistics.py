"""KeyStatistics: additive sums over samples behind the decision to rotate; one all_reduce makes them global."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, distributed

from rollingq.functional import query_key_cosine


@dataclass(frozen=True)
class Observation:
    """What one forward of the attention showed: projected (and rotated) queries and average keys, by head.

    Attributes:
        query: Queries that are read out, ``[B or 1, R, H, D]`` with R rows a sample.
        average_keys: Average key of every modality (Eq. 3), ``[B, M, H, D]``.
        is_present: Where a sample has a usable average key of a modality, ``[B, M]``.
        is_promised: Where the layout promises one (present unless its tokens are not finite), ``[B, M]``.
        row_mask: True at real query rows, ``[B, R]``; all are real if None.
    """

    query: Float[Tensor, "#B R H D"]
    average_keys: Float[Tensor, "B M H D"]
    is_present: Bool[Tensor, "B M"]
    is_promised: Bool[Tensor, "B M"]
    row_mask: Bool[Tensor, "B R"] | None = None

    def mean_query(self) -> Float[Tensor, "#B H D"]:
        """Return the mean over real rows of each sample's queries."""
        return self._row_mean(self.query)

    def cosines(self) -> Float[Tensor, "B H M"]:
        """Return the cosine of query and average key of each sample, the mean over its real rows (Eq. 9)."""
        keys = self.average_keys.transpose(1, 2)
        if self.query.shape[1] == 1:
            return query_key_cosine(self.query[:, 0], keys)
        return self._row_mean(query_key_cosine(self.query, keys.unsqueeze(1)))

    def _row_mean(self, rows: Tensor) -> Tensor:
        if self.row_mask is None:
            return rows[:, 0] if rows.shape[1] == 1 else rows.mean(1)
        mask = self.row_mask[..., None, None]
        return torch.where(mask, rows, 0.0).sum(1) / mask.sum(1).clamp(min=1)


@dataclass(frozen=True)
class Means:
    """Means over the samples seen: E[Q] ``[H, D]``, E[K_hat] ``[H, M, D]``, cosines ``[H, M]``, counts ``[M]``."""

    query: Float[Tensor, "H D"]
    average_keys: Float[Tensor, "H M D"]
    cosines: Float[Tensor, "H M"]
    num_samples: list[int]
    num_skipped: int
    """Samples left out because a query or a key was not finite."""


class KeyStatistics:
    """Running sums of queries, average keys and cosines over samples; padding and NaN never count.

    A short last batch weighs what it holds (sums over samples, not means of batch means). All sums live in
    one float64 vector, so that processes agree by a single all_reduce.
    """

    def __init__(self, num_modalities: int, num_heads: int, dim: int) -> None:
        self._shapes = {
            "query": (num_heads, dim),
            "keys": (num_heads, num_modalities, dim),
            "cosines": (num_heads, num_modalities),
            "counts": (num_modalities,),
            "num_queries": (),
            "num_skipped": (),
        }
        self._sums: Tensor | None = None

    def clear(self) -> None:
        """Forget everything seen."""
        self._sums = None

    @torch.no_grad()
    def add(self, seen: Observation) -> None:
        """Add one forward's samples."""
        query = seen.mean_query()
        batch = len(seen.is_present)
        is_finite = query.isfinite().flatten(1).all(-1)
        is_used = seen.is_present & is_finite.unsqueeze(-1)
        used = is_used.to(query.dtype)
        skipped = (seen.is_promised & ~is_used).any(-1)
        query_weight = (is_finite.expand(batch) & is_used.any(-1)).to(query.dtype)
        clean_query = torch.where(is_finite[:, None, None], query, 0.0).expand(batch, -1, -1)
        self._accumulate(
            torch.cat(
                [
                    torch.einsum("b,bhd->hd", query_weight, clean_query).flatten(),
                    torch.einsum("bm,bmhd->hmd", used, seen.average_keys).flatten(),
                    torch.einsum("bm,bhm->hm", used, seen.cosines()).flatten(),
                    used.sum(0),
                    query_weight.sum().unsqueeze(0),
                    skipped.sum().unsqueeze(0).to(query.dtype),
                ]
            )
        )

    def means(self) -> Means | None:
        """Return the means over all samples and processes, or None where some modality was never seen."""
        sums = self._all_reduced()
        if sums is None:
            return None
        parts = dict(zip(self._shapes, sums.split([_size(s) for s in self._shapes.values()]), strict=True))
        parts = {name: part.reshape(self._shapes[name]) for name, part in parts.items()}
        counts = parts["counts"]
        if not bool((counts > 0).all()):
            return None
        return Means(
            query=parts["query"] / parts["num_queries"],
            average_keys=parts["keys"] / counts[None, :, None],
            cosines=parts["cosines"] / counts,
            num_samples=[int(n) for n in counts],
            num_skipped=int(parts["num_skipped"]),
        )

    def _accumulate(self, sums: Tensor) -> None:
        sums = sums.to(torch.float32 if sums.device.type == "mps" else torch.float64)
        self._sums = sums if self._sums is None else self._sums.to(sums.device) + sums

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
