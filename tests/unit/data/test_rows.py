import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollingq.data.augment import Draws
from rollingq.data.rows import MappedRows, Normaliser
from rollingq.data.spec import ModalitySpec
from rollingq.errors import DataError

SPECS = {
    "tokens": ModalitySpec((3, 2), has_mask=True),
    "half tokens": ModalitySpec((3, 2), dtype="float16", statistics="all", has_mask=True),
    "spectrogram": ModalitySpec((1, 3, 4), "spectrogram", statistics="all"),
    "image": ModalitySpec((3, 2, 4), "image", "uint8", "channel", has_mask=True),
    "frames": ModalitySpec((2, 3, 2, 4), "frames", "uint8", "channel", has_mask=True),
    "flow": ModalitySpec((2, 2, 2, 4), "flow", "uint8", "all"),
}


def made_statistics(spec, random):
    size = {"feature": spec.shape[-1], "channel": spec.shape[-3] if len(spec.shape) > 2 else 1, "all": 1}
    mean = random.normal(3, 2, size[spec.statistics])
    return mean.tolist(), random.uniform(0.5, 20, len(mean)).tolist()


def made_samples(spec, number, random):
    if spec.dtype == "uint8":
        return random.integers(0, 256, (number, *spec.shape), np.uint8)
    return random.normal(3, 10, (number, *spec.shape)).astype(spec.dtype)


def oracle(array, spec, mean, std, mask):
    """Return what every number of the samples should become, one at a time and in double precision."""
    found = np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        at = {"feature": index[-1], "channel": index[-3] if array.ndim > 3 else 0, "all": 0}[spec.statistics]
        if mask is None or mask[index[0], index[1] if len(spec.shape) in (2, 4) else 0]:
            found[index] = (float(array[index]) - mean[at]) / std[at]
    return found


@st.composite
def cases(draw):
    spec = SPECS[draw(st.sampled_from(sorted(SPECS)))]
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    array = made_samples(spec, sum(lengths), random)
    mask = random.random((len(array), *spec.mask_shape)) < 0.6 if spec.has_mask else None
    indices = st.lists(st.integers(0, len(array) - 1), max_size=9) if len(array) else st.just([])
    return spec, lengths, array, mask, draw(indices), made_statistics(spec, random)


def rows_of(spec, lengths, array, mask, statistics):
    shards = torch.from_numpy(array).split(lengths) if len(array) else []
    return MappedRows(shards, spec, Normaliser(spec, *statistics), None if mask is None else torch.from_numpy(mask))


@given(cases())
def test_any_samples_across_shards_are_those_of_the_whole(case):
    spec, lengths, array, mask, index, statistics = case
    rows, at = rows_of(spec, lengths, array, mask, statistics), torch.tensor(index, dtype=torch.int64)
    assert tuple(rows.shape) == array.shape
    raw = rows.raw(at)
    assert raw.dtype == getattr(torch, spec.dtype)
    np.testing.assert_array_equal(raw.numpy(), array[index], strict=True)
    found = rows[at]
    assert found.dtype == torch.float32
    wanted = oracle(array[index], spec, *statistics, None if mask is None else mask[index])
    np.testing.assert_allclose(found.numpy(), wanted, rtol=2e-6, atol=2e-5)
    np.testing.assert_array_equal(rows[:].numpy()[index], found.numpy())


@given(cases(), st.integers(-5, 5), st.integers(-5, 5))
def test_slices_are_those_of_the_whole(case, start, stop):
    spec, lengths, array, mask, _, statistics = case
    rows = rows_of(spec, lengths, array, mask, statistics)
    np.testing.assert_array_equal(rows[start:stop].numpy(), rows[:].numpy()[start:stop])


@pytest.mark.parametrize("lengths", [[7], [3, 4], [1, 0, 6]])
def test_negative_indices_count_from_the_end(lengths):
    """Or are refused: but one shard and several must not differ."""
    array = made_samples(SPECS["tokens"], 7, np.random.default_rng(0))
    rows = rows_of(SPECS["tokens"], lengths, array, None, ([0.0, 0.0], [1.0, 1.0]))
    try:
        found = rows.raw(torch.tensor([-1, 0]))
    except (IndexError, DataError):
        return
    np.testing.assert_array_equal(found.numpy(), array[[-1, 0]])


@pytest.mark.parametrize("lengths", [[7], [3, 4]])
@pytest.mark.parametrize("index", [7, -8])
def test_an_index_outside_is_an_error(lengths, index):
    array = made_samples(SPECS["tokens"], 7, np.random.default_rng(0))
    rows = rows_of(SPECS["tokens"], lengths, array, None, ([0.0, 0.0], [1.0, 1.0]))
    with pytest.raises(IndexError):
        rows.raw(torch.tensor([0, index]))


@pytest.mark.parametrize("name", SPECS)
def test_reading_leaves_the_shards_as_they_are(name):
    spec, random = SPECS[name], np.random.default_rng(0)
    array = made_samples(spec, 5, random)
    mask = np.zeros((5, *spec.mask_shape), bool) if spec.has_mask else None
    rows = rows_of(spec, [2, 3], array, mask, made_statistics(spec, random))
    before = array.copy()
    one = rows_of(spec, [5], array, mask, made_statistics(spec, random))
    for found in (rows[torch.tensor([0, 4])], one[torch.tensor([0, 4])], rows[:], one[1:3], one.raw(torch.arange(5))):
        found.add_(1)
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.has_mask])
def test_masks_zero_what_is_not_real(name):
    spec = SPECS[name]
    array = made_samples(spec, 4, np.random.default_rng(0))
    mask = np.zeros((4, *spec.mask_shape), bool)
    mask[1] = True
    mask[2, 0] = True
    size = len(made_statistics(spec, np.random.default_rng(0))[0])
    found = rows_of(spec, [1, 3], array, mask, ([1000.0] * size, [2.0] * size))[:].numpy()
    assert (found[[0, 3]] == 0).all()
    assert (found[1] != 0).all()
    assert (found[2, 0] != 0).all()
    if len(spec.shape) in (2, 4):
        assert (found[2, 1:] == 0).all()


def test_single_precision_far_from_zero_keeps_its_digits():
    spec = ModalitySpec((1, 1), statistics="all")
    array = np.array([16777217.0, 16777218.0], np.float32).reshape(2, 1, 1)
    normalise = Normaliser(spec, [16777216.5], [1e-3])
    assert normalise(torch.from_numpy(array)).flatten().tolist() == pytest.approx([-500.0, 1500.0])


@pytest.mark.parametrize(
    ("mean", "std"),
    [([0.0], [1.0]), ([0.0] * 3, [1.0] * 3), ([0.0, 0.0], [1.0]), ([0.0] * 2, [1.0, 0.0]), ([0.0] * 2, [1.0, -1.0])],
)
def test_statistics_that_do_not_fit_are_refused(mean, std):
    with pytest.raises(ValueError, match="statistics"):
        Normaliser(SPECS["tokens"], mean, std)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_statistics_that_are_not_finite_are_refused(wrong):
    for mean, std in (([wrong, 0.0], [1.0, 1.0]), ([0.0, 0.0], [wrong, 1.0])):
        with pytest.raises(ValueError, match="not finite"):
            Normaliser(SPECS["tokens"], mean, std)


@pytest.mark.parametrize("lengths", [[6], [2, 4]])
def test_augmented_samples_are_masked_and_normalised_after_the_crop(lengths):
    spec = ModalitySpec((2, 3, 6, 8), "frames", "uint8", "channel", has_mask=True, is_augmented=True)
    array = np.full((6, *spec.shape), 200, np.uint8)
    mask = np.ones((6, 2), bool)
    mask[3, 1] = False
    rows = rows_of(spec, lengths, array, mask, ([100.0, 0.0, 200.0], [1.0, 2.0, 5.0]))
    index = torch.tensor([5, 3])
    found = rows.augmented(index, Draws.of(index, seed=0, epoch=0))
    wanted = torch.tensor([100.0, 100.0, 0.0]).reshape(3, 1, 1).expand(2, 2, 3, 6, 8).clone()
    wanted[1, 1] = 0
    assert torch.equal(found, wanted)
