"""Every form of attention: detach gives the original back bit for bit, fold a plain model with the same answers."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rollingq
from rollingq import RollingQ
from rollingq.errors import FoldError
from rollingq.testing.forms import DIM, FORMS, Form
from rollingq.testing.models import AttentionModel

every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
TOKENS = torch.randn(6, 7, DIM, generator=torch.Generator().manual_seed(1))


def anatomy(model: nn.Module) -> list[tuple[Any, ...]]:
    """Everything that an attachment may have touched: classes, children, hooks, names of the state."""
    hooks = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_backward_hooks",
        "_state_dict_hooks",
        "_load_state_dict_pre_hooks",
    )
    kwargs_hooks = ("_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called")
    return [
        (name, type(module), list(module._buffers), *(dict(getattr(module, kind)) for kind in (*hooks, *kwargs_hooks)))
        for name, module in model.named_modules()
    ] + list(model.state_dict())


def rotated(form: Form) -> tuple[AttentionModel, RollingQ]:
    model = form.build()
    attachment = form.attach(model, beta=0.0)
    model(TOKENS)
    assert attachment.step().rotated
    return model.eval(), attachment


def folds_as_it_is(form: Form) -> bool:
    """Whether no other row passes through the query projection."""
    return form.options.get("scope") == "all_queries" or getattr(form.build().attention, "rows", "") != "all"


@every_form
@pytest.mark.parametrize("leave", [RollingQ.detach, None], ids=["att.detach()", "rollingq.detach(model)"])
def test_detach_gives_the_original_back(form: Form, leave: Callable[[RollingQ], None] | None) -> None:
    plain = form.build().eval()
    model, attachment = rotated(form)
    assert not torch.equal(model(TOKENS), plain(TOKENS))
    if leave is None:
        assert rollingq.detach(model) is model
    else:
        leave(attachment)
    assert anatomy(model) == anatomy(plain)
    assert torch.equal(model(TOKENS), plain(TOKENS))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), plain.state_dict().values(), strict=True))
    form.attach(model)


PROVEN = {name: form for name, form in FORMS.items() if folds_as_it_is(form) or form.pool == "class"}
REFUSED = {name: form for name, form in FORMS.items() if not folds_as_it_is(form)}


@pytest.mark.parametrize("form", PROVEN.values(), ids=PROVEN)
@pytest.mark.parametrize("has_example", [False, True])
def test_fold_gives_a_plain_model_with_the_same_answers(form: Form, has_example: bool) -> None:
    model, attachment = rotated(form)
    before = model(TOKENS)
    if has_example or not folds_as_it_is(form):  # Other rows do not reach the output: the example proves it.
        difference: float | None = attachment.fold(example=(TOKENS,))
        assert difference is not None
        assert difference < 1e-6
    else:
        assert attachment.fold() is None
    assert anatomy(model) == anatomy(form.build())
    assert (model(TOKENS) - before).abs().max() < 1e-6
    with torch.no_grad():
        assert (model(TOKENS) - before).abs().max() < 1e-6


@pytest.mark.parametrize("form", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("has_example", [False, True])
def test_fold_refuses_and_leaves_the_model_alone(form: Form, has_example: bool) -> None:
    model, attachment = rotated(form)
    model.pool = "mean"  # Now the other rows reach the output.
    before, state, parts = model(TOKENS), copy.deepcopy(model.state_dict()), anatomy(model)
    with pytest.raises(FoldError, match=rf"7 rows a sample .*{form.layer}.*scope='all_queries'") as caught:
        attachment.fold(example=(TOKENS,) if has_example else None)
    assert "\n" not in str(caught.value)
    assert anatomy(model) == parts
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(model(TOKENS), before)


@every_form
def test_an_unrotated_attachment_folds_to_the_same_bits(form: Form) -> None:
    plain, model = form.build().eval(), form.build().eval()
    attachment = form.attach(model)
    difference: float | None = attachment.fold(example=(TOKENS,))
    assert difference == 0.0
    assert anatomy(model) == anatomy(plain)
    assert torch.equal(model(TOKENS), plain(TOKENS))


@pytest.mark.parametrize("max_rotations", [1, 3])
def test_fold_of_several_attachments_at_once(max_rotations: int) -> None:
    form = FORMS["query key"]
    model = nn.ModuleList([form.build(seed) for seed in range(2)])
    for i in range(2):
        rollingq.attach(
            model, f"{i}.attention", tokens={"cls": 1, "audio": 3, "visual": 4}, beta=0.0, max_rotations=max_rotations
        )
    for _ in range(max_rotations):
        for part, attachment in zip(model, rollingq.attachments(model), strict=True):
            part(TOKENS)
            assert attachment.step().rotated
    before: list[Tensor] = [part(TOKENS) for part in model]
    assert rollingq.fold(model) is model
    assert rollingq.attachments(model) == []
    assert all((part(TOKENS) - old).abs().max() < 1e-6 for part, old in zip(model, before, strict=True))
