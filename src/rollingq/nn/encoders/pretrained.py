"""Start a timm model from pretrained weights: what fits is loaded, what can be adapted is, the rest is named."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from rollingq.errors import ConfigError

HUB = "hub"
HEADS = ("head.", "head_dist.", "fc.", "classifier.")
"""Where timm's classifiers live: never used here."""


@dataclass(frozen=True)
class LoadReport:
    """What became of pretrained weights; as text it is one line.

    Attributes:
        name: timm's name of the model.
        source: Where the weights came from.
        loaded: Tensors taken as they are.
        adapted: Names of tensors fitted to other channels or another grid of positions.
        left: Names of tensors that the file does not have: they stay at their initialisation.
        unused: Tensors of the file that the model does not have (deeper blocks, classifier).
    """

    name: str
    source: str
    loaded: int
    adapted: tuple[str, ...]
    left: tuple[str, ...]
    unused: int

    def __str__(self) -> str:
        return (
            f"{self.name} from {self.source}: {self.loaded} tensors loaded, {_counted(self.adapted)} adapted, "
            f"{_counted(self.left)} left at initialisation, {self.unused} of the source unused"
        )


def _counted(names: tuple[str, ...], most: int = 4) -> str:
    if not names:
        return "0"
    shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return f"{len(names)} ({shown})"


@torch.no_grad()
def load_pretrained(model: nn.Module, name: str, source: str, *, frames: int = 1) -> LoadReport:
    """Load weights into a timm model that may be shallower, of other channels or of another size.

    Args:
        model: The model, changed in place.
        name: timm's name of it.
        source: "hub" for timm's own weights, or the path of a .safetensors, .pth, .pt or .bin file.
        frames: Frames that stand below each other in the model's image.

    Returns:
        What was loaded, adapted and left.

    Raises:
        ConfigError: If the source cannot be read, nothing in it fits, or a shape cannot be adapted.
    """
    weights = _from_hub(name) if source == HUB else _from_file(Path(source))
    own = {key: tensor for key, tensor in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    found = {key: tensor for key, tensor in weights.items() if key in own}
    if not found:
        raise ConfigError(
            f"Expected weights of {name!r} in {source!r}, but none of its {len(weights)} tensors belongs to that model."
        )
    adapted = tuple(key for key, tensor in found.items() if tensor.shape != own[key].shape)
    for key in adapted:
        found[key] = _adapted(model, key, found[key], own[key], frames, source)
    for key, tensor in found.items():
        own[key].copy_(tensor)
    left = tuple(key for key in own if key not in found)
    return LoadReport(
        name=name,
        source="timm's hub" if source == HUB else Path(source).name,
        loaded=len(found) - len(adapted),
        adapted=adapted,
        left=left,
        unused=sum(key not in own and not key.endswith("num_batches_tracked") for key in weights),
    )


def _adapted(model: Any, key: str, given: Tensor, own: Tensor, frames: int, source: str) -> Tensor:  # noqa: ANN401
    """Return a tensor fitted to the model's shape: other input channels, or another grid of positions."""
    from timm.layers.pos_embed import resample_abs_pos_embed
    from timm.models._manipulate import adapt_input_conv

    is_stem = given.dim() == 4 and own.dim() == 4 and given.shape[1] == 3 and given.shape[2:] == own.shape[2:]
    if is_stem and given.shape[0] == own.shape[0]:
        return adapt_input_conv(own.shape[1], given)
    if key == "pos_embed" and given.shape[-1] == own.shape[-1]:
        prefix = 0 if getattr(model, "no_embed_class", False) else int(model.num_prefix_tokens)
        rows, columns = model.patch_embed.grid_size
        one = resample_abs_pos_embed(given, new_size=[rows // frames, columns], num_prefix_tokens=prefix)
        return torch.cat([one[:, :prefix], one[:, prefix:].repeat(1, frames, 1)], dim=1)
    raise ConfigError(
        f"Expected {key!r} of shape {list(own.shape)} in {source!r}, but it is {list(given.shape)}, which cannot be "
        "adapted; choose the encoder that the weights belong to."
    )


def _from_hub(name: str) -> Mapping[str, Tensor]:
    """Return timm's own weights of a model."""
    import timm

    try:
        model: nn.Module = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # Whatever hub and network raise: it never becomes a random start.
        reason = shorten(str(error), 120, placeholder="...")
        raise ConfigError(
            f"Expected to load the weights of {name!r} from timm's hub, but {type(error).__name__}: {reason}; download "
            "the file where there is a network and give --pretrained FILE."
        ) from None
    return model.state_dict()


def _from_file(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a local file, without running any code in it."""
    if not path.is_file():
        raise ConfigError(
            f"Expected pretrained weights: 'hub' or a .safetensors or .pth file, but there is no {str(path)!r}."
        )
    try:
        loaded = _read(path)
    except (OSError, ValueError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = shorten(str(error), 120, placeholder="...")
        raise ConfigError(f"Expected weights alone in {str(path)!r}, but it cannot be read ({reason}).") from None
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not any(isinstance(value, Tensor) for value in loaded.values()):
        raise ConfigError(f"Expected a mapping of names to tensors in {str(path)!r}, but got {type(loaded).__name__}.")
    named = {str(key).removeprefix("module."): value for key, value in loaded.items() if isinstance(value, Tensor)}
    return {key: value for key, value in named.items() if not key.startswith(HEADS)} or named


def _read(path: Path) -> Any:  # noqa: ANN401
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(str(error)) from None
    return torch.load(path, map_location="cpu", weights_only=True)
