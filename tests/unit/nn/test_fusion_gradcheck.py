"""Every fusion: gradients, state, plain form, samples on their own, absent modalities, number of parameters."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from layer_oracles import randomised
from torch import Tensor

from rollingq.catalogue import FUSIONS as CARDS
from rollingq.config import EncoderConfig, FusionConfig
from rollingq.config.fusion import JMTConfig, MBTConfig, MMMLConfig, MTConfig, MTStarConfig, MulTConfig
from rollingq.errors import ConfigError
from rollingq.nn.classifier import MultimodalClassifier
from rollingq.nn.fusion import Fusion
from rollingq.nn.layers import use_plain_form
from rollingq.nn.registry import FUSIONS, build_model

D, C, HEADS = 4, 3, 2
SHAPES = {"audio": (2, 3), "image": (1, 2), "text": (3, 2)}
SMALL = EncoderConfig(dim=D, num_layers=2, num_heads=HEADS, dropout=0.0)
CONFIG = FusionConfig(
    mt=MTConfig(dropout=0.0),
    mt_star=MTStarConfig(phases=[1, 1], dropout=0.0),
    mult=MulTConfig(num_memory_layers=1, dropout=0.0),
    mbt=MBTConfig(num_layers=2, num_bottlenecks=1, dropout=0.0),
    jmt=JMTConfig(hidden_dim=4, dropout=0.0),
    mmml=MMMLConfig(dropout=0.0),
)
JOINT_MEMORY = replace(CONFIG, mult=replace(CONFIG.mult, memory="joint", num_memory_layers=2))
STACKED = replace(
    CONFIG,
    mult=replace(CONFIG.mult, num_memory_layers=2, num_layers=2, is_causal=False),
    mmml=replace(CONFIG.mmml, num_layers=2),
    mbt=replace(CONFIG.mbt, num_layers=1, num_bottlenecks=3),
    mt_star=replace(CONFIG.mt_star, phases=[1, 1, 1]),
)
CASES = [
    pytest.param(name, number, config, id=f"{name} of {number}{kind}")
    for kind, config, known in (
        ("", CONFIG, tuple(FUSIONS)),
        (" with a joint memory", JOINT_MEMORY, ("mult",)),
        (" of another depth", STACKED, ("mult", "mmml", "mbt", "mt_star")),
    )
    for name in known
    for number in (1, 2, 3)
    if CARDS[name].takes(number)
]
every_case = pytest.mark.parametrize(("name", "number", "config"), CASES)
every_fusion = pytest.mark.parametrize(
    ("name", "number", "config"), [case for case in CASES if "depth" not in str(case.id)]
)

MASKS = {
    "audio": torch.tensor([[1, 1, 1], [1, 1, 0], [0, 0, 0]]).bool(),
    "text": torch.tensor([[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 0, 0]]).bool(),
}


def built(name: str, number: int, config: FusionConfig, seed: int = 0) -> MultimodalClassifier:
    model = build_model(name, dict(list(SHAPES.items())[:number]), C, SMALL, config)
    return randomised(model, seed).eval()


def some_tokens(fusion: Fusion, size: int = 3, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(size, 1 + SHAPES[name][0], D, generator=generator, dtype=torch.float64)
        for name in fusion.modalities
    }


def some_batch(number: int) -> dict[str, Any]:
    names = list(SHAPES)[:number]
    batch: dict[str, Any] = {name: torch.randn(3, *SHAPES[name], dtype=torch.float64) for name in names}
    return batch | {"mask": {name: mask[:, 1:] for name, mask in MASKS.items() if name in names}}


def all_outputs(output: Any) -> list[Tensor]:
    return [output.logits, *(output.unimodal or {}).values(), *output.auxiliary.values()]


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@every_case
@pytest.mark.parametrize("size", [1, 2])
def test_gradients(name: str, number: int, config: FusionConfig, size: int) -> None:
    """One full sample, and a shorter one beside it."""
    fusion = built(name, number, config).fusion
    tokens = {m: part.requires_grad_() for m, part in some_tokens(fusion, size).items()}
    masks = {} if size == 1 else {m: mask[:size] for m, mask in MASKS.items()}

    def outputs(*parts: Tensor) -> tuple[Tensor, ...]:
        return tuple(all_outputs(fusion(dict(zip(tokens, parts, strict=True)), masks)))

    assert torch.autograd.gradcheck(outputs, tuple(tokens.values()), fast_mode=True)


@every_fusion
def test_a_fresh_model_answers_as_the_saved_one(name: str, number: int, config: FusionConfig) -> None:
    saved, fresh, batch = built(name, number, config), built(name, number, config, seed=9), some_batch(number)
    assert not torch.equal(fresh(batch).logits, saved(batch).logits)
    fresh.load_state_dict(saved.state_dict())
    assert all(map(torch.equal, all_outputs(fresh(batch)), all_outputs(saved(batch))))


@every_case
@pytest.mark.parametrize("is_masked", [False, True])
def test_the_plain_form_changes_no_number(name: str, number: int, config: FusionConfig, is_masked: bool) -> None:
    fast, batch = built(name, number, config), some_batch(number)
    plain = copy.deepcopy(fast)
    use_plain_form(plain)
    assert plain.fusion.is_plain
    outcomes = []
    for model in (fast, plain):
        found = all_outputs(model(batch if is_masked else batch | {"mask": {}}))
        sum(part.square().sum() + part[:, 0].sum() for part in found).backward()
        gradients = {key: p.grad for key, p in model.named_parameters() if not key.startswith("probes.")}
        outcomes.append((found, gradients))
    close(outcomes[0][0], outcomes[1][0])
    for key, gradient in outcomes[1][1].items():
        assert gradient is not None, f"{key}: no gradient in the plain form"
        fast_gradient = outcomes[0][1][key]
        if fast_gradient is None:  # It shifts all scores of a query alike.
            assert key.endswith("key.bias")
        fast_gradient = torch.zeros_like(gradient) if fast_gradient is None else fast_gradient
        torch.testing.assert_close(fast_gradient, gradient, rtol=1e-10, atol=1e-10)


@every_fusion
def test_samples_do_not_know_one_another(name: str, number: int, config: FusionConfig) -> None:
    fusion = built(name, number, config).fusion
    tokens, order = some_tokens(fusion), [2, 0, 1]
    expected = all_outputs(fusion(tokens, MASKS))
    for rows in (order, [0], [1], [2]):
        masks = {m: mask[rows] for m, mask in MASKS.items()}
        found = all_outputs(fusion({m: part[rows] for m, part in tokens.items()}, masks))
        close(found, [part[rows] for part in expected])


@every_fusion
def test_more_padding_changes_nothing(name: str, number: int, config: FusionConfig) -> None:
    if name == "mult":  # How far a causal row sees follows from the real lengths.
        config = replace(config, mult=replace(config.mult, is_causal=True))
    fusion = built(name, number, config).fusion
    tokens = some_tokens(fusion)
    longer = {m: torch.cat([part, torch.full((3, 3, D), 7.0)], dim=1) for m, part in tokens.items()}
    masks = {m: MASKS.get(m, torch.ones(part.shape[:2]).bool()) for m, part in tokens.items()}
    padded = {m: torch.nn.functional.pad(mask, (0, 3)) for m, mask in masks.items()}
    close(all_outputs(fusion(longer, padded)), all_outputs(fusion(tokens, MASKS)))


def without(modality: str, tokens: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a mask in which the last sample lacks the modality."""
    mask = torch.ones(tokens[modality].shape[:2], dtype=torch.bool)
    mask[2] = False
    return {modality: mask}


@every_case
def test_what_an_absent_modality_holds_changes_nothing(name: str, number: int, config: FusionConfig) -> None:
    fusion = built(name, number, config).fusion
    tokens, leaking = some_tokens(fusion), []
    for modality in fusion.modalities:
        other = tokens | {modality: tokens[modality].clone()}
        other[modality][2] = 100.0 * torch.arange(D)
        masks = without(modality, tokens)
        expected = all_outputs(fusion(tokens, masks))
        if not all(map(torch.allclose, all_outputs(fusion(other, masks)), expected)):
            leaking.append(modality)
    assert not leaking


@every_fusion
def test_absent_modalities_give_finite_numbers(name: str, number: int, config: FusionConfig) -> None:
    fusion = built(name, number, config).fusion.train()
    for absent in (*((modality,) for modality in fusion.modalities), fusion.modalities):
        tokens = {m: part.requires_grad_() for m, part in some_tokens(fusion).items()}
        masks: dict[str, Tensor] = {}
        for modality in absent:
            masks |= without(modality, tokens)
        found = all_outputs(fusion(tokens, masks))
        assert all(part.isfinite().all() for part in found)
        sum(part.square().sum() for part in found).backward()
        gradients = [p.grad for p in (*fusion.parameters(), *tokens.values()) if p.grad is not None]
        assert gradients
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(
    ("name", "number"), [(name, n) for name, card in CARDS.items() for n in (0, 1, 2, 3, 4) if not card.takes(n)]
)
def test_a_wrong_number_of_modalities_is_refused(name: str, number: int) -> None:
    shapes = {f"modality {i}": (2, 3) for i in range(number)}
    with pytest.raises(ConfigError, match=rf"^Expected {CARDS[name].need} for '{name}', but got ") as caught:
        build_model(name, shapes, C, SMALL)
    assert "\n" not in str(caught.value)


def attention(dim: int) -> int:
    return 4 * dim * (dim + 1)


def block(dim: int, hidden: int | None = None) -> int:
    hidden = hidden or 4 * dim
    return attention(dim) + (dim + 1) * hidden + (hidden + 1) * dim + 2 * 2 * dim


def of_mult(m: int, config: FusionConfig) -> int:
    wide, is_joint, settings = (m - 1) * D, config.mult.memory == "joint", config.mult
    total = wide if is_joint else m * wide
    pairs = m * (m - 1) * (settings.num_layers * block(D) + 2 * D)
    memories = (1 if is_joint else m) * (settings.num_memory_layers * block(wide) + 2 * wide)
    return m * D * D + pairs + memories + is_joint * wide + 2 * (total + 1) * total + (total + 1) * C


def of_mmml(config: FusionConfig) -> int:
    hidden = 2 * D // 3
    layer = 2 * (block(D) + attention(D) + 2 * D)
    return config.mmml.num_layers * layer + (2 * D + 1) * D + (D + 1) * hidden + (hidden + 1) * C + 2 * (D + 1) * C


def num_expected(name: str, m: int, config: FusionConfig) -> int:
    head, mbt, continuing = (D + 1) * C, config.mbt, block(D, 2 * D)  # Blocks as wide inside as the encoders'.
    return {
        "unimodal": head,
        "sum": m * head,
        "concat": (m * D + 1) * C,
        "film": (D + 1) * 2 * D + head,
        "gated": 2 * (D + 1) * D + head,
        "mt": D + attention(D) + head,
        "mt_star": D + len(config.mt_star.phases) * block(D) + 2 * D + head,
        "joint": D + continuing + 2 * D + head,
        "mbt": mbt.num_bottlenecks * D + mbt.num_layers * m * continuing + m * 2 * D + (m * D + 1) * C,
        "mult": of_mult(m, config),
        "jmt": (m + 1) * (block(D, config.jmt.hidden_dim) + attention(D)) + 2 * (m * D + 1) * D + head,
        "mmml": of_mmml(config),
    }[name]


@every_case
def test_number_of_parameters(name: str, number: int, config: FusionConfig) -> None:
    fusion = built(name, number, config).fusion
    assert sum(parameter.numel() for parameter in fusion.parameters()) == num_expected(name, number, config)
