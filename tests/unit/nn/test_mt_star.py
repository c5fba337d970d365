"""MT* in its phases: which blocks take part when, what an inactive block is to the rest, what a checkpoint keeps."""

import io
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch import Tensor

from rollingq.errors import ConfigError
from rollingq.nn.fusion.mt_star import VanillaMTStar, active_blocks

D, C = 4, 3
some_phases = st.lists(st.integers(1, 30), min_size=1, max_size=5)
some_epochs = st.integers(1, 60)


def schedule(phases: list[int], epochs: int) -> list[int]:
    return [active_blocks(phases, epoch, epochs) for epoch in range(epochs)]


def lengths(phases: list[int], epochs: int) -> list[int]:
    found = schedule(phases, epochs)
    return [found.count(1 + i) for i in range(len(phases))]


@given(some_phases, some_epochs)
def test_blocks_join_one_after_another_and_never_leave(phases: list[int], epochs: int) -> None:
    found = schedule(phases, epochs)
    assert found == sorted(found)
    assert set(found) <= set(range(1, len(phases) + 1))


@given(some_phases, some_epochs)
def test_a_phase_of_an_epoch_or_more_ends_within_half_an_epoch_of_its_share(phases: list[int], epochs: int) -> None:
    assume(epochs * min(phases) >= sum(phases))
    end, share = 0, Fraction(0)
    for length, phase in zip(lengths(phases, epochs), phases, strict=True):
        end, share = end + length, share + Fraction(epochs * phase, sum(phases))
        assert abs(end - share) <= Fraction(1, 2)
    assert end == epochs


@given(some_phases, st.integers(1, 4))
def test_phases_that_add_up_to_the_training_are_numbers_of_epochs(phases: list[int], factor: int) -> None:
    assert lengths(phases, factor * sum(phases)) == [factor * phase for phase in phases]


@given(some_phases, some_epochs)
@example([3, 2, 5], 5)
def test_a_phase_whose_share_is_an_epoch_or_more_is_never_empty(phases: list[int], epochs: int) -> None:
    for length, phase in zip(lengths(phases, epochs), phases, strict=True):
        if epochs * phase >= sum(phases):
            assert length >= 1


@given(some_phases, some_epochs)
@example([1, 9], 3)
@example([9, 1], 3)
def test_with_an_epoch_for_each_phase_none_is_empty(phases: list[int], epochs: int) -> None:
    """Or a block that was asked for is never trained, or the first never alone, and nobody says so."""
    if epochs >= len(phases):
        assert min(lengths(phases, epochs)) >= 1


@given(some_phases, some_epochs)
@example([1], 1)
def test_training_ends_with_all_blocks_where_the_last_share_is_more_than_half_an_epoch(
    phases: list[int], epochs: int
) -> None:
    found = schedule(phases, epochs)
    if 2 * epochs * phases[-1] > sum(phases):
        assert found[-1] == len(phases)
    if 2 * epochs * phases[0] > sum(phases):
        assert found[0] == 1


def some_fusion(num_phases: int = 2, seed: int = 0) -> VanillaMTStar:
    torch.manual_seed(seed)
    return VanillaMTStar(("audio", "image"), D, C, phases=[1] * num_phases, num_heads=2, dropout=0.0)


def some_tokens() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(2, length, D, generator=generator) for name, length in {"audio": 3, "image": 2}.items()}


def test_all_blocks_take_part_at_first() -> None:
    assert some_fusion(3).num_active == 3


@pytest.mark.parametrize("number", [0, -1, 4])
def test_a_number_of_blocks_that_is_not_there_is_refused(number: int) -> None:
    fusion = some_fusion(3)
    fusion.num_active = 2
    with pytest.raises(ConfigError, match=rf"^Expected 1 to 3 active blocks, but got {number}\.$"):
        fusion.num_active = number
    assert fusion.num_active == 2


@pytest.mark.parametrize("num_active", [1, 2, 3])
def test_blocks_that_take_no_part_get_no_gradient(num_active: int) -> None:
    fusion = some_fusion(3)
    fusion.num_active = num_active
    fusion(some_tokens(), {}).logits.square().sum().backward()
    for i, block in enumerate(fusion.blocks):
        has_gradient = {name: p.grad is not None for name, p in block.named_parameters()}
        expected = dict.fromkeys(has_gradient, i < num_active)
        if i == num_active - 1:  # The block that is read out never projects its keys.
            expected["attend.attention.key.bias"] = False
        assert has_gradient == expected
    assert all(p.grad is not None for p in (*fusion.classifier.parameters(), *fusion.norm.parameters()))


def test_what_an_inactive_block_holds_changes_nothing() -> None:
    fusion = some_fusion(2)
    fusion.num_active = 1
    expected = fusion(some_tokens(), {})
    with torch.no_grad():
        for parameter in fusion.blocks[1].parameters():
            parameter.fill_(float("nan"))
    found = fusion(some_tokens(), {})
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.weights, expected.weights)


def test_one_active_block_of_two_is_a_fusion_of_one_block() -> None:
    fusion, small = some_fusion(2), some_fusion(1, seed=5)
    fusion.num_active = 1
    state = {name: value for name, value in fusion.state_dict().items() if not name.startswith("blocks.1.")}
    small.load_state_dict(state)
    assert torch.equal(small(some_tokens(), {}).logits, fusion(some_tokens(), {}).logits)


@pytest.mark.parametrize("num_active", [1, 2])
def test_weights_are_those_of_the_block_that_is_read_out(num_active: int) -> None:
    fusion, seen = some_fusion(2), []
    fusion.num_active = num_active
    fusion.get_submodule(fusion.attention_layers[num_active - 1]).register_forward_hook(
        lambda *args: seen.append(args[2][1])
    )
    assert fusion(some_tokens(), {}).weights is seen[0]


@pytest.mark.parametrize("num_active", [1, 2])
def test_a_checkpoint_comes_back_in_its_phase(num_active: int) -> None:
    saved, fresh = some_fusion(2), some_fusion(2, seed=5)
    saved.num_active, fresh.num_active = num_active, 3 - num_active
    buffer = io.BytesIO()
    torch.save(saved.state_dict(), buffer)
    buffer.seek(0)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    assert fresh.num_active == num_active
    assert torch.equal(fresh(some_tokens(), {}).logits, saved(some_tokens(), {}).logits)
