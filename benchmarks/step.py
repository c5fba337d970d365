"""One training step of the paper's Vanilla MT (4-layer ViT-B/16 encoders, probes) against a straightforward form.

Straightforward: attention as matmul, softmax, matmul in encoders and fusion, every token of the fusion projected and
all L x L scores computed, one backward a loss, an optimizer that loops over parameters. Same weights, same numbers.

Run: python benchmarks/step.py
"""

from collections.abc import Callable
from time import perf_counter
from typing import Any, cast

import torch
from paired import paired_ratio, write_result
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import cross_entropy

from rollingq.config import EncoderConfig, FusionConfig, MTConfig
from rollingq.nn.classifier import MultimodalClassifier
from rollingq.nn.registry import build_model

SHAPES = {"audio": (1, 257, 188), "visual": (3, 224, 224)}
BATCH, CLASSES, DIM, LAYERS = 8, 6, 768, 4
THREADS, DROPOUT = 2, 0.2
Losses = list[Tensor]


def make_model(dropout: float = 0.0) -> MultimodalClassifier:
    """Return the paper's model, always with the same weights; the paper's dropout is 0.2, in the fusion alone."""
    torch.manual_seed(0)
    encoder = EncoderConfig(name="vit", dim=DIM, num_layers=LAYERS, num_heads=12, dropout=0.0)
    return build_model("mt", SHAPES, CLASSES, encoder, FusionConfig(mt=MTConfig(dropout=dropout)))


def attend(query: Tensor, key: Tensor, value: Tensor, num_heads: int, dropout: float = 0.0) -> Tensor:
    """Attend by matmul, softmax, matmul; ``[B, L, D]`` each."""
    q, k, v = (part.unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in (query, key, value))
    weights = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)
    if dropout:
        weights = functional.dropout(weights, dropout)
    attended: Tensor = (weights @ v).transpose(1, 2).flatten(2)
    return attended


def plain_encoder(encoder: Any, images: Tensor) -> Tensor:  # noqa: ANN401
    """Return the tokens of a timm ViT, its blocks written out."""
    vit = encoder.model
    height, width = vit.patch_embed.img_size
    patches = vit.patch_embed(images[..., :height, :width])
    tokens = torch.cat([vit.cls_token.expand(len(images), -1, -1), patches], dim=1) + vit.pos_embed
    for block in vit.blocks:
        q, k, v = block.attn.qkv(block.norm1(tokens)).chunk(3, dim=-1)
        tokens = tokens + block.attn.proj(attend(q, k, v, block.attn.num_heads))
        tokens = tokens + block.mlp(block.norm2(tokens))
    normed: Tensor = vit.norm(tokens)
    return normed


def plain_losses(model: MultimodalClassifier, batch: dict[str, Tensor], labels: Tensor) -> Losses:
    """Return fused loss and probe losses as the original computes them."""
    tokens = {name: plain_encoder(encoder, batch[name]) for name, encoder in model.encoders.items()}
    fusion = cast(Any, model.fusion)
    sequence = torch.cat([fusion.cls_token.expand(len(labels), -1, -1), *tokens.values()], dim=1)
    layer = fusion.attention
    projected = (layer.query(sequence), layer.key(sequence), layer.value(sequence))
    out = layer.dropout(layer.output(attend(*projected, 1, layer.attention_dropout)))
    probes = [model.probes[name](part[:, 0].detach()) for name, part in tokens.items()]
    return [cross_entropy(logits, labels) for logits in (fusion.classifier(out[:, 0]), *probes)]


def our_losses(model: MultimodalClassifier, batch: dict[str, Tensor], labels: Tensor) -> Losses:
    """Return the same losses from the model's own forward."""
    output = model(batch)
    return [cross_entropy(logits, labels) for logits in (output.logits, *output.probes.values())]


def make_step(is_plain: bool, dropout: float = 0.0) -> tuple[nn.Module, Callable[[], Losses]]:
    """Return a model and its training step on one fixed batch."""
    model = make_model(dropout)
    torch.manual_seed(1)
    batch = {name: torch.randn(BATCH, *shape) for name, shape in SHAPES.items()}
    labels = torch.randint(0, CLASSES, (BATCH,))
    choice: dict[str, bool] = {"foreach": False} if is_plain else {"fused": True}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4, **choice)

    def step() -> Losses:
        optimizer.zero_grad()
        losses = (plain_losses if is_plain else our_losses)(model, batch, labels)
        for loss in losses if is_plain else [torch.stack(losses).sum()]:
            loss.backward()
        optimizer.step()
        return losses

    return model, step


def matmul_peak() -> float:
    """Return the best float32 matmul rate of this machine in FLOP/s, over shapes like the model's."""
    best = 0.0
    for rows, inner, columns in ((3000, 768, 3072), (3000, 3072, 768), (4096, 4096, 4096)):
        a, b = torch.randn(rows, inner), torch.randn(inner, columns)
        for _ in range(10):
            start = perf_counter()
            a @ b
            best = max(best, 2 * rows * inner * columns / (perf_counter() - start))
    return best


def matmul_ms(step: Callable[[], Losses]) -> float:
    """Return the milliseconds that a step spends in matrix products and convolutions, which no form can leave out."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    names = ("aten::mm", "aten::addmm", "aten::mkldnn_convolution", "aten::convolution_backward")
    total: float = sum(event.self_cpu_time_total for event in profile.key_averages() if event.key in names)
    return total / 1e3


def step_flops() -> int:
    """Return the FLOPs of our forward and backward, counted; attention included."""
    from rollingq.evaluation.counting import count_flops

    model = make_model()
    batch = {name: torch.randn(BATCH, *shape) for name, shape in SHAPES.items()}
    return count_flops(lambda: torch.stack(our_losses(model, batch, torch.zeros(BATCH).long())).sum().backward())


def largest_difference() -> float:
    """Return how far parameters differ after one step of each form, relative to their largest."""
    (ours, our_step), (plain, plain_step) = make_step(False), make_step(True)
    for a, b in zip(our_step(), plain_step(), strict=True):
        assert torch.allclose(a, b, atol=1e-5), (a, b)
    pairs = zip(ours.parameters(), plain.parameters(), strict=True)
    return max(float((a - b).detach().abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in pairs)


def main() -> None:
    """Check that both forms agree, then time them in turn."""
    torch.set_num_threads(THREADS)
    difference = largest_difference()
    assert difference < 1e-4, difference
    ours = make_step(False, DROPOUT)[1]
    result = paired_ratio(make_step(True, DROPOUT)[1], ours, rounds=12, warmup=2)
    products = matmul_ms(ours)
    peak, flops = matmul_peak(), step_flops()
    write_result(
        "step",
        {
            "what": "step of the paper's Vanilla MT with probes: straightforward (first) against ours (second)",
            "shape": {
                "B": BATCH,
                **{name: list(shape) for name, shape in SHAPES.items()},
                "threads": THREADS,
                "dropout": DROPOUT,
            },
            "max_difference": difference,
            "flops_a_step": flops,
            "matmul_peak_gflops": peak / 1e9,
            "share_of_peak": flops / (result["second_ms"] / 1e3) / peak,
            **result,
            "matmul_ms": products,
            "ratio_if_all_but_matmuls_were_free": result["first_ms"] / products,
        },
    )


if __name__ == "__main__":
    main()
