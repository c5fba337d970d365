import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollingq.errors import ConfigError, DataError, ShapeError
from rollingq.evaluation.noise import ABSENT, KINDS, absent, noised, sample_noise

SHAPES = [(5, 4), (5, 7, 3), (5, 1, 6, 9), (5, 3, 4, 4), (5, 2, 3, 4, 4)]
LEVELS = [0.1, 0.3, 0.5, 0.9, 1.0]


def normal_cdf(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def clean(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def test_the_noise_of_a_sample_does_not_depend_on_its_batch():
    whole = sample_noise((9, 2, 5), seed=7)
    assert torch.equal(sample_noise((3, 2, 5), seed=7, first=4), whole[4:7])
    assert sample_noise((0, 2, 5), seed=7).shape == (0, 2, 5)


def test_noise_leaves_the_global_stream_alone():
    state = torch.get_rng_state()
    sample_noise((3, 4), seed=0)
    noised(clean(3, 4), "multibench", 0.5, seed=0)
    assert torch.equal(state, torch.get_rng_state())


def test_modalities_and_seeds_share_no_noise():
    names = ("", "audio", "image", "visual", "text", "inertial", "depth", "flow")
    streams = torch.cat([sample_noise((20, 64), seed=seed, modality=name) for name in names for seed in range(3)])
    assert torch.corrcoef(streams).fill_diagonal_(0).abs().max() < 0.75
    assert abs(streams.mean()) < 0.02
    assert abs(streams.std() - 1) < 0.02


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 2**40), cut=st.integers(0, 5), level=st.floats(0, 1))
def test_batches_of_any_size_give_the_same_numbers(kind, shape, seed, cut, level):
    inputs = clean(*shape)
    whole = noised(inputs, kind, level, seed=seed, first=10, modality="audio")
    parts = [(inputs[:cut], 10), (inputs[cut:], 10 + cut)]
    again = torch.cat([noised(x, kind, level, seed=seed, first=at, modality="audio") for x, at in parts])
    assert torch.equal(whole, again)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_level_0_is_the_input_itself_and_types_stay(kind, dtype):
    inputs = clean(4, 6, 3, dtype=dtype)
    assert noised(inputs, kind, 0, seed=0, mean=5.0, std=9.0) is inputs
    before = inputs.clone()
    assert noised(inputs, kind, 0.5, seed=0).dtype == dtype
    assert torch.equal(inputs, before), "inputs are never changed in place"


def test_additive_noise_is_the_formula():
    inputs, std = clean(6, 5, 3, dtype=torch.float64), torch.tensor([1.0, 2.0, 0.3], dtype=torch.float64)
    expected = inputs + 0.3 * std * sample_noise(inputs.shape, seed=2).double()
    assert torch.allclose(noised(inputs, "additive", 0.3, seed=2, std=std), expected, rtol=1e-12)


def test_mixed_noise_is_the_formula_and_replaces_everything_at_level_1():
    inputs = clean(6, 5, 3, dtype=torch.float64)
    noise = 2.0 + 0.3 * sample_noise(inputs.shape, seed=2).double()
    mixed = noised(inputs, "mix", 0.25, seed=2, mean=2.0, std=0.3)
    assert torch.allclose(mixed, 0.75 * inputs + 0.25 * noise, rtol=1e-12)
    broken = torch.full_like(inputs, float("nan"))
    assert torch.equal(noised(broken, "mix", 1.0, seed=2, mean=2.0, std=0.3), noise)


@pytest.mark.parametrize("kind", ["additive", "mix"])
def test_curves_are_smooth_in_the_level(kind):
    inputs = clean(4, 3)
    at = [noised(inputs.double(), kind, level, seed=0) for level in (0.25, 0.5, 0.75)]
    assert torch.allclose(at[1] - at[0], at[2] - at[1], atol=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_dropout_drops_elements_with_the_probability_of_the_level(level):
    inputs = 10 + clean(40, 25, 20)
    dropped = noised(inputs, "dropout", level, seed=3, mean=-1.0) == -1.0
    assert abs(dropped.double().mean() - level) <= 4 * math.sqrt(level * (1 - level) / dropped.numel())
    assert torch.equal(noised(inputs, "dropout", level, seed=3, mean=-1.0)[~dropped], inputs[~dropped])
    draws = sample_noise(inputs.shape, seed=3)
    assert [normal_cdf(draw) <= level for draw in draws[0, 0].tolist()] == dropped[0, 0].tolist()


@pytest.mark.parametrize("kind", ["dropout", "multibench"])
def test_what_is_dropped_stays_dropped_at_higher_levels(kind):
    inputs = 10 + clean(30, 12, 2)
    dropped = [noised(inputs, kind, level, seed=0, mean=-99.0) == -99.0 for level in LEVELS]
    for low, high in pairwise(dropped):
        assert (high | ~low).all()
    assert not dropped[0].all()
    assert dropped[-1].all()


@pytest.mark.parametrize(
    ("shape", "given_axis", "axis"),
    [
        ((6, 9), None, 1),
        ((6, 40, 3), None, 1),
        ((6, 1, 20, 5), None, 2),
        ((6, 3, 20, 5), None, 2),
        ((6, 20, 4, 5), None, 1),
        ((6, 20, 2, 4, 5), None, 1),
        ((6, 1, 5, 20), 3, 3),
    ],
)
def test_multibench_noise_moves_and_drops_whole_tokens(shape, given_axis, axis):
    inputs = clean(*shape, dtype=torch.float64)
    change = (noised(inputs, "multibench", 0.4, seed=1, mean=50.0, token_axis=given_axis) - inputs).transpose(1, axis)
    tokens = change.flatten(2) if change.dim() > 2 else change.unsqueeze(-1)
    is_dropped = (tokens + inputs.transpose(1, axis).reshape(tokens.shape) - 50.0).abs().amax(-1) < 1e-9
    kept = tokens[~is_dropped]
    assert (kept.amax(-1) - kept.amin(-1)).max() < 1e-12, "one offset a token"
    assert 0 < is_dropped.sum() < is_dropped.numel()
    assert kept[:, 0].unique().numel() == len(kept), "another offset for every token"


def test_multibench_noise_has_the_deviation_and_probability_of_its_level():
    inputs = torch.zeros(300, 40, 2, dtype=torch.float64)
    found = noised(inputs, "multibench", 0.3, seed=0, mean=100.0, std=2.0)[..., 0]
    is_dropped = found == 100.0
    assert abs(is_dropped.double().mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 12000)
    offsets = found[~is_dropped]
    assert abs(offsets.mean()) < 4 * 0.6 / math.sqrt(len(offsets))
    assert abs(offsets.std() - 0.3 * 2.0) < 0.02
    assert is_dropped.any(1).all(), "no sample is spared, none is zeroed"
    assert not is_dropped.all(1).any()


def test_what_stands_for_an_absent_modality():
    inputs, mean = clean(4, 5, 3), clean(5, 3, dtype=torch.float64)
    assert ABSENT == ("zero", "mean", "noise")
    assert torch.equal(absent(inputs, "zero", seed=0, mean=mean), torch.zeros(4, 5, 3))
    assert torch.equal(absent(inputs, "mean", seed=0, mean=mean), mean.float().expand(4, 5, 3))
    noise = absent(inputs, "noise", seed=4, first=6, mean=mean, std=2.0, modality="audio")
    same = sample_noise((4, 5, 3), seed=4, first=6, modality="audio")
    assert torch.equal(noise, mean.float() + 2.0 * same)
    assert torch.equal(noise, noised(inputs, "mix", 1, seed=4, first=6, mean=mean, std=2.0, modality="audio"))
    assert not torch.equal(noise, absent(inputs, "noise", seed=4, first=6, mean=mean, std=2.0, modality="image"))
    for how in ABSENT:
        broken = torch.full_like(inputs, float("nan"))
        assert torch.equal(absent(broken, how, seed=0), absent(inputs, how, seed=0)), "nothing of the inputs is left"


def test_token_numbers_can_be_zero_and_nothing_else():
    tokens = torch.tensor([[3, 1]])
    assert absent(tokens, "zero", seed=0).tolist() == [[0, 0]]
    for how in ("mean", "noise"):
        with pytest.raises(DataError, match="Expected floating-point inputs, but got int64"):
            absent(tokens, how, seed=0)
    with pytest.raises(DataError, match="noise and means need them"):
        noised(tokens, "mix", 0.0, seed=0)


@pytest.mark.parametrize("level", [-0.1, 1.1, float("nan")])
def test_levels_outside_of_their_range_are_refused(level):
    with pytest.raises(ConfigError, match="noise level from 0"):
        noised(clean(2, 3), "mix", level, seed=0)


def test_wrong_names_and_shapes_are_refused():
    inputs = clean(2, 4, 3)
    with pytest.raises(ConfigError, match="Did you mean 'additive'"):
        noised(inputs, "aditive", 0.5, seed=0)
    with pytest.raises(ConfigError, match="Did you mean 'zero'"):
        absent(inputs, "zeros", seed=0)
    for wrong in (torch.zeros(4), torch.zeros(2, 4, 3), torch.zeros(4, 2)):
        with pytest.raises(ShapeError, match=r"Expected mean as a number or of the shape of one sample, \[4, 3\]"):
            noised(inputs, "mix", 0.5, seed=0, mean=wrong)
    with pytest.raises(ShapeError, match="Expected std"):
        absent(inputs, "noise", seed=0, std=torch.zeros(5))
    for axis in (0, 3, -1):
        with pytest.raises(ShapeError, match="token_axis from 1 to 2"):
            noised(inputs, "multibench", 0.5, seed=0, token_axis=axis)
