"""What an attached RollingQ costs a training step: collecting statistics (idle), and rotating as well.

Run: python benchmarks/overhead.py
"""

from collections.abc import Callable

import torch
from paired import paired_ratio, write_result
from torch import Tensor
from torch.nn.functional import cross_entropy

import rollingq
from rollingq.config import EncoderConfig
from rollingq.nn.registry import build_model

SHAPES = {"audio": (16, 24), "image": (8, 8)}
BATCH, CLASSES = 64, 10
TOKENS = {"cls": 1, **{name: 1 + length for name, (length, _) in SHAPES.items()}}


def make_step(*, attached: bool, rotated: bool = False) -> Callable[[], Tensor]:
    """Return one training step of a small MT, the demo's own size."""
    torch.manual_seed(0)
    model = build_model("mt", SHAPES, CLASSES, EncoderConfig())
    batch = {name: torch.randn(BATCH, *shape) for name, shape in SHAPES.items()}
    label = torch.randint(0, CLASSES, (BATCH,))
    if attached:
        attachment = rollingq.attach(model, "fusion.attention", tokens=TOKENS, beta=0.0)
        if rotated:
            model(batch)
            assert attachment.step().rotated
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step() -> Tensor:
        loss = cross_entropy(model(batch).logits, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def main() -> None:
    """Time plain against attached steps in turn."""
    torch.set_num_threads(1)
    plain = make_step(attached=False)
    idle = paired_ratio(make_step(attached=True), plain, rounds=400, warmup=20)
    rotated = paired_ratio(make_step(attached=True, rotated=True), plain, rounds=400, warmup=20)
    write_result(
        "overhead",
        {
            "what": "training step of the demo's MT with RollingQ attached (first) against without (second)",
            "shape": {"B": BATCH, **{name: list(shape) for name, shape in SHAPES.items()}},
            "collecting": idle,
            "collecting_and_rotated": rotated,
        },
    )


if __name__ == "__main__":
    main()
