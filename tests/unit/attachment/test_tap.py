"""The tap: what it refuses, that it always leaves, and that our fusions, edited, are what their masks say."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tap_samples import MASK_AUDIO, NAMES, TOKENS, C, D, Seen, Softmax, X, watched
from torch import Tensor, nn
from torch.overrides import _len_torch_function_stack

import rollingq
from rollingq.attachment.softmaxes import Edit, Parts
from rollingq.attachment.tap import tapped
from rollingq.config import EncoderConfig
from rollingq.errors import AttachError, ShapeError
from rollingq.evaluation.interventions import interventions
from rollingq.nn.fusion import Fusion, JointBlocks, MulT, VanillaMT, VanillaMTStar
from rollingq.nn.layers import use_plain_form
from rollingq.nn.registry import build_model
from rollingq.testing.models import LinearAttention, Packed
from rollingq.tokens import TokenLayout

# --- our fusions ---------------------------------------------------------------------------------------------------

FUSIONS: dict[str, Callable[[], Fusion]] = {
    "mt": lambda: VanillaMT(NAMES, D, C),
    "mt_star": lambda: VanillaMTStar(NAMES, D, C),
    "joint": lambda: JointBlocks(NAMES, D, C, num_layers=3, num_heads=2),
    "mult": lambda: MulT(NAMES, D, C, memory="joint", num_memory_layers=2, num_heads=2),
}
every_fusion = pytest.mark.parametrize("build", FUSIONS.values(), ids=FUSIONS)


def some_tokens() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    return {"audio": X[:, 1:4], "image": X[:, 4:]}, {"image": mask}


def test_joint_layers_are_those_that_take_part() -> None:
    star = VanillaMTStar(NAMES, D, C)
    star.num_active = 1
    assert star.joint_layers == ("blocks.0.attend.attention",)
    star.num_active = 2
    assert star.joint_layers == star.attention_layers
    assert len(FUSIONS["joint"]().joint_layers) == 3
    assert MulT(NAMES, D, C).joint_layers == ()
    for fusion, number in {"mt": 1, "mt_star": 2, "joint:2": 1, "concat": 0, "mbt": 0, "mult": 0, "jmt": 0}.items():
        shapes = {"audio": (5, 3), "image": (4, 2)}
        model = build_model(fusion, shapes, 3, EncoderConfig(dim=8, num_layers=2, num_heads=2))
        assert len(model.joint_layers) == number, fusion
        assert all(model.get_submodule(path) for path in model.joint_layers)


@every_fusion
@pytest.mark.parametrize("is_plain", [False, True], ids=["fast", "plain"])
def test_every_joint_layer_of_a_fusion_is_seen(build: Callable[[], Fusion], is_plain: bool) -> None:
    fusion, (tokens, masks) = build().eval(), some_tokens()
    with torch.no_grad():
        before = fusion(tokens, masks)
    if is_plain:
        use_plain_form(fusion)
    out, seen = watched(fusion, list(fusion.joint_layers), tokens, masks)
    torch.testing.assert_close(out.logits, before.logits, rtol=0, atol=2e-6)
    assert [path for path, _, _ in seen] == list(fusion.joint_layers)
    real = torch.cat([torch.ones(2, 4, dtype=torch.bool), masks["image"]], dim=1)
    for _, weights, layout in seen:
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        assert layout == TokenLayout(TOKENS, layout.mask)
        assert torch.equal(layout.mask, real)
    torch.testing.assert_close(seen[-1][1][:, :, 0], before.weights, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["mt", "mt_star", "joint"])
@pytest.mark.parametrize("is_plain", [False, True], ids=["fast", "plain"])
def test_hiding_a_modality_everywhere_is_its_absence(name: str, is_plain: bool) -> None:
    fusion, (tokens, masks) = FUSIONS[name]().eval(), some_tokens()
    if is_plain:
        use_plain_form(fusion)
    with torch.no_grad():
        absent = fusion(tokens, masks | {"audio": torch.zeros(2, 3, dtype=torch.bool)}).logits
    out, _ = watched(fusion, list(fusion.joint_layers), tokens, masks, edit=MASK_AUDIO)
    torch.testing.assert_close(out.logits, absent, rtol=0, atol=2e-6)


def test_on_one_class_row_quadrants_change_no_bit() -> None:
    fusion, (tokens, masks) = FUSIONS["mt"]().eval(), some_tokens()
    plain, _ = watched(fusion, ["attention"], tokens, masks)
    for edit in interventions(NAMES):
        out, _ = watched(fusion, ["attention"], tokens, masks, edit=edit)
        assert torch.equal(out.logits, plain.logits) == edit.needs_modality_rows, edit.name


# --- layouts -------------------------------------------------------------------------------------------------------


def test_a_callable_gets_the_forward_arguments_and_its_mask_counts() -> None:
    given: list[Any] = []

    def tokens(x: Tensor) -> TokenLayout:
        given.append(x)
        return TokenLayout(TOKENS, torch.arange(8).expand(len(x), 8) < 6)

    parts: list[Parts] = []

    def remember(weights: Tensor, seen: Parts) -> Tensor:
        parts.append(seen)
        return weights

    _, ((_, _, layout),) = watched(LinearAttention(D, 2), [""], X, tokens=tokens, edit=Edit("", None, remember))
    assert given[0] is X
    assert layout.mask[0].tolist() == [True] * 6 + [False] * 2
    assert torch.equal(parts[0].is_real, layout.mask[:, None, None].expand(2, 2, 1, 8))
    assert parts[0].rows == {"cls": slice(None)}


def test_a_layer_with_rollingq_brings_its_own_layout() -> None:
    model = LinearAttention(D, 2)
    rollingq.attach(model, "", tokens=TOKENS)
    _, ((_, _, layout),) = watched(model, [""], X, tokens={"text": 2, "flow": 2})
    assert layout.modalities == NAMES


# --- errors, and leaving -------------------------------------------------------------------------------------------


def is_left(model: nn.Module) -> bool:
    hooks = [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    return not hooks and _len_torch_function_stack() == 0


@pytest.mark.parametrize(
    ("model", "layers", "tokens", "text"),
    [
        (Packed(D), ["mhe"], TOKENS, "'mhe' is not in the model. Nearest: 'mha'"),
        (Packed(D), [], TOKENS, "at least one layer to tap, but got none"),
        (LinearAttention(D), ["value"], TOKENS, r"8 key positions \(cls 1 .*'value' \(Linear\), but saw none"),
        (LinearAttention(D), [""], {"audio": 3, "image": 4}, "over 7 key positions .* but saw over 8 only"),
        (Packed(D, add_bias_kv=True), ["mha"], TOKENS, "but saw over 9 only"),
        (nn.ModuleDict({"used": LinearAttention(D), "idle": LinearAttention(D)}), ["idle"], TOKENS, "was never called"),
    ],
    ids=["no such layer", "no layer", "no softmax", "other length", "one key more", "never ran"],
)  # fmt: skip
def test_what_cannot_be_tapped_is_refused(model: nn.Module, layers: list[str], tokens: Any, text: str) -> None:
    model.eval()
    with pytest.raises(AttachError, match=text), tapped(model, layers, tokens):
        model["used"](X) if isinstance(model, nn.ModuleDict) else model(X)
    assert is_left(model)


def test_one_path_may_be_given_as_it_is() -> None:
    model, seen = Packed(D).eval(), []
    with tapped(model, "mha", TOKENS, on_weights=lambda *a: seen.append(a)):
        model(X)
    assert len(seen) == 1


def test_training_mode_is_refused() -> None:
    model = Packed(D).train()
    text = r"'mha' in eval mode, but it is in training mode; call model.eval\(\)"
    with pytest.raises(AttachError, match=text), tapped(model, ["mha"], TOKENS):
        model(X)
    assert is_left(model)


def test_masks_of_other_samples_are_refused() -> None:
    layout = TokenLayout(TOKENS, torch.ones(3, 8, dtype=torch.bool))
    with pytest.raises(ShapeError, match="weights of 3 samples in '', as many as tokens has masks, but saw 2"):
        watched(LinearAttention(D, 2), [""], X, tokens=layout)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["forward", "inside the stock function", "another hook"])
def test_it_leaves_whatever_happens(error: type[BaseException], place: str) -> None:
    def fail(*_: Any) -> Any:
        raise error("planned")

    seen: Seen = []
    if place == "forward":
        model, path = Softmax(fail).eval(), ""
    else:
        model, path = Packed(D).eval(), "mha"
    on_weights = fail if place.startswith("inside") else (lambda *a: seen.append(a))
    handle = model.mha.register_forward_pre_hook(fail) if place == "another hook" else None
    with pytest.raises(error, match="planned"), tapped(model, [path], TOKENS, on_weights=on_weights):
        model(X)
    if handle is not None:
        handle.remove()
    assert is_left(model)
    assert not seen


def test_a_failed_forward_leaves_the_next_one_as_it_should_be() -> None:
    model, seen = Softmax(lambda x: x.softmax(3)), []
    with tapped(model.eval(), [""], TOKENS, on_weights=lambda *a: seen.append(a)):
        with pytest.raises(IndexError):
            model(torch.zeros(2, 8))
        torch.zeros(2, 2, 1, 8).softmax(-1)
        assert not seen, "outside of the layer"
        model(torch.zeros(2, 2, 1, 8))
    assert len(seen) == 1


def test_taps_and_layers_can_be_nested() -> None:
    model = nn.Sequential(Packed(D, rows="all")).eval()
    plain, seen, inner = model(X), [], []
    with tapped(model, ["0", "0.mha"], TOKENS, on_weights=lambda path, *_: seen.append(path)):
        torch.testing.assert_close(model(X), plain, rtol=0, atol=2e-6)
    assert sorted(seen) == ["0", "0.mha"]
    with (
        tapped(model, ["0"], TOKENS, edit=MASK_AUDIO),
        tapped(model, ["0.mha"], TOKENS, on_weights=lambda _, weights, __: inner.append(weights)),
    ):
        hidden = model(X)
    assert (inner[0][..., 1:4] == 0).all(), "the outer edit acts on what the inner tap sees"
    only, _ = watched(model, ["0.mha"], X, edit=MASK_AUDIO)
    torch.testing.assert_close(hidden, only, rtol=0, atol=2e-6)
    assert is_left(model)
