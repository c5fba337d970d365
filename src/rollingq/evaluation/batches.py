"""BatchForm: where the inputs of every modality and the labels stand in somebody's batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from rollingq.errors import DataError, nearest, unknown_name

Key = str | int | tuple[str | int, ...]
"""Where something stands in a batch: a key or an index, or a path of them."""


@dataclass(frozen=True)
class BatchForm:
    """Where the inputs of every modality and the labels stand in a batch.

    Attributes:
        inputs: Modality -> key, index or path of its tensor ``[B, ...]``.
        label: The same of the labels ``[B]``.

    Example:
        >>> form = BatchForm({"audio": (0, 0), "image": (0, 1)}, 1)
        >>> form.get(((torch.ones(2), torch.zeros(2)), torch.tensor([3, 4])), form.label)
        tensor([3, 4])
    """

    inputs: Mapping[str, Key]
    label: Key

    def get(self, batch: Any, key: Key) -> Any:  # noqa: ANN401
        """Return what stands at a key.

        Raises:
            DataError: If nothing does.
        """
        for step in path_of(key):
            try:
                batch = batch[step]
            except (KeyError, IndexError, TypeError) as error:
                raise DataError(
                    f"Expected {step!r} in a batch, but it holds {contents(batch)}; say where every modality and the "
                    "labels stand with inputs= and label=."
                ) from error
        return batch

    def modalities(self, batch: Any) -> dict[str, Tensor]:  # noqa: ANN401
        """Return modality -> its input."""
        return {name: self.get(batch, key) for name, key in self.inputs.items()}

    def mask(self, batch: Any, name: str) -> Tensor | None:  # noqa: ANN401
        """Return where the input of a modality is real, ``[B, T]``, if the batch says so as ours do."""
        masks = batch.get("mask") if isinstance(batch, Mapping) else None
        return masks.get(name) if isinstance(masks, Mapping) else None

    def labels(self, batch: Any) -> Int[Tensor, " B"]:  # noqa: ANN401
        """Return the labels of a batch, given as a tensor, an array or a list of whole numbers ``[B]`` or ``[B, 1]``.

        Raises:
            DataError: If they are anything else.
        """
        found = self.get(batch, self.label)
        try:
            labels = torch.as_tensor(found)
        except (RuntimeError, TypeError, ValueError):
            raise DataError(_labels_text(type(found).__name__)) from None
        labels = labels[:, 0] if labels.dim() == 2 and labels.shape[1] == 1 else labels
        if labels.dim() != 1 or labels.is_floating_point() or labels.is_complex():
            raise DataError(_labels_text(f"{str(labels.dtype).removeprefix('torch.')} {list(labels.shape)}"))
        return labels.long()

    def replace(self, batch: Any, changed: Mapping[str, Tensor]) -> Any:  # noqa: ANN401
        """Return a copy of the batch with some modalities' inputs changed; what else it holds is shared."""
        for name, value in changed.items():
            batch = _put(batch, path_of(self.inputs[name]), value)
        return batch


def _labels_text(found: str) -> str:
    return (
        f"Expected labels as whole numbers [B], one class a sample, but got {found}; give classes, such as "
        "argmax(-1) of one-hot labels."
    )


def on_tensors(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401
    """Return a batch with every tensor changed, in mappings, tuples and lists of its own.

    Example:
        >>> on_tensors({"x": [torch.ones(2)], "name": "a"}, torch.neg)
        {'x': [tensor([-1., -1.])], 'name': 'a'}
    """
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {key: on_tensors(value, change) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        items = [on_tensors(value, change) for value in batch]
        return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)
    return batch


def path_of(key: Key) -> tuple[str | int, ...]:
    """Return a key as a path."""
    return key if isinstance(key, tuple) else (key,)


def _put(batch: Any, path: tuple[str | int, ...], value: Tensor) -> Any:  # noqa: ANN401
    if not path:
        return value
    first, *rest = path
    if isinstance(batch, Mapping):
        return {**batch, first: _put(batch[first], tuple(rest), value)}
    assert isinstance(first, int)
    items = list(batch)
    items[first] = _put(items[first], tuple(rest), value)
    return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)


def contents(batch: Any) -> str:  # noqa: ANN401
    """Return what a batch holds, in words."""
    if isinstance(batch, Mapping):
        return f"the keys {', '.join(map(repr, batch))}"
    if isinstance(batch, Sequence):
        return f"{len(batch)} elements"
    return f"a {type(batch).__name__}"


def find_form(
    batch: Any,  # noqa: ANN401
    modalities: Sequence[str],
    inputs: Mapping[str, Key] | None = None,
    label: Key | None = None,
) -> BatchForm:
    """Return where modalities and labels stand: by name in a mapping, by order in a tuple with the labels last.

    A named tuple whose fields bear the names counts as a mapping.

    Args:
        batch: The first batch of a loader.
        modalities: Names, in the order of the keys.
        inputs: Modality -> place, in any order, where it cannot be guessed.
        label: Place of the labels; "label" or "labels" of a mapping, the last of a tuple, if None.

    Raises:
        DataError: If something cannot be found; the text lists what a batch holds.

    Example:
        >>> find_form({"audio": 0, "image": 1, "label": 2}, ["audio", "image"]).label
        'label'
        >>> find_form(((0, 1), 2), ["audio", "image"]).inputs
        {'audio': (0, 0), 'image': (0, 1)}
    """
    places = dict(inputs) if inputs is not None else _guess_inputs(batch, modalities)
    unplaced = [name for name in modalities if name not in places]
    if unplaced:
        raise DataError(
            f"Expected an input for {', '.join(unplaced)} in every batch, but it holds {contents(batch)}."
            f"{nearest(unplaced[0], map(str, batch)) if isinstance(batch, Mapping) else ''} Say where they stand with "
            f"inputs={{{unplaced[0]!r}: ...}}."
        )
    for name in places:
        if name not in modalities:
            raise DataError(unknown_name("every name in inputs=", name, modalities))
    in_order = {name: places[name] for name in modalities}
    form = BatchForm(in_order, _guess_label(batch) if label is None else label)
    form.get(batch, form.label)
    form.modalities(batch)
    return form


def _guess_inputs(batch: Any, modalities: Sequence[str]) -> dict[str, Key]:  # noqa: ANN401
    if isinstance(batch, Mapping):
        return {name: name for name in modalities if name in batch}
    fields = getattr(batch, "_fields", ())
    if set(modalities) <= set(fields):
        return {name: fields.index(name) for name in modalities}
    if isinstance(batch, Sequence) and len(batch) == len(modalities) + 1:
        return {name: place for place, name in enumerate(modalities)}
    if isinstance(batch, Sequence) and len(batch) == 2:
        inner = batch[0]
        if isinstance(inner, Mapping):
            return {name: (0, name) for name in modalities if name in inner}
        if isinstance(inner, Sequence) and len(inner) == len(modalities):
            return {name: (0, place) for place, name in enumerate(modalities)}
    return {}


def _guess_label(batch: Any) -> Key:  # noqa: ANN401
    if isinstance(batch, Mapping):
        return "labels" if "labels" in batch and "label" not in batch else "label"
    fields = getattr(batch, "_fields", ())
    return next((fields.index(name) for name in ("label", "labels") if name in fields), -1)
