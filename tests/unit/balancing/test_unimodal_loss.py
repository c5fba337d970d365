"""Unimodal losses: their value, and that their gradient reaches every encoder and no fusion."""

import math

import pytest
import torch
from torch import Tensor

from rollingq.balancing.unimodal_loss import UnimodalLoss
from rollingq.catalogue import FUSIONS as CARDS
from rollingq.config import EncoderConfig, UnimodalLossConfig
from rollingq.nn.classifier import ModelOutput
from rollingq.nn.registry import FUSIONS, build_model

SHAPES = {"audio": (5, 3), "image": (4, 2)}
CLASSES, DIM = 4, 8


def output_of(features: dict[str, Tensor]) -> ModelOutput:
    return ModelOutput(torch.zeros(1, CLASSES), features=features)


def test_the_loss_is_the_weighted_sum_of_the_cross_entropies() -> None:
    method = UnimodalLoss(("audio", "image"), CLASSES, DIM, UnimodalLossConfig(weight=0.5)).double()
    features = {name: torch.randn(3, DIM, dtype=torch.float64) for name in SHAPES}
    labels, expected = [2, 0, 3], 0.0
    for name, part in features.items():
        head = method.heads[f"of_{name}"].requires_grad_(False)
        for row, label in zip(part, labels, strict=True):
            scores = [float(row @ w + b) for w, b in zip(head.weight, head.bias, strict=True)]
            expected += (math.log(math.fsum(map(math.exp, scores))) - scores[label]) / len(labels)
    assert method.extra_loss(output_of(features), torch.tensor(labels)).item() == pytest.approx(0.5 * expected, 1e-12)


@pytest.mark.parametrize("fusion", [name for name in FUSIONS if CARDS[name].takes(2)])
def test_the_gradient_reaches_every_encoder(fusion: str) -> None:
    model = build_model(fusion, SHAPES, CLASSES, EncoderConfig(dim=DIM, num_layers=2, num_heads=2))
    method = UnimodalLoss(model.modalities, CLASSES, DIM, UnimodalLossConfig())
    output = model({name: torch.randn(6, *shape) for name, shape in SHAPES.items()})
    method.extra_loss(output, torch.arange(6) % CLASSES).backward()
    for name, parameter in model.encoders.named_parameters():
        if not name.endswith("in_proj_bias"):  # The key bias shifts all scores alike.
            assert parameter.grad.abs().max() > 0, name
    assert all(parameter.grad.abs().max() > 0 for parameter in method.parameters())
    assert all(parameter.grad is None for part in (model.fusion, model.probes) for parameter in part.parameters())


@pytest.mark.parametrize("names", [("values", "keys", "training"), ("forward", "type", "items")])
def test_names_of_attributes_do_not_clash(names: tuple[str, ...]) -> None:
    method = UnimodalLoss(names, CLASSES, DIM, UnimodalLossConfig())
    loss = method.extra_loss(output_of({name: torch.randn(2, DIM) for name in names}), torch.tensor([0, 1]))
    assert loss > 0


def test_heads_are_saved_by_name_not_by_position() -> None:
    first = UnimodalLoss(("audio", "image"), CLASSES, DIM, UnimodalLossConfig())
    second = UnimodalLoss(("image", "audio"), CLASSES, DIM, UnimodalLossConfig())
    second.load_state_dict(first.state_dict())
    output = output_of({name: torch.randn(2, DIM) for name in SHAPES})
    labels = torch.tensor([0, 1])
    assert torch.allclose(first.extra_loss(output, labels), second.extra_loss(output, labels))
