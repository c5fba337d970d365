import io

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from rollingq.errors import DataError
from rollingq.reporting.thumbnails import thumbnail, with_fewer_colors

DICE = np.random.default_rng(0)
RED = np.stack([np.full((40, 60), 255), np.zeros((40, 60)), np.zeros((40, 60))]).astype(np.uint8)


def pixels(array, kind, **options):
    return np.asarray(Image.open(io.BytesIO(thumbnail(array, kind, **options))).convert("RGB")).astype(int)


def natural(height=224, width=224):
    y, x = np.mgrid[:height, :width] / height
    waves = np.stack([np.sin(9 * x * y + 3 * i) + (np.hypot(x - 0.5, y - 0.5) < 0.2) for i in range(3)])
    noisy = waves + 0.05 * DICE.normal(size=waves.shape)
    return (255 * (noisy - noisy.min()) / np.ptp(noisy)).astype(np.uint8)


@pytest.mark.parametrize(
    ("kind", "array", "shape"),
    [
        ("tokens", DICE.normal(size=(12, 80)), (96, 96)),
        ("tokens", DICE.normal(size=(1, 1)), (96, 96)),
        ("tokens", DICE.normal(size=(400, 6)).astype(np.float16), (96, 96)),
        ("spectrogram", DICE.normal(size=(1, 257, 299)), (96, 96)),
        ("image", DICE.normal(size=(1, 28, 28)), (96, 96)),
        ("image", natural(), (96, 96)),
        ("image", natural(100, 300), (32, 96)),
        ("image", natural(1, 300), (1, 96)),
        ("frames", np.stack([natural()] * 2), (68, 136)),
        ("frames", np.stack([natural()] * 9), (55, 165)),
        ("frames", natural()[None], (96, 96)),
        ("flow", DICE.integers(100, 160, (9, 2, 112, 112)).astype(np.uint8), (55, 165)),
    ],
)
def test_every_kind_gives_a_small_png(kind, array, shape):
    content = thumbnail(array, kind)
    assert content.startswith(b"\x89PNG")
    assert len(content) <= 6144
    assert pixels(array, kind).shape == (*shape, 3)


def test_time_runs_right_and_features_run_up():
    tokens = np.zeros((4, 8))
    tokens[0, 0] = 1.0
    shown = pixels(tokens, "tokens")
    high, low = (np.array(colormaps["cividis"](v, bytes=True)[:3]) for v in (1.0, 0.0))
    assert np.abs(shown[-1, 0] - high).max() < 24
    assert np.abs(shown[0, -1] - low).max() < 24
    assert np.abs(shown[:84] - low).max() < 24
    spectrogram = np.zeros((1, 8, 4))
    spectrogram[0, 0, -1] = 1.0
    assert np.abs(pixels(spectrogram, "spectrogram")[-1, -1] - high).max() < 24


def test_images_keep_their_colours_and_their_top():
    shown = pixels(RED, "image")
    assert np.abs(shown - [255, 0, 0]).max() < 12
    half = np.concatenate([np.zeros((1, 20, 40)), np.full((1, 20, 40), 255)], axis=1)
    shown = pixels(half, "image")
    assert shown[0].max() < 12
    assert shown[-1].min() > 243


def test_frames_are_spread_over_the_time():
    video = np.stack([np.full((3, 50, 50), value, dtype=np.uint8) for value in range(0, 252, 28)])
    strip = pixels(video, "frames")[0, ::55, 0]
    assert np.abs(strip - [28, 112, 196]).max() < 12


def test_still_flow_is_black_and_moving_flow_is_not():
    flow = np.full((1, 2, 32, 32), 128, dtype=np.uint8)
    assert pixels(flow, "flow").max() < 12
    flow[0, 0, :, 16:] = 168
    shown = pixels(flow, "flow")
    assert shown[:, :40].max() < 12
    assert np.abs(shown[:, 60:] - [255, 0, 0]).max() < 12


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0])
def test_what_is_not_finite_or_flat_does_no_harm(value):
    array = np.full((3, 5), value)
    assert pixels(array, "tokens").shape == (96, 96, 3)
    array[0, 0] = 1.0
    assert pixels(array, "tokens").shape == (96, 96, 3)
    if not np.isfinite(value):
        assert (pixels(array, "tokens") == pixels(np.ones((3, 5)), "tokens")).all()


def test_fewer_colours_make_a_smaller_png_that_looks_alike():
    stream = io.BytesIO()
    Image.fromarray(natural(120, 90).transpose(1, 2, 0)).save(stream, "PNG")
    small = with_fewer_colors(stream.getvalue())
    before, after = (
        np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int) for png in (stream.getvalue(), small)
    )
    assert len(small) < len(stream.getvalue()) / 2
    assert np.abs(before - after).mean() < 12
    assert len(np.unique(after.reshape(-1, 3), axis=0)) <= 64


def test_the_array_is_not_changed():
    array = natural(40, 40).astype(np.float32)
    before = array.copy()
    thumbnail(array, "image", size=8)
    assert (array == before).all()


@pytest.mark.parametrize(
    ("array", "kind", "size", "told"),
    [
        (np.zeros((2, 3)), "picture", 96, "Expected the kind of input to be one of tokens, spectrogram"),
        (np.zeros((2, 3)), "image", 96, r"image of one sample with 3 axes .* shape \[2, 3\]"),
        (np.zeros((0, 3)), "tokens", 96, r"at least one number, but got the shape \[0, 3\]"),
        (np.zeros((2, 3)), "tokens", 7, "at least 8 pixels, but got 7"),
    ],
)
def test_what_cannot_be_drawn_is_said(array, kind, size, told):
    with pytest.raises(DataError, match=told):
        thumbnail(array, kind, size=size)
