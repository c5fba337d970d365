"""Image encoders on timm: tokens against timm's own layers, sizes in closed form, frames, masks and refusals."""

import sys

import pytest
import timm
import torch
from torch import Tensor, nn

from rollingq.config import EncoderConfig
from rollingq.errors import ConfigError, MissingExtraError
from rollingq.nn.encoders import build_encoder
from rollingq.nn.encoders.image import (
    FeatureMapEncoder,
    ImageEncoder,
    VisionTransformerEncoder,
    build_image_encoder,
)
from rollingq.nn.registry import build_model

TINY, WIDTH = "vit_tiny_patch16_224", 192
FRAMES = (3, 2, 37, 50)  # 2 x 3 patches a frame; the patch divides neither side.
MASK = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
PREFIXES = {  # Prefix tokens: class; register; none; class and distillation.
    TINY: 1,
    "vit_wee_patch16_reg1_gap_256": 1,
    "vit_medium_patch16_gap_256": 0,
    "deit_tiny_distilled_patch16_224": 2,
}
KINDS = [*PREFIXES, "resnet18", "convnext_atto"]


def built(name: str, shape: tuple[int, ...], *, dim: int = WIDTH, has_final_norm: bool = True) -> ImageEncoder:
    config = EncoderConfig(dim=dim, num_layers=2, num_heads=2, dropout=0.0)
    return build_image_encoder(name, "visual", shape, config, has_final_norm=has_final_norm)


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def by_hand(encoder: VisionTransformerEncoder, frames: Tensor, keep: Tensor) -> Tensor:
    """Return the tokens of one sample, in a sequence that never held the others."""
    model = encoder.model
    patches = torch.cat([model.patch_embed.proj(frame[:, :32]).flatten(1).T for frame in frames])
    prefix = [token[0] for token in (model.cls_token, model.reg_token) if token is not None]
    if hasattr(model, "dist_token"):
        prefix.append(model.dist_token[0])
    position = model.pos_embed[0]
    if model.no_embed_class or model.num_prefix_tokens == 0:
        tokens = torch.cat([*prefix, patches + position])
    else:
        tokens = torch.cat([*prefix, patches]) + position
    kept = nn.functional.pad(keep, (model.num_prefix_tokens, 0), value=True)
    return model.norm(model.blocks(tokens[None, kept]))[0]


@pytest.mark.parametrize(
    ("shape", "num_tokens"),
    [((1, 257, 188), 177), ((3, 224, 224), 197), ((3, 3, 224, 224), 589), ((1, 128, 1024), 513)],
)
def test_the_papers_inputs(shape: tuple[int, ...], num_tokens: int) -> None:
    encoder = build_encoder("audio", shape, EncoderConfig(dim=768, num_layers=1, num_heads=12)).eval()
    assert encoder.num_tokens == num_tokens
    assert isinstance(encoder, VisionTransformerEncoder), "vit is what images get by default"
    assert encoder.model.blocks[0].attn.num_heads == 12
    with torch.no_grad():
        assert encoder(torch.zeros(1, *shape)).shape == (1, num_tokens, 768)


@pytest.mark.parametrize("num_layers", [1, 4])
@pytest.mark.parametrize(("shape", "patches"), [((1, 33, 48), 6), ((2, 3, 32, 40), 8)])
def test_parameters_in_closed_form(num_layers: int, shape: tuple[int, ...], patches: int) -> None:
    channels, d = shape[-3], WIDTH
    config = EncoderConfig(dim=d, num_layers=num_layers, num_heads=3)
    embedding = (256 * channels + 1) * d + (1 + patches) * d + d
    expected = embedding + num_layers * (12 * d * d + 13 * d) + 2 * d
    assert num_parameters(build_image_encoder(TINY, "audio", shape, config)) == expected
    assert num_parameters(build_image_encoder(TINY, "audio", shape, config, has_final_norm=False)) == expected - 2 * d


@pytest.mark.parametrize("is_fused", [True, False])
@pytest.mark.parametrize("name", PREFIXES)
def test_a_masked_frame_is_as_if_it_were_not_there(name: str, is_fused: bool) -> None:
    encoder = built(name, FRAMES, dim=timm.create_model(name, depth=1).num_features).eval()
    for block in encoder.model.blocks:
        block.attn.fused_attn = is_fused
    inputs, prefix = torch.randn(3, *FRAMES), encoder.model.num_prefix_tokens
    assert prefix == PREFIXES[name]
    with torch.no_grad():
        tokens, keep = encoder(inputs, MASK), encoder.token_mask(MASK)[:, 1:]
        for i in (0, 2):
            expected = by_hand(encoder, inputs[i], keep[i])
            assert torch.allclose(tokens[i, 1:][keep[i]], expected[prefix:], atol=1e-5)
            cls = expected[0] if encoder.model.cls_token is not None else expected[prefix:].mean(0)
            assert torch.allclose(tokens[i, 0], cls, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("garbage", [1e30, float("nan")])
def test_nothing_of_a_masked_frame_reaches_a_real_token(name: str, garbage: float) -> None:
    encoder, clean = built(name, FRAMES).eval(), torch.randn(3, *FRAMES)
    dirty = clean.masked_fill(~MASK[..., None, None, None], garbage)
    with torch.no_grad():
        expected, found, real = encoder(clean, MASK), encoder(dirty, MASK), encoder.token_mask(MASK)
    assert torch.equal(found[real], expected[real])
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shape", [FRAMES[1:], FRAMES])
def test_an_absent_modality_stays_finite(name: str, shape: tuple[int, ...]) -> None:
    encoder, mask = built(name, shape), MASK[:2, : shape[0] if len(shape) == 4 else 1]
    for block in encoder.model.blocks if name in PREFIXES else ():
        block.attn.fused_attn = False  # Where a row without keys would be NaN.
    tokens = encoder(torch.randn(2, *shape), mask)
    tokens.square().sum().backward()
    assert torch.isfinite(tokens).all()
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)
    per_frame = (encoder.num_tokens - 1) // mask.shape[1]
    real = encoder.token_mask(mask)
    assert real.shape == tokens.shape[:2]
    assert real[:, 0].tolist() == [True, False]
    assert real.sum(1).tolist() == [1 + per_frame * int(mask[0].sum()), 0]


@pytest.mark.parametrize("name", [TINY, "resnet18"])
def test_a_mask_of_real_frames_changes_nothing(name: str) -> None:
    encoder, inputs = built(name, FRAMES).eval(), torch.randn(2, *FRAMES)
    assert torch.allclose(encoder(inputs, torch.ones(2, 3, dtype=torch.bool)), encoder(inputs), atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 37, 50), (1, 2, 37, 50)])
def test_one_frame_is_an_image(shape: tuple[int, ...]) -> None:
    for name in (TINY, "resnet18"):
        torch.manual_seed(0)
        image = built(name, (2, 37, 50)).eval()
        frame = built(name, shape).eval()
        frame.load_state_dict(image.state_dict())
        inputs = torch.randn(2, 2, 37, 50)
        assert torch.equal(frame(inputs.view(2, *shape)), image(inputs))


def test_models_that_take_any_size_still_cut_what_patches_do_not_cover() -> None:
    encoder, inputs = built("test_vit", (1, 37, 50)).eval(), torch.randn(1, 1, 37, 50)
    assert timm.create_model("test_vit").dynamic_img_size
    edge = inputs.clone()
    edge[..., 32:, :] = edge[..., 48:] = 9.0
    assert encoder(inputs).shape == (1, 1 + 2 * 3, WIDTH)
    assert torch.equal(encoder(edge), encoder(inputs))


def test_the_order_of_frames_matters() -> None:
    inputs = torch.randn(1, *FRAMES)
    vit = built(TINY, FRAMES).eval()
    assert not torch.allclose(vit(inputs)[:, 0], vit(inputs.flip(1))[:, 0], atol=1e-6), "class token"
    cnn = built("resnet18", FRAMES).eval()
    there, back = (cnn(x)[:, 1:].unflatten(1, (3, -1)) for x in (inputs, inputs.flip(1)))
    assert torch.allclose(back.flip(1) - there, cnn.time.flip(1) - cnn.time, atol=1e-5), "a learned position in time"
    assert 0 < cnn.time.abs().max() < 0.1


@pytest.mark.parametrize(("name", "width"), [("resnet18", 512), ("convnext_atto", 320), ("test_mambaout", 64)])
def test_tokens_of_a_feature_map(name: str, width: int) -> None:
    encoder, inputs = built(name, (3, 1, 64, 96), dim=width).eval(), torch.randn(2, 3, 1, 64, 96)
    assert isinstance(encoder, FeatureMapEncoder)
    tokens = encoder(inputs)
    assert tokens.shape == (2, 1 + 3 * 2 * 3, width) == (2, encoder.num_tokens, width)
    assert torch.allclose(tokens[:, 0], tokens[:, 1:].mean(1), atol=1e-5)
    for t in range(3):
        found = encoder.model.forward_features(inputs[:, t])
        rows = found.flatten(1, 2) if found.shape[-1] == width else found.flatten(2).mT
        assert torch.allclose(tokens[:, 1:].unflatten(1, (3, 6))[:, t], rows + encoder.time[:, t], atol=1e-5)
    masked = encoder(inputs[:1].repeat(3, 1, 1, 1, 1), MASK)
    assert torch.allclose(masked[0, 0], masked[0, 1:][MASK[0].repeat_interleave(6)].mean(0), atol=1e-5)
    assert (masked[1, 0] == 0).all()


def test_the_class_token_of_a_cnn_is_what_timm_pools() -> None:
    encoder, images = built("resnet18", (3, 64, 96), dim=512).eval(), torch.randn(2, 3, 64, 96)
    assert torch.allclose(encoder(images)[:, 0], encoder.model(images), atol=1e-5)


def test_swin_has_channels_last_and_any_size() -> None:
    encoder, images = built("swin_tiny_patch4_window7_224", (1, 64, 96), dim=8).eval(), torch.randn(1, 1, 64, 96)
    found = encoder.model.forward_features(images)
    assert found.shape == (1, 2, 3, 768)
    assert torch.allclose(encoder(images)[0, 5], encoder.project(found[0, 1, 1]), atol=1e-5)


@pytest.mark.parametrize(("name", "width"), [(TINY, WIDTH), ("resnet18", 512)])
def test_another_width_gets_one_linear_layer(name: str, width: int) -> None:
    inputs = torch.randn(2, 3, 32, 48)
    same, other = built(name, inputs.shape[1:], dim=width).eval(), built(name, inputs.shape[1:], dim=8).eval()
    assert isinstance(same.project, nn.Identity)
    assert num_parameters(other) == num_parameters(same) + (width + 1) * 8
    other.model.load_state_dict(same.model.state_dict())
    assert torch.allclose(other(inputs), other.project(same(inputs)), atol=1e-5)


@pytest.mark.parametrize("name", [*KINDS, "mobilenetv3_small_050", "test_vit3"])
def test_the_loss_reaches_every_trainable_parameter(name: str) -> None:
    encoder = built(name, (2, 3, 32, 48), dim=8)
    assert encoder.training
    assert encoder.model.training
    encoder(torch.randn(3, 2, 3, 32, 48)).square().sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.requires_grad and p.grad is None] == []
    assert all(not p.requires_grad for n, p in encoder.named_parameters() if p.grad is None)


def test_final_norm_and_dropout() -> None:
    ended, open_ended = built(TINY, (3, 32, 48)).eval(), built(TINY, (3, 32, 48), has_final_norm=False).eval()
    open_ended.model.load_state_dict(ended.model.state_dict(), strict=False)
    inputs = torch.randn(2, 3, 32, 48)
    assert torch.equal(ended.model.norm(open_ended(inputs)), ended(inputs))
    block = build_image_encoder(TINY, "visual", (3, 32, 48), EncoderConfig(num_layers=1, dropout=0.3)).model.blocks[0]
    assert (block.attn.proj_drop.p, block.mlp.drop1.p, block.mlp.drop2.p) == (0.3, 0.3, 0.3)
    assert block.attn.attn_drop.p == 0


def test_state_dict_round_trip() -> None:
    inputs = torch.randn(2, *FRAMES)
    for name in (TINY, "resnet18"):
        first, second = built(name, FRAMES, dim=8).eval(), built(name, FRAMES, dim=8).eval()
        assert not torch.equal(first(inputs), second(inputs))
        second.load_state_dict(first.state_dict())
        assert torch.equal(first(inputs), second(inputs))


def test_in_lower_precision() -> None:
    encoder, inputs = built(TINY, FRAMES).eval(), torch.randn(3, *FRAMES)
    expected, real = encoder(inputs, MASK), encoder.token_mask(MASK)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(encoder(inputs, MASK)[real].float(), expected[real], atol=0.1)
    halved = encoder.bfloat16()(inputs.bfloat16(), MASK)
    assert halved.dtype == torch.bfloat16
    assert torch.allclose(halved[real].float(), expected[real], atol=0.1)


@pytest.mark.parametrize("fusion", ["mt", "mbt", "concat"])
def test_inside_a_model(fusion: str) -> None:
    encoder = EncoderConfig(
        dim=WIDTH, num_layers=1, num_heads=3, by_modality={"audio": f"{TINY}.augreg_in21k", "visual": "resnet18"}
    )
    model = build_model(fusion, {"audio": (1, 33, 48), "visual": FRAMES}, 4, encoder).eval()
    mask = {"audio": torch.ones(3, 1, dtype=torch.bool), "visual": MASK}
    batch = {"audio": torch.randn(3, 1, 33, 48), "visual": torch.randn(3, *FRAMES), "mask": mask}
    dirty = batch | {"visual": batch["visual"].masked_fill(~MASK[..., None, None, None], 1e15)}
    assert torch.isfinite(model(batch).logits).all()
    assert torch.allclose(model(dirty).logits, model(batch).logits, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("resnet19", r"or as in timm\.list_models\(\), but got 'resnet19'\. Did you mean 'resnet18'\?"),
        ("vits", r"sequence, vit, resnet18 or as in .* but got 'vits'\. Did you mean 'vit'\?"),
        ("vit_tny_patch16_224.augreg_in21k", r"but got 'vit_tny.*'\. Did you mean 'vit_tiny_patch16_224'\?"),
        ("q", r"but got 'q'\."),
        ("vit_*", r"but got 'vit_\*'\."),
        ("vit_base_patch16_224_in21k", r"Did you mean '.*'\?"),
        (
            f"{TINY}.nonsense",
            rf"'{TINY}\.nonsense' to take .* Invalid pretrained tag \(nonsense\) for {TINY}\.; choose",
        ),
        (
            "coat_tiny",
            r"'coat_tiny' to take the input \(3, 64, 64\) of 'visual', but it gave AttributeError: .*; choose",
        ),
        ("crossvit_tiny_240", r"'crossvit_tiny_240' to take the input .*, but it gave RuntimeError: .* size"),
    ],
)
def test_names_that_are_refused(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"^Expected .*{text}") as caught:
        built(name, (3, 64, 64))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (
            (5, 3),
            r"an image \(channels, height, width\) or frames of them for encoder 'vit' of 'visual', but got an input",
        ),
        (
            (1, 2, 3, 32, 32),
            r"an image .* but got an input of shape \(1, 2, 3, 32, 32\); choose --encoder\.name sequence",
        ),
        ((3, 15, 64), r"images of \(16, 16\) pixels or more for 'vit_base_patch16_224', but got \(1, 3, 15, 64\)"),
        ((4, 3, 64, 8), r"images of \(16, 16\) pixels or more for .* got \(4, 3, 64, 8\); enlarge them\."),
    ],
)
def test_shapes_that_are_refused(shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=f"^Expected {text}"):
        built("vit", shape)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"package 'timm'.*rollingq\[lab\]"):
        built("vit", (3, 32, 32))
