"""apply_rotation and compose: R q over any leading axes, and products that stay factored."""

import numpy as np
import pytest
import torch

from rollingq.functional import Rotation, apply_rotation, compose, rotation_between
from rollingq.testing import oracle

METHODS = ("minimal", "svd")


def some_rotation(*batch: int, dim: int = 6, method: str = "minimal", dtype: torch.dtype = torch.float64) -> Rotation:
    return rotation_between(*torch.randn(2, *batch, dim, dtype=dtype), method=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("leading", [(), (3,), (2, 5)])
def test_leading_axes_of_vectors(method: str, leading: tuple[int, ...]) -> None:
    rotation = some_rotation(method=method)
    vectors = torch.randn(*leading, 6, dtype=torch.float64)
    expected = vectors.numpy() @ rotation.matrix().numpy().T
    np.testing.assert_allclose(apply_rotation(vectors, rotation).numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_each_head_has_its_own_rotation(method: str) -> None:
    rotation = some_rotation(4, method=method)
    vectors = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    turned = apply_rotation(vectors, rotation)
    for head, matrix in enumerate(rotation.matrix().numpy()):
        np.testing.assert_allclose(turned[..., head, :].numpy(), vectors[..., head, :].numpy() @ matrix.T, atol=1e-13)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_half_precision_is_rounded_once_at_the_end(dtype: torch.dtype, tolerance: float) -> None:
    vectors = torch.randn(7, 64).to(dtype)
    rotation = some_rotation(dim=64, dtype=torch.float32)
    turned = apply_rotation(vectors, rotation)
    assert turned.dtype == dtype
    expected = vectors.double() @ rotation.matrix().double().mT
    assert ((turned.double() - expected).abs() <= tolerance * expected.abs() + 1e-7).all()


def test_half_precision_vectors_define_a_float32_rotation() -> None:
    x, y = torch.randn(2, 64).to(torch.bfloat16)
    rotation = rotation_between(x, y)
    assert rotation.core.dtype == torch.float32
    np.testing.assert_allclose(rotation.matrix().double().numpy(), oracle.minimal_rotation(x, y), atol=2e-6)


@pytest.mark.parametrize("method", METHODS)
def test_autocast_does_not_lower_the_precision(method: str) -> None:
    vectors = torch.randn(5, 64)
    rotation = some_rotation(dim=64, method=method, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        turned = apply_rotation(vectors, rotation)
    assert turned.dtype == torch.float32
    assert (turned - apply_rotation(vectors, rotation)).abs().max() < 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_norms_and_angles_are_kept_and_gradients_turn_back(method: str) -> None:
    rotation = some_rotation(dim=16, method=method)
    vectors = torch.randn(5, 16, dtype=torch.float64, requires_grad=True)
    turned = apply_rotation(vectors, rotation)
    assert (turned @ turned.mT - vectors @ vectors.mT).abs().max() < 1e-12
    upstream = torch.randn(5, 16, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(turned, vectors, upstream)
    assert (gradient - upstream @ rotation.matrix()).abs().max() < 1e-12


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", [(), (3,)])
def test_compose_is_the_matrix_product_and_associative(method: str, batch: tuple[int, ...]) -> None:
    a, b, c = (some_rotation(*batch, method=method) for _ in range(3))
    product = a.matrix() @ b.matrix() @ c.matrix()
    for composed in (compose(compose(a, b), c), compose(a, compose(b, c))):
        assert (composed.matrix() - product).abs().max() < 1e-13
        vectors = torch.randn(*batch, 6, dtype=torch.float64)
        expected = torch.einsum("...d,...ed->...e", vectors, product)
        assert (apply_rotation(vectors, composed) - expected).abs().max() < 1e-13


def test_compose_stays_factored() -> None:
    composed = compose(some_rotation(dim=768), some_rotation(dim=768))
    assert composed.basis is not None
    assert (composed.basis.shape, composed.core.shape) == ((768, 4), (4, 4))


@pytest.mark.parametrize("methods", [METHODS, METHODS[::-1]])
def test_compose_refuses_two_kinds(methods: tuple[str, str]) -> None:
    first, second = (some_rotation(method=method) for method in methods)
    with pytest.raises(ValueError, match=r"Expected two factored or two dense.*but got"):
        compose(second, first)
