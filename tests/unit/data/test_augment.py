import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollingq.data.augment import RATIO, SCALE, Draws, augment, crop_box


def made(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def draws_of(*samples, seed=0, epoch=0):
    return Draws.of(torch.tensor(samples), seed=seed, epoch=epoch)


def ramp(batch, height=16, width=16):
    """Return images that get brighter to the right, so that a flip shows."""
    return (torch.arange(width) * 8).to(torch.uint8).expand(batch, 1, height, width).clone()


def is_flipped(images):
    return (images[:, 0, :, 0].float().mean(-1) > images[:, 0, :, -1].float().mean(-1)).tolist()


def test_the_same_draws_give_the_same_images():
    images, state = made(6, 3, 9, 12), torch.get_rng_state()
    one = augment(images, draws_of(*range(6), seed=3, epoch=5))
    assert torch.equal(one, augment(images, draws_of(*range(6), seed=3, epoch=5)))
    assert torch.equal(state, torch.get_rng_state())
    assert (one.shape, one.dtype) == (images.shape, torch.uint8)


def test_images_are_not_changed_in_place():
    images = made(4, 2, 9, 12)
    before = images.clone()
    augment(images, draws_of(*range(4)), is_flow=True)
    assert torch.equal(images, before)


@given(st.permutations(range(8)), st.integers(1, 8))
def test_neither_order_nor_company_matters(order, size):
    images = made(8, 3, 7, 9)
    whole = augment(images, draws_of(*range(8), seed=1, epoch=2))
    chosen = order[:size]
    assert torch.equal(augment(images[chosen], draws_of(*chosen, seed=1, epoch=2)), whole[chosen])


def test_seed_epoch_and_sample_all_matter():
    image = made(1, 1, 96, 96)
    found = {}
    for seed, epoch, sample in itertools.product(range(3), repeat=3):
        found[seed, epoch, sample] = augment(image, draws_of(sample, seed=seed, epoch=epoch)).numpy().tobytes()
    assert len(set(found.values())) == 27


def test_draws_do_not_collide():
    seeds = [
        Draws.of(torch.arange(50), seed=seed, epoch=epoch).seeds for seed in (0, 1, 2, 42) for epoch in (0, 1, 99, 1008)
    ]
    assert torch.cat(seeds).unique().numel() == 16 * 50


@pytest.mark.parametrize("seed", [2**31, 2**33, 2**63 - 1])
def test_large_seeds_can_be_used(seed):
    draws = draws_of(0, 1, seed=seed, epoch=300)
    assert augment(made(2, 3, 8, 8), draws).shape == (2, 3, 8, 8)


def test_frames_of_a_sample_share_crop_and_flip():
    image = made(5, 1, 3, 10, 14)
    found = augment(image.expand(5, 4, 3, 10, 14), draws_of(*range(5)))
    assert all(torch.equal(found[:, number], found[:, 0]) for number in range(4))
    assert torch.equal(found[:, 0], augment(image[:, 0], draws_of(*range(5))))
    assert not torch.equal(found[0], found[1])


def test_flips_turn_motion_to_the_right_around():
    horizontal, vertical = made(24, 3, 1, 8, 8, seed=1), made(24, 3, 1, 8, 8, seed=2)
    horizontal[:, :, :, 0] = 0
    draws = draws_of(*range(24))
    flow = augment(torch.cat([horizontal, vertical], 2), draws, is_flow=True)
    pixels = augment(torch.cat([horizontal, vertical], 2), draws)
    assert torch.equal(flow[:, :, 1], pixels[:, :, 1])
    num_flipped = 0
    for found, plain in zip(flow[:, :, 0].int(), pixels[:, :, 0].int(), strict=True):
        is_turned = not torch.equal(found, plain)
        num_flipped += is_turned
        if is_turned:
            assert torch.equal(found, (256 - plain).clamp(max=255))
    assert 4 < num_flipped < 20


def test_no_motion_stays_no_motion():
    flow = torch.full((16, 2, 2, 6, 6), 128, dtype=torch.uint8)
    assert torch.equal(augment(flow, draws_of(*range(16)), is_flow=True), flow)


def test_image_and_flow_of_a_sample_share_crop_and_flip():
    image = made(20, 3, 12, 12)
    frames = image[:, None, :2].expand(20, 3, 2, 12, 12)
    draws = draws_of(*range(20), seed=4)
    assert torch.equal(augment(frames, draws)[:, 1], augment(image, draws)[:, :2])
    assert torch.equal(augment(frames, draws, is_flow=True)[:, 1, 1], augment(image, draws)[:, 1])


def test_half_of_the_samples_are_flipped():
    for epoch in range(2):
        flipped = is_flipped(augment(ramp(600), draws_of(*range(600), epoch=epoch)))
        assert 240 < sum(flipped) < 360
        pairs = [flipped[number] == flipped[number + 1] for number in range(599)]
        assert 240 < sum(pairs) < 360, "neighbours should not know of each other"


def test_crops_lie_inside_and_have_the_promised_areas_and_ratios():
    size = (240, 240)
    boxes = [crop_box(size, torch.Generator().manual_seed(seed)) for seed in range(2000)]
    top, left, height, width = torch.tensor(boxes, dtype=torch.float64).unbind(1)
    assert ((top >= 0) & (left >= 0) & (top + height <= 240) & (left + width <= 240)).all()
    area, ratio = height * width / (240 * 240), width / height
    assert SCALE[0] - 0.005 <= area.min() < 0.1
    assert 0.9 < area.max() <= SCALE[1]
    assert RATIO[0] - 0.02 <= ratio.min() < 0.78
    assert 1.28 < ratio.max() <= RATIO[1] + 0.02
    assert ratio.log().mean().abs() < 0.02
    small = area < 0.54
    assert 0.5 < small.double().mean() < 0.65, "half, and a little more: the widest large crops do not fit"
    assert abs((top / (240 - height).clamp(min=1)).mean() - 0.5) < 0.05
    assert abs((left / (240 - width).clamp(min=1)).mean() - 0.5) < 0.05


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**16))
def test_any_size_has_a_crop(height, width, seed):
    top, left, high, wide = crop_box((height, width), torch.Generator().manual_seed(seed))
    assert high >= 1
    assert wide >= 1
    assert 0 <= top <= height - high
    assert 0 <= left <= width - wide


def test_a_crop_is_resized_and_not_padded():
    found = augment(ramp(200, 32, 32), draws_of(*range(200))).float()
    spread = found.amax((1, 2, 3)) - found.amin((1, 2, 3))
    assert (spread.amin() < 90) & (spread.amax() > 200)
    assert found.std(-2).max() < 4, "rows stay alike"
