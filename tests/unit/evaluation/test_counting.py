"""The paper's count and true FLOPs of single layers, by hand; attention is counted on every device."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from rollingq.catalogue import FUSIONS
from rollingq.config import EncoderConfig
from rollingq.evaluation.counting import count_as_thop, count_flops
from rollingq.nn.layers import use_plain_form
from rollingq.nn.registry import build_model

SHAPES = {"audio": (5, 3), "image": (4, 2)}
DIM, CLASSES = 8, 10
ENCODER = EncoderConfig(dim=DIM, num_layers=2, num_heads=2)
PAIRS = [name for name, card in FUSIONS.items() if card.takes(2)]


def batch_of(num_samples: int, device: str = "cpu") -> dict[str, Tensor]:
    return {name: torch.randn(num_samples, *shape, device=device) for name, shape in SHAPES.items()}


# --- the paper's count -----------------------------------------------------------------------------


def test_linear_layers_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2, bias=False))
    assert count_as_thop(model, torch.zeros(7, 3)) == (3 * 5 + 5 + 5 * 2, 7 * (3 * 5 + 5 * 2))


@pytest.mark.parametrize(
    ("layer", "inputs", "macs"),
    [
        (nn.LayerNorm(6), (2, 3, 6), 4 * 36),
        (nn.Conv2d(4, 6, (3, 2), groups=2, padding=0), (2, 4, 5, 5), 2 * 6 * 3 * 4 * 2 * 6),
        (nn.Conv3d(1, 2, 2), (1, 1, 3, 3, 3), 2 * 8 * 8),
        (nn.Embedding(3, 4), None, 0),
        (nn.GELU(), (3, 4), 0),
    ],
)
def test_one_layer(layer: nn.Module, inputs: tuple[int, ...] | None, macs: int) -> None:
    found = count_as_thop(layer, torch.zeros(3, dtype=torch.long) if inputs is None else torch.zeros(inputs))
    assert found == (sum(p.numel() for p in layer.parameters()) if macs else 0, macs)


def test_what_does_not_run_or_is_no_such_module_is_not_seen() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)
            self.attention = nn.MultiheadAttention(4, 1)
            self.token = nn.Parameter(torch.zeros(1, 4))

        def forward(self, inputs: Tensor) -> Tensor:
            twice = self.used(self.used(inputs + self.token))
            return scaled_dot_product_attention(self.attention(twice, twice, twice)[0], twice, twice)

    assert count_as_thop(Odd(), torch.zeros(3, 4)) == (4 * 4 + 4, 2 * 3 * 4 * 4)


@pytest.mark.parametrize("fusion", PAIRS)
def test_the_count_is_linear_in_the_batch(fusion: str) -> None:
    model = build_model(fusion, SHAPES, CLASSES, ENCODER).eval()
    use_plain_form(model)
    (parameters, one), (_, five) = (count_as_thop(model, batch_of(num)) for num in (1, 5))
    assert five == 5 * one
    model.probes.clear()
    without, macs = count_as_thop(model, batch_of(1))
    assert (parameters - without, one - macs) == (2 * (DIM + 1) * CLASSES, 2 * DIM * CLASSES)


# --- true FLOPs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("is_masked", [False, True])
def test_attention_is_counted(device: str, is_masked: bool) -> None:
    query, key, value = (torch.zeros(3, 2, rows, 4, device=device) for rows in (5, 7, 7))
    mask = torch.ones(3, 1, 1, 7, dtype=torch.bool, device=device) if is_masked else None
    found = count_flops(lambda: scaled_dot_product_attention(query, key, value, mask))
    assert found == 4 * 3 * 2 * 5 * 7 * 4


@pytest.mark.parametrize("fusion", PAIRS)
@pytest.mark.parametrize("is_plain", [False, True])
def test_every_device_counts_alike(fusion: str, is_plain: bool) -> None:
    found = []
    for device in ("cpu", "meta"):
        with torch.device(device):
            model = build_model(fusion, SHAPES, CLASSES, ENCODER).eval().requires_grad_(False)
        if is_plain:
            use_plain_form(model)
        batch = batch_of(2, device)
        found.append(count_flops(lambda model=model, batch=batch: model(batch)))
    assert found[0] == found[1] > 0


def test_the_fused_encoder_layer_is_counted_and_allowed_again() -> None:
    layer = nn.TransformerEncoderLayer(DIM, 2, 16, batch_first=True).eval()
    with torch.no_grad():
        found = count_flops(lambda: layer(torch.zeros(1, 3, DIM)))
    assert found == 2 * 3 * (4 * DIM**2 + 2 * DIM * 16) + 4 * 3 * 3 * DIM
    assert torch.backends.mha.get_fastpath_enabled()
