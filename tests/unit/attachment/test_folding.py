"""Fold refuses wherever the folded model would compute something else, and says why in one line."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import rollingq
from rollingq import RollingQ
from rollingq.errors import FoldError
from rollingq.testing.forms import DIM, FORMS, TOKENS
from rollingq.testing.models import LinearAttention, Packed

X = torch.randn(5, 8, DIM, generator=torch.Generator().manual_seed(1))


def rotated(model: nn.Module, path: str, **options: Any) -> RollingQ:
    attachment = rollingq.attach(model, path, tokens=TOKENS, beta=0.0, **options)
    model.train()(X)
    assert attachment.step().rotated
    model.eval()
    return attachment


def refusal(model: nn.Module, attachment: RollingQ, example: Any = None) -> str:
    """Return why fold refused, after checking that it left the model as it was."""
    before, state = model(X), {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(FoldError) as caught:
        attachment.fold(example=example)
    assert torch.equal(model(X), before)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert rollingq.attachments(model) == [attachment]
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Tied(nn.Module):
    """Two attentions, of which the second may use weights of the first's query projection."""

    def __init__(self, attention: nn.Module, tie: str = "") -> None:
        super().__init__()
        self.first, self.second = attention, LinearAttention(DIM, 2)
        source = attention.mha if isinstance(attention, Packed) else attention.query
        if tie:
            target = self.second.value if tie != "in_proj_weight" else self.second
            target.register_parameter("weight" if "weight" in tie else "bias", getattr(source, tie))

    def forward(self, sequence: Tensor) -> Tensor:
        return self.first(sequence) + self.second(sequence)


@pytest.mark.parametrize(
    ("build", "path", "tie", "owners"),
    [
        (lambda: LinearAttention(DIM, 2), "first", "weight", ("first.query.weight", "second.value.weight")),
        (lambda: LinearAttention(DIM, 2), "first", "bias", ("first.query.bias", "second.value.bias")),
        (
            lambda: Packed(DIM, batch_first=True),
            "first.mha",
            "in_proj_weight",
            ("first.mha.in_proj_weight", "second.weight"),
        ),
    ],
)
@pytest.mark.parametrize("has_example", [False, True])
def test_shared_parameters_are_named(
    build: Callable[[], nn.Module], path: str, tie: str, owners: tuple[str, str], has_example: bool
) -> None:
    model = Tied(build(), tie)
    text = refusal(model, rotated(model, path), (X,) if has_example else None)
    assert all(owner in text for owner in owners)
    assert "Untie" in text


def test_a_parametrized_weight_is_never_folded_into_thin_air() -> None:
    """The weight is computed from other parameters on every forward: what is written into it is lost."""
    model = Tied(LinearAttention(DIM, 2))
    parametrizations.weight_norm(model.first.query)
    assert "first" in refusal(model, rotated(model, "first"))


def test_a_layer_called_twice_remembers_the_rows_of_every_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mha = nn.MultiheadAttention(DIM, 2, batch_first=True)

        def forward(self, sequence: Tensor) -> Tensor:
            mixed = self.mha(sequence, sequence, sequence)[0]
            return self.mha(mixed[:, :1], mixed, mixed)[0]

    model = Twice()
    assert "7 rows a sample" in refusal(model, rotated(model, "mha"))


def test_before_a_forward_the_rows_are_unknown() -> None:
    model = FORMS["query key"].build()
    attachment = FORMS["query key"].attach(model)
    with pytest.raises(FoldError, match=r"no forward has run since attach; run one batch first, or give fold"):
        attachment.fold()


@pytest.mark.parametrize("is_training", [True, False])
def test_an_example_leaves_the_modes_alone(is_training: bool) -> None:
    model = FORMS["query key"].build()
    attachment = FORMS["query key"].attach(model, beta=0.0)
    model(X[:, 1:])
    attachment.step()
    model.train(is_training).head.train(not is_training)
    attachment.fold(example=(X[:, 1:],))
    assert (model.training, model.head.training, model.attention.training) == (
        is_training,
        not is_training,
        is_training,
    )


def test_a_failing_example_leaves_the_model_alone() -> None:
    class Moody(nn.Module):
        """Answers a first time, and then fails: as a model that runs out of memory."""

        def __init__(self) -> None:
            super().__init__()
            self.attention, self.num_left = LinearAttention(DIM, 2), 10

        def forward(self, sequence: Tensor) -> Tensor:
            self.num_left -= 1
            if self.num_left < 0:
                raise RuntimeError("out of memory")
            return self.attention(sequence)

    model = Moody()
    attachment = rotated(model, "attention")
    before = model(X)
    model.num_left = 1
    with pytest.raises(RuntimeError, match="out of memory"):
        attachment.fold(example=(X,))
    model.num_left = 10
    assert torch.equal(model(X), before)


def test_optimizer_goes_on_with_the_folded_parameters() -> None:
    model = FORMS["query key"].build()
    attachment = FORMS["query key"].attach(model, beta=0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(X[:, 1:])
    attachment.step()
    attachment.fold()
    before = model.attention.query.weight.clone()
    model(X[:, 1:]).square().sum().backward()
    optimizer.step()
    assert not torch.equal(model.attention.query.weight, before)
