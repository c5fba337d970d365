"""What recording attention and encoder gradients costs a training step, at the demo's and at the paper's size.

Run: python benchmarks/recorder.py
"""

from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import torch
from paired import paired_ratio, write_result
from step import CLASSES, LAYERS, SHAPES
from torch.nn.functional import cross_entropy

from rollingq.config import EncoderConfig
from rollingq.nn.registry import build_model
from rollingq.training.dynamics import Dynamics

THREADS = 1
DEMO = {"audio": (16, 24), "image": (8, 8)}
PAPER = EncoderConfig(name="vit", dim=768, num_layers=LAYERS, num_heads=12, dropout=0.0)


class Steps:
    """Training steps of MT with probes on one model and one batch, with recording and without."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], encoder: EncoderConfig, batch_size: int) -> None:
        torch.manual_seed(0)
        self.model = build_model("mt", shapes, CLASSES, encoder)
        self.batch = {name: torch.randn(batch_size, *shape) for name, shape in shapes.items()}
        self.labels = torch.randint(0, CLASSES, (batch_size,))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4, momentum=0.9, fused=True)
        self.dynamics = Dynamics(self.model.modality_modules, self.model.key_lengths)
        self.shares: list[float] = []

    def plain(self) -> None:
        """Train a step."""
        self._step(lambda weights: None, lambda: None)

    def recorded(self) -> None:
        """Train and record a step, and note which share of its time went into recording."""
        seconds = [0.0]

        def timed(function: Callable[..., None], *given: Any) -> None:  # noqa: ANN401
            start = perf_counter()
            function(*given)
            seconds[0] += perf_counter() - start

        start = perf_counter()
        self._step(partial(timed, self.dynamics.see_attention), partial(timed, self.dynamics.see_gradients))
        self.shares.append(seconds[0] / (perf_counter() - start - seconds[0]))

    def _step(self, see_attention: Callable[[Any], None], see_gradients: Callable[[], None]) -> None:
        self.optimizer.zero_grad()
        output = self.model(self.batch)
        see_attention(output.weights)
        heads = (output.logits, *output.probes.values())
        torch.stack([cross_entropy(logits, self.labels) for logits in heads]).sum().backward()
        see_gradients()
        self.optimizer.step()


def measure(
    shapes: Mapping[str, tuple[int, ...]], encoder: EncoderConfig, batch_size: int, rounds: int
) -> dict[str, Any]:
    """Return the paired ratio of the steps and the median share of recording, relative to the rest of its step."""
    steps = Steps(shapes, encoder, batch_size)
    ratio = paired_ratio(steps.recorded, steps.plain, rounds=rounds, warmup=2)
    shape = {"B": batch_size, **{name: list(shape) for name, shape in shapes.items()}}
    return {"shape": shape, **ratio, "recording_share_median": median(steps.shares[2:])}


def main() -> None:
    """Time steps with and without recording in turn."""
    torch.set_num_threads(THREADS)
    write_result(
        "recorder",
        {
            "what": "training step of MT with probes that records attention and gradient norms (first) against without",
            "demo": measure(DEMO, EncoderConfig(), 64, rounds=400),
            "paper": measure(SHAPES, PAPER, 8, rounds=8),
        },
    )


if __name__ == "__main__":
    main()
