"""Every form of attention: no bit changes before a rotation, and after it the outputs are the oracle's."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rollingq import RollingQ
from rollingq.testing.expected import block_diagonal, expected_logits
from rollingq.testing.forms import DIM, FORMS, Form
from rollingq.testing.models import AttentionModel

BATCH, LENGTH = 6, 7
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def some_tokens() -> Tensor:
    return torch.randn(BATCH, LENGTH, DIM, generator=torch.Generator().manual_seed(1))


def train(model: nn.Module, tokens: Tensor, num_steps: int = 2) -> Tensor:
    """Return the last logits of a few SGD steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(num_steps):
        optimizer.zero_grad()
        logits = model.train()(tokens)
        logits.square().mean().backward()
        optimizer.step()
    return logits.detach()


def rotated(form: Form, **options: object) -> tuple[AttentionModel, RollingQ]:
    model = form.build()
    attachment = form.attach(model, **{"beta": 0.0, **options})
    model(some_tokens())
    assert attachment.step().rotated
    return model, attachment


@every_form
@pytest.mark.parametrize("max_rotations", [0, 1])
def test_before_a_rotation_no_bit_changes(form: Form, max_rotations: int) -> None:
    plain, model, tokens = form.build(), form.build(), some_tokens()
    form.attach(model, max_rotations=max_rotations)
    assert torch.equal(train(model, tokens), train(plain, tokens))
    for (name, expected), found in zip(plain.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(found, expected), name
        assert torch.equal(found.grad, expected.grad), name
    assert torch.equal(model.eval()(tokens), plain.eval()(tokens))
    with torch.no_grad():
        assert torch.equal(model(tokens), plain(tokens)), "the fast path"


@every_form
def test_the_oracle_knows_the_form(form: Form) -> None:
    model = form.build()
    np.testing.assert_allclose(model(some_tokens()).detach().numpy(), expected_logits(model, some_tokens()), atol=1e-5)


@every_form
@pytest.mark.parametrize("heads", ["per_head", "shared", "full"])
@pytest.mark.parametrize("rotation", ["minimal", "svd"])
def test_after_a_rotation_outputs_equal_the_oracle(form: Form, heads: str, rotation: str) -> None:
    model, attachment = rotated(form, heads=heads, rotation=rotation)
    matrix = block_diagonal(attachment.rotation.matrix())
    rotates_all = form.options.get("scope") == "all_queries"
    expected = expected_logits(model, some_tokens(), matrix, rotates_all=rotates_all)
    unrotated = expected_logits(model, some_tokens())
    assert np.abs(expected - unrotated).max() > 1e-3, "the rotation shows in the output"
    for is_training in (True, False):
        np.testing.assert_allclose(model.train(is_training)(some_tokens()).detach().numpy(), expected, atol=2e-5)
    with torch.no_grad():
        np.testing.assert_allclose(model(some_tokens()).numpy(), expected, atol=2e-5)


@every_form
def test_gradients_after_a_rotation_are_numerically_right(form: Form) -> None:
    model, _ = rotated(form)
    model.double()
    parameters = dict(model.named_parameters())

    def run(*values: Tensor) -> Tensor:
        return torch.func.functional_call(model, dict(zip(parameters, values, strict=True)), some_tokens().double())

    assert torch.autograd.gradcheck(run, tuple(parameters.values()), fast_mode=True)


@every_form
def test_deepcopy_is_independent(form: Form) -> None:
    model, attachment = rotated(form, max_rotations=2)
    twin = copy.deepcopy(model)
    other = next(module for module in twin.modules() if isinstance(module, RollingQ))
    before = model.eval()(some_tokens())
    assert torch.equal(twin.eval()(some_tokens()), before)
    twin.train()(some_tokens().flip(1))
    assert other.step().rotated
    assert (len(other.history), len(attachment.history)) == (2, 1)
    assert not torch.equal(twin.eval()(some_tokens()), before)
    assert torch.equal(model(some_tokens()), before)
    other.detach()
    assert not [name for name in twin.state_dict() if "rollingq" in name]
    assert not [module for module in twin.modules() if module._forward_hooks or module._forward_pre_hooks]
    assert torch.equal(model(some_tokens()), before)
