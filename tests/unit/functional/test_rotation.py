"""rotation_between: R x = y in direction, orthogonal, det +1, and nothing else turned (minimal)."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollingq.functional import Rotation, apply_rotation, rotation_between
from rollingq.testing import oracle

METHODS = ("minimal", "svd")
DTYPES = (torch.float32, torch.float64)
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}


def unit(vector: torch.Tensor) -> torch.Tensor:
    return vector.double() / vector.double().norm()


def assert_proper(rotation: Rotation, tolerance: float) -> None:
    """Orthogonal and of determinant +1."""
    matrix = rotation.matrix().double()
    eye = torch.eye(matrix.shape[-1], dtype=torch.float64)
    assert (matrix @ matrix.mT - eye).abs().max() < tolerance
    sign, log = torch.linalg.slogdet(matrix)
    assert (sign == 1).all()
    assert log.abs().max() < tolerance * matrix.shape[-1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [2, 3, 64, 768])
def test_turns_x_into_y_and_is_a_rotation(method: str, dtype: torch.dtype, dim: int) -> None:
    x, y = torch.randn(2, dim, dtype=dtype)
    rotation = rotation_between(x, 3.0 * y, method=method)
    assert (unit(apply_rotation(x, rotation)) - unit(y)).abs().max() < TOLERANCE[dtype]
    assert rotation.core.dtype == dtype
    assert_proper(rotation, 10 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [2, 3, 64])
def test_minimal_equals_the_oracle(dtype: torch.dtype, dim: int) -> None:
    x, y = torch.randn(2, dim, dtype=dtype)
    found = rotation_between(x, y).matrix().double().numpy()
    np.testing.assert_allclose(found, oracle.minimal_rotation(x, y), atol=TOLERANCE[dtype])


@given(st.integers(2, 12), st.floats(-6, 6), st.floats(-6, 6), st.integers(0, 10_000))
def test_minimal_equals_the_oracle_at_any_scale(dim: int, log_x: float, log_y: float, seed: int) -> None:
    x, y = torch.randn(2, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = rotation_between(x * 10**log_x, y * 10**log_y).matrix().numpy()
    np.testing.assert_allclose(found, oracle.minimal_rotation(x, y), atol=1e-9)


def test_minimal_is_the_identity_off_the_plane() -> None:
    x, y, other = torch.randn(3, 64, dtype=torch.float64)
    basis, _ = torch.linalg.qr(torch.stack([x, y], 1))
    other = other - basis @ (basis.mT @ other)
    assert (apply_rotation(other, rotation_between(x, y)) - other).abs().max() < 1e-13


def test_minimal_keeps_two_vectors_not_a_matrix() -> None:
    rotation = rotation_between(*torch.randn(2, 768))
    assert rotation.basis is not None
    assert (rotation.basis.shape, rotation.core.shape) == ((768, 2), (2, 2))


@pytest.mark.parametrize("method", METHODS)
def test_equal_directions_are_kept(method: str) -> None:
    x = torch.randn(9)
    assert torch.allclose(apply_rotation(x, rotation_between(x, 2.0 * x, method=method)), x, atol=1e-6)


def test_equal_directions_give_the_identity() -> None:
    x = torch.randn(9)
    assert (rotation_between(x, 4.0 * x).matrix() == torch.eye(9)).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dim", [2, 3, 64])
def test_opposite_directions_turn_half_way_about_a_fixed_axis(method: str, dim: int) -> None:
    x = torch.randn(dim, dtype=torch.float64)
    rotation = rotation_between(x, -2.0 * x, method=method)
    assert_proper(rotation, 1e-11)
    assert (apply_rotation(x, rotation) + x).abs().max() < 1e-12
    assert torch.equal(rotation.matrix(), rotation_between(x.clone(), -2.0 * x, method=method).matrix())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("offset", [1e-3, 1e-7, 1e-9, 3e-10, 1e-11, 1e-16])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_nearly_parallel_directions(method: str, offset: float, side: float) -> None:
    x, normal = torch.eye(5, dtype=torch.float64)[:2]
    y = side * x + offset * normal
    rotation = rotation_between(x, y, method=method)
    assert_proper(rotation, 1e-11)
    assert (apply_rotation(x, rotation) - unit(y)).abs().max() < 2e-10


BAD = {
    "zero": torch.zeros(6),
    "nan": torch.full((6,), float("nan")),
    "one nan": torch.tensor([1.0, float("nan"), 0, 0, 0, 0]),
    "inf": torch.full((6,), float("inf")),
    "one -inf": torch.tensor([1.0, -float("inf"), 0, 0, 0, 0]),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("is_first", [True, False])
def test_without_a_direction_there_is_no_rotation(method: str, name: str, is_first: bool) -> None:
    good = torch.randn(6)
    pair = (BAD[name], good) if is_first else (good, BAD[name])
    assert torch.equal(rotation_between(*pair, method=method).matrix(), torch.eye(6))


@pytest.mark.parametrize("method", METHODS)
def test_two_vectors_without_direction(method: str) -> None:
    assert torch.equal(rotation_between(BAD["zero"], BAD["nan"], method=method).matrix(), torch.eye(6))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-45, 1e-42, 1e-30, 1e30, 3e38])
def test_tiny_and_huge_vectors_have_a_direction(method: str, scale: float) -> None:
    x, y = torch.eye(4)[:2] * scale
    assert x.max() > 0
    moved = apply_rotation(torch.eye(4)[0], rotation_between(x, y, method=method))
    assert (moved - torch.eye(4)[1]).abs().max() < 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_bad_vectors_in_a_batch_do_not_touch_the_others(method: str) -> None:
    x, y = torch.randn(2, 3, 6)
    alone = rotation_between(x[2], y[2], method=method).matrix()
    x[0], y[1] = BAD["nan"], BAD["zero"]
    together = rotation_between(x, y, method=method).matrix()
    assert torch.equal(together[:2], torch.eye(6).expand(2, 6, 6))
    assert torch.allclose(together[2], alone, atol=1e-6)


def test_no_gradient_flows_into_the_rotation() -> None:
    x, y = torch.randn(2, 4, requires_grad=True)
    assert not rotation_between(x, y).matrix().requires_grad


@pytest.mark.parametrize(
    ("dim", "method", "text"), [(1, "minimal", "at least 2"), (4, "nearest", "'minimal' or 'svd'")]
)
def test_refuses(dim: int, method: str, text: str) -> None:
    as_users_get_it = inspect.unwrap(rotation_between)  # Without the checks of the tests, which would come first.
    with pytest.raises(ValueError, match=f"Expected.*{text}.*but got"):
        as_users_get_it(torch.ones(dim), torch.ones(dim), method=method)
