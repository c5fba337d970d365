"""Encoders of images, spectrograms and frames on timm: any of its vision transformers and CNNs by name."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rollingq.config import EncoderConfig
from rollingq.errors import ConfigError, MissingExtraError, nearest
from rollingq.nn.encoders.base import Encoder
from rollingq.nn.encoders.pretrained import LoadReport, load_pretrained

ALIASES = {"vit": "vit_base_patch16_224", "resnet18": "resnet18"}
"""Our names -> timm's: the paper's ViT-B/16, and the backbone of its Table 7."""

PLAIN_FAMILIES = ("timm.models.vision_transformer", "timm.models.deit")
"""Where timm's models are one sequence of tokens of one width, so that depth and position embedding can be chosen."""


def build_image_encoder(
    name: str, modality: str, shape: tuple[int, ...], config: EncoderConfig, *, has_final_norm: bool = True
) -> "ImageEncoder":
    """Return a timm model as an encoder.

    Args:
        name: "vit", "resnet18" or a name of timm.
        modality: For messages.
        shape: (channels, height, width) or (frames, channels, height, width).
        config: Depth (vision transformers only), width of the fusion, dropout, pretrained weights.
        has_final_norm: Whether LayerNorm ends a vision transformer.

    Raises:
        ConfigError: If the shape is no image, timm does not know the name, or the weights cannot be loaded.
        MissingExtraError: Without timm.

    Example:
        >>> encoder = build_image_encoder("vit_tiny_patch16_224", "audio", (1, 33, 48), EncoderConfig(dim=8))
        >>> encoder(torch.zeros(2, 1, 33, 48)).shape  # 2 x 3 patches and the class token
        torch.Size([2, 7, 8])
    """
    if len(shape) not in (3, 4):
        raise ConfigError(
            f"Expected an image (channels, height, width) or frames of them for encoder {name!r} of {modality!r}, but "
            f"its input has shape {shape}; choose --encoder.name sequence."
        )
    entry = _entry_of(ALIASES.get(name, name), name)
    kind = VisionTransformerEncoder if entry.__module__ in PLAIN_FAMILIES else FeatureMapEncoder
    frames, image = (shape[0], shape[1:]) if len(shape) == 4 else (1, shape)
    return kind(ALIASES.get(name, name), frames, image, config, has_final_norm)


def _entry_of(timm_name: str, name: str) -> Any:  # noqa: ANN401
    """Return timm's function behind a name, which may carry a tag of weights behind a dot."""
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("timm", "lab") from error
    base = timm_name.partition(".")[0]
    if not timm.is_model(base):
        known = ["sequence", *ALIASES, *timm.list_models()]
        raise ConfigError(
            f"Expected an encoder named sequence, vit, resnet18 or as in timm.list_models(), but got {name!r}."
            f"{nearest(base, known)}"
        )
    return timm.model_entrypoint(base)


class ImageEncoder(Encoder):
    """What both kinds share: frames, the projection to the fusion's width, and masks by frame.

    Attributes:
        model: The timm model.
        load_report: What pretrained weights gave, None if it starts at random.
    """

    model: nn.Module
    load_report: LoadReport | None = None
    tokens_per_frame: int

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames

    def _finish(self, name: str, width: int, config: EncoderConfig) -> None:
        self.num_tokens = 1 + self.frames * self.tokens_per_frame
        self.project = nn.Identity() if width == config.dim else nn.Linear(width, config.dim)
        if config.pretrained is not None:
            self.load_report = load_pretrained(self.model, name, config.pretrained, frames=self.frames)

    def token_mask(self, mask: Bool[Tensor, "B F"]) -> Bool[Tensor, "B T"]:
        """Return which tokens are real, from which frames are (one column for a single image)."""
        tokens = mask.repeat_interleave(self.tokens_per_frame, dim=1)
        return torch.cat([mask.any(1, keepdim=True), tokens], dim=1)


class VisionTransformerEncoder(ImageEncoder):
    """A plain vision transformer of timm, cut to ``num_layers`` blocks.

    Several frames stand below each other in one tall image, so that one sequence holds all patches and each
    (time, row, column) has a learned position of its own. A height that the patch does not divide is cut, frame
    by frame.

    Args:
        name: A name of timm.
        frames: Number of frames.
        image: (channels, height, width) of one.
        config: Depth, width of the fusion, dropout, pretrained weights.
        has_final_norm: Whether LayerNorm ends it.
    """

    def __init__(
        self, name: str, frames: int, image: tuple[int, ...], config: EncoderConfig, has_final_norm: bool
    ) -> None:
        super().__init__(frames)
        channels, height, width = image
        patch = self._patch_height(name)
        self.height = height if frames == 1 else height // patch * patch
        self.model: Any = _create(
            name,
            in_chans=channels,
            img_size=(frames * self.height, width),
            depth=config.num_layers,
            proj_drop_rate=config.dropout,
            final_norm=has_final_norm,
        )
        self.num_prefix = int(self.model.num_prefix_tokens)
        self.tokens_per_frame = self.model.patch_embed.num_patches // frames
        if not self.tokens_per_frame:
            raise ConfigError(f"Expected images of at least one patch ({patch} pixels) for {name!r}, but got {image}.")
        self._finish(name, self.model.num_features, config)

    @staticmethod
    def _patch_height(name: str) -> int:
        with torch.device("meta"):  # Shapes alone.
            model: Any = _create(name, depth=1)
        return int(model.patch_embed.patch_size[0])

    def forward(self, inputs: Tensor, mask: Bool[Tensor, "B F"] | None = None) -> Float[Tensor, "B T D"]:
        """Return tokens ``[B, 1 + frames * patches, D]``; a masked frame reaches no other token.

        Args:
            inputs: ``[B, C, H, W]`` or ``[B, F, C, H, W]``.
            mask: True at real frames, ``[B, F]`` (F = 1 for images).
        """
        tall = inputs
        if inputs.dim() == 5:
            tall = inputs[..., : self.height, :].transpose(1, 2).flatten(2, 3)
        tokens: Tensor = self.model.forward_features(tall, attn_mask=self._attention_mask(mask, tall))
        patches = tokens[:, self.num_prefix :]
        if self.model.cls_token is None:
            return _with_mean(self.project(patches), mask, self.tokens_per_frame)
        projected: Tensor = self.project(torch.cat([tokens[:, :1], patches], dim=1))
        return projected

    def _attention_mask(self, mask: Tensor | None, like: Tensor) -> Tensor | None:
        """Return 0 at keys that are seen and -inf at those of masked frames; the prefix is always seen."""
        if mask is None:
            return None
        real = mask.repeat_interleave(self.tokens_per_frame, dim=1)
        is_seen = nn.functional.pad(real, (self.num_prefix, 0), value=True)
        if not self.num_prefix:  # Without a prefix an absent modality sees itself: no row without keys.
            is_seen = is_seen | ~mask.any(1, keepdim=True)
        return torch.zeros_like(is_seen, dtype=like.dtype).masked_fill(~is_seen, -torch.inf)[:, None, None]


class FeatureMapEncoder(ImageEncoder):
    """Any other timm model: its feature map, flattened over time and space; the class token is the mean.

    Frames pass one by one; with several of them a learned position in time is added. The depth is the model's own.

    Args:
        name: A name of timm.
        frames: Number of frames.
        image: (channels, height, width) of one.
        config: Width of the fusion, pretrained weights.
        has_final_norm: Of no effect: such models end as they are.

    Source:
        Ni et al., "RollingQ", ICML 2025, section 4.7 and Table 7.
    """

    def __init__(
        self, name: str, frames: int, image: tuple[int, ...], config: EncoderConfig, has_final_norm: bool
    ) -> None:
        super().__init__(frames)
        channels, height, width = image
        try:
            self.model: Any = _create(name, in_chans=channels, img_size=(height, width))
        except TypeError:  # CNNs take any size and know no such argument.
            self.model = _create(name, in_chans=channels)
        self.tokens_per_frame = self._count(image)
        self._finish(name, self.model.num_features, config)
        self.time = None
        if frames > 1:
            self.time = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, frames, 1, config.dim), std=0.02))

    @torch.no_grad()
    def _count(self, image: tuple[int, ...]) -> int:
        """Return how many tokens one frame gives, by trying it in eval mode."""
        self.model.eval()
        number = self._tokens(torch.zeros(1, *image)).shape[1]
        self.model.train()
        return number

    def _tokens(self, images: Tensor) -> Tensor:
        """Return the tokens ``[N, L, C]`` of images ``[N, C, H, W]``."""
        found: Tensor = self.model.forward_features(images)
        if found.dim() == 3:
            return found[:, int(getattr(self.model, "num_prefix_tokens", 0)) :]
        is_channels_last = str(getattr(self.model, "output_fmt", "NCHW")).endswith("NHWC")
        return found.flatten(1, 2) if is_channels_last else found.flatten(2).transpose(1, 2)

    def forward(self, inputs: Tensor, mask: Bool[Tensor, "B F"] | None = None) -> Float[Tensor, "B T D"]:
        """Return tokens ``[B, 1 + frames * positions, D]``; the first is the mean over real frames.

        Args:
            inputs: ``[B, C, H, W]`` or ``[B, F, C, H, W]``.
            mask: True at real frames, ``[B, F]`` (F = 1 for images).
        """
        tokens = self.project(self._tokens(inputs.flatten(0, 1) if inputs.dim() == 5 else inputs))
        if self.time is not None:
            tokens = (tokens.unflatten(0, (-1, self.frames)) + self.time).flatten(1, 2)
        return _with_mean(tokens, mask, self.tokens_per_frame)


def _with_mean(tokens: Tensor, mask: Tensor | None, tokens_per_frame: int) -> Tensor:
    """Return the tokens behind their mean, over real frames only (zero without any)."""
    if mask is None:
        return torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
    real = mask.repeat_interleave(tokens_per_frame, dim=1).unsqueeze(-1)
    total = torch.where(real, tokens, 0.0).sum(1, keepdim=True)
    return torch.cat([total / real.sum(1, keepdim=True).clamp_min(1), tokens], dim=1)


def _create(name: str, **options: Any) -> Any:  # noqa: ANN401
    import timm

    return timm.create_model(name, pretrained=False, num_classes=0, **options)
