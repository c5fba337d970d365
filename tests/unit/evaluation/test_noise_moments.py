import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollingq.errors import DataError, ShapeError
from rollingq.evaluation.moments import InputMoments


def moments_of(inputs, size, mask=None):
    moments = InputMoments()
    for at in range(0, len(inputs), size):
        moments.add(inputs[at : at + size], None if mask is None else mask[at : at + size])
    return moments


@given(
    size=st.integers(1, 9),
    offset=st.sampled_from([0.0, -3.0, 1e6]),
    scale=st.sampled_from([1e-2, 1.0, 40.0]),
    shape=st.sampled_from([(2,), (4, 3), (1, 3, 4), (2, 3, 2, 2)]),
)
def test_moments_are_those_of_all_samples_for_any_batch(size, offset, scale, shape):
    inputs = offset + scale * torch.randn(9, *shape, dtype=torch.float64)
    moments = moments_of(inputs, size)
    assert moments.num_samples == 9
    assert torch.allclose(moments.mean, inputs.mean(0), rtol=1e-12)
    assert moments.scalar_mean == pytest.approx(float(inputs.mean()), rel=1e-12)
    assert moments.std == pytest.approx(float(inputs.std(unbiased=False)), rel=1e-6)


@pytest.mark.parametrize("shape", [(4, 3), (4, 2, 3, 3)])
def test_padding_is_not_counted_whatever_stands_there(shape):
    inputs, mask = torch.randn(10, *shape), torch.rand(10, 4) < 0.6
    mask[:, 3] = False
    inputs[~mask] = float("nan")
    moments = moments_of(inputs, 3, mask)
    real = inputs[mask].double()
    assert moments.scalar_mean == pytest.approx(float(real.mean()), rel=1e-12)
    assert moments.std == pytest.approx(float(real.std(unbiased=False)), rel=1e-12)
    for token in range(3):
        assert torch.allclose(moments.mean[token], inputs[mask[:, token], token].double().mean(0), rtol=1e-12)
    assert (moments.mean[3] == moments.scalar_mean).all(), "never real: the mean of everything"


def test_an_absent_image_is_not_counted():
    inputs, mask = torch.ones(4, 3, 5, 5), torch.tensor([[True], [False], [True], [False]])
    inputs[1::2] = 7.0
    moments = moments_of(inputs, 2, mask)
    assert (moments.scalar_mean, moments.std, moments.num_samples) == (1.0, 0.0, 4)


def test_moments_are_of_double_precision_and_hold_no_graph():
    moments = moments_of(torch.full((4096, 2), 0.1, requires_grad=True), 64)
    assert moments.mean.dtype == torch.float64
    assert not moments.mean.requires_grad
    assert moments.scalar_mean == pytest.approx(float(torch.tensor(0.1)), rel=1e-14)


def test_bytes_are_counted_as_numbers():
    assert moments_of(torch.tensor([[0, 255]], dtype=torch.uint8), 1).scalar_mean == 127.5


def test_nothing_seen_and_other_shapes_are_refused():
    moments = InputMoments()
    with pytest.raises(DataError, match="at least one real number"):
        _ = moments.std
    moments.add(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool))
    with pytest.raises(DataError, match="at least one real number"):
        _ = moments.mean
    with pytest.raises(ShapeError, match=r"Expected samples of shape \[3\], but got \[4\]"):
        moments.add(torch.zeros(2, 4))
