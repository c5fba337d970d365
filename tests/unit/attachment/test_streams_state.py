"""Streams enter a model without a trace, leave it as it was, and travel with it; fold proves or refuses."""

import copy
import gc
import io
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from stream_models import (
    HOSTS,
    Host,
    attached,
    every_fusion,
    every_host,
    hosts_of_one_row,
    layers_of,
    logits,
    padding,
    some_batch,
    some_hosts,
    watched,
)
from torch import nn

import rollingq
from rollingq.errors import FoldError
from rollingq.nn.layers import use_plain_form


@every_host
@pytest.mark.parametrize("is_training", [True, False])
def test_without_a_rotation_no_bit_changes(host: Host, is_training: bool) -> None:
    batch = some_batch(host, masks=padding())
    plain = host.build().train(is_training)
    model, _ = attached(host)
    model.train(is_training)
    found, expected = (logits(m, batch) for m in (model, plain))
    assert torch.equal(found, expected)
    for m in (found, expected):
        m.square().sum().backward()
    for mine, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None)
        assert mine.grad is None or torch.equal(mine.grad, other.grad)


@every_host
def test_detach_leaves_the_model_as_it_was(host: Host) -> None:
    batch, plain = some_batch(host), host.build()
    model, attachment = attached(host)
    model(*batch)
    attachment.step()
    assert not torch.allclose(logits(model, batch), logits(plain, batch))
    attachment.detach()
    assert torch.equal(logits(model, batch), logits(plain, batch))
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    rollingq.attach(model, layers_of(model), tokens=host.tokens)


def through_torch(model: nn.Module) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    state: dict[str, Any] = torch.load(buffer, weights_only=True)
    return state


@every_host
@pytest.mark.parametrize("rotation", ["minimal", "svd"])
def test_a_state_dict_brings_the_rotations_back(host: Host, rotation: str) -> None:
    batch = some_batch(host)
    model, attachment = attached(host, rotation=rotation, max_rotations=2)
    model(*batch)
    attachment.step()
    fresh, other = attached(host, seed=7, rotation=rotation, max_rotations=2)
    fresh.load_state_dict(through_torch(model))
    assert other.history == attachment.history
    assert torch.equal(other.rotation.matrix(), attachment.rotation.matrix())
    for _ in range(2):
        assert torch.equal(logits(fresh, batch), logits(model, batch))
        assert other.step() == attachment.step()


def through_pickle(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded: nn.Module = torch.load(buffer, weights_only=False)
    return loaded


def with_pickle(model: nn.Module) -> nn.Module:
    copied: nn.Module = pickle.loads(pickle.dumps(model))  # noqa: S301
    return copied


@some_hosts
@pytest.mark.parametrize("copied", [copy.deepcopy, with_pickle, through_pickle])
@pytest.mark.parametrize("num_steps", [0, 1])
def test_a_copy_stands_on_its_own(host: Host, copied: Callable[[nn.Module], nn.Module], num_steps: int) -> None:
    batch = some_batch(host)
    model, attachment = attached(host, max_rotations=2)
    for _ in range(num_steps):
        model(*batch)
        attachment.step()
    twin = copied(model)
    (other,) = rollingq.attachments(twin)
    before = logits(model, batch)
    assert torch.equal(logits(twin, batch), before)
    assert other.step().rotated
    assert not torch.allclose(logits(twin, batch), before)
    assert int(attachment.num_rotations) == num_steps
    assert torch.equal(logits(model, batch), before), "the copy turned the original"
    assert attachment.step().num_samples == 10


@every_fusion
@pytest.mark.parametrize("is_training", [True, False])
def test_nothing_of_a_batch_outlives_its_forward(host: Host, is_training: bool) -> None:
    """A kept token would keep the whole graph behind it: all activations of the encoders, until the next forward."""
    model, _ = attached(host)
    entered: list[Any] = []
    for path in layers_of(model).values():
        model.get_submodule(path).register_forward_pre_hook(lambda _, args: entered.append(weakref.ref(args[1])))
    model.train(is_training)(*some_batch(host, masks=padding()))
    gc.collect()
    assert len(entered) == len(host.names)
    assert [context() for context in entered] == [None] * len(entered)


@hosts_of_one_row
def test_fold_keeps_outputs_and_gradients(host: Host) -> None:
    model, attachment = attached(host, max_rotations=2)
    for seed in (1, 2):
        model(*some_batch(host, seed=seed))
        attachment.step()
    results = []
    for is_folded in (False, True):
        if is_folded:
            attachment.fold()
        tokens, masks = some_batch(host, masks=padding(), seed=3)
        tokens = {name: part.requires_grad_() for name, part in tokens.items()}
        found = logits(model, (tokens, masks))
        results.append([found, *torch.autograd.grad(found.square().sum(), list(tokens.values()))])
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)
    assert rollingq.attachments(model) == []
    assert model.state_dict().keys() == host.build().state_dict().keys()


@hosts_of_one_row
def test_fold_keeps_float32_outputs(host: Host) -> None:
    model, attachment = attached(host)
    model.float()
    tokens, masks = some_batch(host)
    batch = {name: part.float() for name, part in tokens.items()}, masks
    model(*batch)
    assert attachment.step().rotated
    before = logits(model, batch)
    attachment.fold()
    assert (logits(model, batch) - before).abs().max() <= 1e-6 * before.abs().max().clamp(min=1.0)


@pytest.mark.parametrize("name", ["mmml cross", "pair of all rows"])
@pytest.mark.parametrize("has_example", [False, True])
def test_fold_refuses_where_other_rows_would_rotate_too(name: str, has_example: bool) -> None:
    host = HOSTS[name]
    model, attachment = attached(host)
    batch = some_batch(host)
    model(*batch)
    attachment.step()
    before = logits(model, batch)
    if has_example and name == "pair of all rows":  # The other rows reach no output, as the example proves.
        attachment.fold(example=batch)
    else:
        with pytest.raises(FoldError) as caught:
            attachment.fold(example=batch if has_example else None)
        assert "\n" not in str(caught.value)
        assert "all_queries" not in str(caught.value), "streams have no such scope"
        assert rollingq.attachments(model) == [attachment]
    torch.testing.assert_close(logits(model, batch), before)


@every_fusion
def test_the_plain_form_of_a_rotated_model_says_the_same(host: Host) -> None:
    batch = some_batch(host, masks=padding())
    model, attachment = attached(host)
    model(*batch)
    attachment.step()
    plain, other = attached(host)
    plain.load_state_dict(model.state_dict())
    use_plain_form(plain)
    torch.testing.assert_close(logits(plain, batch), logits(model, batch), rtol=1e-11, atol=1e-11)
    fast, slow = watched(model, attachment, batch), watched(plain, other, batch)
    torch.testing.assert_close(slow.query, fast.query, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(slow.average_keys, fast.average_keys, rtol=1e-11, atol=1e-11)
