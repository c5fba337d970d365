"""Modality dropout: how often, which one, what stands in its place, and that nothing given is changed."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from rollingq.balancing.modality_dropout import ModalityDropout, drop_one
from rollingq.catalogue import FUSIONS as CARDS
from rollingq.config import EncoderConfig, ModalityDropoutConfig
from rollingq.nn.registry import FUSIONS, build_model

SHAPES = {"audio": (5, 3), "image": (2, 6, 4), "video": (3, 1, 4, 4)}
LENGTHS = {"audio": 5, "image": 1, "video": 3}
NAMES = tuple(SHAPES)


def some_batch(num_samples: int = 8, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    inputs = {name: torch.randn(num_samples, *SHAPES[name]) for name in names}
    return {**inputs, "label": torch.arange(num_samples), "name": ["a"] * num_samples}


def dropped(batch: dict[str, Any], probability: float, replacement: Any, names: tuple[str, ...] = NAMES) -> Any:
    config = ModalityDropoutConfig(probability=probability, replacement=replacement)
    return ModalityDropout(names, config).change_batch(batch)


def is_changed(before: Any, after: Any, names: tuple[str, ...] = NAMES) -> Tensor:
    """Return which modality of which sample has other numbers than before, [B, M]."""
    return torch.stack([(before[name] != after[name]).flatten(1).any(1) for name in names], dim=1)


def copied(batch: Any) -> Any:
    if isinstance(batch, dict):
        return {name: copied(value) for name, value in batch.items()}
    return batch.clone() if isinstance(batch, Tensor) else list(batch)


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(value, second[name]) for name, value in first.items())
    return torch.equal(first, second) if isinstance(first, Tensor) else bool(first == second)


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("num_modalities", [2, 3])
def test_rates(probability: float, num_modalities: int) -> None:
    number = 20_000
    lost = drop_one(torch.ones(number, num_modalities, dtype=torch.bool), probability)
    assert set(lost.sum(1).tolist()) <= {0, 1}
    deviation = (probability * (1 - probability) / number) ** 0.5
    assert abs(lost.any(1).double().mean() - probability) <= 4 * deviation
    share = probability / num_modalities
    assert (lost.double().mean(0) - share).abs().max() <= 4 * (share * (1 - share) / number) ** 0.5


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=8), st.integers(0, 2**31))
def test_what_is_there_is_lost_but_never_the_last(present: list[list[bool]], seed: int) -> None:
    torch.manual_seed(seed)
    is_present = torch.tensor(present)
    lost = drop_one(is_present, 1.0)
    assert not (lost & ~is_present).any()
    assert lost.sum(1).tolist() == [int(sum(row) > 1) for row in present]


def test_among_two_of_three_the_choice_is_uniform() -> None:
    lost = drop_one(torch.tensor([[True, False, True]]).expand(20_000, 3), 1.0)
    assert lost.double().mean(0).tolist() == pytest.approx([0.5, 0.0, 0.5], abs=0.015)


@pytest.mark.parametrize("replacement", ["noise", "absent"])
def test_one_modality_a_dropped_sample_and_nothing_in_place(replacement: str) -> None:
    batch = some_batch(64)
    batch["mask"] = {"audio": torch.rand(64, 5) > 0.3}
    batch["mask"]["audio"][:, 0] = True
    before = copied(batch)
    after = dropped(batch, 0.5, replacement)
    assert same(batch, before)
    number = is_changed(batch, after).sum(1)
    assert set(number.tolist()) == {0, 1}
    assert after["label"] is batch["label"]
    assert after["name"] is batch["name"]
    assert after is not batch
    if replacement == "noise":
        assert after["mask"] is batch["mask"]


@pytest.mark.parametrize("has_masks", [False, True])
def test_absent_means_zero_and_a_false_mask(has_masks: bool) -> None:
    batch = some_batch(32)
    if has_masks:
        batch["mask"] = {name: torch.rand(32, length) > 0.3 for name, length in LENGTHS.items()}
        for mask in batch["mask"].values():
            mask[:, 0] = True
    after = dropped(batch, 0.6, "absent")
    lost = is_changed(batch, after)
    assert 0 < lost.sum() < 32
    for name, is_lost in zip(NAMES, lost.unbind(1), strict=True):
        mask = after["mask"][name]
        assert mask.shape == (32, LENGTHS[name])
        assert mask.dtype == torch.bool
        assert not mask[is_lost].any()
        assert (after[name][is_lost] == 0).all()
        assert torch.equal(after[name][~is_lost], batch[name][~is_lost])
        assert torch.equal(
            mask[~is_lost], batch["mask"][name][~is_lost] if has_masks else torch.ones_like(mask[~is_lost])
        )


def test_noise_is_standard_normal_and_makes_no_mask() -> None:
    batch = {name: torch.full((4000, *shape), 7.0) for name, shape in SHAPES.items()}
    after = dropped(batch, 1.0, "noise")
    assert "mask" not in after
    for name, is_lost in zip(NAMES, is_changed(batch, after).unbind(1), strict=True):
        noise = after[name][is_lost]
        assert noise.mean() == pytest.approx(0.0, abs=4 / noise.numel() ** 0.5)
        assert noise.std() == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("replacement", ["noise", "absent"])
def test_a_sample_keeps_its_last_modality(replacement: str) -> None:
    names = ("audio", "image")
    batch = some_batch(8, names)
    batch["mask"] = {"image": torch.tensor([[False]] * 4 + [[True]] * 4)}
    after = dropped(batch, 1.0, replacement, names)
    assert is_changed(batch, after, names).sum(1).tolist() == [0] * 4 + [1] * 4
    if replacement == "absent":
        has_any = torch.stack([after["mask"][name].any(1) for name in names], dim=1)
        assert has_any.sum(1).tolist() == [1] * 8


@pytest.mark.parametrize("replacement", ["noise", "absent"])
def test_chance_zero_and_one(replacement: str) -> None:
    batch = some_batch()
    kept, lost = dropped(batch, 0.0, replacement), dropped(batch, 1.0, replacement)
    assert all(torch.equal(kept[name], batch[name]) for name in NAMES)
    assert all(mask.all() for mask in kept.get("mask", {}).values())
    assert is_changed(batch, lost).sum(1).tolist() == [1] * 8


@pytest.mark.parametrize("replacement", ["noise", "absent"])
def test_the_seed_decides(replacement: str) -> None:
    batch = some_batch(32)
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append(dropped(batch, 0.5, replacement))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


@pytest.mark.parametrize("replacement", ["noise", "absent"])
def test_other_modalities_and_the_precision_stay(replacement: str) -> None:
    batch = some_batch(16) | {"audio": torch.randn(16, 5, 3).half(), "mask": {"video": torch.ones(16, 3).bool()}}
    after = dropped(batch, 1.0, replacement, ("audio", "image"))
    assert after["video"] is batch["video"]
    assert after["mask"]["video"] is batch["mask"]["video"]
    assert after["audio"].dtype == torch.float16


def check_step(model: Any, batch: dict[str, Any], names: tuple[str, ...], replacement: str) -> None:
    labels = torch.zeros(len(batch["label"]), dtype=torch.long)
    output = model.train()(dropped(batch, 1.0, replacement, names))
    heads = (output.logits, *output.auxiliary.values(), *output.probes.values())
    assert all(logits.isfinite().all() for logits in heads)
    sum(cross_entropy(logits, labels) for logits in heads).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert any(name.startswith("encoders") for name in gradients)


@pytest.mark.parametrize("fusion", [name for name in FUSIONS if CARDS[name].takes(2)])
@pytest.mark.parametrize("replacement", ["noise", "absent"])
def test_every_fusion_trains_on(fusion: str, replacement: str) -> None:
    shapes = {"audio": (5, 3), "text": (4, 2)}
    model = build_model(fusion, shapes, 4, EncoderConfig(dim=8, num_layers=2, num_heads=2))
    batch: dict[str, Any] = {name: torch.randn(8, *shape) for name, shape in shapes.items()}
    check_step(model, batch | {"label": torch.arange(8)}, tuple(shapes), replacement)


def test_images_and_frames_may_be_absent_in_a_real_model() -> None:
    shapes = {"image": (1, 32, 32), "video": (2, 1, 32, 32)}
    model = build_model("mt", shapes, 4, EncoderConfig(name="vit_tiny_patch16_224", dim=8, num_layers=1, num_heads=2))
    batch: dict[str, Any] = {name: torch.randn(4, *shape) for name, shape in shapes.items()}
    check_step(model, batch | {"label": torch.arange(4)}, tuple(shapes), "absent")
