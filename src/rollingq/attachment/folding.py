"""Fold: move R into the query projection, or refuse where the folded model would compute something else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rollingq.controller import evaluating
from rollingq.errors import FoldError

if TYPE_CHECKING:
    from rollingq.attachment.sites import Site

TOLERANCE = 1e-6
"""Largest difference of the outputs, relative to their size, that counts as equal (float32)."""


@torch.no_grad()
def fold_site(site: Site, example: Any) -> float | None:  # noqa: ANN401
    """Fold one attachment; see :meth:`rollingq.controller.RollingQ.fold`."""
    _refuse_shared_parameters(site)
    if example is None:
        _refuse_other_rows(site)
    before = None if example is None else _outputs(site.model, example)
    saved = [part.clone() for part in _parts(site)]
    _rotate_weight(site)
    if before is None:
        site.remove()
        return None
    return _confirm(site, example, before, saved)


def _rotate_weight(site: Site) -> None:
    for index, (weight, bias) in enumerate(site.projections()):
        weight.copy_(site.rollingq.rotate(weight.mT, index=index).mT)
        if bias is not None:
            bias.copy_(site.rollingq.rotate(bias, index=index))


def _parts(site: Site) -> list[Tensor]:
    """Return all weights and biases that folding changes."""
    return [part for projection in site.projections() for part in projection if part is not None]


def _confirm(site: Site, example: Any, before: list[Tensor], saved: list[Tensor]) -> float:  # noqa: ANN401
    """Compare the folded model with the rotated one on the example; undo and refuse if they differ."""
    count = site.rollingq.num_rotations
    num_rotations = count.clone()
    count.zero_()  # The identity, for the comparison.
    try:
        difference, size = _difference(before, _outputs(site.model, example))
        is_equal = difference <= TOLERANCE * max(1.0, size)
    except BaseException:
        is_equal = False
        raise
    finally:
        count.copy_(num_rotations)
        if not is_equal:
            for part, old in zip(_parts(site), saved, strict=True):
                part.copy_(old)
    if is_equal:
        site.remove()
        return difference
    raise FoldError(
        f"Expected the folded model to agree within {TOLERANCE:g} on the example, but it differs by {difference:.2g}: "
        f"{_other_rows_text(site)} Keep the attachment{_or_all_queries(site)}."
    )


def _outputs(model: nn.Module, example: Any) -> list[Tensor]:  # noqa: ANN401
    """Return all tensors that the model answers in eval mode, flat."""
    with evaluating(model):
        outputs = model(*example) if isinstance(example, tuple) else model(example)
    found = [leaf for leaf in torch.utils._pytree.tree_leaves(_opened(outputs)) if isinstance(leaf, Tensor)]
    if not found:
        raise FoldError(
            f"Expected a model that answers the example with tensors, but got {type(outputs).__name__}; "
            "fold without an example, or wrap the model."
        )
    return found


def _opened(outputs: Any) -> Any:  # noqa: ANN401
    """Return dataclasses as dictionaries, at any depth: pytrees do not look into them."""
    if dataclasses.is_dataclass(outputs) and not isinstance(outputs, type):
        return {field.name: _opened(getattr(outputs, field.name)) for field in dataclasses.fields(outputs)}
    if isinstance(outputs, Mapping):
        return {key: _opened(value) for key, value in outputs.items()}
    return [_opened(value) for value in outputs] if isinstance(outputs, list | tuple) else outputs


def _difference(before: list[Tensor], after: list[Tensor]) -> tuple[float, float]:
    differences = [float((a - b).abs().max()) for a, b in zip(before, after, strict=True) if a.numel()]
    return max(differences, default=0.0), max((float(a.abs().max()) for a in before if a.numel()), default=0.0)


def _refuse_other_rows(site: Site) -> None:
    if site.other_rows is None:
        raise FoldError(
            f"Expected to know which rows pass through the query projection of {site.path!r}, but no forward has run "
            "since attach; run one batch first, or give fold(example=...)."
        )
    if site.other_rows:
        raise FoldError(
            f"{_other_rows_text(site)} Folding would rotate them too. If they do not reach the output (a last layer "
            f"read out at the class token), prove it with fold(example=...){_or_all_queries(site)}."
        )


def _or_all_queries(site: Site) -> str:
    """Return the advice to rotate every row, where that is possible."""
    return "" if site.num_queries > 1 else "; or train with scope='all_queries'"


def _other_rows_text(site: Site) -> str:
    return (
        f"{site.other_rows or 0} rows a sample besides the class rows pass through the query projection of "
        f"{site.path!r} without being rotated."
    )


def _refuse_shared_parameters(site: Site) -> None:
    for part in _parts(site):
        base = part if part._base is None else part._base
        owners = _owners(site.model, base)
        if not owners:
            raise FoldError(
                f"Expected the query projection of {site.path!r} to own its weight, but it is computed from other "
                "parameters on every forward; remove the parametrization first."
            )
        if len(owners) > 1:
            raise FoldError(
                f"Expected the query projection of {site.path!r} to share nothing, but {', '.join(owners)} are one "
                "parameter; folding would change them too. Untie them first."
            )


def _owners(model: nn.Module, parameter: Tensor) -> list[str]:
    """Return all names under which a model holds a parameter."""
    return [
        f"{name}.{key}" if name else key
        for name, module in model.named_modules(remove_duplicate=False)
        for key, other in module._parameters.items()
        if other is parameter
    ]
