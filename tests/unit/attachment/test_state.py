"""The rotation, the counters and the history travel with the model: every way of saving, copying and casting."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rollingq import RollingQ
from rollingq.testing.forms import DIM, FORMS, Form
from rollingq.testing.models import AttentionModel

State = dict[str, Tensor]
SOME_FORMS = ("query key", "class row of all", "mha batch first, class", "mha batch first, all")
some_forms = pytest.mark.parametrize("form", [FORMS[name] for name in SOME_FORMS], ids=SOME_FORMS)
both_rotations = pytest.mark.parametrize("rotation", ["minimal", "svd"])


def as_it_is(state: State, _: Path) -> State:
    return state


def through_torch(state: State, _: Path) -> State:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def through_safetensors(state: State, folder: Path) -> State:
    save_file(state, folder / "model.safetensors")
    return load_file(folder / "model.safetensors")


def some_tokens(seed: int, size: int = 6) -> Tensor:
    return torch.randn(size, 7, DIM, generator=torch.Generator().manual_seed(seed))


def attached(form: Form, seed: int = 0, **options: Any) -> tuple[AttentionModel, RollingQ]:
    model = form.build(seed)
    return model, form.attach(model, **{"beta": 0.0, "max_rotations": 3, **options})


def epochs(model: nn.Module, attachment: RollingQ, *seeds: int) -> None:
    for seed in seeds:
        model.train()(some_tokens(seed))
        attachment.step()


@some_forms
@both_rotations
@pytest.mark.parametrize("carry", [as_it_is, through_torch, through_safetensors])
@pytest.mark.parametrize("num_steps", [0, 2])
def test_a_fresh_model_goes_on_as_the_saved_one(
    form: Form, rotation: str, carry: Callable[[State, Path], State], num_steps: int, tmp_path: Path
) -> None:
    model, attachment = attached(form, rotation=rotation)
    epochs(model, attachment, *range(num_steps))
    fresh, other = attached(form, seed=5, rotation=rotation)
    fresh.load_state_dict(carry(model.state_dict(), tmp_path))
    assert other.history == attachment.history
    assert int(other.num_rotations) == int(attachment.num_rotations) == num_steps
    assert int(other.num_steps) == num_steps
    tokens = some_tokens(9)
    for is_grad in (True, False):
        with torch.set_grad_enabled(is_grad):
            assert torch.equal(fresh.eval()(tokens), model.eval()(tokens))
    for pair in ((model, attachment), (fresh, other)):
        epochs(*pair, 3, 4, 5)
    assert other.history == attachment.history
    assert [event.rotated for event in other.history[num_steps:]] == [i < 3 - num_steps for i in range(3)]
    assert torch.equal(fresh.eval()(tokens), model.eval()(tokens))


def test_first_epoch_counts_on_after_a_reload() -> None:
    form = FORMS["query key"]
    model, attachment = attached(form, first_epoch=2)
    epochs(model, attachment, 0)
    fresh, other = attached(form, first_epoch=2)
    fresh.load_state_dict(model.state_dict())
    epochs(fresh, other, 1, 2)
    assert [event.rotated for event in other.history] == [False, False, True]


def test_measuring_alone_saves_and_loads(tmp_path: Path) -> None:
    form = FORMS["query key"]
    model, attachment = attached(form, max_rotations=0)
    epochs(model, attachment, 0)
    fresh, other = attached(form, max_rotations=0)
    fresh.load_state_dict(through_safetensors(model.state_dict(), tmp_path))
    assert other.history == attachment.history


def test_a_checkpoint_without_attachment_does_not_load_silently() -> None:
    form = FORMS["query key"]
    model, _ = attached(form)
    with pytest.raises(RuntimeError, match="rollingq"):
        model.load_state_dict(form.build().state_dict())
    with pytest.raises(RuntimeError, match="rollingq"):
        form.build().load_state_dict(model.state_dict())


@some_forms
def test_what_was_seen_is_not_lost_by_saving(form: Form) -> None:
    model, attachment = attached(form)
    model(some_tokens(0))
    model.state_dict()
    assert attachment.step().num_samples == 6


def test_the_attachment_has_no_parameter() -> None:
    model, attachment = attached(FORMS["query key"])
    assert list(attachment.parameters()) == []
    assert [name for name, _ in model.named_parameters()] == [
        n for n, _ in FORMS["query key"].build().named_parameters()
    ]


@some_forms
@both_rotations
@pytest.mark.parametrize("cast", ["attach to bfloat16", "cast before the rotation", "cast after the rotation"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_model_keeps_a_float32_rotation(
    form: Form, rotation: str, cast: str, dtype: torch.dtype
) -> None:
    model = form.build()
    if cast == "attach to bfloat16":
        model.to(dtype)
    attachment = form.attach(model, beta=0.0, rotation=rotation)
    if cast == "cast before the rotation":
        model.to(dtype)
    model(some_tokens(0).to(next(model.parameters()).dtype))
    assert attachment.step().rotated
    model.to(dtype)
    matrix = attachment.rotation.matrix()
    assert matrix.dtype == torch.float32
    assert (matrix @ matrix.mT - torch.eye(4)).abs().max() < 1e-5
    turned = model.eval()(some_tokens(0).to(dtype))
    assert turned.dtype == dtype
    attachment.detach()
    assert not torch.equal(turned, model(some_tokens(0).to(dtype)))


def test_a_double_model_rotates_in_double() -> None:
    form = FORMS["query key"]
    model = form.build().double()
    attachment = form.attach(model, beta=0.0)
    model(some_tokens(0).double())
    attachment.step()
    matrix = attachment.rotation.matrix()
    assert (matrix @ matrix.mT - torch.eye(4, dtype=torch.float64)).abs().max() < 1e-14


@some_forms
def test_autocast_reaches_the_projections_not_the_rotation(form: Form) -> None:
    model, attachment = attached(form)
    epochs(model, attachment, 0)
    exact = model.eval()(some_tokens(1))
    watched: list[Any] = []
    with torch.autocast("cpu", torch.bfloat16), attachment.watch(watched.append):
        cast = model(some_tokens(1))
    assert (cast.float() - exact).abs().max() < 0.1 * exact.abs().max()
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        model(some_tokens(1))
    event = attachment.step()
    model(some_tokens(1))
    assert event.air == pytest.approx(attachment.step().air, abs=0.05)
