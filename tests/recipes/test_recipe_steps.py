"""Every recipe and preset trains: one tiny step of each of its methods changes its weights and stays finite."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from rollingq.cli.complexity import _fusion_config, read_preset
from rollingq.cli.options import parse_options
from rollingq.config import EncoderConfig, FusionConfig
from rollingq.data.entries import DATASETS
from rollingq.data.registry import entry_of
from rollingq.nn.registry import build_model
from rollingq.training.methods import parse_methods, systems

Shapes = dict[str, tuple[int, ...]]


def step(fusion: str, shapes: Shapes, num_classes: int, encoder: EncoderConfig, config: FusionConfig) -> None:
    torch.manual_seed(0)
    model = build_model(fusion, shapes, num_classes, encoder, config)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(2):  # The first step of a ResNet moves only the scales that start at zero.
        output = model({name: torch.randn(2, *shape) for name, shape in shapes.items()})
        heads = (output.logits, *output.auxiliary.values(), *output.probes.values())
        loss = torch.stack([cross_entropy(logits, torch.tensor([0, 1])) for logits in heads]).sum()
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
    changed = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert sum(changed) > 0.8 * len(changed)  # Key biases shift all scores alike and get no gradient.
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("data", DATASETS)
def test_every_system_of_a_recipe_takes_a_step(data: str) -> None:
    settings = parse_options("compare", "", ["--data", data]).settings
    encoder = replace(settings.encoder, dim=8, num_heads=2)
    names = entry_of(data).modalities or ("one", "two")  # What is in a folder of one's own is not known here.
    for method in parse_methods(systems(len(names)), names):
        shapes = {name: (3 + i, 2 + i) for i, name in enumerate(method.modalities)}
        step(method.fusion, shapes, 3, encoder, settings.fusion)


@pytest.mark.parametrize("row", read_preset("paper-table4")["rows"], ids=lambda row: row["method"])
def test_every_row_of_the_preset_takes_a_step(row: dict[str, Any]) -> None:
    preset = read_preset("paper-table4")
    sizes = {**preset["encoder"], **row.get("encoder", {}), "name": "vit_tiny_patch16_224", "dim": 192, "num_heads": 3}
    shapes: Shapes = {"audio": (1, 33, 48), "visual": (3, 32, 32)}
    fusion = row["method"].split("+")[0]
    step(fusion, shapes, preset["classes"], EncoderConfig(**sizes), _fusion_config(preset["fusion"]))


@pytest.mark.parametrize("fusion", ["mt", "concat", "unimodal"])
def test_the_backbone_of_table_7_takes_a_step(fusion: str) -> None:
    shapes: Shapes = {"audio": (1, 33, 48), "visual": (2, 3, 32, 32)}
    used = dict(list(shapes.items())[:1]) if fusion == "unimodal" else shapes
    step(fusion, used, 6, EncoderConfig(name="resnet18", dim=16), FusionConfig())


@pytest.mark.parametrize("fusion", ["joint:2", "joint:3", "joint:4"])
def test_the_fusions_of_table_11_take_a_step(fusion: str) -> None:
    shapes: Shapes = {"audio": (1, 33, 48), "visual": (3, 32, 32)}
    encoder = EncoderConfig(name="vit_tiny_patch16_224", dim=192, num_heads=3, num_layers=4)
    model = build_model(fusion, shapes, 6, encoder)
    first = int(fusion.removeprefix("joint:"))
    assert [len(e.model.blocks) for e in model.encoders.values()] == [first - 1] * 2  # type: ignore[union-attr,arg-type]
    assert len(model.fusion.blocks) == 4 - (first - 1)  # type: ignore[arg-type]
    step(fusion, shapes, 6, encoder, FusionConfig())
