import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollingq.data.prepare.moments import Moments, moments_of
from rollingq.data.spec import ModalitySpec

SHAPES = {
    "tokens": [(1, 1), (4, 3)],
    "spectrogram": [(1, 3, 5)],
    "image": [(3, 2, 4), (1, 1, 1)],
    "frames": [(2, 3, 2, 2), (1, 1, 3, 2)],
    "flow": [(3, 2, 2, 3)],
}


def axes_of(kind: str) -> list[str]:
    return ["feature", "all"] if kind == "tokens" else ["channel", "all"]


@st.composite
def cases(draw):
    """Return samples, spec and mask, as shards hold them."""
    kind = draw(st.sampled_from(sorted(SHAPES)))
    shape = draw(st.sampled_from(SHAPES[kind]))
    dtype = draw(st.sampled_from(["float32", "float16", "uint8"]))
    spec = ModalitySpec(shape, kind, dtype, draw(st.sampled_from(axes_of(kind))), has_mask=draw(st.booleans()))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    number = draw(st.integers(0, 7))
    scale, offset = draw(st.sampled_from([(1.0, 0.0), (1e-3, 100.0), (30.0, -7.0)]))
    array = (offset + scale * random.normal(size=(number, *shape))).astype(np.float32)
    stored = random.integers(0, 256, array.shape, np.uint8) if dtype == "uint8" else array.astype(dtype)
    mask = random.random((number, *spec.mask_shape)) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    return stored, spec, mask if spec.has_mask else None


def oracle(array: np.ndarray, spec: ModalitySpec, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation by the definition, from a list of numbers a statistic."""
    size = {"feature": spec.shape[-1], "channel": spec.shape[-3] if len(spec.shape) > 2 else 1, "all": 1}
    found: list[list[float]] = [[] for _ in range(size[spec.statistics])]
    for index in np.ndindex(array.shape):
        is_real = mask is None or mask[index[0], index[1] if len(spec.shape) in (2, 4) else 0]
        bucket = {"feature": index[-1], "channel": index[-3] if array.ndim > 3 else 0, "all": 0}[spec.statistics]
        if is_real:
            found[bucket].append(float(array[index]))
    means = [np.mean(numbers) if numbers else 0.0 for numbers in found]
    stds = [np.std(numbers) if numbers else 0.0 for numbers in found]
    return np.array(means), np.array([1.0 if std < 1e-6 else std for std in stds])


@given(cases(), st.integers(1, 40))
def test_moments_are_those_of_all_real_numbers_for_any_block(case, block):
    array, spec, mask = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rollingq.data.prepare.moments._BLOCK", block)
        made = moments_of(array, spec, mask)
    mean, std = oracle(array, spec, mask)
    np.testing.assert_allclose(made.mean, mean, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(made.std, std, rtol=1e-9, atol=1e-9)


@given(cases(), st.lists(st.integers(0, 7), max_size=3))
def test_moments_of_parts_add_up_to_those_of_the_whole(case, cuts):
    array, spec, mask = case
    edges = [0, *sorted(min(cut, len(array)) for cut in cuts), len(array)]
    parts = [slice(start, end) for start, end in pairwise(edges)]
    moments = [moments_of(array[part], spec, None if mask is None else mask[part]) for part in parts]
    total, whole = sum(moments[1:], moments[0]), moments_of(array, spec, mask)
    assert total.count == whole.count
    np.testing.assert_allclose(total.mean, whole.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(total.std, whole.std, rtol=1e-9, atol=1e-9)


@given(cases())
def test_json_keeps_every_bit(case):
    made = moments_of(*case)
    again = Moments.from_json(json.loads(json.dumps(made.to_json())))
    assert again.count == made.count
    assert again.mean.tobytes() == made.mean.tobytes()
    assert again.squares.tobytes() == made.squares.tobytes()


@pytest.mark.parametrize("statistics", ["channel", "all"])
def test_a_wholly_masked_split_has_mean_0_and_deviation_1(statistics):
    spec = ModalitySpec((2, 3, 4, 5), "frames", statistics=statistics, has_mask=True)
    array = np.full((3, *spec.shape), 7.0, np.float32)
    made = moments_of(array, spec, np.zeros((3, 2), bool))
    size = {"channel": 3, "all": 1}[statistics]
    assert made.count == 0
    assert made.mean.tolist() == [0.0] * size
    assert made.std.tolist() == [1.0] * size
    whole = moments_of(array, spec, np.ones((3, 2), bool))
    assert (made + whole).mean.tolist() == (whole + made).mean.tolist() == [7.0] * size


def test_a_mask_is_looked_at_frame_by_frame():
    spec = ModalitySpec((2, 1, 1, 1), "frames", statistics="all", has_mask=True)
    array = np.array([[1.0, 100.0], [3.0, 5.0]], np.float32).reshape(2, 2, 1, 1, 1)
    made = moments_of(array, spec, np.array([[True, False], [True, True]]))
    assert (made.count, made.mean.tolist()) == (3, [3.0])
    assert made.squares.tolist() == [8.0]


def test_a_channel_is_not_a_column():
    spec = ModalitySpec((2, 1, 2), "image", statistics="channel")
    made = moments_of(np.array([[[[0, 2]], [[10, 30]]]], np.float32), spec)
    assert made.mean.tolist() == [1.0, 20.0]
    assert made.std.tolist() == [1.0, 10.0]


def test_a_far_mean_does_not_swallow_the_deviation():
    random = np.random.default_rng(0)
    array = (1e6 + random.normal(size=(500, 8, 2))).astype(np.float32)
    parts = [moments_of(array[start : start + 7], ModalitySpec((8, 2))) for start in range(0, 500, 7)]
    total = sum(parts[1:], parts[0])
    np.testing.assert_allclose(total.std, array.astype(np.float64).std((0, 1)), rtol=1e-9)


def test_half_precision_does_not_overflow():
    array = np.full((4, 50, 2), 60000, np.float16)
    array[:2] = 0
    made = moments_of(array, ModalitySpec((50, 2), dtype="float16"))
    assert made.mean.tolist() == [30000.0, 30000.0]
    assert made.std.tolist() == [30000.0, 30000.0]


@pytest.mark.parametrize("value", [0.0, 0.1, 255.0, 3e4, -1e9])
def test_what_never_varies_is_divided_by_1(value):
    array = np.full((300, 5, 1), value, np.float32)
    parts = [moments_of(array[:7], ModalitySpec((5, 1))), moments_of(array[7:], ModalitySpec((5, 1)))]
    assert (parts[0] + parts[1]).std.tolist() == [1.0]
