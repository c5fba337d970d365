"""Settings of the encoders: which, how large, and what they start from."""

from dataclasses import dataclass, field

from rollingq.config.checks import is_positive, is_share, require


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Which encoder each modality gets, and its size.

    Raises:
        ConfigError: If a value is outside its range; all that is wrong is said together.
    """

    name: str = "auto"
    """"sequence", "vit" (timm's vit_base_patch16_224, the paper's ViT-B/16), "resnet18", or the name of any timm
    model; "auto" takes sequence for token sequences and vit for images."""
    by_modality: dict[str, str] = field(default_factory=dict)
    """Modality -> name, where modalities differ."""
    dim: int = 64
    """Width D of the fusion; a timm model of another width gets one linear layer behind it."""
    num_layers: int = 2
    """Number of blocks, of a sequence encoder or of a vision transformer (paper: 4)."""
    num_heads: int = 4
    """Heads a block, of sequence encoders and of the blocks inside fusions (ViT-B: 12)."""
    dropout: float = 0.1
    """Dropout inside the blocks, in [0, 1)."""
    pretrained: str | None = None
    """Where timm models start from: "hub" (timm's own weights) or a local .safetensors or .pth file; None = random."""

    def __post_init__(self) -> None:
        is_divisible = is_positive(self.dim) and is_positive(self.num_heads) and self.dim % self.num_heads == 0
        require(
            self,
            [
                ("dim", is_divisible, f"a whole number >= 1 that num_heads={self.num_heads} divides"),
                ("num_layers", is_positive(self.num_layers), "a whole number >= 1"),
                ("num_heads", is_positive(self.num_heads), "a whole number >= 1"),
                ("dropout", is_share(self.dropout), "a number in [0, 1)"),
                ("name", isinstance(self.name, str) and bool(self.name), "the name of an encoder"),
            ],
        )

    def name_of(self, modality: str) -> str:
        """Return the name of a modality's encoder."""
        return self.by_modality.get(modality, self.name)
