"""SequenceEncoder: shapes, number of parameters in closed form, and padding that reaches no other token."""

import pytest
import torch

from rollingq.nn.encoders import SequenceEncoder

REAL = torch.tensor([[True] * 5, [True, True, False, False, False], [False] * 5])


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("dim", [8, 64])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize(("length", "in_dim"), [(5, 3), (12, 40)])
def test_parameters_in_closed_form(dim: int, num_layers: int, length: int, in_dim: int) -> None:
    embedding = (in_dim + 1) * dim + dim + (1 + length) * dim
    attention = 4 * dim * (dim + 1)
    feedforward = 2 * dim * (dim + 1) + dim * (2 * dim + 1)
    expected = embedding + num_layers * (attention + feedforward + 2 * 2 * dim) + 2 * dim
    assert num_parameters(SequenceEncoder(length, in_dim, dim=dim, num_layers=num_layers)) == expected


@pytest.mark.parametrize("num_tokens", [5, 2, 1])
def test_class_token_first(num_tokens: int) -> None:
    assert SequenceEncoder(5, 3, dim=8)(torch.randn(2, num_tokens, 3)).shape == (2, 1 + num_tokens, 8)


@pytest.mark.parametrize("garbage", [0.0, -1e4, 1e20])
@pytest.mark.parametrize("mode", ["train", "eval", "eval, no_grad"])
def test_padding_reaches_no_other_token(garbage: float, mode: str) -> None:
    encoder = SequenceEncoder(5, 3, dim=8, dropout=0.0).train(mode == "train")
    clean = torch.randn(3, 5, 3)
    dirty = clean.masked_fill(~REAL[..., None], garbage)
    real = torch.nn.functional.pad(REAL, (1, 0), value=True)
    with torch.set_grad_enabled("no_grad" not in mode):
        assert torch.allclose(encoder(dirty, REAL)[real], encoder(clean, REAL)[real], atol=1e-6)
        short = encoder(clean[1:2, :2])
        assert torch.allclose(encoder(dirty, REAL)[1, :3], short[0], atol=1e-6), "as if padding were not there"


def test_padding_gets_no_gradient() -> None:
    encoder = SequenceEncoder(5, 3, dim=8, dropout=0.0)
    inputs = torch.randn(3, 5, 3, requires_grad=True)
    encoder(inputs, REAL)[:, 0].square().sum().backward()
    assert (inputs.grad[~REAL] == 0).all()
    assert (inputs.grad[REAL] != 0).all()


def test_position_matters() -> None:
    encoder = SequenceEncoder(5, 3, dim=8, dropout=0.0)
    inputs = torch.randn(1, 5, 3)
    assert not torch.allclose(encoder(inputs)[:, 0], encoder(inputs.flip(1))[:, 0], atol=1e-6)
