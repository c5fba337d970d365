"""rollingq.diagnose: everything that is measured, on anybody's trained model, without training anything."""

import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from operator import length_hint
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import RandomSampler

from rollingq.attachment.find import locate
from rollingq.config import DiagnoseConfig
from rollingq.data.spec import Kind
from rollingq.data.view import Panel
from rollingq.errors import AttachError, ConfigError, DataError, unknown_name
from rollingq.evaluation.batches import BatchForm, Key, find_form
from rollingq.evaluation.compare import compare
from rollingq.evaluation.diagnose import Diagnosed, Material, Outside, diagnose_subject
from rollingq.evaluation.diagnosis import Diagnosis
from rollingq.evaluation.entering import Entry, entered
from rollingq.evaluation.provenance import versions
from rollingq.evaluation.results import Comparison, RunResult
from rollingq.evaluation.subject import of_model
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

    The model is only read: it is put into eval mode while it is, and left as it was, as are torch's random numbers.
    It gets copies of the batches.

    Args:
        model: Any classifier that attends over the tokens of several modalities in one softmax.
        loader: Test batches, a mapping or a tuple with the labels last; read more than once, in one order.
        layer: Path of the attention layer that is read out; of several, the last one. All of them are edited. Where
            it has no query and key projections that RollingQ can enter (:func:`rollingq.find` lists those that do),
            all is measured but AIR and average keys.
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
        names: Names of the test samples, in the loader's order.
        name: Name of the model in the report.
        **options: Settings of :class:`rollingq.config.DiagnoseConfig` (measures, kinds, levels, noise_seeds ...).

    Returns:
        A report: ``print(report)``, ``report.verdict``, ``report.save("out")``, ``report.to_json()``.

    Raises:
        AttachError: If a layer does not exist or is not attention over several modalities.
        ConfigError: If an option is unknown or outside its range.
        DataError: If inputs or labels cannot be found in a batch, or there is no sample.
        ShapeError: If the model does not return logits ``[B, C]``.

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
    config = _config(options)
    layers = (layer,) if isinstance(layer, str) else tuple(layer)
    if not layers:
        raise AttachError("Expected at least one attention layer, but got none; see rollingq.find(model).")
    for given in (loader, *([] if train_loader is None else [train_loader])):
        _check_repeats(given)
    start = time.perf_counter()
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})

    def run_on(entry: Entry) -> tuple[Diagnosed, BatchForm]:
        form = find_form(_first(loader), entry.modalities, inputs, label)
        _check_names(names, loader, form)
        subject = of_model(
            model,
            form,
            forward=forward,
            features=None if features is None else locate(model, features),
            attachment=entry.attachment,
            layers=layers,
            tokens=tokens,
            why_no_keys=entry.reason,
            num_classes=None if classes is None else len(classes),
        )
        sets = [Outside(title, "far", part) for title, part in (outside or {}).items()]
        material = Material(loader, length_hint(loader), train_loader, sets, names or ())
        return diagnose_subject(subject, material, config, method=name), form

    with torch.random.fork_rng(devices):
        (found, form), entry = entered(model, layers[-1], tokens, modalities, run_on)
        seconds = time.perf_counter() - start
        found = replace(found, diagnosis=_with_pictures(found.diagnosis, loader, form))
    run = _run(name, entry, model, found, seconds)
    shown = "a function of the forward's arguments" if callable(tokens) else str(tokens)
    settings = {"layer": list(layers), "tokens": shown, **found.diagnosis.settings}
    return Report(_comparison(run, found, classes, settings))


def _config(options: Mapping[str, Any]) -> DiagnoseConfig:
    arguments = (p.name for p in inspect.signature(diagnose).parameters.values() if p.kind is not p.VAR_KEYWORD)
    known = [*arguments, *(field.name for field in fields(DiagnoseConfig))]
    for option in options:
        if option not in known:
            raise ConfigError(unknown_name("every argument of diagnose", option, known))
    return DiagnoseConfig(**options)


def _check_repeats(loader: Iterable[Any]) -> None:
    if isinstance(loader, Iterator):
        raise DataError(
            f"Expected a loader that can be read again from its start, but got a {type(loader).__name__}, which is "
            "used up after one reading; give a DataLoader or a list of batches."
        )


def _check_names(names: Sequence[str] | None, loader: Iterable[Any], form: BatchForm) -> None:
    """Raise DataError unless every test sample has a name."""
    if names is None:
        return
    if isinstance(getattr(loader, "sampler", None), RandomSampler):
        raise DataError("Expected a loader that keeps its order beside names=, but it shuffles; use shuffle=False.")
    number = sum(len(form.labels(batch)) for batch in loader)
    if len(names) != number:
        raise DataError(f"Expected a name for each of {number} test samples, but got {len(names)}; mend names=.")


def _with_pictures(diagnosis: Diagnosis, loader: Iterable[Any], form: BatchForm) -> Diagnosis:
    """Return the diagnosis with pictures of its samples, or the reason why there are none."""
    labels = {sample.index: sample.label for sample in diagnosis.samples}
    has_moved = False

    def panels_of(indices: Sequence[int]) -> Mapping[int, Mapping[str, Panel]]:
        nonlocal has_moved
        panels = inputs_of(loader, form, {index: labels[index] for index in indices})
        has_moved = len(panels) < len(indices)
        return panels

    found = with_pictures(diagnosis, panels_of)
    why = {"pictures": "the loader gives its samples in another order at every reading, so none can be found again"}
    return replace(found, undefined={**found.undefined, **why}) if has_moved else found


def inputs_of(loader: Iterable[Any], form: BatchForm, labels: Mapping[int, int]) -> dict[int, dict[str, Panel]]:
    """Return the inputs of some samples of a loader as they can be drawn; what has no usual form is left out.

    Args:
        loader: Batches, in the order in which samples are numbered.
        form: Where modalities stand in a batch.
        labels: Number of the sample -> its label; if one has another label now, nothing is returned.
    """
    wanted, found, first = sorted(labels), {}, 0
    for batch in loader if wanted else ():
        inputs, now = form.modalities(batch), form.labels(batch)
        for index in (i for i in wanted if first <= i < first + len(now)):
            if int(now[index - first]) != labels[index]:
                return {}
            panels = {name: _panel(values[index - first]) for name, values in inputs.items()}
            found[index] = {name: panel for name, panel in panels.items() if panel is not None}
        first += len(now)
        if wanted[-1] < first:
            break
    return found


def _panel(values: Any) -> Panel | None:  # noqa: ANN401
    """Return one sample's input by its form: tokens ``[T, F]``, an image ``[C, H, W]`` or frames ``[T, C, H, W]``."""
    kinds: dict[int, Kind] = {2: "tokens", 3: "image", 4: "frames"}
    kind = kinds.get(values.dim()) if isinstance(values, Tensor) else None
    if kind is None or (kind != "tokens" and values.shape[-3] not in (1, 3)) or not values.numel():
        return None
    return Panel(kind, values.detach().cpu().float().numpy(), None)


def _first(loader: Iterable[Any]) -> Any:  # noqa: ANN401
    try:
        return next(iter(loader))
    except StopIteration:
        raise DataError("Expected at least one test sample, but the loader gave none.") from None


def _run(name: str, entry: Entry, model: nn.Module, found: Diagnosed, seconds: float) -> RunResult:
    return RunResult(
        method=name,
        seed=0,
        modalities=list(entry.modalities),
        selection="as given",
        best_epoch=None,
        val_accuracy=float("nan"),
        test_accuracy=found.diagnosis.accuracy,
        accuracy_under_noise=found.accuracy_under_noise,
        probes=found.probes,
        num_parameters=sum(p.numel() for p in model.parameters()),
        seconds=seconds,
        attention=found.attention,
        num_rotations=0 if entry.attachment is None else int(entry.attachment.num_rotations),
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
