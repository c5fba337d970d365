"""Subject: a model as the measures see it: how to call it, change one modality's input and find its attention."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rollingq.controller import RollingQ
from rollingq.errors import DataError, ShapeError, nearest
from rollingq.nn.classifier import MultimodalClassifier
from rollingq.tokens import Tokens

Key = str | int | tuple[str | int, ...]
"""Where something stands in a batch: a key or an index, or a path of them."""


@dataclass(frozen=True)
class Answer:
    """What a model says of one batch."""

    logits: Float[Tensor, "B C"]
    probes: Mapping[str, Float[Tensor, "B C"]] = field(default_factory=dict)
    features: Float[Tensor, "B D"] | None = None
    """What the last linear layer reads."""


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
        for step in _path(key):
            try:
                batch = batch[step]
            except (KeyError, IndexError, TypeError) as error:
                raise DataError(
                    f"Expected {step!r} in a batch, but it holds {_contents(batch)}; say where every modality and the "
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
        """Return the labels of a batch."""
        labels: Tensor = self.get(batch, self.label)
        if not isinstance(labels, Tensor) or labels.dim() != 1 or labels.is_floating_point():
            form = list(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
            raise DataError(f"Expected labels as whole numbers [B], one class a sample, but got {form}.")
        return labels

    def replace(self, batch: Any, changed: Mapping[str, Tensor]) -> Any:  # noqa: ANN401
        """Return a copy of the batch with some modalities' inputs changed; what else it holds is shared."""
        for name, value in changed.items():
            batch = _put(batch, _path(self.inputs[name]), value)
        return batch


def _path(key: Key) -> tuple[str | int, ...]:
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


def _contents(batch: Any) -> str:  # noqa: ANN401
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

    Args:
        batch: The first batch of a loader.
        modalities: Names, in the order of the keys.
        inputs: Modality -> place, where it cannot be guessed.
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
            f"Expected an input for {', '.join(unplaced)} in every batch, but it holds {_contents(batch)}."
            f"{nearest(unplaced[0], map(str, batch)) if isinstance(batch, Mapping) else ''} Say where they stand with "
            f"inputs={{{unplaced[0]!r}: ...}}."
        )
    form = BatchForm(places, _guess_label(batch) if label is None else label)
    form.get(batch, form.label)
    form.modalities(batch)
    return form


def _guess_inputs(batch: Any, modalities: Sequence[str]) -> dict[str, Key]:  # noqa: ANN401
    if isinstance(batch, Mapping):
        return {name: name for name in modalities if name in batch}
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
    return -1


@dataclass(frozen=True)
class Subject:
    """A model under diagnosis.

    Attributes:
        model: The model.
        form: Where inputs and labels stand in a batch.
        call: Batch -> Answer.
        attachment: RollingQ on the attention that is read out (it may only measure), or None.
        layers: Paths of attention layers over ``[cls | modality 1 | ...]``; the last one is read out.
        tokens: Order and number of their key positions.
    """

    model: nn.Module
    form: BatchForm
    call: Callable[[Any], Answer]
    attachment: RollingQ | None = None
    layers: tuple[str, ...] = ()
    tokens: Tokens | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in order."""
        return tuple(self.form.inputs)


def of_classifier(model: MultimodalClassifier, attachment: RollingQ | None) -> Subject:
    """Return one of our models as a subject."""
    form = BatchForm({name: name for name in model.modalities}, "label")
    layers = model.joint_layers
    return Subject(model, form, _Classifier(model), attachment, layers, model.key_lengths if layers else None)


class _Classifier:
    """Calls a MultimodalClassifier; features are its classifier's input, or all encoders' class tokens.

    The first inputs of a batch are encoded once: its variants that change one modality, or the attention alone, do
    not encode the others again.
    """

    def __init__(self, model: MultimodalClassifier) -> None:
        self.model = model
        self._batch: Tensor | None = None
        self._encoded: dict[str, tuple[Tensor, Tensor]] = {}

    def __call__(self, batch: Any) -> Answer:  # noqa: ANN401
        if batch["label"] is not self._batch:
            self._batch, self._encoded = batch["label"], {}
        masks = batch.get("mask", {})
        tokens = {name: self._tokens(name, batch[name], masks.get(name)) for name in self.model.modalities}
        last = getattr(self.model.fusion, "classifier", None)
        with captured_input(last if isinstance(last, nn.Module) else None) as seen:
            output = self.model.fuse(tokens, masks)
        features = seen[-1] if seen else torch.cat(list(output.features.values()), dim=-1)
        return Answer(output.logits, output.probes, features)

    def _tokens(self, name: str, inputs: Tensor, mask: Tensor | None) -> Tensor:
        known = self._encoded.get(name)
        if known is not None and known[0] is inputs:
            return known[1]
        tokens = self.model.encode(name, inputs, mask)
        self._encoded.setdefault(name, (inputs, tokens))
        return tokens


@contextmanager
def captured_input(module: nn.Module | None) -> Iterator[list[Tensor]]:
    """Collect the first argument of every forward of a module while the context is open."""
    seen: list[Tensor] = []
    with ExitStack() as stack:
        if module is not None:
            stack.enter_context(module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach())))
        yield seen


def of_model(
    model: nn.Module,
    form: BatchForm,
    *,
    forward: Callable[[nn.Module, Any], Any] | None,
    features: nn.Module | None,
    attachment: RollingQ | None,
    layers: tuple[str, ...],
    tokens: Tokens,
) -> Subject:
    """Return any model as a subject.

    Args:
        model: The model.
        form: Where inputs and labels stand in a batch.
        forward: Gets model and batch and returns logits ``[B, C]``; if None, see :func:`call_model`.
        features: The layer whose input the features are, or None.
        attachment: RollingQ on the last of the layers.
        layers: Paths of the attention layers.
        tokens: Order and number of their key positions.
    """
    run = forward or (lambda model, batch: call_model(model, batch, form))

    def call(batch: Any) -> Answer:  # noqa: ANN401
        with captured_input(features) as seen:
            logits = logits_of(run(model, batch))
        return Answer(logits, features=seen[-1].flatten(1) if seen else None)

    return Subject(model, form, call, attachment, layers, tokens)


def call_model(model: nn.Module, batch: Any, form: BatchForm) -> Any:  # noqa: ANN401
    """Call a model with a batch without its labels: by keyword where its forward names what the batch holds."""
    if isinstance(batch, Mapping):
        given = {name: value for name, value in batch.items() if name != form.label}
        parameters = inspect.signature(model.forward).parameters
        is_by_name = any(name in parameters for name in given)
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        named = {name: value for name, value in given.items() if takes_any or name in parameters}
        return model(**named) if is_by_name else model(batch)
    label = form.label if isinstance(form.label, int) else len(batch) - 1
    rest = [part for place, part in enumerate(batch) if place != label % len(batch)]
    if len(rest) == 1 and isinstance(rest[0], Mapping):
        return call_model(model, rest[0], form)
    return model(*rest[0]) if len(rest) == 1 and isinstance(rest[0], tuple | list) else model(*rest)


def logits_of(output: Any) -> Float[Tensor, "B C"]:  # noqa: ANN401
    """Return the logits in what a model gave: a tensor, ``.logits``, ``["logits"]`` or the first of a tuple.

    Raises:
        ShapeError: If there are none of the form ``[B, C]`` with C >= 2.
    """
    found = getattr(output, "logits", None)
    if found is None and isinstance(output, Mapping):
        found = output.get("logits")
    elif found is None:
        found = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(found, Tensor) or found.dim() != 2 or found.shape[1] < 2:
        form = list(found.shape) if isinstance(found, Tensor) else type(output).__name__
        raise ShapeError(
            f"Expected the model to return logits [B, C] of at least two classes, but got {form}; give "
            "forward=lambda model, batch: logits."
        )
    return found.detach().float()
