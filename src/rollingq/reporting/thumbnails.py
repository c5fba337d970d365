"""A small picture of one modality's input, for the samples in a report."""

import io
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from rollingq.data.spec import Kind
from rollingq.errors import DataError, unknown_name
from rollingq.extras import lab_extra

if TYPE_CHECKING:
    from PIL.Image import Image

NUM_AXES = {"tokens": 2, "spectrogram": 3, "image": 3, "frames": 4, "flow": 4}
"""Kind of input -> number of axes of one sample, as in :class:`~rollingq.data.spec.ModalitySpec`."""
NUM_COLORS = {"tokens": 32, "spectrogram": 32, "image": 64, "frames": 64, "flow": 32}
"""Kind of input -> most colours of its picture; few keep the file small."""
MAX_FRAMES = 3
"""Most frames in the strip of a video."""
MIN_SIZE = 8
"""Smallest side that can be asked for, in pixels."""
LIMIT = 1e30
"""Numbers are cut to this, so that their range is finite."""


def thumbnail(array: Shaped[np.ndarray, "..."], kind: Kind, *, size: int = 96) -> bytes:
    """Return one modality of one sample as a small PNG.

    Tokens and spectrograms become a square heat map: time to the right, features or frequencies upwards, from the
    lowest number (dark) to the highest (bright). An image keeps its aspect. A video becomes a strip of up to three
    frames, spread evenly over the time, with about as many pixels as one image. Flow is shown as colour: hue is
    direction, brightness is speed. What is not finite is drawn as the lowest number.

    Args:
        array: Input of one sample without a batch axis: tokens ``[T, F]``, spectrogram ``[1, H, W]``, image
            ``[C, H, W]``, frames ``[T, C, H, W]``, flow ``[T, 2, H, W]``. Pixels go from 0 to 255 or are normalised;
            flow is stored as bytes, 128 for no motion.
        kind: What the numbers are.
        size: Longest side of one image in pixels, at least 8.

    Raises:
        DataError: If the kind is unknown, the array has another number of axes or no numbers, or the size is too small.
        MissingExtraError: Without the packages pillow and matplotlib.

    Example:
        >>> thumbnail(np.eye(12, 80), "tokens")[1:4]
        b'PNG'
    """
    _check(array, kind, size)
    if kind in ("tokens", "spectrogram"):
        return _png(_chart(_finite(array.T if kind == "tokens" else array[0]), size), NUM_COLORS[kind])
    frames = array[None] if kind == "image" else array[_evenly(len(array))]
    side = max(round(size / len(frames) ** 0.5), 1)
    step = max(min(frames.shape[-2:]) // (side if kind == "flow" else 2 * side), 1)
    frames = _finite(frames[..., ::step, ::step])
    return _png(_strip([_shrunk(_pixels(frame, kind), side) for frame in frames]), NUM_COLORS[kind])


def with_fewer_colors(png: bytes, num_colors: int = 64) -> bytes:
    """Return a PNG drawn with fewer colours: a third of the size for a figure.

    Args:
        png: The picture.
        num_colors: Most colours, 256 or fewer.
    """
    with lab_extra("pillow"):
        from PIL import Image
    return _png(Image.open(io.BytesIO(png)), num_colors)


def _check(array: Shaped[np.ndarray, "..."], kind: str, size: int) -> None:
    if kind not in NUM_AXES:
        raise DataError(unknown_name("the kind of input", kind, NUM_AXES))
    if array.ndim != NUM_AXES[kind] or array.size == 0:
        raise DataError(
            f"Expected {kind} of one sample with {NUM_AXES[kind]} axes and at least one number, but got the shape "
            f"{list(array.shape)}; give one sample without its batch axis."
        )
    if size < MIN_SIZE:
        raise DataError(f"Expected a size of at least {MIN_SIZE} pixels, but got {size}; ask for more.")


def _finite(array: Shaped[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float32)
    is_finite = np.isfinite(numbers)
    lowest = numbers[is_finite].min() if is_finite.any() else 0.0
    return np.clip(np.where(is_finite, numbers, lowest), -LIMIT, LIMIT)


def _evenly(num: int) -> list[int]:
    """Return up to three indices below ``num``, each in the middle of its share: 1, 4 and 7 of nine."""
    shown = min(num, MAX_FRAMES)
    return [(2 * i + 1) * num // (2 * shown) for i in range(shown)]


def unit_pixels(pixels: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return pixels from 0 to 1: stored bytes by 255, normalised numbers by their own range.

    Example:
        >>> unit_pixels(np.array([0.0, 51.0, 255.0])).tolist(), unit_pixels(np.array([-2.0, 0.0, 2.0])).tolist()
        ([0.0, 0.2, 1.0], [0.0, 0.5, 1.0])
    """
    low, high = float(pixels.min()), float(pixels.max())
    if low >= 0 and 1 < high <= 255:
        low, high = 0.0, 255.0
    return (pixels - low) / ((high - low) or 1.0)


def motion_colors(flow: Float[np.ndarray, "2 height width"]) -> Float[np.ndarray, "height width 3"]:
    """Return motion as colour: hue is direction, brightness is speed (128 is none, up to the frame's fastest).

    Example:
        >>> motion_colors(np.full((2, 1, 1), 128.0)).tolist()
        [[[0.0, 0.0, 0.0]]]
    """
    with lab_extra("matplotlib"):
        from matplotlib.colors import hsv_to_rgb
    x, y = flow - 128
    speed = np.hypot(x, y)
    hue = (np.arctan2(y, x) / (2 * np.pi)) % 1
    colors: np.ndarray = hsv_to_rgb(np.stack([hue, np.ones_like(hue), speed / max(float(speed.max()), 1.0)], -1))
    return colors


def _chart(numbers: Float[np.ndarray, "rows columns"], size: int) -> "Image":
    with lab_extra("matplotlib"):
        from matplotlib import colormaps
    low, high = float(numbers.min()), float(numbers.max())
    gray = _image(_bytes((numbers[::-1] - low) / ((high - low) or 1.0)))
    gray = gray.resize((size, size), _filter(gray, size))
    return _image(colormaps["cividis"](np.asarray(gray), bytes=True)[..., :3])


def _pixels(frame: Float[np.ndarray, "channels height width"], kind: str) -> "Image":
    if kind == "flow":
        return _image(_bytes(motion_colors(frame)))
    unit = _bytes(unit_pixels(frame))
    return _image(unit.transpose(1, 2, 0) if len(unit) == 3 else unit[0])


def _bytes(unit: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    pixels: np.ndarray = np.rint(255 * unit).astype(np.uint8)
    return pixels


def _image(pixels: UInt8[np.ndarray, "..."]) -> "Image":
    with lab_extra("pillow"):
        from PIL import Image
    return Image.fromarray(np.ascontiguousarray(pixels))


def _filter(image: "Image", size: int) -> int:
    """Return how to resize: pixels stay sharp when they grow, and are averaged when they shrink."""
    from PIL.Image import Resampling

    return Resampling.BOX if max(image.size) > size else Resampling.NEAREST


def _shrunk(image: "Image", side: int) -> "Image":
    scale = side / max(image.size)
    width, height = (max(round(scale * length), 1) for length in image.size)
    return image.resize((width, height), _filter(image, side))


def _strip(images: list["Image"]) -> "Image":
    if len(images) == 1:
        return images[0]
    return _image(np.concatenate([np.asarray(image) for image in images], axis=1))


def _png(image: "Image", num_colors: int) -> bytes:
    from PIL.Image import Quantize

    stream = io.BytesIO()
    image.convert("RGB").quantize(num_colors, Quantize.FASTOCTREE).save(stream, format="PNG")
    return stream.getvalue()
