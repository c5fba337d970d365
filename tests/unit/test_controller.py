"""RollingQ by itself, on made observations: when it rotates, when not, and what its events say."""

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rollingq import RollingQ, RollingQConfig, RotationEvent
from rollingq.errors import ConfigError, RollingQWarning
from rollingq.statistics import Observation
from rollingq.testing import oracle

D = 6


class Bench:
    """A site without an attention: what the controller tells it is all that it keeps."""

    def __init__(self, num_heads: int = 1) -> None:
        self.model: nn.Module = nn.Identity()
        self.num_heads, self.dim, self.num_queries = num_heads, D, 1
        self.is_called = False

    def keep_called(self, is_needed: bool) -> None:
        self.is_called = is_needed


def controller(num_heads: int = 1, num_modalities: int = 2, **options: Any) -> RollingQ:
    names = ("audio", "visual", "text")[:num_modalities]
    config = RollingQConfig(**{"rho": 5.0, "beta": 0.0, "max_rotations": 1, **options})  # Whatever the defaults are.
    return RollingQ(Bench(num_heads), names, config, like=torch.zeros(1))


def seen(query: Tensor, keys: Tensor) -> Observation:
    """One sample a row: query ``[N, D]``, keys ``[N, M, D]``, one head."""
    return Observation(query[:, None, None], keys[:, :, None])


def lopsided() -> Observation:
    """AIR 1: the query is the first modality's key, the second's is orthogonal to it."""
    return seen(2.0 * torch.eye(D)[:1], torch.eye(D)[None, :2])


def stepped(attachment: RollingQ, *observations: Observation) -> RotationEvent:
    for observation in observations:
        attachment.observe(observation)
    return attachment.step()


@pytest.mark.parametrize("rotation", ["minimal", "svd"])
@pytest.mark.parametrize("num_modalities", [2, 3])
def test_a_step_equals_the_oracle(rotation: str, num_modalities: int) -> None:
    attachment = controller(2, num_modalities, rotation=rotation, rho=2.0)
    query, keys = torch.randn(7, 1, 2, D), torch.randn(7, num_modalities, 2, D)
    expected = oracle.predict_step(query[:, 0], keys, rho=2.0)
    event = stepped(attachment, Observation(query, keys))
    names = attachment.modalities
    assert event.air == pytest.approx(expected.air.mean(), abs=1e-6)
    assert event.cosines == pytest.approx(dict(zip(names, expected.cosines.mean(0), strict=True)), abs=1e-6)
    assert event.weights == pytest.approx(dict(zip(names, expected.weights.mean(0), strict=True)), abs=1e-6)
    assert event.dominant_modality == names[expected.cosines.mean(0).argmax()]
    assert event.weaker_modality == names[expected.cosines.mean(0).argmin()]
    angles = [math.acos(oracle.cosine(q, a)) for q, a in zip(expected.query, expected.anchor, strict=True)]
    assert event.angle == pytest.approx(math.degrees(sum(angles) / 2), abs=1e-4)
    turned = attachment.rotate(torch.as_tensor(expected.query).flatten()).unflatten(0, (2, D))
    assert torch.allclose(turned, torch.as_tensor(expected.anchor), atol=1e-6)
    if rotation == "minimal":
        assert torch.allclose(attachment.rotation.matrix().double(), torch.as_tensor(expected.rotation), atol=1e-6)


@pytest.mark.parametrize(("beta", "is_rotated"), [(0.999, True), (1.0, True), (1.001, False)])
def test_beta_reached_exactly_rotates(beta: float, is_rotated: bool) -> None:
    event = stepped(controller(beta=beta), lopsided())
    assert (event.air, event.rotated) == (1.0, is_rotated)
    assert event.reason == ("AIR reached beta" if is_rotated else f"|AIR| is below beta={beta:g}")


def test_negative_air_triggers_too() -> None:
    observation = lopsided()
    event = stepped(controller(beta=1.0), seen(observation.query[:, 0, 0], observation.average_keys.flip(1)[:, :, 0]))
    assert (event.air, event.rotated, event.dominant_modality) == (-1.0, True, "visual")


def test_only_heads_over_beta_turn() -> None:
    attachment = controller(2, beta=0.5)
    keys = torch.eye(D)[:2, None].repeat(1, 2, 1)
    keys[1, 1] = keys[0, 1]  # The second head sees the same key twice: AIR 0.
    event = stepped(attachment, Observation(torch.eye(D)[0].expand(1, 1, 2, D), keys[None]))
    assert (event.rotated, event.air) == (True, 0.5)
    assert not torch.equal(attachment.rotation.matrix()[0], torch.eye(D))
    assert torch.equal(attachment.rotation.matrix()[1], torch.eye(D))


@pytest.mark.parametrize("rotation", ["minimal", "svd"])
def test_a_head_over_beta_without_direction_stays(rotation: str) -> None:
    attachment = controller(2, rotation=rotation)
    query = torch.stack([torch.eye(D)[0], torch.zeros(D)])[None, None]
    assert stepped(attachment, Observation(query, torch.eye(D)[None, :2, None].repeat(1, 1, 2, 1))).rotated
    assert torch.equal(attachment.rotation.matrix()[1], torch.eye(D))


def test_all_rotations_used_up() -> None:
    attachment = controller(max_rotations=2)
    events = [stepped(attachment, lopsided()) for _ in range(3)]
    assert [event.rotated for event in events] == [True, True, False]
    assert [event.num_rotations for event in events] == [1, 2, 2]
    assert events[2].reason == "all rotations are used up"
    assert events[2].air == 1.0, "it still measures"
    assert attachment._site.is_called, "a rotated layer has to be called"


def test_max_rotations_zero_only_measures() -> None:
    attachment = controller(max_rotations=0)
    event = stepped(attachment, lopsided())
    assert (event.air, event.rotated, event.reason) == (1.0, False, "all rotations are used up")
    vector = torch.randn(3, D)
    assert attachment.rotate(vector) is vector


def test_first_epoch() -> None:
    attachment = controller(first_epoch=2)
    events = [stepped(attachment, lopsided()) for _ in range(3)]
    assert [event.rotated for event in events] == [False, False, True]
    assert events[0].reason == "before first_epoch=2"
    assert [event.step for event in events] == [0, 1, 2]


@pytest.mark.parametrize("was_seen_before", [False, True])
def test_nothing_seen_since_the_last_step(was_seen_before: bool) -> None:
    attachment = controller(beta=2.0)
    if was_seen_before:
        stepped(attachment, lopsided())
    event = attachment.step()
    assert (event.rotated, event.air, event.num_samples) == (False, None, 0)
    assert event.reason == "nothing seen of some modality since the last step"


KEYS = torch.eye(D)[None, :2]


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        (torch.zeros(1, D), KEYS),
        (torch.eye(D)[:1], torch.zeros(1, 2, D)),
        (torch.eye(D)[2:3], torch.stack([KEYS[0, 0], -KEYS[0, 0]])[None]),
        (torch.eye(D)[:1], torch.eye(D)[None, :1].repeat(1, 2, 1)),
    ],
    ids=["zero query", "zero keys", "keys cancel", "anchor is the query"],
)
@pytest.mark.parametrize("rotation", ["minimal", "svd"])
def test_without_a_plane_to_turn_in_it_says_so(query: Tensor, keys: Tensor, rotation: str) -> None:
    attachment = controller(rotation=rotation)
    event = stepped(attachment, seen(query, keys))
    assert (event.rotated, event.num_rotations, event.angle) == (False, 0, None)
    assert "has no direction" in event.reason
    assert torch.equal(attachment.rotation.matrix(), torch.eye(D)[None])


@pytest.mark.parametrize("rotation", ["minimal", "svd"])
def test_two_rotations_compose(rotation: str) -> None:
    attachment = controller(max_rotations=2, rotation=rotation)
    stepped(attachment, seen(torch.randn(4, D), torch.randn(4, 2, D)))
    first = attachment.rotation.matrix()[0].double()
    query, keys = torch.randn(4, D), torch.randn(4, 2, D)
    stepped(attachment, seen(query, keys))
    both = attachment.rotation.matrix()[0].double()
    second = both @ first.mT
    anchor = torch.as_tensor(oracle.predict_step(query[:, None], keys[:, :, None], rho=5.0).anchor[0])
    assert torch.allclose(second @ query.double().mean(0), anchor, atol=1e-5)
    assert torch.allclose(both @ both.mT, torch.eye(D, dtype=torch.float64), atol=1e-5)


def test_air_after_a_rotation_follows_the_closed_form() -> None:
    rho, cosine = 2.0, 0.3
    keys = torch.zeros(1, 2, D, dtype=torch.float64)
    keys[0, 0, 0] = 1.0
    keys[0, 1, :2] = torch.tensor([cosine, math.sqrt(1 - cosine**2)])
    query = torch.zeros(1, D, dtype=torch.float64)
    query[0, :3] = torch.tensor([1.0, 0.4, 0.7])
    attachment = controller(rho=rho)
    before = stepped(attachment, seen(query, keys))
    after = stepped(attachment, seen(attachment.rotate(query), keys))
    assert before.air is not None
    assert after.air == pytest.approx(oracle.air_after_rotation(before.air, cosine, rho), abs=1e-6)
    assert after.air * before.air < 0, "the rotation overshoots"


def test_watchers_see_every_forward_and_leave() -> None:
    attachment, watched = controller().eval(), []
    with attachment.watch(watched.append):
        assert attachment.is_observing
        assert attachment._site.is_called
        attachment.observe(lopsided())
    assert not attachment.is_observing
    assert not attachment._site.is_called
    assert len(watched) == 1
    assert attachment.step().air is None, "what is watched in eval mode is not counted"


@pytest.mark.parametrize("has_good_samples", [True, False])
def test_damaged_samples_are_left_out_and_said_once(has_good_samples: bool) -> None:
    attachment = controller()
    damaged = seen(torch.full((3, D), float("nan")), torch.randn(3, 2, D))
    observations = [damaged, lopsided()] if has_good_samples else [damaged]
    with pytest.warns(RollingQWarning, match=r"^3 samples with NaN or infinite"):
        event = stepped(attachment, *observations)
    assert (event.air, event.num_samples) == ((1.0, 1) if has_good_samples else (None, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stepped(attachment, *observations)


@pytest.mark.parametrize(("statistics", "full_pass"), [("full_pass", None), ("epoch", list), ("last_batch", list)])
def test_full_pass_is_given_exactly_where_it_is_used(statistics: str, full_pass: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^Expected step\(full_pass.* exactly .* statistics is '{statistics}'"):
        controller(statistics=statistics).step(full_pass=full_pass)


def test_a_full_pass_that_shows_nothing_is_not_taken_for_one() -> None:
    attachment = controller(statistics="full_pass")
    attachment.observe(lopsided())
    event = attachment.step(full_pass=lambda: None)
    assert not event.rotated
    assert "full pass" in event.reason


@pytest.mark.parametrize(
    ("observations", "options", "text"),
    [
        ([lopsided()], {"rho": 50.0}, "AIR +1.00 (audio favoured) -> rotated 90.0 deg, 1 of 1"),
        ([lopsided()], {"beta": 2}, "AIR +1.00 (audio favoured) -> not rotated: |AIR| is below beta=2, 0 of 1"),
        ([], {}, "AIR - -> not rotated: nothing seen of some modality since the last step, 0 of 1"),
    ],
)
def test_an_event_is_one_line(observations: list[Observation], options: dict[str, Any], text: str) -> None:
    assert str(stepped(controller(**options), *observations)) == text


def test_repr_names_what_matters() -> None:
    text = repr(controller(2, rho=2.0, max_rotations=3))
    assert "audio | visual, 2 heads of 6, rho=2, beta=0, rotations=0 of 3" in text
