"""Find out in five lines how a model of your own uses its modalities.

The model is plain PyTorch and knows nothing of rollingq; so is its training loop.
Run: python examples/diagnose_your_model.py [OUT]
"""

import sys

import torch
from torch import Tensor, nn

import rollingq
from rollingq.data.registry import load
from rollingq.data.samplers import make_loader

EPOCHS, DIM = 6, 32


class YourModel(nn.Module):
    """Audio frames and image patches in one attention, asked by a class token."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.audio, self.image = nn.Linear(80, DIM), nn.Linear(4, DIM)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, DIM))
        self.attention = nn.MultiheadAttention(DIM, num_heads=4, batch_first=True)
        self.classifier = nn.Linear(DIM, num_classes)

    def forward(self, audio: Tensor, image: Tensor) -> Tensor:
        """Return logits [B, C]."""
        cls_token = self.cls_token.expand(len(audio), -1, -1)
        tokens = torch.cat([cls_token, self.audio(audio).relu(), self.image(image).relu()], dim=1)
        fused, _ = self.attention(cls_token, tokens, tokens)
        logits: Tensor = self.classifier(fused[:, 0])
        return logits


def train(model: nn.Module, batches: list[dict[str, Tensor]]) -> None:
    """Train as always."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for batch in batches:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(batch["audio"], batch["image"]), batch["label"])
            loss.backward()
            optimizer.step()


def main(out: str) -> None:
    """Train a small model on AV-Digits and diagnose it."""
    torch.manual_seed(0)
    data = load("av_digits")
    model, test = YourModel(len(data.classes)), make_loader(data.splits["test"], 250, 0, shuffle=False)
    train(model, list(make_loader(data.splits["train"], 64, 0)))

    tokens = {"cls": 1, "audio": data.shapes["audio"][0], "image": data.shapes["image"][0]}
    report = rollingq.diagnose(model, test, layer="attention", tokens=tokens, classes=data.classes)
    print(report.verdict)
    print("Report:", report.save(out))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/diagnosis")
