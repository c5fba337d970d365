"""Methods in closed form, what RollingQ adds, and the paper's Table 4 as golden numbers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from rollingq.catalogue import FUSIONS
from rollingq.config import EncoderConfig, FusionConfig, MTConfig, RollingQConfig
from rollingq.errors import ConfigError
from rollingq.evaluation.complexity import BATCH_SIZE, ComplexityRow, Subject, count_row
from rollingq.nn.registry import build_model

SHAPES = {"audio": (5, 3), "image": (4, 2)}
DIM, CLASSES = 8, 10
LENGTH = 1 + 6 + 5  # Class token, then each encoder's class token and tokens.
ENCODER = EncoderConfig(dim=DIM, num_layers=2, num_heads=2)
PAIRS = [name for name, card in FUSIONS.items() if card.takes(2)]


def subject(fusion: str = "mt", **options: Any) -> Subject:
    sizes = {"shapes": SHAPES, "num_classes": CLASSES, "encoder": ENCODER}
    return Subject(**{"method": fusion, "title": fusion, "fusion": fusion, **sizes, **options})


def test_the_vanilla_transformer_by_hand() -> None:
    tokens = {name: 1 + length for name, (length, _) in SHAPES.items()}
    hidden, blocks = 2 * DIM, ENCODER.num_layers
    feed_forward = sum(tokens.values()) * blocks * 2 * DIM * hidden
    norms = sum(tokens.values()) * (2 * blocks + 1) * 4 * DIM
    inputs = sum(length * width * DIM for length, width in SHAPES.values())
    fusion = 4 * DIM**2 * LENGTH + DIM * CLASSES
    row = count_row(subject())
    assert row.thop_macs == BATCH_SIZE * (inputs + feed_forward + norms + fusion)
    block = 2 * DIM * hidden + hidden + DIM + 2 * 2 * DIM
    encoders = sum((width + 1) * DIM + blocks * block + 2 * DIM for _, width in SHAPES.values())
    assert row.thop_parameters == encoders + 4 * DIM * (DIM + 1) + (DIM + 1) * CLASSES


@pytest.mark.parametrize("heads", [1, 2])
def test_the_fusion_in_both_forms(heads: int) -> None:
    row = count_row(subject(config=FusionConfig(mt=MTConfig(num_heads=heads))))
    head = 2 * DIM * CLASSES
    assert row.fusion_flops == 2 * 4 * DIM**2 + 4 * LENGTH * DIM * heads + head
    assert row.plain_fusion_flops == 2 * 4 * DIM**2 * LENGTH + 4 * LENGTH**2 * DIM + head
    model = build_model("mt", SHAPES, CLASSES, ENCODER)
    assert row.parameters == sum(p.numel() for p in [*model.encoders.parameters(), *model.fusion.parameters()])


def test_probes_count_if_asked() -> None:
    bare, probed = (count_row(subject(has_probes=has)) for has in (False, True))
    assert probed.parameters - bare.parameters == 2 * (DIM + 1) * CLASSES
    assert probed.flops - bare.flops == 2 * 2 * DIM * CLASSES
    assert probed.thop_macs - bare.thop_macs == BATCH_SIZE * 2 * DIM * CLASSES


def test_pretrained_weights_are_not_fetched() -> None:
    encoder = EncoderConfig(name="vit_tiny_patch16_224", dim=8, num_layers=1, pretrained="nowhere.pth")
    row = count_row(subject(shapes={"audio": (1, 32, 32), "image": (3, 32, 32)}, encoder=encoder))
    assert row.parameters > 500_000


def test_a_model_that_cannot_be_built() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'mt'"):
        count_row(subject("mtt"))


# --- RollingQ --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rotations", [1, 2, 3])
def test_rotations_are_two_vectors_each_and_nothing_once_folded(rotations: int) -> None:
    bare = count_row(subject())
    row = count_row(subject(rollingq=RollingQConfig(max_rotations=rotations)))
    rank = 2 * rotations
    assert row.rotation is not None
    assert row.rotation.numbers == 2 * DIM * rotations + rank**2
    assert row.rotation.flops == 2 * (2 * DIM * rank + rank**2)
    assert (row.rotation.folded_numbers, row.rotation.folded_flops) == (0, 0)
    assert (row.parameters, row.flops) == (bare.parameters, bare.flops)
    assert row.thop_parameters - bare.thop_parameters == DIM**2
    assert row.thop_macs - bare.thop_macs == BATCH_SIZE * DIM**2


def test_the_rotation_of_the_original_is_dense() -> None:
    rotation = count_row(subject(rollingq=RollingQConfig(max_rotations=1, rotation="svd"))).rotation
    assert rotation is not None
    assert (rotation.numbers, rotation.flops) == (DIM**2, 2 * DIM**2)


def test_without_rotations_nothing_is_added() -> None:
    rotation = count_row(subject(rollingq=RollingQConfig(max_rotations=0))).rotation
    assert rotation is not None
    assert (rotation.numbers, rotation.flops, rotation.folded_numbers, rotation.folded_flops) == (0, 0, 0, 0)


@pytest.mark.parametrize("fusion", [name for name in PAIRS if FUSIONS[name].rollingq])
def test_every_fusion_that_rolls_is_counted(fusion: str) -> None:
    bare = count_row(subject(fusion))
    row = count_row(subject(fusion, rollingq=RollingQConfig(max_rotations=1)))
    driven = {"mt_star": 2, "mult": 2, "mmml": 2}.get(fusion, 1)  # Queries that turn: blocks, or streams.
    assert row.thop_parameters - bare.thop_parameters == driven * DIM**2
    assert row.rotation is not None
    assert row.rotation.numbers >= driven * 2 * DIM
    assert row.rotation.flops > 0
    folded = None if fusion == "mt_star" else 0  # In its first block other rows pass the rotated projection.
    assert (row.rotation.folded_numbers, row.rotation.folded_flops) == (folded, folded)


def test_counting_leaves_the_random_numbers_alone() -> None:
    state = torch.get_rng_state()
    count_row(subject(rollingq=RollingQConfig(max_rotations=1)))
    assert torch.equal(torch.get_rng_state(), state)


# --- golden: the paper's Table 4 -------------------------------------------------------------------

VIT = EncoderConfig(name="vit", dim=768, num_layers=4, num_heads=12)
GOLDEN: dict[str, tuple[Callable[[], Subject], float, float]] = {
    "mt": (lambda: paper("mt", has_probes=True), 59.8702, 1489.13),
    "mbt": (lambda: paper("mbt", encoder=replace(VIT, num_layers=6)), 114.206, 2746.90),
    "mmml": (lambda: paper("mmml"), 77.984, 1828.30),  # The paper prints 77.88 and 1828.29.
    "jmt": (lambda: paper("jmt"), 62.232, 1495.33),  # The paper prints 62.23 and 1494.87.
}


def paper(fusion: str, **options: Any) -> Subject:
    inputs = {"audio": (1, 257, 188), "visual": (3, 224, 224)}
    return subject(fusion, **{"shapes": inputs, "num_classes": 6, "encoder": VIT, **options})


def printed(row: ComplexityRow) -> tuple[float, float]:
    return row.thop_parameters / 1e6, row.thop_macs / 1e9


@pytest.mark.parametrize("fusion", GOLDEN)
def test_table_4(fusion: str) -> None:
    build, parameters, macs = GOLDEN[fusion]
    row = count_row(build())
    assert printed(row) == (pytest.approx(parameters, abs=5e-4), pytest.approx(macs, abs=5e-3))
    if fusion == "jmt":  # Its nn.MultiheadAttention, six of them, is what the paper's count does not see.
        assert row.parameters - row.thop_parameters >= 6 * 4 * 768**2


def test_table_4_of_the_rotated_transformer() -> None:
    row = count_row(paper("mt", has_probes=True, rollingq=RollingQConfig(max_rotations=1)))
    assert printed(row) == (pytest.approx(60.4601, abs=5e-5), pytest.approx(1489.20, abs=5e-3))
    assert row.rotation is not None
    assert (row.rotation.numbers, row.rotation.flops) == (2 * 768 + 4, 8 * 768 + 8)
    assert (row.rotation.folded_numbers, row.rotation.folded_flops) == (0, 0)
