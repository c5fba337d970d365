"""The MT fusion layer: absorbed projections against the plain form, forward and backward, at B=8, L=375, d=768.

Run: python benchmarks/fusion.py
"""

from collections.abc import Callable

import torch
from paired import paired_ratio, write_result
from torch import Tensor

from rollingq.nn.layers import Attention

BATCH, LENGTH, DIM = 8, 375, 768


def plain(layer: Attention, sequence: Tensor) -> Tensor:
    """Attend as the original does: project all tokens, L x L scores, output projection on all rows, read row 0."""
    query, key, value = layer.query(sequence), layer.key(sequence), layer.value(sequence)
    weights = torch.softmax(query @ key.mT / DIM**0.5, dim=-1)
    output: Tensor = layer.output(weights @ value)
    return output[:, 0]


def main() -> None:
    """Check that both forms agree, then time them in turn."""
    torch.manual_seed(0)
    layer = Attention(DIM, dropout=0.0)
    cls_token = torch.randn(1, 1, DIM).requires_grad_()
    tokens = torch.randn(BATCH, LENGTH - 1, DIM).requires_grad_()
    leaves = [cls_token, tokens, *layer.parameters()]

    def step(forward: Callable[[Tensor], Tensor]) -> list[Tensor]:
        sequence = torch.cat([cls_token.expand(BATCH, 1, DIM), tokens], dim=1)
        output = forward(sequence)
        return [output.detach(), *torch.autograd.grad(output.square().mean(), leaves, materialize_grads=True)]

    def absorbed_step() -> list[Tensor]:
        return step(lambda sequence: layer(cls_token, sequence)[0][:, 0])

    def plain_step() -> list[Tensor]:
        return step(lambda sequence: plain(layer, sequence))

    pairs = zip(absorbed_step(), plain_step(), strict=True)
    difference = max(float((a - b).abs().max()) for a, b in pairs)
    assert difference < 1e-5, difference
    result = paired_ratio(plain_step, absorbed_step, rounds=30)
    write_result(
        "fusion",
        {
            "what": "forward + backward of the MT fusion layer: plain (first) against absorbed (second)",
            "shape": {"B": BATCH, "L": LENGTH, "d": DIM},
            "max_difference": difference,
            **result,
        },
    )


if __name__ == "__main__":
    main()
