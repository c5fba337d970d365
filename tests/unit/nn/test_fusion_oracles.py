"""Every fusion equals its definition, written anew in float64 NumPy for one sample at a time."""

import math
from collections.abc import Callable
from typing import Any

import layer_oracles as oracle
import numpy as np
import pytest
import torch
from layer_oracles import affine, layer_norm, randomised, rows_seeing
from torch import Tensor, nn

from rollingq.nn.fusion import JMT, MBT, MMML, Concat, FiLM, Fusion, Gated, JointBlocks, MulT, Sum, VanillaMT
from rollingq.nn.fusion.mt_star import VanillaMTStar
from rollingq.testing.oracle import Array, as_array

D, C = 4, 3
LENGTHS = {"audio": 4, "image": 3, "text": 5}
MASKS = {  # Full, shorter, with a hole, and (audio only) absent.
    "audio": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]).bool(),
    "text": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 1], [1, 1, 1, 1, 0]]).bool(),
}
Sample = dict[str, Array]
Real = dict[str, list[bool]]
two_or_three = pytest.mark.parametrize("number", [2, 3])
masked_or_not = pytest.mark.parametrize("is_masked", [False, True])


def names(number: int) -> tuple[str, ...]:
    return tuple(LENGTHS)[:number]


def some_tokens(seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(4, length, D, generator=generator, dtype=torch.float64) for name, length in LENGTHS.items()
    }


def check(
    fusion: Fusion,
    formula: Callable[[Any, Sample, Real], Array],
    is_masked: bool,
    *,
    size: int = 4,
    tolerance: float = 1e-11,
) -> None:
    """Compare the logits of the first samples with the formula."""
    tokens = {name: part[:size] for name, part in some_tokens().items()}
    masks = {name: mask[:size] for name, mask in MASKS.items()} if is_masked else {}
    found = fusion(tokens, masks).logits.detach().numpy()
    assert found.shape == (size, C)
    for i in range(size):
        sample = {name: as_array(tokens[name][i]) for name in fusion.modalities}
        real = {name: masks[name][i].tolist() if name in masks else [True] * len(sample[name]) for name in sample}
        np.testing.assert_allclose(found[i], formula(fusion, sample, real), rtol=tolerance, atol=tolerance)


def class_row(stream: Array, real: list[bool]) -> Array:
    """Return the class token, zero where the modality is absent."""
    return stream[0] if any(real) else np.zeros_like(stream[0])


def class_rows(sample: Sample, real: Real) -> list[Array]:
    return [class_row(sample[name], real[name]) for name in sample]


# --- static fusions ------------------------------------------------------------------------------


def of_sum(fusion: Any, sample: Sample, real: Real) -> Array:
    parts = [affine(fusion.classifiers[name], class_row(sample[name], real[name])) for name in sample]
    return np.sum(parts, axis=0)


def of_concat(fusion: Any, sample: Sample, real: Real) -> Array:
    return affine(fusion.classifier, np.concatenate(class_rows(sample, real)))


def of_film(fusion: Any, sample: Sample, real: Real) -> Array:
    first, second = class_rows(sample, real)
    condition = affine(fusion.condition, first)
    return affine(fusion.classifier, condition[:D] * second + condition[D:])


def of_gated(fusion: Any, sample: Sample, real: Real) -> Array:
    first, second = class_rows(sample, real)
    gate = 1.0 / (1.0 + np.exp(-affine(fusion.gate, first)))
    return affine(fusion.classifier, gate * affine(fusion.project, second))


@masked_or_not
@pytest.mark.parametrize(
    ("build", "formula", "numbers"),
    [(Sum, of_sum, (2, 3)), (Concat, of_concat, (2, 3)), (FiLM, of_film, (2,)), (Gated, of_gated, (2,))],
)
def test_static_fusions(build: Any, formula: Any, numbers: tuple[int, ...], is_masked: bool) -> None:
    for number in numbers:
        check(randomised(build(names(number), D, C)), formula, is_masked)


@two_or_three
@pytest.mark.parametrize("build", [Sum, Concat])
def test_unimodal_logits_sum_to_the_logits(build: Any, number: int) -> None:
    output = randomised(build(names(number), D, C))(some_tokens(), MASKS)
    torch.testing.assert_close(sum(output.unimodal.values()), output.logits, rtol=1e-13, atol=1e-13)
    assert tuple(output.unimodal) == names(number)


@two_or_three
def test_the_unimodal_logits_of_concat_are_the_split_of_ogm(number: int) -> None:
    fusion, tokens = randomised(Concat(names(number), D, C)), some_tokens()
    output = fusion(tokens, {})
    for m, name in enumerate(fusion.modalities):
        columns = fusion.classifier.weight[:, m * D : (m + 1) * D]
        expected = tokens[name][:, 0] @ columns.T + fusion.classifier.bias / number
        torch.testing.assert_close(output.unimodal[name], expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("build", [FiLM, Gated])
def test_the_first_modality_conditions_the_second(build: Any) -> None:
    """With a second modality of zeros a FiLM keeps the first's shift, and a gate has nothing to let through."""
    fusion, tokens, other = randomised(build(names(2), D, C)), some_tokens(), some_tokens(seed=2)
    silent = {"image": torch.zeros_like(tokens["image"])}
    if build is Gated:
        nn.init.zeros_(fusion.project.bias)
    first, second = (fusion({"audio": part["audio"]} | silent, {}).logits for part in (tokens, other))
    assert torch.equal(first, second) == (build is Gated)


# --- attention over all tokens -------------------------------------------------------------------


def joined(fusion: Any, sample: Sample, real: Real) -> tuple[Array, list[bool]]:
    sequence = np.concatenate([as_array(fusion.cls_token)[0], *sample.values()])
    return sequence, [True, *(r for part in real.values() for r in part)]


def of_mt(fusion: Any, sample: Sample, real: Real) -> Array:
    sequence, seen = joined(fusion, sample, real)
    return affine(fusion.classifier, oracle.attention(fusion.attention, sequence[:1], sequence, [seen])[0])


def of_blocks(fusion: Any, sample: Sample, real: Real) -> Array:
    sequence, seen = joined(fusion, sample, real)
    for block in list(fusion.blocks)[: fusion.num_active if isinstance(fusion, VanillaMTStar) else None]:
        sequence = oracle.block(block, sequence, allowed=[seen] * len(sequence))
    return affine(fusion.classifier, layer_norm(fusion.norm, sequence[0]))


@two_or_three
@masked_or_not
@pytest.mark.parametrize("num_heads", [1, 2])
def test_vanilla_mt(number: int, is_masked: bool, num_heads: int) -> None:
    check(randomised(VanillaMT(names(number), D, C, num_heads=num_heads, dropout=0.0)), of_mt, is_masked)


@two_or_three
@masked_or_not
@pytest.mark.parametrize("num_active", [1, 2, 3])
def test_mt_star(number: int, is_masked: bool, num_active: int) -> None:
    fusion = randomised(VanillaMTStar(names(number), D, C, phases=(1, 1, 1), num_heads=2, dropout=0.0))
    fusion.num_active = num_active
    check(fusion, of_blocks, is_masked)


@two_or_three
@masked_or_not
@pytest.mark.parametrize("num_layers", [1, 2])
def test_joint_blocks(number: int, is_masked: bool, num_layers: int) -> None:
    fusion = JointBlocks(names(number), D, C, num_layers=num_layers, num_heads=2, dropout=0.0)
    check(randomised(fusion), of_blocks, is_masked)


# --- MBT -----------------------------------------------------------------------------------------


def of_mbt(fusion: Any, sample: Sample, real: Real) -> Array:
    streams, bottlenecks = dict(sample), as_array(fusion.bottlenecks)[0]
    count = len(bottlenecks)
    for layer in fusion.layers:
        written = []
        for name in sample:  # All of them see the bottlenecks that stood before this layer.
            both = np.concatenate([bottlenecks, streams[name]])
            after = oracle.block(layer[name], both, allowed=[[True] * count + real[name]] * len(both))
            written.append(after[:count])
            streams[name] = after[count:]
        bottlenecks = np.mean(written, axis=0)
    read = [class_row(layer_norm(fusion.norms[name], streams[name]), real[name]) for name in sample]
    return affine(fusion.classifier, np.concatenate(read))


def some_mbt(number: int, num_layers: int) -> MBT:
    fusion = MBT(names(number), D, C, num_layers=num_layers, num_bottlenecks=2, num_heads=2, dropout=0.0)
    return randomised(fusion)


@two_or_three
@masked_or_not
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_mbt(number: int, is_masked: bool, num_layers: int) -> None:
    check(some_mbt(number, num_layers), of_mbt, is_masked)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_mbt_hears_of_other_modalities_one_layer_late(num_layers: int) -> None:
    fusion, tokens, read = some_mbt(3, num_layers), some_tokens(), []
    fusion.norms["audio"].register_forward_hook(lambda *args: read.append(args[2][:, 0]))
    fusion(tokens, {})
    fusion(tokens | {"image": some_tokens(seed=2)["image"]}, {})
    assert torch.equal(*read) == (num_layers == 1)


# --- MulT ----------------------------------------------------------------------------------------


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
            allowed = rows_seeing(real[source], len(stream), is_causal=fusion.is_causal)
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


# --- MMML ----------------------------------------------------------------------------------------


def of_mmml(fusion: Any, sample: Sample, real: Real) -> Array:
    streams = dict(sample)
    for layer in fusion.layers:
        entered = dict(streams)
        for name, other in zip(sample, reversed(sample), strict=True):
            rows = len(entered[name])
            stream = oracle.post_norm_attention(layer.cross[name], entered[name], entered[other], [real[other]] * rows)
            stream = oracle.post_norm_attention(layer.own[name], stream, None, [real[name]] * rows)
            streams[name] = oracle.feed_forward(layer.feed_forward[name], stream, "relu", is_pre_norm=False)
    hidden = np.concatenate(class_rows(streams, real))
    for layer in (fusion.classifier[1], fusion.classifier[3]):
        hidden = oracle.relu(affine(layer, hidden))
    return affine(fusion.classifier[5], hidden)


def some_mmml(num_layers: int = 1) -> MMML:
    return randomised(MMML(names(2), D, C, num_layers=num_layers, num_heads=2, dropout=0.0))


@masked_or_not
@pytest.mark.parametrize("num_layers", [1, 2])
def test_mmml(is_masked: bool, num_layers: int) -> None:
    check(some_mmml(num_layers), of_mmml, is_masked)


def test_the_auxiliary_heads_of_mmml_read_raw_class_tokens() -> None:
    fusion, tokens = some_mmml(), some_tokens()
    output = fusion(tokens, MASKS)
    assert tuple(output.auxiliary) == names(2)
    for name, logits in output.auxiliary.items():
        head, real = fusion.auxiliary[name], MASKS.get(name, torch.ones(4, 1).bool())
        expected = [affine(head, class_row(as_array(tokens[name][i]), real[i].tolist())) for i in range(4)]
        np.testing.assert_allclose(logits.detach().numpy(), expected, rtol=1e-12, atol=1e-12)


# --- JMT -----------------------------------------------------------------------------------------


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
