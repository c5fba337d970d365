"""rollingq.diagnose: everything that is measured, on anybody's trained model, without training anything."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from rollingq.attachment import attach, attachments
from rollingq.attachment.find import locate
from rollingq.config import DiagnoseConfig
from rollingq.controller import RollingQ
from rollingq.data.spec import Kind
from rollingq.data.view import Panel
from rollingq.errors import AttachError, DataError
from rollingq.evaluation.compare import compare
from rollingq.evaluation.diagnose import Diagnosed, Material, Outside, diagnose_subject
from rollingq.evaluation.provenance import versions
from rollingq.evaluation.results import Comparison, RunResult
from rollingq.evaluation.subject import BatchForm, Key, find_form, of_model
from rollingq.reporting.pictures import with_pictures
from rollingq.reporting.report import Report
from rollingq.tokens import Tokens


def diagnose(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    layer: str | Sequence[str],
    tokens: Tokens,
    modalities: Sequence[str] | None = None,
    inputs: Mapping[str, Key] | None = None,
    label: Key | None = None,
    forward: Callable[[nn.Module, Any], Any] | None = None,
    features: str | None = None,
    train_loader: Iterable[Any] | None = None,
    outside: Mapping[str, Iterable[Any]] | None = None,
    classes: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    name: str = "model",
    **options: Any,  # noqa: ANN401
) -> Report:
    """Measure how a trained classifier uses its modalities: attention, noise, interventions, OOD, Shapley values.

    The model is only read: it is put into eval mode while it is, and left as it was.

    Args:
        model: Any classifier that attends over the tokens of several modalities in one softmax.
        loader: Test batches, a mapping or a tuple with the labels last; read more than once, in one order.
        layer: Path of the attention layer that is read out; of several, the last one. All of them are edited.
        tokens: Order and number of their key positions, as for :func:`rollingq.attach`.
        modalities: Names of the modalities; only beside a callable for ``tokens``.
        inputs: Modality -> key or index of its input in a batch (or a path of them); found by name or order if None.
        label: Key or index of the labels; "label", "labels" or the last element if None.
        forward: Gets model and batch, returns logits ``[B, C]``. If None: the model gets what its forward names, or
            the whole batch (a mapping), or all elements but the labels (a tuple).
        features: Path of the layer whose input the detectors of outside samples read, such as "classifier".
        train_loader: Training batches in the form of the test batches, for detectors that are fitted.
        outside: Name -> loader over samples of none of the classes; their labels are not read.
        classes: Names of the classes.
        names: Names of the test samples.
        name: Name of the model in the report.
        **options: Settings of :class:`rollingq.config.DiagnoseConfig` (measures, kinds, levels, noise_seeds ...).

    Returns:
        A report: ``print(report)``, ``report.verdict``, ``report.save("out")``, ``report.to_json()``.

    Raises:
        AttachError: If a layer does not exist or is not attention over several modalities.
        DataError: If inputs or labels cannot be found in a batch, or there is no sample.

    Example:
        >>> from rollingq.data.registry import load
        >>> from rollingq.data.samplers import make_loader
        >>> from rollingq.nn.registry import build_model
        >>> from rollingq.config import EncoderConfig
        >>> data = load("av_digits")
        >>> model = build_model("mt", data.shapes, 10, EncoderConfig(dim=8, num_heads=2, num_layers=1))
        >>> loader = make_loader(data.splits["val"], 64, 0, shuffle=False)
        >>> report = diagnose(model, loader, layer="fusion.attention", tokens=model.key_lengths, measures=())
        >>> len(report.comparison.runs)
        1
    """
    config = DiagnoseConfig(**options)
    layers = (layer,) if isinstance(layer, str) else tuple(layer)
    if not layers:
        raise AttachError("Expected at least one attention layer, but got none; see rollingq.find(model).")
    start = time.perf_counter()
    with measuring(model, layers[-1], tokens, modalities) as attachment:
        form = find_form(_first(loader), attachment.modalities, inputs, label)
        subject = of_model(
            model,
            form,
            forward=forward,
            features=None if features is None else locate(model, features),
            attachment=attachment,
            layers=layers,
            tokens=tokens,
        )
        sets = [Outside(title, "far", part) for title, part in (outside or {}).items()]
        material = Material(loader, _length(loader), train_loader, sets, names or ())
        found = diagnose_subject(subject, material, config, method=name)
        num_rotations = int(attachment.num_rotations)
    run = _run(name, attachment.modalities, model, found, num_rotations, time.perf_counter() - start)
    diagnosis = with_pictures(found.diagnosis, lambda indices: inputs_of(loader, form, indices))
    found = replace(found, diagnosis=diagnosis)
    return Report(_comparison(run, found, classes, {"layer": list(layers), "tokens": str(tokens), **vars(config)}))


@contextmanager
def measuring(
    model: nn.Module, path: str, tokens: Tokens, modalities: Sequence[str] | None = None
) -> Iterator[RollingQ]:
    """Give the attachment on a layer, or one that only measures and is taken off again.

    Args:
        model: The model.
        path: Path of the attention layer.
        tokens: Order and number of its key positions.
        modalities: Names, beside a callable for ``tokens``.
    """
    layer = locate(model, path)
    there = next((att for att in attachments(model) if any(entered is layer for entered in att.layers)), None)
    attachment = there or attach(model, path, tokens=tokens, modalities=modalities, max_rotations=0)
    try:
        yield attachment
    finally:
        if there is None:
            attachment.detach()


def inputs_of(loader: Iterable[Any], form: BatchForm, indices: Sequence[int]) -> dict[int, dict[str, Panel]]:
    """Return the inputs of some samples of a loader as they can be drawn; what has no usual form is left out.

    Args:
        loader: Batches, in the order in which samples are numbered.
        form: Where modalities stand in a batch.
        indices: Numbers of the samples.
    """
    wanted, found, first = sorted(set(indices)), {}, 0
    for batch in loader:
        if not wanted or wanted[-1] < first:
            break
        inputs = form.modalities(batch)
        number = len(form.labels(batch))
        for index in (i for i in wanted if first <= i < first + number):
            panels = {name: _panel(values[index - first]) for name, values in inputs.items()}
            found[index] = {name: panel for name, panel in panels.items() if panel is not None}
        first += number
    return found


def _panel(values: Tensor) -> Panel | None:
    """Return one sample's input by its form: tokens ``[T, F]``, an image ``[C, H, W]`` or frames ``[T, C, H, W]``."""
    kinds: dict[int, Kind] = {2: "tokens", 3: "image", 4: "frames"}
    kind = kinds.get(values.dim())
    if kind is None or (kind != "tokens" and values.shape[-3] not in (1, 3)) or not values.numel():
        return None
    return Panel(kind, values.detach().cpu().float().numpy(), None)


def _first(loader: Iterable[Any]) -> Any:  # noqa: ANN401
    iterator = iter(loader)
    if iterator is loader:
        raise DataError(
            f"Expected a loader that can be read again from its start, but got a {type(loader).__name__}, which is "
            "used up after one reading; give a DataLoader or a list of batches."
        )
    try:
        return next(iterator)
    except StopIteration:
        raise DataError("Expected at least one test sample, but the loader gave none.") from None


def _length(loader: Any) -> int:  # noqa: ANN401
    return len(loader) if hasattr(loader, "__len__") else 0


def _run(
    name: str, modalities: tuple[str, ...], model: nn.Module, found: Diagnosed, num_rotations: int, seconds: float
) -> RunResult:
    return RunResult(
        method=name,
        seed=0,
        modalities=list(modalities),
        selection="as given",
        best_epoch=None,
        val_accuracy=float("nan"),
        test_accuracy=found.diagnosis.accuracy,
        accuracy_under_noise=found.accuracy_under_noise,
        probes=found.probes,
        num_parameters=sum(p.numel() for p in model.parameters()),
        seconds=seconds,
        attention=found.attention,
        num_rotations=num_rotations,
    )


def _comparison(
    run: RunResult, found: Diagnosed, classes: Sequence[str] | None, config: Mapping[str, Any]
) -> Comparison:
    summaries, differences = compare([run])
    return Comparison(
        title=f"{run.method}: {' + '.join(run.modalities)}",
        data="the given loader",
        modalities=run.modalities,
        classes=list(classes or map(str, range(found.num_classes))),
        num_samples={"test": found.diagnosis.num_samples},
        chance=found.chance,
        summaries=summaries,
        differences=differences,
        runs=[run],
        config=dict(config),
        manifest={},
        versions=versions(),
        diagnoses=[found.diagnosis],
    )
