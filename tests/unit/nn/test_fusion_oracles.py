"""Static fusions, attention over all tokens, MBT and MMML equal their definitions, written anew in NumPy."""

from typing import Any

import layer_oracles as oracle
import numpy as np
import pytest
import torch
from fusion_samples import (
    MASKS,
    C,
    D,
    Real,
    Sample,
    check,
    class_row,
    class_rows,
    joined,
    masked_or_not,
    names,
    some_tokens,
    two_or_three,
)
from layer_oracles import affine, layer_norm, randomised
from torch import nn

from rollingq.nn.fusion import MBT, MMML, Concat, FiLM, Gated, JointBlocks, Sum, VanillaMT
from rollingq.nn.fusion.mt_star import VanillaMTStar
from rollingq.testing.oracle import Array, as_array


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
