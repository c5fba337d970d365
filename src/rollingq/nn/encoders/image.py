"""Encoders of images, spectrograms and frames on timm: any of its vision transformers and CNNs by name."""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rollingq.config import EncoderConfig
from rollingq.errors import ConfigError, MissingExtraError, nearest
from rollingq.nn.encoders.base import Encoder
from rollingq.nn.encoders.pretrained import load_pretrained, reason_of

ALIASES = {"vit": "vit_base_patch16_224", "resnet18": "resnet18"}
"""Our names -> timm's: the paper's ViT-B/16, and the backbone of its Table 7."""

PLAIN_FAMILIES = ("timm.models.vision_transformer", "timm.models.deit")
"""Where timm's models are one sequence of tokens of one width, so that depth and position embedding can be chosen."""


def build_image_encoder(
    name: str, modality: str, shape: tuple[int, ...], config: EncoderConfig, *, has_final_norm: bool = True
) -> "ImageEncoder":
    """Return a timm model as an encoder.

    Args:
        name: "vit", "resnet18" or a name of timm, with or without a tag of weights behind a dot.
        modality: For messages.
        shape: (channels, height, width) or (frames, channels, height, width).
        config: Width of the fusion, pretrained weights; depth and dropout (plain vision transformers only).
        has_final_norm: Whether LayerNorm ends a plain vision transformer.

    Raises:
        ConfigError: If the shape is no image or not one for this model, timm does not know the name, or the weights
            cannot be loaded.
        MissingExtraError: Without timm.

    Example:
        >>> encoder = build_image_encoder("vit_tiny_patch16_224", "audio", (1, 33, 48), EncoderConfig(dim=8))
        >>> encoder(torch.zeros(2, 1, 33, 48)).shape  # 2 x 3 patches and the class token
        torch.Size([2, 7, 8])
    """
    if len(shape) not in (3, 4):
        raise ConfigError(
            f"Expected an image (channels, height, width) or frames of them for encoder {name!r} of {modality!r}, but "
            f"got an input of shape {shape}; choose --encoder.name sequence."
        )
    timm_name = ALIASES.get(name, name)
    kind = VisionTransformerEncoder if _module_of(timm_name, name) in PLAIN_FAMILIES else FeatureMapEncoder
    try:
        return kind(timm_name, (1, *shape)[-4:], config, has_final_norm)
    except (AssertionError, AttributeError, RuntimeError) as error:  # What timm's models raise at a tag or size.
        raise ConfigError(
            f"Expected {name!r} to take the input {shape} of {modality!r}, but it gave {reason_of(error)}; choose "
            "another encoder, or inputs of another size."
        ) from error


def _module_of(timm_name: str, name: str) -> str:
    """Return the module of timm that holds a model."""
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("timm", "lab") from error
    base, known = timm_name.partition(".")[0], timm.list_models()  # Without timm's former names.
    if base not in known:
        raise ConfigError(
            f"Expected an encoder named sequence, vit, resnet18 or as in timm.list_models(), but got {name!r}."
            f"{nearest(base, ['sequence', *ALIASES, *known])}"
        )
    return str(timm.model_entrypoint(base).__module__)


class ImageEncoder(Encoder):
    """What both kinds share: frames, the projection to the fusion's width, and masks by frame.

    The arguments are those of ``build_image_encoder``, with timm's own name and (frames, channels, height, width).

    Attributes:
        model: The timm model.
        is_stacked: Whether all frames make one image of the model.
    """

    tokens_per_frame: int
    is_stacked: bool

    def __init__(self, name: str, shape: tuple[int, ...], config: EncoderConfig, has_final_norm: bool) -> None:
        super().__init__()
        self.frames = shape[0]
        self.model: Any = self._build(name, shape, config, has_final_norm)
        self.num_tokens = 1 + self.frames * self.tokens_per_frame
        width = int(self.model.num_features)
        self.project = nn.Identity() if width == config.dim else nn.Linear(width, config.dim)
        if config.pretrained is not None:
            stacked = self.frames if self.is_stacked else 1
            self.load_report = load_pretrained(self.model, name, config.pretrained, frames=stacked)

    @abstractmethod
    def _build(self, name: str, shape: tuple[int, ...], config: EncoderConfig, has_final_norm: bool) -> Any:  # noqa: ANN401
        """Return timm's model, and set ``tokens_per_frame``."""

    @abstractmethod
    def _encode(self, images: Tensor, mask: Tensor | None) -> Tensor:
        """Return the tokens of images ``[B, F, C, H, W]``."""

    def forward(self, inputs: Tensor, mask: Bool[Tensor, "B F"] | None = None) -> Float[Tensor, "B T D"]:
        """Return tokens ``[B, 1 + frames * tokens_per_frame, D]``.

        Args:
            inputs: ``[B, C, H, W]`` or ``[B, F, C, H, W]``.
            mask: True at real frames, ``[B, F]`` (F = 1 for images). Others pass as zeros: nothing in them can spread.
        """
        images = inputs if inputs.dim() == 5 else inputs.unsqueeze(1)
        if mask is not None:
            images = torch.where(mask[..., None, None, None], images, 0.0)
        return self._encode(images, mask)

    def token_mask(self, mask: Bool[Tensor, "B F"]) -> Bool[Tensor, "B T"]:
        """Return which tokens are real, from which frames are (one column for a single image)."""
        return torch.cat([mask.any(1, keepdim=True), self._by_token(mask)], dim=1)

    def _by_token(self, mask: Tensor) -> Tensor:
        return mask.repeat_interleave(self.tokens_per_frame, dim=1)

    def _with_mean(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Return the tokens behind their mean, over real frames only (zero without any)."""
        if mask is None:
            return torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
        real = self._by_token(mask).unsqueeze(-1)
        total = torch.where(real, tokens, 0.0).sum(1, keepdim=True)
        return torch.cat([total / real.sum(1, keepdim=True).clamp_min(1), tokens], dim=1)


class VisionTransformerEncoder(ImageEncoder):
    """A plain vision transformer of timm, cut to ``num_layers`` blocks; a masked frame reaches no other token.

    Several frames stand below each other in one tall image, so that one sequence holds all patches and each
    (time, row, column) has a learned position of its own. What patches do not cover at the lower and right edge of a
    frame is cut.
    """

    is_stacked = True

    def _build(self, name: str, shape: tuple[int, ...], config: EncoderConfig, has_final_norm: bool) -> Any:  # noqa: ANN401
        frames, channels, height, width = shape
        with torch.device("meta"):  # Shapes alone.
            patch = _create(name, depth=1).patch_embed.patch_size
        self.height = height // patch[0] * patch[0]
        self.tokens_per_frame = (height // patch[0]) * (width // patch[1])
        if not self.tokens_per_frame:
            raise ConfigError(f"Expected images of {patch} pixels or more for {name!r}, but got {shape}; enlarge them.")
        model = _create(
            name,
            in_chans=channels,
            img_size=(frames * self.height, width),
            dynamic_img_size=False,
            depth=config.num_layers,
            proj_drop_rate=config.dropout,
            final_norm=has_final_norm,
            fc_norm=False,  # LayerNorm before pooling, as fusions read all tokens.
        )
        model.attn_pool = None
        return model

    def _encode(self, images: Tensor, mask: Tensor | None) -> Tensor:
        tall = images[..., : self.height, :].transpose(1, 2).flatten(2, 3)
        tokens = self.model.forward_features(tall, attn_mask=None if mask is None else self._unseen(mask).to(tall))
        prefix, has_class = self.model.num_prefix_tokens, self.model.cls_token is not None
        if has_class and prefix > 1:  # Behind the class token: registers or a distillation token.
            tokens = torch.cat([tokens[:, :1], tokens[:, prefix:]], dim=1)
        projected: Tensor = self.project(tokens if has_class else tokens[:, prefix:])
        return projected if has_class else self._with_mean(projected, mask)

    def _unseen(self, mask: Tensor) -> Tensor:
        """Return 0 at keys that are seen and -inf at those of masked frames; the prefix is always seen."""
        unseen = nn.functional.pad(~self._by_token(mask), (self.model.num_prefix_tokens, 0), value=False)
        if not self.model.num_prefix_tokens:  # Then an absent modality sees itself: no row without keys.
            unseen = unseen & mask.any(1, keepdim=True)
        return torch.zeros(unseen.shape, device=mask.device).masked_fill(unseen, -torch.inf)[:, None, None]


class FeatureMapEncoder(ImageEncoder):
    """Any other timm model: its feature map, flattened over time and space; the class token is the mean.

    Frames pass one by one; with several of them a learned position in time is added. Depth and dropout are the
    model's own. Batch normalisation counts masked frames too (as zeros) in training.

    Source:
        Ni et al., "RollingQ", ICML 2025, section 4.7 and Table 7.
    """

    is_stacked = False

    def __init__(self, name: str, shape: tuple[int, ...], config: EncoderConfig, has_final_norm: bool) -> None:
        super().__init__(name, shape, config, has_final_norm)
        time = nn.init.trunc_normal_(torch.empty(1, self.frames, 1, config.dim), std=0.02)
        self.time = nn.Parameter(time) if self.frames > 1 else None

    def _build(self, name: str, shape: tuple[int, ...], config: EncoderConfig, has_final_norm: bool) -> Any:  # noqa: ANN401
        _, channels, *size = shape
        try:
            model = _create(name, in_chans=channels, img_size=tuple(size))
        except TypeError:  # CNNs take any size and know no such argument.
            model = _create(name, in_chans=channels)
        self.tokens_per_frame = _probe(model.eval(), shape[1:])
        return model.train()

    def _encode(self, images: Tensor, mask: Tensor | None) -> Tensor:
        tokens: Tensor = self.project(_flat(self.model, images.flatten(0, 1))).unflatten(0, (-1, self.frames))
        return self._with_mean((tokens if self.time is None else tokens + self.time).flatten(1, 2), mask)


@torch.enable_grad()
def _probe(model: nn.Module, image: tuple[int, ...]) -> int:
    """Return how many tokens one image gives, and freeze what does not reach them (layers behind the pooling)."""
    tokens = _flat(model, torch.zeros(1, *image))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(tokens.sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
    return tokens.shape[1]


def _flat(model: Any, images: Tensor) -> Tensor:  # noqa: ANN401
    """Return the features ``[N, L, C]`` of images ``[N, C, H, W]``."""
    found: Tensor = model.forward_features(images)
    if found.dim() == 3:
        return found[:, int(getattr(model, "num_prefix_tokens", 0)) :]
    is_channels_last = str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")
    return found.flatten(1, 2) if is_channels_last else found.flatten(2).transpose(1, 2)


def _create(name: str, **options: Any) -> Any:  # noqa: ANN401
    import timm

    return timm.create_model(name, pretrained=False, num_classes=0, **options)
