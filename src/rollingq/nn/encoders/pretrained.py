"""Start a timm model from pretrained weights: what fits is loaded, what can be adapted is, the rest is named."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from rollingq.errors import ConfigError

HUB = "hub"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts put the weights."""


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

    Example:
        >>> print(LoadReport("resnet18", "a.pth", 59, ("conv1.weight",), (), 2))
        resnet18 from a.pth: 59 tensors loaded, 1 adapted (conv1.weight), 0 left at initialisation, 2 of the file unused
    """

    name: str
    source: str
    loaded: int
    adapted: tuple[str, ...]
    left: tuple[str, ...]
    unused: int

    def __str__(self) -> str:
        adapted, left = _counted("adapted", self.adapted), _counted("left at initialisation", self.left)
        start = f"{self.name} from {self.source}: {self.loaded} tensors loaded"
        return f"{start}, {adapted}, {left}, {self.unused} of the file unused"


def _counted(what: str, names: tuple[str, ...], most: int = 4) -> str:
    shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return f"{len(names)} {what}" + (f" ({shown})" if names else "")


def reason_of(error: Exception) -> str:
    """Return the kind and text of another library's error, in one short line."""
    return shorten(f"{type(error).__name__}: {error}", 120, placeholder="...").removesuffix(":")


@torch.no_grad()
def load_pretrained(model: nn.Module, name: str, source: str, *, frames: int = 1) -> LoadReport:
    """Load weights into a timm model that may be shallower, of other channels or of another size.

    Args:
        model: The model, changed in place, and only if all goes well.
        name: timm's name of it.
        source: "hub" for timm's own weights, or the path of a .safetensors, .pth, .pt or .bin file.
        frames: Frames that stand below each other in the model's image.

    Returns:
        What was loaded, adapted and left.

    Raises:
        ConfigError: If the source cannot be read, nothing in it fits, or a shape cannot be adapted.
    """
    given = read_weights(name, source)
    own = model.state_dict()
    if "fc_norm.weight" not in own:  # LayerNorm behind timm's pooling stands before the fusion's.
        given = {key.replace("fc_norm.", "norm.") if key.startswith("fc_norm.") else key: given[key] for key in given}
    found = {key: _fitted(model, key, given[key], own[key], frames, source) for key in given if key in own}
    if not found:
        raise ConfigError(
            f"Expected weights of {name!r} in {source!r}, but none of its {len(given)} tensors belongs to that model; "
            "choose the encoder that they belong to."
        )
    for key, tensor in found.items():
        own[key].copy_(tensor)
    adapted = tuple(key for key, tensor in found.items() if tensor is not given[key])
    return LoadReport(
        name=name,
        source="timm's hub" if source == HUB else Path(source).name,
        loaded=len(found) - len(adapted),
        adapted=adapted,
        left=tuple(key for key in own if key not in found and not key.endswith("num_batches_tracked")),
        unused=len(given) - len(found),
    )


def _fitted(model: nn.Module, key: str, given: Tensor, own: Tensor, frames: int, source: str) -> Tensor:
    """Return a tensor fitted to the model's shape (itself, where nothing is to do)."""
    from timm.models._manipulate import adapt_input_conv

    fitted = given
    if key == "pos_embed" and own.dim() == given.dim() == 3:
        fitted = _positions(model, given, own, frames)
    elif own.dim() == given.dim() == 4 and given.shape[1] == 3 != own.shape[1]:  # The first convolution.
        fitted = adapt_input_conv(own.shape[1], given)
    if fitted.shape != own.shape:
        raise ConfigError(
            f"Expected {key!r} of shape {list(own.shape)} in {source!r}, but it is {list(given.shape)}, which cannot "
            "be adapted; choose the encoder that the weights belong to."
        )
    return fitted


def _positions(model: Any, given: Tensor, own: Tensor, frames: int) -> Tensor:  # noqa: ANN401
    """Return position embeddings of a square grid, resampled to the model's and repeated for each frame.

    Those of a grid that cannot be square come from a model like this one and are taken as they are.
    """
    from timm.layers.pos_embed import resample_abs_pos_embed

    rows, columns = getattr(model.patch_embed, "grid_size", (0, 0))
    prefix = own.shape[1] - rows * columns
    num_given = given.shape[1] - prefix
    if not rows or num_given < 1 or isqrt(num_given) ** 2 != num_given:
        return given
    one = resample_abs_pos_embed(given, new_size=[rows // frames, columns], num_prefix_tokens=prefix)
    return one if frames == 1 else torch.cat([one[:, :prefix], one[:, prefix:].repeat(1, frames, 1)], dim=1)


def read_weights(name: str, source: str) -> Mapping[str, Tensor]:
    """Return the tensors of timm's hub or of a local file by name.

    Raises:
        ConfigError: If they cannot be read.
    """
    return _from_hub(name) if source == HUB else _from_file(Path(source))


def _from_hub(name: str) -> Mapping[str, Tensor]:
    """Return timm's own weights of a model."""
    import timm

    try:
        model: nn.Module = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # Whatever hub and network raise: it never becomes a random start.
        raise ConfigError(
            f"Expected to download the weights of {name!r} from timm's hub, but got {reason_of(error)}; download the "
            "file where there is a network and give --pretrained FILE."
        ) from error
    return model.state_dict()


def _from_file(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a local file, without running any code in it."""
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        got = "no such file" if path.suffix.lower() in SUFFIXES else f"a {path.suffix or 'file without suffix'}"
        raise ConfigError(f"Expected 'hub' or a {', '.join(SUFFIXES)} file to start from, but {str(path)!r} is {got}.")
    try:
        loaded = _read(path)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"Expected weights alone in {str(path)!r}, but it is damaged or holds code, which is never run; save its "
            "state_dict() as .safetensors."
        ) from error
    except Exception as error:  # Damaged files raise errors of nearly any kind.
        raise ConfigError(
            f"Expected weights in {str(path)!r}, but it cannot be read ({reason_of(error)}); download it again."
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not any(isinstance(value, Tensor) for value in loaded.values()):
        raise ConfigError(
            f"Expected a mapping of names to tensors in {str(path)!r}, but got {type(loaded).__name__} without; save a "
            "state_dict()."
        )
    return {str(key).removeprefix("module."): value for key, value in loaded.items() if isinstance(value, Tensor)}


def _read(path: Path) -> Any:  # noqa: ANN401
    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
