"""Subject: a model as the measures see it: how to call it, change one modality's input and find its attention."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rollingq.controller import RollingQ
from rollingq.errors import DataError, ShapeError
from rollingq.evaluation.batches import BatchForm, contents, on_tensors, path_of
from rollingq.nn.classifier import MultimodalClassifier
from rollingq.tokens import Tokens


@dataclass(frozen=True)
class Answer:
    """What a model says of one batch."""

    logits: Float[Tensor, "B C"]
    probes: Mapping[str, Float[Tensor, "B C"]] = field(default_factory=dict)
    features: Float[Tensor, "B D"] | None = None
    """What the last linear layer reads."""


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
    why_no_keys: str | None = None
    """Why queries and keys cannot be read where attention can be, None if they can."""

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

    def take(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(next(iter((*args, *kwargs.values()))).detach())

    with ExitStack() as stack:
        if module is not None:
            stack.enter_context(module.register_forward_pre_hook(take, with_kwargs=True))
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
    why_no_keys: str | None = None,
    num_classes: int | None = None,
) -> Subject:
    """Return any model as a subject. It gets copies of the batches, which it may change as it likes.

    Args:
        model: The model.
        form: Where inputs and labels stand in a batch.
        forward: Gets model and batch and returns logits ``[B, C]``; if None, see :func:`call_model`.
        features: The layer whose input the features are, or None.
        attachment: RollingQ on the last of the layers.
        layers: Paths of the attention layers.
        tokens: Order and number of their key positions.
        why_no_keys: Why there is no attachment.
        num_classes: How many classes have names, None if none has.
    """
    run = forward or (lambda model, batch: call_model(model, batch, form))

    def call(batch: Any) -> Answer:  # noqa: ANN401
        with captured_input(features) as seen:
            logits = logits_of(run(model, on_tensors(batch, Tensor.clone)))
        if num_classes not in (None, logits.shape[1]):
            raise DataError(
                f"Expected a name for each of the {logits.shape[1]} classes that the model has logits for, but got "
                f"{num_classes}; give classes= in the order of the logits."
            )
        return Answer(logits, features=_features(seen[-1], len(logits)) if seen else None)

    return Subject(model, form, call, attachment, layers, tokens, why_no_keys)


def _features(found: Tensor, num_samples: int) -> Float[Tensor, "B D"]:
    if found.dim() < 2 or len(found) != num_samples:
        raise ShapeError(
            f"Expected the input of features= as [B, ...] of {num_samples} samples, but got {list(found.shape)}; "
            "name a layer that reads one row a sample, such as the classifier."
        )
    return found.flatten(1)


def call_model(model: nn.Module, batch: Any, form: BatchForm) -> Any:  # noqa: ANN401
    """Call a model with a batch without its labels: by keyword where its forward names what the batch holds.

    Raises:
        DataError: If its forward does not take that.
    """
    args, kwargs = _arguments(model, batch, form)
    try:
        inspect.signature(model.forward).bind(*args, **kwargs)
    except TypeError as error:
        raise DataError(
            f"Expected the forward of {type(model).__name__} to take a batch, which holds {contents(batch)}, but it "
            f"does not ({error}); give forward=lambda model, batch: logits."
        ) from error
    return model(*args, **kwargs)


def _arguments(model: nn.Module, batch: Any, form: BatchForm) -> tuple[list[Any], dict[str, Any]]:  # noqa: ANN401
    """Return positional and named arguments of the model."""
    if isinstance(batch, Mapping):
        given = {name: value for name, value in batch.items() if name != form.label}
        parameters = inspect.signature(model.forward).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        needs_one = any(
            p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values()
        )
        is_by_name = any(name in parameters for name in given) or (takes_any and not needs_one)
        named = {name: value for name, value in given.items() if takes_any or name in parameters}
        return ([], named) if is_by_name else ([batch], {})
    label = path_of(form.label)[0]
    place = label if isinstance(label, int) else -1
    places = [index for index in range(len(batch)) if index != place % len(batch)]
    fields, rest = getattr(batch, "_fields", ()), [batch[index] for index in places]
    if set(fields) & set(inspect.signature(model.forward).parameters):
        return _arguments(model, {fields[index]: batch[index] for index in places}, form)
    if len(rest) == 1 and isinstance(rest[0], Mapping):
        return _arguments(model, rest[0], form)
    return (list(rest[0]) if len(rest) == 1 and isinstance(rest[0], tuple | list) else rest), {}


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
