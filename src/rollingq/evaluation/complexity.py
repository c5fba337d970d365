"""Parameters and cost of a method: counted as the paper's Table 4 does, and truly."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rollingq.balancing.rollingq import RollingQBalancing
from rollingq.config import EncoderConfig, FusionConfig, RollingQConfig
from rollingq.errors import FoldError, RunError
from rollingq.evaluation.counting import count_as_thop, count_flops, dense_rotations
from rollingq.nn.classifier import MultimodalClassifier
from rollingq.nn.layers import use_plain_form
from rollingq.nn.registry import build_model

BATCH_SIZE = 128
"""Samples behind what the paper calls GFLOPs: 64 a step, times 2."""


@dataclass(frozen=True)
class PaperValues:
    """What the paper prints of a method."""

    parameters: float
    """In millions."""
    macs: float
    """In units of 1e9, of ``BATCH_SIZE`` samples (the paper: GFLOPs)."""
    accuracy: float
    """In per cent."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What to count: a method and all that decides its size."""

    method: str
    """Its name, such as "mt+rollingq"."""
    title: str
    """Its name for people."""
    fusion: str
    """Name of the fusion, with its argument."""
    shapes: Mapping[str, tuple[int, ...]]
    """Modality -> shape of its input without the batch axis."""
    num_classes: int
    encoder: EncoderConfig
    config: FusionConfig = field(default_factory=FusionConfig)
    rollingq: RollingQConfig | None = None
    """Settings of RollingQ, None without it."""
    has_probes: bool = False
    """Whether the linear probes count too; they are instruments, no part of a method."""
    paper: PaperValues | None = None
    note: str = ""


@dataclass(frozen=True)
class RotationCost:
    """What RollingQ adds to a model that has rotated as often as it may."""

    numbers: int
    """Numbers of the factored rotation: 2 D a rotation, and a small core."""
    flops: int
    """Of one sample."""
    folded_numbers: int | None
    """After ``fold``; None where folding would change what the model computes."""
    folded_flops: int | None


@dataclass(frozen=True, kw_only=True)
class ComplexityRow:
    """One method, counted both ways."""

    method: str
    title: str
    thop_parameters: int
    """Parameters by the paper's count; with RollingQ also the original's dense D x D rotation."""
    thop_macs: int
    """Multiply-adds of ``BATCH_SIZE`` samples by the paper's count, every row computed."""
    parameters: int
    """All parameters."""
    flops: int
    """True FLOPs of one sample (2 a multiply-add), attention included, in the form that trains."""
    fusion_flops: int
    """Those of the fusion alone."""
    plain_fusion_flops: int
    """The same with every key, value and row computed."""
    has_probes: bool
    rotation: RotationCost | None = None
    """What RollingQ adds to ``parameters`` and ``flops``, None without it."""
    paper: PaperValues | None = None
    note: str = ""


@dataclass(frozen=True)
class ComplexityReport:
    """Methods on inputs of the same shapes."""

    title: str
    shapes: dict[str, list[int]]
    num_classes: int
    batch_size: int
    rows: list[ComplexityRow]


def count_row(subject: Subject) -> ComplexityRow:
    """Return a method counted both ways: without memory for its weights, except where RollingQ has to rotate.

    Args:
        subject: The method and all that decides its size.

    Raises:
        ConfigError: If the model cannot be built.

    Source:
        Ni et al., "RollingQ", ICML 2025, Table 4.

    Example:
        >>> sizes = {"shapes": {"audio": (5, 3), "image": (4, 2)}, "num_classes": 10, "encoder": EncoderConfig(dim=8)}
        >>> row = count_row(Subject(method="mt", title="Vanilla MT", fusion="mt", **sizes))
        >>> row.fusion_flops, row.plain_fusion_flops
        (1056, 10912)
    """
    model, batch = _built(subject, "meta")
    tokens = {name: torch.zeros(1, num, model.dim, device="meta") for name, num in model.num_tokens.items()}
    flops = count_flops(lambda: model(batch))
    fusion_flops = count_flops(lambda: model.fusion(tokens, {}))
    use_plain_form(model)
    thop_parameters, macs = count_as_thop(model, batch)
    dense = 0 if subject.rollingq is None else dense_rotations(model)
    return ComplexityRow(
        method=subject.method,
        title=subject.title,
        thop_parameters=thop_parameters + dense,
        thop_macs=BATCH_SIZE * (macs + dense),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        flops=flops,
        fusion_flops=fusion_flops,
        plain_fusion_flops=count_flops(lambda: model.fusion(tokens, {})),
        has_probes=subject.has_probes,
        rotation=None if subject.rollingq is None else _rotation_cost(subject, subject.rollingq),
        paper=subject.paper,
        note=subject.note,
    )


def _built(subject: Subject, device: str) -> tuple[MultimodalClassifier, dict[str, Tensor]]:
    """Return the model in eval mode, and a batch of one sample."""
    encoder = replace(subject.encoder, pretrained=None)
    with torch.device(device):
        model = build_model(subject.fusion, subject.shapes, subject.num_classes, encoder, subject.config)
        batch = {name: torch.randn(1, *shape) for name, shape in subject.shapes.items()}
    if not subject.has_probes:
        model.probes.clear()
    return model.eval().requires_grad_(False), batch


def _rotation_cost(subject: Subject, config: RollingQConfig) -> RotationCost:
    """Return what a model gains that really rotates, and what is left of it after folding."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, batch = _built(subject, "cpu")
    numbers, flops = _size(model, batch)
    rollingq = RollingQBalancing(model, replace(config, beta=0.0, first_epoch=0, statistics="epoch"))
    for _ in range(config.max_rotations):
        _rotate(rollingq, model, batch)
    with_numbers, with_flops = _size(model, batch)
    try:
        for attachment in rollingq.attachments:
            attachment.fold()
    except FoldError:
        return RotationCost(with_numbers - numbers, with_flops - flops, None, None)
    folded_numbers, folded_flops = _size(model, batch)
    return RotationCost(with_numbers - numbers, with_flops - flops, folded_numbers - numbers, folded_flops - flops)


@torch.no_grad()
def _rotate(rollingq: RollingQBalancing, model: MultimodalClassifier, batch: dict[str, Tensor]) -> None:
    """Rotate every attention once, whatever its AIR."""
    for attachment in rollingq.attachments:
        attachment.train()
    model(batch)
    events = [attachment.step() for attachment in rollingq.attachments]
    for attachment in rollingq.attachments:
        attachment.eval()
    if not all(event.rotated for event in events):
        raise RunError(f"Expected RollingQ to rotate, but it did not: {', '.join(e.reason for e in events)}.")


def _size(model: MultimodalClassifier, batch: dict[str, Tensor]) -> tuple[int, int]:
    """Return the numbers that a model keeps (its counters left out) and the FLOPs of one sample."""
    kept = [*model.parameters(), *(buffer for buffer in model.buffers() if buffer.is_floating_point())]
    return sum(tensor.numel() for tensor in kept), count_flops(lambda: model(batch))
