"""MulT and JMT equal their definitions, written anew in float64 NumPy for one sample at a time."""

import math
from typing import Any

import layer_oracles as oracle
import numpy as np
import pytest
import torch
from fusion_samples import (
    LENGTHS,
    C,
    D,
    Real,
    Sample,
    check,
    joined,
    masked_or_not,
    names,
    some_tokens,
    two_or_three,
)
from layer_oracles import affine, layer_norm, randomised, rows_seeing
from torch import Tensor, nn

from rollingq.nn.fusion import JMT, MulT
from rollingq.testing.oracle import Array, as_array


def placed(rows: Array) -> Array:
    """Return ``sqrt(D) x`` plus the sinusoidal positions of an even width, counted from 1."""
    length, dim = rows.shape
    half = dim // 2
    rates = [math.exp(-k * math.log(10_000) / (half - 1)) for k in range(half)]
    waves = [[f(t * r) for f in (math.sin, math.cos) for r in rates] for t in range(1, length + 1)]
    return math.sqrt(dim) * rows + np.array(waves)


def of_mult(fusion: Any, sample: Sample, real: Real) -> Array:
    embedded = {name: placed(affine(fusion.project[name], sample[name])) for name in sample}
    streams = {}
    for target in sample:
        found = []
        for source in sample:
            if source == target:
                continue
            stream = embedded[target]
            offset = abs(int(sum(real[source])) - int(sum(real[target])))
            allowed = rows_seeing(real[source], len(stream), is_causal=fusion.is_causal, offset=offset)
            for block in fusion.cross[f"{target}_from_{source}"]:
                stream = oracle.block(block, stream, embedded[source], allowed, "relu")
            found.append(layer_norm(fusion.cross_norm[f"{target}_from_{source}"], stream))
        streams[target] = placed(np.concatenate(found, axis=1))
    read = of_joint_memory(fusion, streams, real) if fusion.is_joint else of_memories(fusion, streams, real)
    first, second = fusion.head
    return affine(fusion.classifier, read + affine(second, oracle.relu(affine(first, read))))


def of_memories(fusion: Any, streams: Sample, real: Real) -> Array:
    read = []
    for name, stream in streams.items():
        allowed = rows_seeing(real[name], len(stream), is_causal=fusion.is_causal)
        for block in fusion.memory[f"of_{name}"]:
            stream = oracle.block(block, stream, None, allowed, "relu")
        last = max(j for j, is_real in enumerate(real[name]) if is_real)
        read.append(layer_norm(fusion.memory_norm[f"of_{name}"], stream[last]))
    return np.concatenate(read)


def of_joint_memory(fusion: Any, streams: Sample, real: Real) -> Array:
    sequence, seen = joined(fusion, streams, real)
    for block in fusion.memory["joint"]:
        sequence = oracle.block(block, sequence, None, [seen] * len(sequence), "relu")
    return layer_norm(fusion.memory_norm["joint"], sequence[0])


def some_mult(number: int, **options: Any) -> MulT:
    return randomised(MulT(names(number), D, C, **{"num_heads": 2, "dropout": 0.0, "num_memory_layers": 2, **options}))


@two_or_three
@masked_or_not
@pytest.mark.parametrize("memory", ["streams", "joint"])
@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_mult(number: int, is_masked: bool, memory: Any, is_causal: bool, num_layers: int) -> None:
    fusion = some_mult(number, memory=memory, is_causal=is_causal, num_layers=num_layers)
    check(fusion, of_mult, is_masked, size=3, tolerance=1e-6)  # Its positions are float32; the last sample is absent.


def listening(fusion: MulT, name: str) -> list[Tensor]:
    """Return the list that will hold what the named module answers."""
    heard: list[Tensor] = []
    fusion.get_submodule(name).register_forward_hook(lambda *args: heard.append(args[2]))
    return heard


def image_changed_at(position: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    tokens = some_tokens()
    changed = tokens | {"image": tokens["image"].clone()}
    changed["image"][:, position] += 1.0
    return tokens, changed


@two_or_three
@pytest.mark.parametrize("is_cut", [False, True])
def test_image_reaches_audio_only_through_audio_from_image(number: int, is_cut: bool) -> None:
    fusion = some_mult(number, is_causal=False)
    if is_cut:
        for block in fusion.cross["audio_from_image"]:
            nn.init.zeros_(block.attend.attention.output.weight)
    heard = listening(fusion, "memory_norm.of_audio")
    for tokens in image_changed_at(1):
        fusion(tokens, {})
    assert torch.equal(*heard) == is_cut


def test_the_target_asks_and_the_source_answers() -> None:
    fusion, tokens = some_mult(2, num_layers=1), some_tokens()
    seen: dict[str, tuple[int, ...]] = {}
    attention = fusion.get_submodule("cross.audio_from_image.0.attend.attention")
    for part in ("query", "key", "value"):
        attention.get_submodule(part).register_forward_pre_hook(
            lambda _, args, part=part: seen.__setitem__(part, tuple(args[0].shape[1:]))
        )
    fusion(tokens, {})
    assert seen == {"query": (LENGTHS["audio"], D), "key": (LENGTHS["image"], D), "value": (LENGTHS["image"], D)}


@pytest.mark.parametrize("is_causal", [True, False])
def test_a_causal_target_hears_no_later_source(is_causal: bool) -> None:
    """Four audio rows ask three image rows: row i sees image 0 .. i + 1, as far as MulT's own mask lets it."""
    fusion = some_mult(2, is_causal=is_causal)
    heard = listening(fusion, "cross_norm.audio_from_image")
    for tokens in image_changed_at(2):
        fusion(tokens, {})
    is_changed = (heard[0] != heard[1]).flatten(2).any(-1).any(0).tolist()
    assert is_changed == ([False, True, True, True] if is_causal else [True] * 4)


@pytest.mark.parametrize("memory", ["streams", "joint"])
def test_mult_reads_real_steps_only(memory: Any) -> None:
    fusion, tokens = some_mult(2, memory=memory), some_tokens()
    mask = {"audio": torch.tensor([[True, True, True, False]]).expand(4, 4)}

    def at(position: int) -> Tensor:
        changed = tokens["audio"].clone()
        changed[:, position] += 1.0
        return fusion(tokens | {"audio": changed}, mask).logits

    expected = fusion(tokens, mask).logits
    assert torch.equal(at(3), expected)
    assert all((at(position) != expected).any(1).all() for position in (0, 1, 2))


def packed(mha: nn.MultiheadAttention, queries: Array, context: Array, real: list[bool]) -> Array:
    weights, biases = as_array(mha.in_proj_weight), as_array(mha.in_proj_bias)
    q, k, v = (
        rows @ weights[part].T + biases[part]
        for rows, part in zip((queries, context, context), (slice(i * D, (i + 1) * D) for i in range(3)), strict=True)
    )
    return affine(mha.out_proj, oracle.softmax_attention(q, k, v, mha.num_heads, [real] * len(q)))


def stock_layer(layer: nn.TransformerEncoderLayer, rows: Array, real: list[bool]) -> Array:
    rows = layer_norm(layer.norm1, rows + packed(layer.self_attn, rows, rows, real))
    return layer_norm(layer.norm2, rows + affine(layer.linear2, oracle.relu(affine(layer.linear1, rows))))


def of_jmt(fusion: Any, sample: Sample, real: Real) -> Array:
    length = max(map(len, sample.values()))
    streams, seen = {}, {}
    for name, rows in sample.items():
        unit = rows / np.sqrt((rows**2).sum(1, keepdims=True))
        seen[f"of_{name}"] = real[name] + [False] * (length - len(rows))
        kept = [unit[j] if is_real else np.zeros(D) for j, is_real in enumerate(real[name])]
        streams[f"of_{name}"] = np.array(kept + [np.zeros(D)] * (length - len(rows)))
    seen["joint"] = [any(at) for at in zip(*seen.values(), strict=True)]
    streams["joint"] = affine(fusion.join, np.concatenate(list(streams.values()), axis=1))
    seen = {name: part if any(part) else [True, *part[1:]] for name, part in seen.items()}
    encoded = {name: stock_layer(fusion.encoders[name], rows, seen[name]) for name, rows in streams.items()}
    by_target = []
    for target, rows in encoded.items():
        sources = [name for name in encoded if name != target]
        found = [packed(fusion.cross[target], rows, encoded[source], seen[source]) for source in sources]
        by_target.append(np.concatenate(found, axis=1))
    return affine(fusion.classifier, affine(fusion.merge, np.mean(by_target, axis=0)[0]))


def some_jmt(number: int, num_heads: int = 1) -> JMT:
    return randomised(JMT(names(number), D, C, num_heads=num_heads, hidden_dim=5, dropout=0.0))


@two_or_three
@masked_or_not
@pytest.mark.parametrize("num_heads", [1, 2])
@pytest.mark.parametrize("is_training", [True, False])
def test_jmt(number: int, is_masked: bool, num_heads: int, is_training: bool) -> None:
    with torch.set_grad_enabled(is_training):  # Without gradients torch takes another way through its encoders.
        check(some_jmt(number, num_heads).train(is_training), of_jmt, is_masked)


@two_or_three
def test_jmt_has_one_cross_attention_a_target(number: int) -> None:
    fusion = some_jmt(number)
    calls: dict[str, int] = {}
    for target, module in fusion.cross.items():
        module.register_forward_hook(lambda *_, target=target: calls.__setitem__(target, calls.get(target, 0) + 1))
    fusion(some_tokens(), {})
    assert calls == {f"of_{name}": number for name in names(number)} | {"joint": number}


def test_the_length_of_tokens_does_not_matter_to_jmt() -> None:
    fusion, tokens = some_jmt(2), some_tokens()
    longer = {name: part * torch.rand(*part.shape[:2], 1).add(0.1) for name, part in tokens.items()}
    torch.testing.assert_close(fusion(longer, {}).logits, fusion(tokens, {}).logits, rtol=1e-11, atol=1e-11)
