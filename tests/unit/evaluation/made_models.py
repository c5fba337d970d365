"""Made models whose attention is known to ignore, follow or invert quality, and data whose quality is known."""

from typing import Literal

import torch
from torch import Tensor, nn

from rollingq.data.base import MultimodalData, Split
from rollingq.data.samplers import make_loader
from rollingq.data.spec import ModalitySpec

NUM_TOKENS, DIM = 4, 6
TOKENS = {"audio": NUM_TOKENS, "image": NUM_TOKENS}
SIGNAL = 3.0
"""Value of feature 0 in every clean token: what tells clean inputs from N(0, 1) noise."""

Habit = Literal["ignores", "follows", "inverts"]


class MadeModel(nn.Module):
    """One attention over both modalities; a token is its features and a flag that says "audio".

    Keys read the flag (ignores quality), the signal (follows it) or minus the signal (inverts it); values are the
    features that hold the class.
    """

    def __init__(self, habit: Habit) -> None:
        super().__init__()
        self.attention = MadeAttention(habit)

    def forward(self, audio: Tensor, image: Tensor) -> Tensor:
        flags = (torch.ones_like(audio[..., :1]), torch.zeros_like(image[..., :1]))
        tokens = torch.cat([torch.cat(part, -1) for part in zip((audio, image), flags, strict=True)], dim=1)
        logits: Tensor = self.attention(tokens)
        return logits


class MadeAttention(nn.Module):
    """``softmax(q k^T) v`` with separate projections."""

    def __init__(self, habit: Habit) -> None:
        super().__init__()
        self.num_heads = 1
        self.query, self.key = nn.Linear(1, 2, bias=False), nn.Linear(DIM + 1, 2, bias=False)
        weight = torch.zeros(2, DIM + 1)
        weight[0, DIM if habit == "ignores" else 0] = {"ignores": 4.0, "follows": 2.0, "inverts": -2.0}[habit]
        weight[1, DIM] = 0.1
        with torch.no_grad():
            self.query.weight.copy_(torch.tensor([[1.0], [0.1]]))
            self.key.weight.copy_(weight)

    def forward(self, tokens: Tensor) -> Tensor:
        query = self.query(tokens.new_ones(len(tokens), 1, 1))
        weights = (query @ self.key(tokens).mT).softmax(-1)
        return (weights @ tokens)[:, 0, 1:4]


def made_split(num: int, *, seed: int = 0) -> Split:
    """Return samples of three classes: features 1 to 3 of every token hold the class, feature 0 says "clean"."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % 3
    inputs = {}
    for name in TOKENS:
        tokens = 0.3 * torch.randn(num, NUM_TOKENS, DIM, generator=generator)
        tokens[..., 0] += SIGNAL
        tokens[torch.arange(num), :, 1 + labels] += 1.0
        inputs[name] = tokens
    return Split(inputs, labels, {}, [f"sample {i}" for i in range(num)])


def made_data(num: int = 60) -> MultimodalData:
    """Return a dataset of such samples."""
    specs = {name: ModalitySpec((NUM_TOKENS, DIM), "tokens") for name in TOKENS}
    splits = {name: made_split(num, seed=seed) for seed, name in enumerate(("train", "val", "test"))}
    return MultimodalData("made", specs, ("one", "two", "three"), splits, {})


def made_loader(num: int = 60, batch_size: int = 16):  # type: ignore[no-untyped-def]
    """Return a loader over such samples."""
    return make_loader(made_split(num), batch_size, 0, shuffle=False)
