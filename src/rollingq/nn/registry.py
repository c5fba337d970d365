"""Build a model by the names of its parts."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from torch import nn

from rollingq.catalogue import FUSIONS as CARDS
from rollingq.catalogue import own_blocks
from rollingq.config import EncoderConfig, FusionConfig
from rollingq.errors import ConfigError, unknown_name
from rollingq.nn.classifier import MultimodalClassifier
from rollingq.nn.continued import continue_blocks, is_continuable
from rollingq.nn.encoders import Encoder, build_encoder
from rollingq.nn.encoders.pretrained import read_weights
from rollingq.nn.fusion import (
    JMT,
    MBT,
    MMML,
    Concat,
    FiLM,
    Fusion,
    Gated,
    JointBlocks,
    MulT,
    Sum,
    Unimodal,
    VanillaMT,
    VanillaMTStar,
)

FUSIONS: dict[str, Callable[..., Fusion]] = {
    "unimodal": Unimodal,
    "sum": Sum,
    "concat": Concat,
    "film": FiLM,
    "gated": Gated,
    "mt": VanillaMT,
    "mt_star": VanillaMTStar,
    "mult": MulT,
    "mbt": MBT,
    "jmt": JMT,
    "mmml": MMML,
    "joint": JointBlocks,
}
"""Name -> class; what each needs stands in ``rollingq.catalogue``."""

ENCODER_HEADS = ("mult", "mbt", "mmml", "joint")
"""Fusions whose blocks have as many heads as the encoder's."""

UNFINISHED = ("mbt", "joint")
"""Fusions whose blocks continue the encoders': LayerNorm comes after them, not between."""


def build_model(
    fusion: str,
    shapes: Mapping[str, tuple[int, ...]],
    num_classes: int,
    encoder: EncoderConfig,
    config: FusionConfig | None = None,
) -> MultimodalClassifier:
    """Return a model with one encoder a modality and the named fusion.

    Args:
        fusion: A name in ``FUSIONS``; "joint:3" fuses from the third block on.
        shapes: Modality -> shape of its input without the batch axis, in the order of the keys: (length, dim) of
            a token sequence, (channels, height, width) of an image, or (frames, channels, height, width).
        num_classes: Number of classes.
        encoder: Which encoders, and their size.
        config: Settings of the fusions.

    Raises:
        ConfigError: If a name is unknown, a size does not fit, or the number of modalities does not fit the fusion.

    Example:
        >>> model = build_model("mt", {"audio": (5, 3), "image": (4, 2)}, 10, EncoderConfig(dim=8))
        >>> model.attention_layers
        ('fusion.attention',)
    """
    name, _, argument = fusion.partition(":")
    check_fusion(name, tuple(shapes))
    depth = own_blocks(argument, encoder.num_layers) if name == "joint" else encoder.num_layers
    own = replace(encoder, num_layers=depth)
    encoders = {m: build_encoder(m, shape, own, has_final_norm=name not in UNFINISHED) for m, shape in shapes.items()}
    options: dict[str, Any] = asdict(config or FusionConfig()).get(name, {})
    if name in ENCODER_HEADS:
        options["num_heads"] = encoder.num_heads
    if name in UNFINISHED:
        options["ratio"] = next(iter(encoders.values())).mlp_ratio
    if name == "joint":
        options |= {"num_layers": encoder.num_layers - depth, "dropout": encoder.dropout}
    head = FUSIONS[name](tuple(shapes), encoder.dim, num_classes, **options)
    if encoder.pretrained is not None:
        _continue(head, encoders, encoder.pretrained, depth)
    return MultimodalClassifier(encoders, head, encoder.dim, num_classes)


def _continue(head: Fusion, encoders: Mapping[str, Encoder], source: str, depth: int) -> None:
    """Let blocks that continue pretrained encoders take up their weights, where there are deeper blocks of that width.

    Joint blocks continue the first modality's encoder, the blocks of a stream its own.
    """
    streams = [(*part, e.load_report) for part, e in zip(head.continuing_blocks(), encoders.values(), strict=False)]
    weights = {name: read_weights(name, source) for name in {r.name for *_, r in streams if r is not None}}
    for blocks, norm, report in streams:
        if report is not None and is_continuable(blocks, weights[report.name], depth):
            continue_blocks(blocks, norm, weights[report.name], depth)


def check_fusion(name: str, modalities: tuple[str, ...]) -> None:
    """Raise ConfigError if a fusion is unknown or does not take so many modalities."""
    if name not in CARDS:
        raise ConfigError(unknown_name("fusion", name, CARDS))
    card = CARDS[name]
    if not card.takes(len(modalities)):
        raise ConfigError(f"Expected {card.need} for {name!r}, but got {', '.join(modalities) or 'none'}.")
    taken = [m for m in modalities if "." in m or hasattr(nn.ModuleDict, m)]
    if taken:
        raise ConfigError(f"Expected modality names that can name modules, but got {', '.join(taken)}; rename them.")
