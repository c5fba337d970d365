"""A modality turns to noise, or is absent, at test time (paper, Fig. 1c, Tables 2, 3): pure functions on batches."""

import zlib
from collections.abc import Sequence
from typing import get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from rollingq.config import NoiseKind
from rollingq.errors import ConfigError, DataError, ShapeError, unknown_name

KINDS = get_args(NoiseKind)
"""How a modality turns to noise; see :func:`noised`."""
ABSENT = ("zero", "mean", "noise")
"""What can stand in place of a modality that is absent; see :func:`absent`."""


def sample_noise(shape: Sequence[int], *, seed: int, first: int = 0, modality: str = "") -> Float[Tensor, "B ..."]:
    """Return i.i.d. N(0, 1) noise for the samples ``first``, ``first + 1`` ...; every sample has a stream of its own.

    A pure function of seed, number of the sample and modality: batches of any size give the same numbers.

    Args:
        shape: ``[B, ...]``.
        seed: Of the noise.
        first: Number of the batch's first sample in its split.
        modality: Name that tells the streams of several modalities apart.

    Example:
        >>> whole = sample_noise((4, 2), seed=1)
        >>> torch.equal(sample_noise((2, 2), seed=1, first=2), whole[2:])
        True
    """
    found = torch.empty(*shape)
    for index, sample in enumerate(found):
        sample.normal_(generator=_generator(seed, first + index, modality))
    return found


def noised(
    inputs: Float[Tensor, "B ..."],
    kind: str,
    level: float,
    *,
    seed: int,
    first: int = 0,
    mean: float | Tensor = 0.0,
    std: float | Tensor = 1.0,
    token_axis: int | None = None,
    modality: str = "",
) -> Float[Tensor, "B ..."]:
    """Return the inputs with noise of a level; the same draws stand behind all kinds and levels of a seed.

    - "additive": ``x + level std eps``. The signal stays, so level 1 is a signal-to-noise ratio of 1.
    - "mix": ``(1 - level) x + level (mean + std eps)``; level 1 is replacement by noise.
    - "dropout": every element becomes ``mean`` with probability ``level``.
    - "multibench": every token gets one offset ``level std eps`` on all its features, and then becomes ``mean``
      with probability ``level``.

    What is dropped at a level stays dropped at all higher ones. ``eps`` is N(0, 1); see :func:`sample_noise`.

    "multibench" is the rule of MultiBench's noise on time series, which the paper follows, with three mistakes
    mended. There a "token" was a whole sample, as the rule met a batch axis where it expected time; ours is a token.
    Samples that its audio noise did not choose came back as zeros, even at level 0; ours all get noise, and level 0
    changes nothing. Dropped tokens were 0 on inputs that are not centred; ours are ``mean``. So the paper's Table 3
    cannot be that code to the letter, and a curve says which kind it is.

    Args:
        inputs: ``[B, ...]``; what stands in padding is changed as well, the masks of the model leave it out.
        kind: One of ``KINDS``.
        level: From 0 (the inputs themselves, bit for bit) to 1.
        seed: Of the noise.
        first: Number of the batch's first sample in its split.
        mean: Mean of the inputs, a number or broadcastable to one sample ``[...]``.
        std: Standard deviation of the inputs, alike.
        token_axis: Axis of the tokens in ``inputs``, for "multibench". None: the rows H of an image or spectrogram
            ``[B, C, H, W]`` with 1 or 3 channels, else axis 1: tokens ``[B, T, F]``, frames ``[B, T, C, H, W]``.
        modality: Name that tells the streams of several modalities apart.

    Raises:
        ConfigError: If the kind is unknown or the level outside of [0, 1].
        DataError: If the inputs are not of floating point.
        ShapeError: If mean, std or token_axis do not fit the inputs.

    Source:
        Ni et al., "RollingQ", ICML 2025, Table 3; Liang et al., "MultiBench", NeurIPS 2021. The paper does not define
        its level; the kinds are our readings.

    Example:
        >>> clean = torch.ones(1, 3)
        >>> torch.equal(noised(clean, "mix", 1.0, seed=0), sample_noise((1, 3), seed=0))
        True
        >>> noised(clean, "dropout", 1.0, seed=0, mean=0.5)
        tensor([[0.5000, 0.5000, 0.5000]])
    """
    _check(inputs, kind, level)
    center, scale = _like(mean, "mean", inputs), _like(std, "std", inputs)
    if level == 0:
        return inputs
    if kind == "multibench":
        return _multibench(inputs, level, center, scale, _token_axis(inputs, token_axis), (seed, first, modality))
    eps = sample_noise(inputs.shape, seed=seed, first=first, modality=modality).to(inputs.device)
    if kind == "dropout":
        return torch.where(_is_dropped(eps, level), center, inputs)
    eps = eps.to(inputs.dtype)
    if kind == "additive":
        return inputs + level * scale * eps
    noise = center + scale * eps
    return noise if level == 1 else (1 - level) * inputs + level * noise


def absent(
    inputs: Shaped[Tensor, "B ..."],
    how: str,
    *,
    seed: int,
    first: int = 0,
    mean: float | Tensor = 0.0,
    std: float | Tensor = 1.0,
    modality: str = "",
) -> Shaped[Tensor, "B ..."]:
    """Return what stands in place of inputs that hold no information.

    Args:
        inputs: ``[B, ...]``; their shape, type and device alone count.
        how: "zero", "mean" (of the inputs) or "noise" (``mean + std eps``, which is "mix" at level 1).
        seed: Of the noise.
        first: Number of the batch's first sample in its split.
        mean: A number, or the mean of every element ``[...]``.
        std: Standard deviation of the inputs.
        modality: Name that tells the streams of several modalities apart: two that are absent share no noise.

    Raises:
        ConfigError: If ``how`` is unknown.
        DataError: If inputs that are not of floating point shall be a mean or noise.
        ShapeError: If mean or std do not fit the inputs.

    Example:
        >>> absent(torch.ones(2, 2), "mean", seed=0, mean=torch.tensor([0.0, 3.0]))
        tensor([[0., 3.],
                [0., 3.]])
    """
    if how not in ABSENT:
        raise ConfigError(unknown_name("what stands for an absent modality", how, ABSENT))
    if how == "noise":
        return noised(inputs, "mix", 1.0, seed=seed, first=first, mean=mean, std=std, modality=modality)
    zeros = torch.zeros_like(inputs)
    if how == "zero":
        return zeros
    _check_floating(inputs)
    return zeros + _like(mean, "mean", inputs)


def _generator(seed: int, sample: int, modality: str = "") -> torch.Generator:
    """Return the stream of one sample; torch's generator takes 32 bits of a seed."""
    return torch.Generator().manual_seed((seed * 1_000_003 + sample + zlib.crc32(modality.encode())) % 2**32)


def _check(inputs: Tensor, kind: str, level: float) -> None:
    if kind not in KINDS:
        raise ConfigError(unknown_name("the kind of noise", kind, KINDS))
    if not 0 <= level <= 1:
        raise ConfigError(f"Expected a noise level from 0 (clean) to 1, but got {level}.")
    _check_floating(inputs)


def _check_floating(inputs: Tensor) -> None:
    if not inputs.is_floating_point():
        raise DataError(
            f"Expected floating-point inputs, but got {str(inputs.dtype).removeprefix('torch.')}: noise and means need "
            "them. Turn the inputs into features first, or leave this modality clean."
        )


def _like(value: float | Tensor, name: str, inputs: Tensor) -> Tensor:
    """Return a number, or a tensor that broadcasts to one sample, in the type and on the device of the inputs."""
    found = torch.as_tensor(value, dtype=inputs.dtype, device=inputs.device)
    sizes = list(zip(reversed(found.shape), reversed(inputs.shape[1:]), strict=False))
    if found.dim() >= inputs.dim() or any(size not in (1, wanted) for size, wanted in sizes):
        raise ShapeError(
            f"Expected {name} as a number or of the shape of one sample, {list(inputs.shape[1:])}, "
            f"but got {list(found.shape)}."
        )
    return found


def _token_axis(inputs: Tensor, axis: int | None) -> int:
    if axis is None:
        axis = 2 if inputs.dim() == 4 and inputs.shape[1] in (1, 3) else 1
    if not 1 <= axis < inputs.dim():
        raise ShapeError(f"Expected token_axis from 1 to {inputs.dim() - 1} (0 is the batch), but got {axis}.")
    return axis


def _is_dropped(draws: Tensor, level: float) -> Tensor:
    """Return where a standard normal draw is among the lowest ``level`` of all: true with that probability."""
    return draws <= float(torch.special.ndtri(torch.tensor(level, dtype=torch.float64)))


def _multibench(
    inputs: Tensor, level: float, mean: Tensor, std: Tensor, axis: int, stream: tuple[int, int, str]
) -> Tensor:
    seed, first, modality = stream
    batch, tokens = len(inputs), inputs.shape[axis]
    draws = sample_noise((batch, 2, tokens), seed=seed, first=first, modality=modality)
    form = [batch, *(tokens if at == axis else 1 for at in range(1, inputs.dim()))]
    offset, drop = (part.reshape(form).to(inputs.device) for part in draws.unbind(1))
    return torch.where(_is_dropped(drop, level), mean, inputs + level * std * offset.to(inputs.dtype))
