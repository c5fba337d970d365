"""What the tests of the tap share: tokens, a bare softmax, and a model run while it is watched."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rollingq.attachment.tap import tapped
from rollingq.evaluation.interventions import interventions
from rollingq.tokens import TokenLayout

D, C = 8, 3
TOKENS = {"cls": 1, "audio": 3, "image": 4}
NAMES = ("audio", "image")
X = torch.randn(2, 8, D, generator=torch.Generator().manual_seed(1))
MASK_AUDIO = interventions(NAMES)[0]
Seen = list[tuple[str, Tensor, TokenLayout]]


class Softmax(nn.Module):
    """A softmax of the input itself, in any way."""

    num_heads = 2

    def __init__(self, way: Callable[[Tensor], Tensor] = lambda x: x.softmax(-1)) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        return self.way(x)


def watched(model: nn.Module, layers: list[str], *args: Any, tokens: Any = TOKENS, **options: Any) -> tuple[Any, Seen]:
    seen: Seen = []
    with torch.no_grad(), tapped(model.eval(), layers, tokens, on_weights=lambda *a: seen.append(a), **options):
        out = model(*args)
    return out, seen
