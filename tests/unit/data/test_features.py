import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollingq.data.prepare.moments import moments_of
from rollingq.data.rows import Normaliser
from rollingq.data.sources.utd_features import Recipe, area_mean, body_box, features, resample
from rollingq.data.spec import ModalitySpec


@given(st.integers(1, 60), st.integers(1, 60))
def test_area_mean_keeps_the_mean_and_averages_every_cell(size, out):
    matrix = area_mean(size, out)
    np.testing.assert_allclose(matrix.sum(1), 1)
    np.testing.assert_allclose(matrix.mean(0), 1 / size)


def test_area_mean_is_the_block_mean_where_sizes_divide():
    image = np.random.default_rng(0).normal(size=(120, 160))
    blocks = image.reshape(20, 6, 16, 10).mean((1, 3))
    np.testing.assert_allclose(area_mean(120, 20) @ image @ area_mean(160, 16).T, blocks)


@given(st.integers(2, 40), st.integers(2, 40))
def test_resample_agrees_with_numpy(steps, length):
    values = np.random.default_rng(steps).normal(size=(steps, 3))
    at = np.linspace(0, steps - 1, length)
    expected = np.stack([np.interp(at, np.arange(steps), column) for column in values.T], 1)
    np.testing.assert_allclose(resample(values, length), expected, atol=1e-12)


@given(st.integers(0, 23), st.integers(0, 31), st.integers(0, 23), st.integers(0, 31))
def test_the_box_holds_the_body_and_stays_inside(top, left, bottom, right):
    body = np.zeros((2, 24, 32), bool)
    body[0, top, left] = body[1, bottom, right] = True
    rows, columns = body_box(body, 4 / 3)
    assert body[:, rows, columns].sum() == body.sum()
    assert 0 <= rows.start < rows.stop <= 24
    assert 0 <= columns.start < columns.stop <= 32


@pytest.mark.parametrize("scale", [1, 2])
def test_depth_tokens_do_not_depend_on_the_resolution(scale):
    random = np.random.default_rng(1)
    frames = np.zeros((5, 40, 30), np.uint16)
    frames[:, 10:30, 8:23] = random.integers(2000, 3000, (5, 20, 15))
    larger = frames.repeat(scale, 1).repeat(scale, 2)
    np.testing.assert_allclose(features("depth", larger, Recipe()), features("depth", frames, Recipe()), atol=1e-6)


def test_depth_is_nearness_of_the_body_with_background_zero():
    frames = np.zeros((2, 40, 30), np.uint16)
    frames[:, 0:20, 0:15] = 2500
    frames[:, 5, 5] = 2250
    tokens = features("depth", frames, Recipe()).reshape(8, 2, 20, 15)
    assert tokens[0, 0, 5, 5] == pytest.approx(1.5)
    assert tokens[0, 0, 0, 0] == pytest.approx(1.0)


def test_skeletons_are_relative_to_the_hip():
    skeleton = np.random.default_rng(2).normal(size=(9, 20, 3))
    moved = skeleton + np.array([1.0, -2.0, 3.0])
    recipe = Recipe()
    np.testing.assert_allclose(features("skeleton", moved, recipe), features("skeleton", skeleton, recipe), atol=1e-6)
    assert np.abs(features("skeleton", skeleton, recipe).reshape(24, 20, 3)[:, 3]).max() == 0


@pytest.mark.parametrize("shared", [True, False])
def test_normalised_training_data_has_mean_0_and_deviation_1(shared):
    array = np.random.default_rng(3).normal(5, 3, (20, 4, 6)).astype(np.float32)
    axes = None if shared else (0, 1)
    spec = ModalitySpec((4, 6), statistics="all" if shared else "feature")
    normal = Normaliser(spec, *moments_of(array, spec).statistics)(torch.from_numpy(array)).numpy()
    assert normal.dtype == np.float32
    np.testing.assert_allclose(normal.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std(axes), 1, atol=1e-5)
