"""Pretrained weights: the same function as timm's own blocks, what is adapted, what is reported, what is refused."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from rollingq.config import EncoderConfig
from rollingq.errors import ConfigError
from rollingq.nn.encoders.image import ImageEncoder, build_image_encoder
from rollingq.nn.encoders.pretrained import load_pretrained

TINY, WIDTH, BLOCK = "vit_tiny_patch16_224", 192, 12
"""A block has 12 tensors; around them stand cls_token, pos_embed, patch_embed (2) and norm (2)."""


def built(
    path: Path | str | None, shape: tuple[int, ...] = (3, 32, 32), name: str = TINY, depth: int = 1
) -> ImageEncoder:
    config = EncoderConfig(
        dim=WIDTH, num_layers=depth, num_heads=3, dropout=0.0, pretrained=None if path is None else str(path)
    )
    return build_image_encoder(name, "visual", shape, config).eval()


def original(name: str = TINY, **options: Any) -> nn.Module:
    """Return timm's model with weights that are nowhere at their initialisation."""
    model = timm.create_model(name, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def saved(model: nn.Module, path: Path) -> Path:
    save_file(model.state_dict(), path)
    return path


def test_equal_to_the_first_blocks_of_timm(tmp_path: Path) -> None:
    timms, images = original(depth=6, num_classes=7, img_size=32), torch.randn(2, 3, 32, 32)
    ours = built(saved(timms, tmp_path / "six.safetensors"), depth=4)
    by_hand = timms.norm(timms.blocks[:4](timms.norm_pre(timms._pos_embed(timms.patch_embed(images)))))
    assert torch.equal(ours(images), by_hand)
    (features,) = timms.forward_intermediates(images, indices=[3], norm=True, intermediates_only=True)
    assert torch.equal(ours(images)[:, 1:], features.flatten(2).mT)
    assert str(ours.load_report) == (
        f"{TINY} from six.safetensors: {6 + 4 * BLOCK} tensors loaded, 0 adapted, 0 left at initialisation, "
        f"{2 * BLOCK + 2} of the file unused"
    )


def test_the_report_of_adapted_weights(tmp_path: Path) -> None:
    timms = original(depth=12, img_size=64)
    report = built(saved(timms, tmp_path / "w.safetensors"), (1, 33, 48), depth=4).load_report
    assert set(report.adapted) == {"patch_embed.proj.weight", "pos_embed"}
    assert (report.loaded, report.left, report.unused) == (52, (), 98)
    assert str(report).startswith(f"{TINY} from w.safetensors: 52 tensors loaded, 2 adapted (p")
    assert str(report).endswith("), 0 left at initialisation, 98 of the file unused")
    assert "\n" not in str(report)


def test_random_start_has_no_report() -> None:
    assert built(None).load_report is None


def test_one_channel_sees_grey_as_three_did(tmp_path: Path) -> None:
    for name, stem in ((TINY, "patch_embed.proj"), ("resnet18", "conv1")):
        timms, grey = original(name, num_classes=0), torch.randn(2, 1, 32, 32)
        ours = built(saved(timms, tmp_path / f"{name}.safetensors"), (1, 32, 32), name)
        assert f"{stem}.weight" in ours.load_report.adapted
        expected = timms.get_submodule(stem)(grey.expand(-1, 3, -1, -1))
        assert torch.allclose(ours.model.get_submodule(stem)(grey), expected, atol=1e-4)


def test_two_channels_keep_the_scale(tmp_path: Path) -> None:
    timms = original(num_classes=0)
    stem = built(saved(timms, tmp_path / "w.safetensors"), (2, 32, 32)).model.patch_embed.proj.weight
    assert torch.allclose(stem, timms.patch_embed.proj.weight[:, :2] * 1.5)


@pytest.mark.parametrize(
    ("file_size", "shape", "grid"),
    [
        (64, (3, 32, 48), (2, 3)),
        (64, (3, 3, 37, 48), (2, 3)),
        (32, (3, 3, 32, 32), (2, 2)),
        (64, (4, 3, 32, 32), (2, 2)),  # As many positions as in the file, but not its grid.
        (64, (3, 128, 32), (8, 2)),  # Again.
        (96, (4, 3, 48, 48), (3, 3)),
    ],
)
def test_positions_of_another_grid(
    tmp_path: Path, file_size: int, shape: tuple[int, ...], grid: tuple[int, int]
) -> None:
    timms = original(depth=1, img_size=file_size)
    ours = built(saved(timms, tmp_path / "w.safetensors"), shape)
    position, frames = ours.model.pos_embed[0], shape[0] if len(shape) == 4 else 1
    assert torch.equal(position[0], timms.pos_embed[0, 0]), "the class token keeps its own"
    one = resample_abs_pos_embed(timms.pos_embed, list(grid))[0, 1:]
    assert torch.equal(position[1:], one.repeat(frames, 1)), "every frame starts from the same"
    assert ours.load_report.adapted == ("pos_embed",)
    assert ours.load_report.loaded == 5 + BLOCK


def test_positions_of_a_model_that_takes_frames_one_by_one(tmp_path: Path) -> None:
    name = "vit_tiny_r_s16_p8_224"
    timms = original(name, num_classes=0, img_size=64)
    ours = built(saved(timms, tmp_path / "w.safetensors"), (3, 3, 64, 96), name)
    assert torch.equal(ours.model.pos_embed, resample_abs_pos_embed(timms.pos_embed, [2, 3]))


def test_positions_of_an_unknown_grid_are_not_guessed(tmp_path: Path) -> None:
    model = nn.Module()
    model.patch_embed, model.pos_embed = nn.Identity(), nn.Parameter(torch.zeros(1, 4, 8))
    path = tmp_path / "w.safetensors"
    save_file({"pos_embed": torch.ones(1, 8, 8)}, path)
    with pytest.raises(
        ConfigError, match=r"'pos_embed' of shape \[1, 4, 8\] in .* \[1, 8, 8\], which cannot be adapted"
    ):
        load_pretrained(model, "a model", str(path))
    assert (model.pos_embed == 0).all()


def test_a_model_of_the_same_form_is_taken_as_it_is(tmp_path: Path) -> None:
    for name in (TINY, "resnet18"):
        first = built(None, (3, 2, 32, 48), name, depth=2)
        path = saved(first.model, tmp_path / f"{name}.safetensors")
        second = built(path, (3, 2, 32, 48), name, depth=2)
        report, num_tensors = second.load_report, len(first.model.state_dict())
        assert (report.loaded, report.adapted, report.left, report.unused) == (num_tensors, (), (), 0)
        assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True))


def test_biases_that_the_file_lacks_stay_zero(tmp_path: Path) -> None:
    timms, images = original(depth=2, qkv_bias=False, img_size=32, num_classes=0), torch.randn(2, 3, 32, 32)
    ours = built(saved(timms, tmp_path / "miil.safetensors"), depth=2)
    biases = ("blocks.0.attn.qkv.bias", "blocks.1.attn.qkv.bias")
    assert ours.load_report.left == biases
    assert f"2 left at initialisation ({', '.join(biases)})" in str(ours.load_report)
    assert all((ours.model.get_parameter(name) == 0).all() for name in biases)
    assert torch.allclose(ours(images), timms.forward_features(images), atol=1e-5)


def test_long_lists_are_cut_in_the_line_alone(tmp_path: Path) -> None:
    timms = original(depth=6, qkv_bias=False, img_size=32, num_classes=0)
    report = built(saved(timms, tmp_path / "miil.safetensors"), depth=6).load_report
    assert len(report.left) == 6
    assert "6 left at initialisation (blocks.0.attn.qkv.bias, " in str(report)
    assert "blocks.3.attn.qkv.bias, ...), 0 of the file unused" in str(report)


def test_the_norm_behind_pooling_becomes_the_final_norm(tmp_path: Path) -> None:
    name = "vit_wee_patch16_reg1_gap_256"
    timms = original(name, depth=1, img_size=32, num_classes=0)
    ours = built(saved(timms, tmp_path / "w.safetensors"), name=name)
    assert torch.equal(ours.model.norm.weight, timms.fc_norm.weight)
    assert (ours.load_report.left, ours.load_report.unused) == ((), 0)


def in_training_script(weights: dict[str, Tensor]) -> dict[str, Any]:
    return {"epoch": 3, "state_dict": {f"module.{key}": tensor for key, tensor in weights.items()}}


@pytest.mark.parametrize(
    ("suffix", "wrapped"),
    [
        (".pth", dict),
        (".pt", lambda weights: {"model": weights}),
        (".bin", in_training_script),
        (".PTH", lambda weights: {"state_dict": {"model": weights}}),
    ],
)
def test_forms_of_files(tmp_path: Path, suffix: str, wrapped: Callable[[dict[str, Tensor]], dict[str, Any]]) -> None:
    timms, images = original(depth=1, img_size=32, num_classes=0), torch.randn(2, 3, 32, 32)
    path = tmp_path / f"weights{suffix}"
    torch.save(wrapped(timms.state_dict()), path)
    ours = built(path)
    assert torch.equal(ours(images), timms.forward_features(images))
    assert str(ours.load_report) == (
        f"{TINY} from {path.name}: {6 + BLOCK} tensors loaded, 0 adapted, 0 left at initialisation, "
        "0 of the file unused"
    )


def test_half_precision_is_widened(tmp_path: Path) -> None:
    timms = original(depth=1, num_classes=0).half()
    ours = built(saved(timms, tmp_path / "half.safetensors"), (1, 32, 32))
    assert all(parameter.dtype == torch.float32 for parameter in ours.parameters())
    assert torch.equal(ours.model.blocks[0].mlp.fc1.weight, timms.blocks[0].mlp.fc1.weight.float())


class Code:
    """Pickles to a call that makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_code_in_a_file_never_runs(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"norm.weight": torch.ones(WIDTH), "extra": Code(tmp_path / "ran")}, path)
    with pytest.raises(
        ConfigError, match=r"^Expected weights alone in '.*w\.pth', but it is damaged or holds code, .*; save"
    ):
        built(path)
    assert not (tmp_path / "ran").exists()


def text(path: Path) -> None:
    path.write_text("not weights")


def cut(path: Path) -> None:
    torch.save({"norm.weight": torch.ones(WIDTH)}, path)
    path.write_bytes(path.read_bytes()[:-200])


def old_and_cut(path: Path) -> None:
    torch.save({"norm.weight": torch.ones(WIDTH)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:150])


def a_list(path: Path) -> None:
    torch.save([torch.ones(2)], path)


def numbers(path: Path) -> None:
    torch.save({"state_dict": {"epoch": 3}}, path)


def nothing_known(path: Path) -> None:
    torch.save({"bert.weight": torch.ones(2), "bert.bias": torch.ones(2)}, path)


def another_width(path: Path) -> None:
    torch.save(timm.create_model("test_vit", depth=1).state_dict(), path)


def positions_alone(path: Path) -> None:
    torch.save({"pos_embed": torch.ones(1, 1 + 7, WIDTH)}, path)


def one_channel(path: Path) -> None:
    torch.save({"patch_embed.proj.weight": torch.ones(WIDTH, 1, 16, 16)}, path)


@pytest.mark.parametrize(
    ("write", "name", "message"),
    [
        (
            lambda path: None,
            "w.pth",
            r"'hub' or a \.safetensors, \.pth, \.pt, \.bin file .*, but '.*w\.pth' is no such file",
        ),
        (Path.mkdir, "w.pth", r"'hub' or a .* is no such file"),
        (text, "w.npz", r"'hub' or a .*, but '.*w\.npz' is a \.npz"),
        (text, "hug", r"'hub' or a .*, but '.*hug' is a file without suffix"),
        (text, "w.pth", r"weights alone in '.*w\.pth', but it is damaged or holds code"),
        (text, "w.safetensors", r"weights in '.*', but it cannot be read \(SafetensorError: .*\); download it again"),
        (cut, "w.pth", r"weights in '.*', but it cannot be read \(RuntimeError: PytorchStreamReader .*\); download it"),
        (old_and_cut, "w.pth", r"weights .*in '.*', but it "),
        (Path.touch, "w.pth", r"weights in '.*', but it cannot be read \(EOFError"),
        (a_list, "w.pth", r"a mapping of names to tensors in '.*', but got list"),
        (numbers, "w.pth", r"a mapping of names to tensors in '.*', but got dict"),
        (
            nothing_known,
            "w.pth",
            rf"weights of '{TINY}' in '.*', but none of its 2 tensors belongs to that model; choose",
        ),
        (
            another_width,
            "w.pth",
            r"'.*' of shape \[.*\] in '.*', but it is \[.*\], which cannot be adapted; choose the",
        ),
        (
            positions_alone,
            "w.pth",
            r"'pos_embed' of shape \[1, 5, 192\] in '.*', but it is \[1, 8, 192\], which cannot",
        ),
        (
            one_channel,
            "w.pth",
            r"'patch_embed\.proj\.weight' of shape \[192, 3, 16, 16\] in .* \[192, 1, 16, 16\], which",
        ),
    ],
)
def test_files_that_are_refused(tmp_path: Path, write: Callable[[Path], None], name: str, message: str) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(ConfigError, match=f"^Expected {message}") as caught:
        built(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).replace(str(path), "")) < 260


def test_a_hub_out_of_reach_is_no_random_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # Without: half a minute of retries.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ConfigError, match=rf"^Expected to download the weights of '{TINY}' from timm's hub, but"
    ) as caught:
        built("hub")
    assert str(caught.value).endswith("; download the file where there is a network and give --pretrained FILE.")
    assert "\n" not in str(caught.value)


def test_a_model_without_published_weights_is_no_random_start() -> None:
    with pytest.raises(
        ConfigError, match=r"timm's hub, but got RuntimeError: No pretrained weights exist for test_vit4"
    ):
        built("hub", name="test_vit4")


def test_weights_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    create, published = timm.create_model, original(depth=3, img_size=32, num_classes=0)

    def stand_in(name: str, *, pretrained: bool, **options: Any) -> nn.Module:
        if not pretrained:
            return create(name, pretrained=False, **options)
        assert (name, options) == (f"{TINY}.augreg_in21k", {"num_classes": 0})
        return published

    monkeypatch.setattr(timm, "create_model", stand_in)
    ours, images = built("hub", name=f"{TINY}.augreg_in21k", depth=3), torch.randn(2, 3, 32, 32)
    assert torch.equal(ours(images), published.forward_features(images))
    assert str(ours.load_report) == (
        f"{TINY}.augreg_in21k from timm's hub: {6 + 3 * BLOCK} tensors loaded, 0 adapted, 0 left at initialisation, "
        "0 of the file unused"
    )
