"""Blocks of a fusion that continue a pretrained encoder compute what the deeper blocks of its source compute."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from rollingq.config import EncoderConfig, FusionConfig, MBTConfig
from rollingq.nn.continued import continue_blocks, is_continuable
from rollingq.nn.layers import Block
from rollingq.nn.registry import build_model

NAME, DIM, SHAPES = "vit_tiny_patch16_224", 192, {"audio": (1, 32, 48), "visual": (3, 32, 32)}


@pytest.fixture(scope="module")
def source() -> Any:
    torch.manual_seed(0)
    model = timm.create_model(NAME, img_size=32, num_classes=0, depth=4).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model


def blocks_of(number: int) -> list[Block]:
    return [Block(DIM, 3, dropout=0.0).eval() for _ in range(number)]


def test_blocks_equal_those_of_timm(source: Any) -> None:
    ours, norm = blocks_of(2), torch.nn.LayerNorm(DIM)
    continue_blocks(ours, norm, source.state_dict(), first=2)
    tokens = torch.randn(2, 5, DIM)
    expected = source.norm(source.blocks[3](source.blocks[2](tokens)))
    found = norm(ours[1](ours[0](tokens)[0])[0])
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_missing_bias_becomes_zero(source: Any) -> None:
    weights = {key: value for key, value in source.state_dict().items() if not key.endswith("qkv.bias")}
    (block,) = blocks_of(1)
    continue_blocks([block], torch.nn.LayerNorm(DIM), weights, first=0)
    assert not block.attend.attention.query.bias.any()


@pytest.mark.parametrize(("number", "first", "is_right"), [(2, 2, True), (3, 2, False), (1, 4, False)])
def test_there_must_be_as_many_blocks(source: Any, number: int, first: int, is_right: bool) -> None:
    assert is_continuable(blocks_of(number), source.state_dict(), first) == is_right


def test_another_width_is_not_continued(source: Any) -> None:
    assert not is_continuable([Block(DIM, 3, dropout=0.0, ratio=2)], source.state_dict(), 0)
    assert not is_continuable([Block(96, 3, dropout=0.0)], source.state_dict(), 0)


@pytest.mark.parametrize("fusion", ["joint:2", "joint:4", "mbt", "mt"])
def test_models_take_up_the_weights(fusion: str, source: Any, tmp_path: Path) -> None:
    save_file(source.state_dict(), tmp_path / "vit.safetensors")
    layers = 2 if fusion == "mbt" else 4
    encoder = EncoderConfig(
        name=NAME, dim=DIM, num_layers=layers, num_heads=3, pretrained=str(tmp_path / "vit.safetensors")
    )
    model = build_model(fusion, SHAPES, 3, encoder, FusionConfig(mbt=MBTConfig(num_layers=2)))
    found = model.fusion.continuing_blocks()
    first = {"joint:2": 1, "joint:4": 3, "mbt": 2, "mt": 4}[fusion]
    assert len(found) == {"joint:2": 1, "joint:4": 1, "mbt": 2, "mt": 0}[fusion]
    for blocks, norm in found:
        assert torch.equal(norm.weight, source.norm.weight)
        for i, block in enumerate(blocks):
            assert torch.equal(
                block.get_parameter("feed_forward.layers.0.weight"), source.blocks[first + i].mlp.fc1.weight
            )
