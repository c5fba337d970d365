"""Interventions: attention edited at test time, to see what its pattern is worth (paper, Tables 8, 9)."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor

from rollingq.attachment.softmaxes import Edit, Parts
from rollingq.errors import ShapeError, unknown_name
from rollingq.functional import average_segment_scores, average_segments
from rollingq.tokens import CLS

__all__ = ["Edit", "changes_nothing", "interventions"]

Segments = list[tuple[slice, slice]]
Choose = Callable[[Parts], Segments]
"""Which segments of a softmax are averaged."""


def interventions(modalities: Sequence[str], *, use_official_scale: bool = False) -> list[Edit]:
    """Return every edit of attention, for any number of modalities, in a fixed order.

    - "mask:M": nobody sees the keys of M; the softmax renormalises, and class keys stay.
    - "average": every row has its mean weight within each modality (how much it attends to M stays).
    - "quag:unimodal", "quag:crossmodal": the same where rows and keys are of one modality, or of different ones;
      class rows belong to no modality and stay as they are.
    - "quag:average:M": the same for the keys of M, in every row.
    - "quag_attention:...": keys and values are averaged in place of weights, which is the mean of the scores
      before the softmax; the mass of a segment may change.

    Args:
        modalities: Names of the modalities.
        use_official_scale: For "quag_attention", see :func:`rollingq.functional.average_segment_scores`.

    Source:
        Ni et al., "RollingQ", ICML 2025, Appendix C.2, Tables 8, 9; Rawal et al., "Dissecting Multimodality in
        VideoQA Transformer Models by Impairing Modality Fusion", ICML 2024.

    Example:
        >>> [edit.name for edit in interventions(["audio", "image"])][:5]
        ['mask:audio', 'mask:image', 'average', 'quag:unimodal', 'quag:crossmodal']
    """
    quadrants = [("unimodal", _unimodal), ("crossmodal", _crossmodal)]
    columns = [(f"average:{name}", partial(_columns, name=name)) for name in modalities]
    average_inputs = partial(_average_scores, use_official_scale=use_official_scale)
    return [
        *(Edit(f"mask:{name}", scores=partial(_mask, name=name)) for name in modalities),
        Edit("average", weights=partial(_average, choose=_every_column)),
        *(Edit(f"quag:{what}", None, partial(_average, choose=choose), True) for what, choose in quadrants),
        *(Edit(f"quag:{what}", None, partial(_average, choose=choose)) for what, choose in columns),
        *(Edit(f"quag_attention:{what}", partial(average_inputs, choose=c), None, True) for what, c in quadrants),
        *(Edit(f"quag_attention:{what}", partial(average_inputs, choose=c)) for what, c in columns),
    ]


def changes_nothing(edit: Edit, rows: Iterable[str]) -> bool:
    """Return whether an edit cannot change layers that query with these rows.

    Where class rows alone ask, as in one layer that is read out at its class token, no quadrant has a row.

    Args:
        edit: The edit.
        rows: Names of :func:`rollingq.attachment.softmaxes.row_parts` of all layers that were seen.

    Example:
        >>> [edit.name for edit in interventions(["audio", "image"]) if changes_nothing(edit, ["cls"])][:2]
        ['quag:unimodal', 'quag:crossmodal']
    """
    return edit.needs_modality_rows and set(rows) <= {CLS}


def _mask(scores: Float[Tensor, "B H Q L"], parts: Parts, *, name: str) -> Float[Tensor, "B H Q L"]:
    """Hide the keys of a modality, and padding for good: it must not come back where nothing else is left."""
    hidden = scores.masked_fill(~parts.is_real, -math.inf)
    hidden[..., _keys(parts, name)] = -math.inf
    return hidden


def _average(weights: Float[Tensor, "B H Q L"], parts: Parts, *, choose: Choose) -> Float[Tensor, "B H Q L"]:
    return average_segments(weights, choose(parts), parts.is_real)


def _average_scores(
    scores: Float[Tensor, "B H Q L"], parts: Parts, *, choose: Choose, use_official_scale: bool
) -> Float[Tensor, "B H Q L"]:
    return average_segment_scores(scores, choose(parts), parts.is_real, use_official_scale=use_official_scale)


def _keys(parts: Parts, name: str) -> slice:
    if name not in parts.keys:
        raise ShapeError(unknown_name("the modality to edit", name, _modalities(parts.keys)))
    return parts.keys[name]


def _modalities(names: Iterable[str]) -> list[str]:
    return [name for name in names if name != CLS]


def _columns(parts: Parts, *, name: str) -> Segments:
    return [(slice(None), _keys(parts, name))]


def _every_column(parts: Parts) -> Segments:
    return [(slice(None), parts.keys[name]) for name in _modalities(parts.keys)]


def _unimodal(parts: Parts) -> Segments:
    return [(parts.rows[name], parts.keys[name]) for name in _modalities(parts.rows)]


def _crossmodal(parts: Parts) -> Segments:
    return [
        (parts.rows[asking], parts.keys[name])
        for asking in _modalities(parts.rows)
        for name in _modalities(parts.keys)
        if name != asking
    ]
