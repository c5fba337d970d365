"""RollingQ in one plain PyTorch loop: every equation of the method, and nothing hidden.

The two lines that replace all of it in your own model stand at the end. Run: python examples/plain_loop.py
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import rollingq.functional as rq
from rollingq.data.registry import load

RHO, BETA, MAX_ROTATIONS, EPOCHS, DIM = 5.0, 0.2, 1, 8, 32


class Fusion(nn.Module):
    """One class query over the tokens of both modalities (Eq. 1, 2)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, DIM))
        self.query, self.key, self.value = (nn.Linear(DIM, DIM) for _ in range(3))
        self.classifier = nn.Linear(DIM, num_classes)
        self.rotation: rq.Rotation | None = None  # R; None is the identity.

    def forward(self, audio: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits [B, C], the query [1, D] and both average keys [B, 2, D]."""
        query = self.query(self.cls_token)
        if self.rotation is not None:
            query = rq.apply_rotation(query, self.rotation)  # q_r = R q (Eq. 13), after the bias
        tokens = torch.cat([audio, image], dim=1)
        keys = self.key(tokens)
        weights = torch.softmax(query @ keys.mT / DIM**0.5, dim=-1)
        average_keys = [rq.average_key(part) for part in keys.split([audio.shape[1], image.shape[1]], dim=1)]  # Eq. 3
        return self.classifier((weights @ self.value(tokens))[:, 0]), query, torch.stack(average_keys, dim=1)


class Model(nn.Module):
    """Two small encoders and the fusion."""

    def __init__(self, dims: dict[str, int], num_classes: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(dim, DIM), nn.GELU(), nn.Linear(DIM, DIM)) for name, dim in dims.items()}
        )
        self.fusion = Fusion(num_classes)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Encode both modalities and fuse them."""
        logits, query, keys = self.fusion(*(encoder(batch[name]) for name, encoder in self.encoders.items()))
        return logits, query, keys


def rotate(fusion: Fusion, query: Tensor, average_keys: Tensor) -> float:
    """Turn the query toward the starved modality if attention is out of balance; return the AIR (Eq. 9)."""
    cosines = rq.query_key_cosine(query, average_keys).mean(0)
    air = float(rq.imbalance_of_cosines(cosines))
    if abs(air) >= BETA:
        weights = rq.rebalance_weights(cosines, RHO)  # alpha and 1 - alpha (Eq. 11)
        anchor = rq.rebalance_anchor(query.mean(0), average_keys.mean(0), weights)  # q_b (Eq. 10)
        step = rq.rotation_between(query.mean(0), anchor)  # R_b (Eq. 12)
        fusion.rotation = step if fusion.rotation is None else rq.compose(step, fusion.rotation)  # R <- R_b R
    return air


def main() -> list[float]:
    """Train on the embedded dataset and return the AIR at each epoch's end."""
    torch.manual_seed(0)
    data = load("av_digits")
    train, val = data.splits["train"], data.splits["val"]
    model = Model({name: dim for name, (_, dim) in data.shapes.items()}, len(data.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history: list[float] = []
    num_rotations = 0
    for epoch in range(EPOCHS):
        for index in torch.randperm(len(train)).split(64):
            batch = train.batch(index)
            logits, query, average_keys = model(batch)
            optimizer.zero_grad()
            cross_entropy(logits, batch["label"]).backward()
            optimizer.step()
        with torch.no_grad():  # The epoch's last batch decides, before validation (Algorithm 1).
            before = model.fusion.rotation
            if num_rotations < MAX_ROTATIONS:
                history.append(rotate(model.fusion, query, average_keys))
            else:
                history.append(float(rq.attention_imbalance_rate(query, average_keys)))
            num_rotations += model.fusion.rotation is not before
            right = model(val.batch(slice(None)))[0].argmax(-1) == val.labels
        print(
            f"epoch {epoch}: AIR {history[-1]:+.2f}, rotations {num_rotations}, val {100 * right.float().mean():.1f} %"
        )
    return history


if __name__ == "__main__":
    main()

# In your own model, whatever its attention, all of the above is two lines:
#
#     att = rollingq.attach(model, "fusion", tokens={"audio": 12, "image": 16})
#     att.step()  # at each epoch's end
