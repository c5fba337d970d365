"""Rotations between two vectors (paper, Eq. 12, 13), kept factored: ``R = I + B C B^T``.

The minimal rotation lives in the plane of the two vectors, so B has two columns: 2 D numbers instead of D^2.
Composing K of them gives B with 2 K columns. The original's SVD completion is dense: B is None (the identity).
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rollingq.functional.vectors import unit_vector

Method = Literal["minimal", "svd"]

PARALLEL = 1e-10
"""Sine below which two directions count as equal or opposite (float64)."""


class Rotation(NamedTuple):
    """A rotation ``R = I + B C B^T`` of the last axis, one for each leading index (column convention, R q)."""

    basis: Float[Tensor, "*batch D r"] | None
    core: Float[Tensor, "*batch r r"]

    def matrix(self) -> Float[Tensor, "*batch D D"]:
        """Return R as a dense matrix."""
        basis = self.basis
        update = self.core if basis is None else basis @ self.core @ basis.mT
        return update + torch.eye(update.shape[-1], dtype=update.dtype, device=update.device)


def _reject(vector: Tensor, unit: Tensor) -> Tensor:
    """Return ``vector`` without its component along ``unit``; twice, so that it is orthogonal to rounding."""
    for _ in range(2):
        vector = vector - (vector * unit).sum(-1, keepdim=True) * unit
    return vector


def _fixed_axis(unit: Tensor) -> Tensor:
    """Return a unit vector orthogonal to ``unit``, from the axis where ``unit`` is smallest: deterministic."""
    axis = torch.zeros_like(unit).scatter(-1, unit.abs().argmin(-1, keepdim=True), 1.0)
    axis = _reject(axis, unit)
    norm: Tensor = axis.norm(dim=-1, keepdim=True)
    return axis / norm.clamp(min=torch.finfo(axis.dtype).tiny)


def _minimal(x: Tensor, y: Tensor, is_defined: Tensor) -> Rotation:
    cos = (x * y).sum(-1, keepdim=True).clamp(-1.0, 1.0)
    normal = _reject(y, x)
    sin = normal.norm(dim=-1, keepdim=True)
    is_flat = sin < PARALLEL
    normal = torch.where(is_flat, _fixed_axis(x), normal / torch.where(is_flat, 1.0, sin))
    sin = torch.where(is_flat | ~is_defined, 0.0, sin)
    cos = torch.where(is_defined, torch.where(is_flat, cos.sign(), cos), 1.0)
    length = torch.hypot(cos, sin)
    shrink, sin = cos / length - 1.0, sin / length
    core = torch.cat(
        [torch.cat([shrink, -sin], -1).unsqueeze(-2), torch.cat([sin, shrink], -1).unsqueeze(-2)],
        -2,
    )
    return Rotation(torch.stack([x, normal], -1), core)


def _svd(x: Tensor, y: Tensor, is_defined: Tensor) -> Rotation:
    u, _, vt = torch.linalg.svd(y.unsqueeze(-1) * x.unsqueeze(-2))
    is_reflection = torch.linalg.slogdet(u @ vt).sign < 0
    flip = torch.ones_like(x)
    flip[..., -1] = torch.where(is_reflection, -1.0, 1.0)
    matrix = (u * flip.unsqueeze(-2)) @ vt
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    return Rotation(None, torch.where(is_defined.unsqueeze(-1), matrix - eye, 0.0))


def rotation_between(
    x: Float[Tensor, "*batch D"], y: Float[Tensor, "*batch D"], *, method: Method = "minimal"
) -> Rotation:
    """Return the rotation that turns the direction of ``x`` into that of ``y`` (Eq. 12).

    ``minimal`` turns the plane of the two vectors and nothing else (closed form, deterministic, 2 D numbers).
    ``svd`` is the original's ``U V^T`` of the rank-1 matrix ``y x^T``: it also turns everything else,
    arbitrarily; unlike the original its determinant is always +1. Computed in float64.

    Equal directions give the identity (``minimal``), opposite ones a half turn about a fixed axis. A vector
    that is zero or not finite has no direction: the identity is returned, never NaN.

    Args:
        x: From, ``[..., D]`` with D >= 2.
        y: To, ``[..., D]``.
        method: ``"minimal"`` or ``"svd"``.

    Returns:
        The rotation, in the dtype of ``x`` and at least float32.

    Raises:
        ValueError: If ``method`` is unknown or D < 2.

    Example:
        >>> R = rotation_between(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0]))
        >>> apply_rotation(torch.tensor([3.0, 0.0, 1.0]), R)
        tensor([0., 3., 1.])
    """
    if x.shape[-1] < 2:
        raise ValueError(f"Expected vectors of at least 2 numbers, but got {x.shape[-1]}; no plane to turn in.")
    if method not in ("minimal", "svd"):
        raise ValueError(f"Expected method 'minimal' or 'svd', but got {method!r}.")
    (x64, x_ok), (y64, y_ok) = (unit_vector(vector.detach().double()) for vector in (x, y))
    build = _minimal if method == "minimal" else _svd
    return cast_rotation(build(x64, y64, x_ok & y_ok), torch.promote_types(x.dtype, torch.float32))


def cast_rotation(rotation: Rotation, dtype: torch.dtype) -> Rotation:
    """Return the rotation with its factors in ``dtype``."""
    basis = None if rotation.basis is None else rotation.basis.to(dtype)
    return Rotation(basis, rotation.core.to(dtype))


def apply_rotation(vectors: Float[Tensor, "*batch D"], rotation: Rotation) -> Float[Tensor, "*batch D"]:
    """Return ``R q`` (Eq. 13) for every vector ``q``; a factored rotation costs O(D r) a vector.

    Args:
        vectors: Vectors, ``[..., D]``; the leading axes broadcast against the rotation's.
        rotation: From :func:`rotation_between` or :func:`compose`.

    Returns:
        Rotated vectors in the dtype of ``vectors``; computed in at least float32.

    Example:
        >>> half_turn = rotation_between(torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.0]))
        >>> apply_rotation(torch.tensor([1.0, 2.0]), half_turn)
        tensor([-1., -2.])
    """
    rotation = cast_rotation(rotation, torch.promote_types(vectors.dtype, torch.float32))
    rows = vectors.to(rotation.core.dtype)
    with torch.autocast(rows.device.type, enabled=False):  # A rotation in bfloat16 is not orthogonal.
        inner = rows if rotation.basis is None else _times(rows, rotation.basis)
        update = _times(inner, rotation.core.mT)
        if rotation.basis is not None:
            update = _times(update, rotation.basis.mT)
        return (rows + update).to(vectors.dtype)


def _times(rows: Tensor, matrix: Tensor) -> Tensor:
    """Return ``rows @ matrix`` on the last axis; leading axes of the matrix broadcast against those of the rows."""
    if matrix.dim() == 2:
        return rows @ matrix
    return torch.einsum("...d,...dr->...r", rows, matrix)


def compose(second: Rotation, first: Rotation) -> Rotation:
    """Return ``R_second R_first``: first ``first``, then ``second``; factored rotations stay factored.

    Args:
        second: The later rotation.
        first: The earlier rotation; both factored, or both dense.

    Returns:
        Their product; its basis has the columns of both.

    Raises:
        ValueError: If one is factored and the other dense.

    Example:
        >>> quarter = rotation_between(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
        >>> apply_rotation(torch.tensor([1.0, 0.0]), compose(quarter, quarter))
        tensor([-1.,  0.])
    """
    if (second.basis is None) != (first.basis is None):
        raise ValueError("Expected two factored or two dense rotations, but got one of each.")
    if second.basis is None or first.basis is None:
        return Rotation(None, first.core + second.core + second.core @ first.core)
    cross = second.core @ (second.basis.mT @ first.basis) @ first.core
    upper = torch.cat([first.core, torch.zeros_like(cross.mT)], -1)
    core = torch.cat([upper, torch.cat([cross, second.core], -1)], -2)
    return Rotation(torch.cat([first.basis, second.basis], -1), core)
