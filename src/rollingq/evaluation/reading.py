"""Reading: one loop over a loader shows every batch in all its variants; what is summed does not grow with the data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rollingq.attachment.softmaxes import row_parts
from rollingq.attachment.tap import tapped
from rollingq.controller import evaluating
from rollingq.errors import DataError
from rollingq.evaluation.batches import on_tensors
from rollingq.evaluation.calibration import CalibrationBins
from rollingq.evaluation.interventions import Edit
from rollingq.evaluation.subject import Answer, Subject
from rollingq.evaluation.variants import Scale, Variant
from rollingq.functional import masked_mean
from rollingq.statistics import Observation
from rollingq.tokens import TokenLayout

OnPass = Callable[[], None]
"""Called after each forward pass."""


@dataclass(frozen=True)
class Kept:
    """Per-sample values of one variant; parts are None where the model does not show them."""

    labels: Int[Tensor, " N"]
    logits: Float[Tensor, "N C"]
    features: Float[Tensor, "N D"] | None
    scores: Float[Tensor, "N M"] | None
    """Attention mass on every modality, the mean over heads and class rows."""
    token_share: Float[Tensor, "N M"] | None
    """Share of the real key positions: the mass that indifference would give, without the class positions."""
    cosines: Float[Tensor, "N M"] | None
    """Cosine of query and average key, the mean over heads; NaN where a modality is absent."""
    key_norms: Float[Tensor, "N M"] | None
    """Norm of the average key over all heads; NaN where a modality is absent."""


@dataclass
class Reading:
    """What was seen of one variant: sums of fixed size, and per-sample values only where they are kept."""

    bins: CalibrationBins = field(default_factory=CalibrationBins)
    mass: Float[Tensor, " M"] | None = None
    """Sum over samples of the attention mass."""
    probes: dict[str, CalibrationBins] = field(default_factory=dict)
    rows: set[str] = field(default_factory=set)
    """Names of what the query rows belong to, over all layers."""
    parts: dict[str, list[Tensor]] = field(default_factory=dict)

    @property
    def scores(self) -> list[float] | None:
        """Mean attention mass on every modality, None without attention."""
        return None if self.mass is None else (self.mass / self.bins.num_samples).tolist()

    def kept(self) -> Kept:
        """Return the per-sample values."""
        joined = {name: torch.cat(parts) for name, parts in self.parts.items()}
        optional = ("features", "scores", "token_share", "cosines", "key_norms")
        return Kept(joined["labels"], joined["logits"], **{name: joined.get(name) for name in optional})

    def add(self, answer: Answer, labels: Tensor, mass: Tensor | None) -> None:
        """Add one batch to the sums."""
        self.bins.add(answer.logits, labels)
        for name, logits in answer.probes.items():
            self.probes.setdefault(name, CalibrationBins()).add(logits, labels)
        if mass is not None:
            total = mass.double().sum(0)
            self.mass = total if self.mass is None else self.mass + total

    def keep(self, **values: Tensor | None) -> None:
        """Keep the values of one batch."""
        for name, value in values.items():
            if value is not None:
                self.parts.setdefault(name, []).append(value.detach().cpu())


def read(
    subject: Subject,
    loader: Iterable[Any],
    variants: Sequence[Variant],
    *,
    kept: Iterable[Variant] = (),
    scales: Mapping[str, Scale] | None = None,
    edits: Mapping[str, Edit] | None = None,
    is_labelled: bool = True,
    on_pass: OnPass | None = None,
) -> dict[Variant, Reading]:
    """Show every batch of a loader to a model in all variants, in eval mode, and return what was seen.

    Args:
        subject: The model.
        loader: Batches; read once.
        variants: How each batch is shown; one forward pass each.
        kept: Variants whose values are kept a sample.
        scales: Modality -> where its inputs lie; mean 0 and deviation 1 where it is missing.
        edits: Name -> edit of the attention.
        is_labelled: Whether the labels are read; if not, all stand for class 0.
        on_pass: Called after each forward pass.

    Raises:
        DataError: If a batch has another form, or a label is no class of the model.
    """
    found = {variant: Reading() for variant in variants}
    chosen, first = set(kept), 0
    device = next((p.device for p in subject.model.parameters()), torch.device("cpu"))
    with evaluating(subject.model), torch.no_grad():
        for batch in loader:
            batch = on_tensors(batch, lambda tensor: tensor.to(device))
            labels = _labels(subject, batch, is_labelled=is_labelled)
            for variant, reading in found.items():
                changed = _changed(subject, batch, variant, scales or {}, first)
                edit = None if variant.edit is None else (edits or {})[variant.edit]
                _read_batch(subject, changed, labels, reading, edit, is_kept=variant in chosen)
                if on_pass is not None:
                    on_pass()
            first += len(labels)
    return found


def _labels(subject: Subject, batch: Any, *, is_labelled: bool) -> Int[Tensor, " B"]:  # noqa: ANN401
    """Return the labels of a batch, class 0 for all where labels are not to be read."""
    if is_labelled:
        return subject.form.labels(batch)
    return torch.zeros(len(next(iter(subject.form.modalities(batch).values()))), dtype=torch.long)


def _changed(subject: Subject, batch: Any, variant: Variant, scales: Mapping[str, Scale], first: int) -> Any:  # noqa: ANN401
    if not variant.changes:
        return batch
    inputs, changed = subject.form.modalities(batch), {}
    for change in variant.changes:
        values = inputs[change.modality]
        if not isinstance(values, Tensor):
            raise DataError(
                f"Expected a tensor for {change.modality} in every batch, but got {type(values).__name__}; give zeros "
                "or a mask where it is missing."
            )
        changed[change.modality] = change.of(values, scales.get(change.modality, Scale()), first)
    return subject.form.replace(batch, changed)


def _read_batch(
    subject: Subject,
    batch: Any,  # noqa: ANN401
    labels: Tensor,
    reading: Reading,
    edit: Edit | None,
    *,
    is_kept: bool,
) -> None:
    seen: list[Observation] = []
    masses: list[tuple[Tensor, Tensor]] = []

    def take(path: str, weights: Tensor, layout: TokenLayout) -> None:
        reading.rows.update(row_parts(weights.shape[-2], layout))
        if path == subject.layers[-1]:
            masses[:] = [class_mass(weights, layout)]

    with ExitStack() as stack:
        if subject.layers and subject.tokens is not None:
            stack.enter_context(tapped(subject.model, subject.layers, subject.tokens, on_weights=take, edit=edit))
        if is_kept and subject.attachment is not None:
            stack.enter_context(subject.attachment.watch(seen.append))
        answer = subject.call(batch)
    _check(answer.logits, labels)
    mass, share = masses[0] if masses else (None, None)
    reading.add(answer, labels, mass)
    if is_kept:
        cosines, norms = _keys(seen[-1], len(labels)) if seen else _no_keys(mass)
        reading.keep(labels=labels, logits=answer.logits, features=answer.features)
        reading.keep(scores=mass, token_share=share, cosines=cosines, key_norms=norms)


def _check(logits: Tensor, labels: Tensor) -> None:
    if len(logits) != len(labels):
        raise DataError(f"Expected one row of logits a label, but got {len(logits)} for {len(labels)} labels.")
    low, high = labels.aminmax() if len(labels) else (0, 0)
    if low < 0 or high >= logits.shape[1]:
        raise DataError(
            f"Expected labels from 0 to {logits.shape[1] - 1}, as many classes as the model has logits, but got labels "
            f"from {int(low)} to {int(high)}."
        )


def class_mass(
    weights: Float[Tensor, "B H Q L"], layout: TokenLayout
) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B M"]]:
    """Return the attention mass of the class rows on every modality, and what indifference would give it.

    Where no row is a class row, all real rows count. A sample without a real position of any modality has 0 of both.

    Args:
        weights: Softmax weights.
        layout: Which key positions belong to which modality.
    """
    rows = weights.mean(1)
    if layout.cls_span is not None and rows.shape[1] == layout.total:
        rows = rows[:, layout.cls_span]
    mask = layout.mask if layout.mask is not None and layout.mask.shape[1] == rows.shape[1] else None
    row = masked_mean(rows, mask)
    real = torch.ones_like(row) if layout.mask is None else layout.mask.to(row).expand_as(row)
    mass, counts = (_per_modality(values, layout) for values in (row, real))
    return mass, counts / counts.sum(-1, keepdim=True).clamp_min(1)


def _per_modality(values: Tensor, layout: TokenLayout) -> Tensor:
    return torch.stack([values[:, layout.spans[name]].sum(-1) for name in layout.modalities], dim=-1)


def _keys(seen: Observation, num_samples: int) -> tuple[Tensor, Tensor]:
    """Return cosines and norms of the average keys, ``[B, M]`` each."""
    cosines = seen.cosines().mean(1).expand(num_samples, -1)
    norms = seen.average_keys.flatten(2).norm(dim=-1)
    if seen.is_present is None:
        return cosines, norms
    nothing = cosines.new_tensor(float("nan"))
    return torch.where(seen.is_present, cosines, nothing), torch.where(seen.is_present, norms, nothing)


def _no_keys(mass: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return cosines and norms where nobody could read them: NaN beside an attention, else None."""
    nothing = None if mass is None else torch.full_like(mass, float("nan"))
    return nothing, nothing
