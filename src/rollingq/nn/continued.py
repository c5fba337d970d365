"""Blocks of a fusion that continue a pretrained vision transformer take up its weights where the encoders stop."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rollingq.nn.layers import Block

NAMES = {
    "norm1": "attend.norm",
    "attn.proj": "attend.attention.output",
    "norm2": "feed_forward.norm",
    "mlp.fc1": "feed_forward.layers.0",
    "mlp.fc2": "feed_forward.layers.3",
}
"""timm's names inside a block -> ours; queries, keys and values stand in one tensor there."""

EPS = 1e-6
"""Of LayerNorm in timm's vision transformers."""


def is_continuable(blocks: Sequence[Block], weights: Mapping[str, Tensor], first: int) -> bool:
    """Return whether timm's weights hold plain blocks of the same widths from block ``first`` on."""
    hidden, dim = blocks[0].get_parameter("feed_forward.layers.0.weight").shape
    shapes = {"attn.qkv.weight": (3 * dim, dim), "mlp.fc1.weight": (hidden, dim)}
    wanted = {f"blocks.{first + i}.{name}": shape for i in range(len(blocks)) for name, shape in shapes.items()}
    return all(name in weights and weights[name].shape == shape for name, shape in wanted.items())


@torch.no_grad()
def continue_blocks(blocks: Sequence[Block], norm: nn.LayerNorm, weights: Mapping[str, Tensor], first: int) -> None:
    """Load blocks ``first``, ``first + 1`` ... of timm's weights, and its last LayerNorm.

    Args:
        blocks: Ours, changed in place.
        norm: LayerNorm behind them.
        weights: Of a timm vision transformer, by name.
        first: Number of the first block, from 0.
    """
    for index, block in enumerate(blocks):
        prefix = f"blocks.{first + index}."
        for theirs, ours in NAMES.items():
            _copy(block.get_submodule(ours), weights, prefix + theirs)
        for part, name in enumerate(("query", "key", "value")):
            module = block.get_submodule(f"attend.attention.{name}")
            for kind in ("weight", "bias"):
                packed = weights.get(f"{prefix}attn.qkv.{kind}")
                tensor = getattr(module, kind)
                tensor.copy_(torch.zeros_like(tensor) if packed is None else packed.chunk(3)[part])
    _copy(norm, weights, "norm")


def _copy(module: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    if isinstance(module, nn.LayerNorm):
        module.eps = EPS
    for kind, parameter in module.named_parameters(recurse=False):
        if f"{name}.{kind}" in weights:
            parameter.copy_(weights[f"{name}.{kind}"])
