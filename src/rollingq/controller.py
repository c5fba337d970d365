"""RollingQ: observe queries and keys, decide once an epoch, rotate the query (paper, Algorithm 1)."""

import json
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rollingq.config import RollingQConfig
from rollingq.errors import ConfigError, RollingQWarning
from rollingq.events import RotationEvent
from rollingq.functional import (
    Rotation,
    apply_rotation,
    compose,
    imbalance_of_cosines,
    rebalance_anchor,
    rebalance_weights,
    rotation_between,
)
from rollingq.statistics import KeyStatistics, Means, Observation

Watcher = Callable[[Observation], None]


class QuerySite(Protocol):
    """How a rotation enters one attention layer; implemented in ``rollingq.attachment``."""

    model: nn.Module
    """The whole model, for a full pass over the data and for checks on examples."""
    num_heads: int
    dim: int
    """Width of a head."""
    num_queries: int
    """1, or M where every modality's keys are asked by a query of their own."""

    @property
    def layers(self) -> list[nn.Module]:
        """The attention layers that are entered."""

    def keep_called(self, is_needed: bool) -> None:
        """Make sure that the layer's forward is really called from now on, or no longer."""

    def fold(self, example: Any) -> float | None:  # noqa: ANN401
        """Move the rotation into the weights and leave the model; see :meth:`RollingQ.fold`."""

    def remove(self) -> None:
        """Leave the model as it was before."""


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module into eval mode while the context is open, and each back into its own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


class RollingQ(nn.Module):
    """The attachment: lives inside the attention it drives, so every checkpoint of the model carries it.

    Its buffers hold the rotation (factors, or a dense update for ``svd``) and the counters; its extra state
    holds the history. It has no parameter, and as long as it has not rotated it changes no output bit.
    Made by :func:`rollingq.attach`.

    Attributes:
        config: The settings.
        modalities: Names of the modalities, in the order of the keys.
        history: One event for each step.
        is_paused: Whether training-mode forwards go unrecorded, as for a layer that is not the last one now.
    """

    num_rotations: Tensor
    num_steps: Tensor
    core: Tensor
    basis: Tensor | None

    def __init__(self, site: QuerySite, modalities: tuple[str, ...], config: RollingQConfig, *, like: Tensor) -> None:
        super().__init__()
        self.config = config
        self.modalities = modalities
        self.history: list[RotationEvent] = []
        self._site = site
        self.is_paused = False
        self._watchers: list[Watcher] = []
        self._num_heads = 1 if config.heads == "full" else site.num_heads
        self._dim = site.num_heads * site.dim // self._num_heads
        self._num_queries = site.num_queries
        self._statistics = self._new_statistics()
        self._register_rotation(like)

    def _new_statistics(self) -> KeyStatistics:
        return KeyStatistics(len(self.modalities), self._num_heads, self._dim, self._num_queries)

    def _register_rotation(self, like: Tensor) -> None:
        dtype = torch.promote_types(like.dtype, torch.float32)
        is_dense = self.config.rotation == "svd"
        rank = self._dim if is_dense else 2 * self.config.max_rotations
        number = self._num_heads * self._num_queries
        shape = (number, self._dim, rank)
        self.register_buffer("basis", None if is_dense else like.new_zeros(shape, dtype=dtype))
        self.register_buffer("core", like.new_zeros((number, rank, rank), dtype=dtype))
        self.register_buffer("num_rotations", torch.zeros((), dtype=torch.long, device=like.device))
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.long, device=like.device))

    @property
    def layers(self) -> list[nn.Module]:
        """The attention layers that it drives."""
        return self._site.layers

    # --- the forward: rotate and observe -------------------------------------------------------------

    @property
    def rotation(self) -> Rotation:
        """The accumulated rotation R of each head (of each head and query, where modalities have their own)."""
        return Rotation(self.basis, self.core)

    @property
    def is_observing(self) -> bool:
        """Whether forwards are recorded now: in training mode, or while somebody watches."""
        return (self.training and not self.is_paused) or bool(self._watchers)

    def is_idle(self) -> bool:
        """Return whether the rotation is known, without waiting for a device, to be the identity."""
        if self.config.max_rotations == 0:
            return True
        is_free = self.num_rotations.device.type == "cpu" and not torch.compiler.is_compiling()
        return is_free and not bool(self.num_rotations)

    def rotate(self, queries: Float[Tensor, "*batch D"], *, index: int = 0) -> Float[Tensor, "*batch D"]:
        """Return the rotated queries, ``[..., H * D]``; bit for bit the same before the first rotation.

        Args:
            queries: Queries, all heads side by side.
            index: Which modality's query, where each has its own.
        """
        if self.is_idle():
            return queries
        basis = None if self.basis is None else self.basis[index :: self._num_queries]
        core = self.core[index :: self._num_queries]
        if self._num_heads == 1:
            rotated = apply_rotation(queries, Rotation(None if basis is None else basis[0], core[0]))
        else:
            rotated = apply_rotation(self.split_heads(queries), Rotation(basis, core)).flatten(-2)
        return torch.where(self.num_rotations > 0, rotated, queries)

    def split_heads(self, vectors: Float[Tensor, "*batch HD"]) -> Float[Tensor, "*batch H D"]:
        """Split the last axis into the heads that rotate on their own (one for ``heads="full"``)."""
        heads: Tensor = vectors.unflatten(-1, (self._num_heads, self._dim))
        return heads

    def observe(self, seen: Observation) -> None:
        """Take in what one forward showed; called by the site."""
        for watcher in self._watchers:
            watcher(seen)
        if self.training and not self.is_paused:
            if self.config.statistics != "epoch":
                self._statistics.clear()
            self._statistics.add(seen)

    @contextmanager
    def watch(self, watcher: Watcher) -> Iterator[None]:
        """Hand every forward's Observation to ``watcher`` while the context is open, in eval mode too."""
        self._watchers.append(watcher)
        self._keep_called()
        try:
            yield
        finally:
            self._watchers.remove(watcher)
            self._keep_called()

    def _keep_called(self) -> None:
        self._site.keep_called(bool(self._watchers) or bool(self.num_rotations > 0))

    # --- once an epoch: decide -----------------------------------------------------------------------

    @torch.no_grad()
    def step(self, *, full_pass: Callable[[], object] | None = None) -> RotationEvent:
        """End an epoch: measure AIR on what training showed, and rotate if it reaches beta.

        Call it after the epoch's last optimizer step and before validation, in every process.

        Args:
            full_pass: For ``statistics="full_pass"``: runs the model over the training data, such as
                ``lambda: [model(x) for x, _ in loader]``; evaluation mode and no gradients are set around it.

        Returns:
            What was seen and done; also appended to ``history``.

        Raises:
            ConfigError: If ``full_pass`` is missing although the statistics need it, or given although not.
        """
        if (full_pass is not None) != (self.config.statistics == "full_pass"):
            raise ConfigError(
                "Expected step(full_pass=...) exactly with statistics='full_pass', "
                f"but statistics is {self.config.statistics!r} and full_pass is {full_pass!r}."
            )
        event = self._decide(self._statistics.means(), full_pass)
        self._statistics.clear()
        self.num_steps += 1
        self.history.append(event)
        return event

    def _decide(self, means: Means | None, full_pass: Callable[[], object] | None) -> RotationEvent:
        if self._statistics.num_skipped:
            self._warn(
                f"{self._statistics.num_skipped} samples with NaN or infinite tokens were left out of the statistics."
            )
        if means is None:
            return self._event(reason="nothing seen of some modality since the last step")
        cosines = means.cosines
        if self.config.heads == "shared":
            cosines = cosines.mean(0, keepdim=True).expand_as(cosines)
        air = imbalance_of_cosines(cosines)
        is_over = air.abs() >= self.config.beta
        reason = self._reason_to_stay(is_over)
        weights = rebalance_weights(cosines, self.config.rho)
        if reason is None and full_pass is not None:
            shown = self._pass_means(full_pass)
            means = shown or means
            reason = None if shown else "the full pass showed nothing of some modality"
        step = None if reason else self._turn(means, weights, is_over)
        if reason is None and step is None:
            reason = "the query, a mean key or the anchor has no direction (zero vector), or the anchor is the query"
        return self._event(reason or "AIR reached beta", means, air, cosines, weights, angle=step)

    def _reason_to_stay(self, is_over: Tensor) -> str | None:
        if int(self.num_rotations) >= self.config.max_rotations:
            return "all rotations are used up"
        if int(self.num_steps) < self.config.first_epoch:
            return f"before first_epoch={self.config.first_epoch}"
        if not bool(is_over.any()):
            return f"|AIR| is below beta={self.config.beta:g}"
        return None

    def _turn(self, means: Means, weights: Tensor, is_over: Tensor) -> float | None:
        """Rotate the heads whose AIR is over beta; return their mean angle in degrees, or None if none turned."""
        anchor = rebalance_anchor(means.queries, means.average_keys.unsqueeze(1), weights.unsqueeze(1))
        queries = means.queries.flatten(0, 1)
        target = torch.where(is_over[:, None, None], anchor, means.queries).flatten(0, 1)
        step = rotation_between(queries, target, method=self.config.rotation)
        angle = _angle(queries, target)
        turned = angle > 1e-4
        if not bool(turned.any()):
            return None
        if step.basis is None:  # Dense: leave heads alone that do not turn (the SVD of equal vectors would not).
            step = Rotation(None, torch.where(turned[:, None, None], step.core, 0.0))
        self._set_rotation(compose(step, self._used_rotation()))
        self.num_rotations += 1
        self._keep_called()
        return float(angle[turned].mean())

    def _used_rotation(self) -> Rotation:
        """Return the rotation without its unused (zero) columns, in float64."""
        if self.basis is None:
            return Rotation(None, self.core.double())
        used = 2 * int(self.num_rotations)
        return Rotation(self.basis[..., :used].double(), self.core[:, :used, :used].double())

    def _set_rotation(self, rotation: Rotation) -> None:
        rank = rotation.core.shape[-1]
        self.core[:, :rank, :rank] = rotation.core.to(self.core)
        if self.basis is not None and rotation.basis is not None:
            self.basis[..., :rank] = rotation.basis.to(self.basis)

    def _pass_means(self, full_pass: Callable[[], object]) -> Means | None:
        """Return the means over a full pass in eval mode (the original code's way)."""
        statistics = self._new_statistics()
        with evaluating(self._site.model), self.watch(statistics.add):
            full_pass()
        return statistics.means()

    def _event(
        self,
        reason: str,
        means: Means | None = None,
        air: Tensor | None = None,
        cosines: Tensor | None = None,
        weights: Tensor | None = None,
        *,
        angle: float | None = None,
    ) -> RotationEvent:
        common: dict[str, Any] = {
            "step": int(self.num_steps),
            "rotated": angle is not None,
            "reason": reason,
            "num_rotations": int(self.num_rotations),
            "max_rotations": self.config.max_rotations,
        }
        if means is None or air is None or cosines is None or weights is None:
            return RotationEvent(**common)
        by_name = dict(zip(self.modalities, cosines.mean(0).tolist(), strict=True))
        return RotationEvent(
            **common,
            air=float(air.mean()),
            cosines=by_name,
            weights=dict(zip(self.modalities, weights.mean(0).tolist(), strict=True)),
            angle=angle,
            num_samples=max(means.num_samples),
            dominant_modality=max(by_name, key=by_name.__getitem__),
            weaker_modality=min(by_name, key=by_name.__getitem__),
        )

    def _warn(self, text: str) -> None:
        if not getattr(self, "_has_warned", False):
            self._has_warned = True
            warnings.warn(text, RollingQWarning, stacklevel=4)

    # --- leaving, saving -----------------------------------------------------------------------------

    def fold(self, example: Any = None) -> float | None:  # noqa: ANN401
        """Move R into the query projection (``W_q <- R W_q``, ``b_q <- R b_q``) and leave a plain model.

        Args:
            example: Positional arguments of the model (a tuple), to prove on data that folding changes
                nothing; needed where rows that do not rotate pass through the same projection.

        Returns:
            The largest difference of the outputs on the example, or None without one.

        Raises:
            FoldError: If the folded model would compute something else; the model is then left as it was.
        """
        return self._site.fold(example)

    def detach(self) -> None:
        """Take RollingQ out of the model and leave it bit for bit as it was before ``attach``."""
        self._site.remove()

    def get_extra_state(self) -> Tensor:
        """Return the history as JSON bytes in a tensor, so that every checkpoint form can hold it."""
        text = json.dumps([asdict(event) for event in self.history])
        return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the history."""
        self.history = [RotationEvent(**event) for event in json.loads(bytes(state.cpu().tolist()).decode())]

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super()._load_from_state_dict(*args, **kwargs)
        self._keep_called()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "RollingQ":
        """Move with the model, but never below float32: a rotation in bfloat16 is not orthogonal."""

        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return tensor.to(moved.device) if moved.dtype in (torch.float16, torch.bfloat16) else moved

        super()._apply(keep_precision, recurse)  # type: ignore[no-untyped-call]
        return self

    def extra_repr(self) -> str:
        """Return the one-line summary."""
        heads = f"{self._num_heads} head{'s' if self._num_heads > 1 else ''} of {self._dim}"
        return (
            f"{' | '.join(self.modalities)}, {heads}, rho={self.config.rho:g}, beta={self.config.beta:g}, "
            f"rotations={int(self.num_rotations)} of {self.config.max_rotations}"
        )


def _angle(x: Tensor, y: Tensor) -> Tensor:
    """Return the angle between vectors in degrees, 0 where one has no direction."""
    x, y = nn.functional.normalize(x, dim=-1), nn.functional.normalize(y, dim=-1)
    is_defined = (x.norm(dim=-1) > 0) & (y.norm(dim=-1) > 0)
    half = torch.atan2((x - y).norm(dim=-1), (x + y).norm(dim=-1))
    return torch.where(is_defined, 2.0 * half * 180.0 / math.pi, 0.0)
