"""diagnose_subject: read a model in all variants of a plan, and turn what was seen into a Diagnosis."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from rollingq.config import DiagnoseConfig
from rollingq.errors import DataError
from rollingq.evaluation.attention import attention_result
from rollingq.evaluation.diagnosis import (
    Contribution,
    Diagnosis,
    Intervention,
    NoiseCurve,
    NoisePoint,
    OODResult,
    Sample,
)
from rollingq.evaluation.interventions import changes_nothing, interventions
from rollingq.evaluation.ood import Readings, detect
from rollingq.evaluation.reading import Kept, Reading, read
from rollingq.evaluation.results import AttentionResult
from rollingq.evaluation.scales import measure_scales
from rollingq.evaluation.shapley import coalition_name, shapley_values
from rollingq.evaluation.subject import Subject
from rollingq.evaluation.variants import CLEAN, MAX_COALITIONS, Plan, make_plan

IDLE = "the attention has no query rows of a modality, only class rows, so there is no quadrant to average"
"""Why an edit of quadrants is not defined."""

Loader = Iterable[Any]
OnProgress = Callable[[int, int], None]
"""Called with forward passes done and in all (0 = not known)."""


@dataclass(frozen=True)
class Outside:
    """Samples from outside of the distribution: what they are, "near" or "far", and a loader over them."""

    name: str
    kind: Literal["near", "far"]
    loader: Loader


@dataclass(frozen=True)
class Material:
    """The data of a diagnosis.

    Attributes:
        test: Loader over the test samples, in their order.
        num_batches: Its number of batches, 0 if not known.
        train: Loader over training samples, for the mean input and the detectors that are fitted; None = test.
        outside: Sets from outside of the distribution.
        names: A name for every test sample; numbers if empty.
        is_normalised: Whether inputs have mean 0 and deviation 1 over the training split; measured if not.
    """

    test: Loader
    num_batches: int = 0
    train: Loader | None = None
    outside: Sequence[Outside] = ()
    names: Sequence[str] = ()
    is_normalised: bool = False


@dataclass(frozen=True)
class Diagnosed:
    """A diagnosis, and what stands beside it in a RunResult."""

    diagnosis: Diagnosis
    attention: AttentionResult | None
    accuracy_under_noise: dict[str, float]
    probes: dict[str, float]
    num_classes: int
    chance: float
    """Accuracy of always guessing the most frequent class."""


def diagnose_subject(
    subject: Subject,
    material: Material,
    config: DiagnoseConfig,
    *,
    method: str,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Diagnosed:
    """Measure everything on one model; each test sample is read once a variant, however many measures need it.

    Args:
        subject: The model.
        material: The data.
        config: Which measures.
        method: Name of the model.
        seed: Its seed; the noise takes seeds from there on.
        on_progress: Called after each forward pass over the test samples.

    Raises:
        DataError: If the loader gives nothing, or a batch of another form.
    """
    scales, fixed = measure_scales(
        subject.form,
        material.test if material.train is None else material.train,
        is_normalised=material.is_normalised,
        needs_mean="contributions" in config.measures,
    )
    changeable = tuple(name for name in subject.modalities if name not in fixed)
    edits = {edit.name: edit for edit in (interventions(subject.modalities) if subject.layers else ())}
    plan = make_plan(config, subject.modalities, changeable, edits, first_seed=seed)
    progress = _Progress(len(plan.variants) * material.num_batches, on_progress)
    found = read(
        subject, material.test, plan.variants, kept=plan.kept, scales=scales, edits=edits, on_pass=progress.move
    )
    if not found[CLEAN].parts:
        raise DataError("Expected at least one test sample, but the loader gave none.")
    clean = found[CLEAN].kept()
    noisy = {name: found[variant].kept() for name, variant in plan.noise.items()}
    idle = [name for name in plan.edits if changes_nothing(edits[name], found[CLEAN].rows)]
    undefined = _undefined(subject, config, fixed) | ({"interventions of quadrants": IDLE} if idle else {})
    undefined |= _without_numbers(clean, found[CLEAN].bins.num_undefined)
    outside = _detections(subject, material, clean, undefined) if "ood" in config.measures else []
    diagnosis = Diagnosis(
        method=method,
        seed=seed,
        num_samples=found[CLEAN].bins.num_samples,
        accuracy=found[CLEAN].bins.accuracy,
        ece=found[CLEAN].bins.ece,
        curves=_curves(plan, found, subject.modalities),
        interventions=[edit for edit in _interventions(plan, found) if edit.name not in idle],
        ood=outside,
        contributions=_contributions(plan, found, subject.modalities),
        samples=_samples(clean, noisy, material.names, subject.modalities, config),
        layers=list(subject.layers),
        num_passes=len(plan.variants),
        undefined=undefined,
        settings={name: list(v) if isinstance(v, tuple) else v for name, v in asdict(config).items()},
    )
    return Diagnosed(
        diagnosis,
        attention_result(clean, noisy, subject.modalities),
        {name: found[variant].bins.accuracy for name, variant in plan.noise.items()},
        {name: bins.accuracy for name, bins in found[CLEAN].probes.items()},
        clean.logits.shape[1],
        float(clean.labels.bincount().max() / len(clean.labels)),
    )


def _without_numbers(clean: Kept, num_logits: int) -> dict[str, str]:
    """Return what NaN or infinity in some samples leaves without a mean."""
    num_scores = 0 if clean.scores is None else int((~clean.scores.isfinite().all(-1)).sum())
    counts = {"accuracy": ("logits", num_logits), "attention": ("attention weights", num_scores)}
    return {
        name: f"the {what} of {num} of {len(clean.labels)} samples hold NaN or infinity"
        for name, (what, num) in counts.items()
        if num
    }


class _Progress:
    def __init__(self, total: int, call: OnProgress | None) -> None:
        self._done, self._total, self._call = 0, total, call

    def move(self) -> None:
        self._done += 1
        if self._call is not None:
            self._call(self._done, self._total)


def _undefined(subject: Subject, config: DiagnoseConfig, fixed: Mapping[str, str]) -> dict[str, str]:
    """Return measure -> why it is not defined."""
    reasons = {f"noise:{name}": why for name, why in fixed.items()}
    if subject.why_no_keys is not None:
        reasons["average keys"] = reasons["AIR"] = subject.why_no_keys
    asked = set(config.measures)
    if not subject.layers:
        reasons["attention"] = "modalities share no softmax in this model"
        if "interventions" in asked:
            reasons["interventions"] = "modalities share no softmax in this model, so there is no attention to edit"
    if "contributions" in asked and fixed:
        reasons["contributions"] = "; ".join(f"{name} cannot be replaced: {why}" for name, why in fixed.items())
    if "contributions" in asked and len(subject.modalities) > MAX_COALITIONS:
        reasons["contributions"] = f"more than {MAX_COALITIONS} modalities have too many coalitions to read"
    return reasons


def _curves(plan: Plan, found: Mapping[Any, Reading], modalities: tuple[str, ...]) -> list[NoiseCurve]:
    return [
        NoiseCurve(
            kind,
            modality,
            [
                _point(level, [found[variant] for variant in variants], modalities.index(modality))
                for level, variants in {0.0: [CLEAN], **levels}.items()
            ],
        )
        for (kind, modality), levels in plan.curves.items()
    ]


def _point(level: float, readings: Sequence[Reading], column: int) -> NoisePoint:
    scores = [reading.scores for reading in readings]
    mass = [score[column] for score in scores if score is not None]
    accuracy, ece = ([getattr(r.bins, name) for r in readings] for name in ("accuracy", "ece"))
    return NoisePoint(level, accuracy, ece, mass or None)


def _interventions(plan: Plan, found: Mapping[Any, Reading]) -> list[Intervention]:
    clean = found[CLEAN].bins.accuracy
    accuracy = {name: found[variant].bins.accuracy for name, variant in plan.edits.items()}
    return [Intervention(name, value, clean - value) for name, value in accuracy.items()]


def _contributions(plan: Plan, found: Mapping[Any, Reading], modalities: tuple[str, ...]) -> list[Contribution]:
    made = []
    for absent, variants in plan.coalitions.items():
        accuracy = {present: found[variant].bins.accuracy for present, variant in variants.items()}
        named = {coalition_name(present, modalities): value for present, value in accuracy.items()}
        made.append(Contribution(absent, shapley_values(accuracy, modalities), named))
    return made


def _detections(subject: Subject, material: Material, clean: Kept, undefined: dict[str, str]) -> list[OODResult]:
    """Return a result for every outside set; what is not defined is added to ``undefined``."""
    if not material.outside:
        undefined["ood"] = "no samples from outside of the distribution were given"
        return []
    train = None if material.train is None else read(subject, material.train, [CLEAN], kept=[CLEAN])[CLEAN].kept()
    results: list[OODResult] = []
    for outside in material.outside:
        seen = read(subject, outside.loader, [CLEAN], kept=[CLEAN], is_labelled=False)[CLEAN]
        if not seen.parts:
            undefined[f"ood:{outside.name}"] = f"there are no samples in {outside.name}"
            continue
        fitted = None if train is None else _readings(train)
        result, reasons = detect(outside.name, outside.kind, _readings(clean), _readings(seen.kept()), train=fitted)
        results.append(result)
        undefined |= {name.replace(f"ood:{outside.kind}", f"ood:{outside.name}"): why for name, why in reasons.items()}
    return results


def _readings(kept: Kept) -> Readings:
    return Readings(kept.logits, kept.features, kept.labels)


def _samples(
    clean: Kept, noisy: Mapping[str, Kept], names: Sequence[str], modalities: tuple[str, ...], config: DiagnoseConfig
) -> list[Sample]:
    """Return the samples of the browser, thinned evenly beyond ``config.max_samples``."""
    if "samples" not in config.measures:
        return []
    total = len(clean.labels)
    number = min(total, config.max_samples)
    chosen = [i * total // number for i in range(number)]
    probability, prediction = clean.logits.softmax(-1).max(-1)
    return [
        Sample(
            name=names[i] if names else str(i),
            label=int(clean.labels[i]),
            prediction=int(prediction[i]),
            probability=round(float(probability[i]), 4),
            attention=_at(clean.scores, i, modalities),
            attention_under_noise={
                name: found[name] for name, kept in noisy.items() if (found := _at(kept.scores, i, modalities))
            },
            index=i,
        )
        for i in chosen
    ]


def _at(scores: Tensor | None, index: int, modalities: tuple[str, ...]) -> dict[str, float]:
    if scores is None:
        return {}
    row = torch.round(scores[index].double(), decimals=4).tolist()
    return dict(zip(modalities, row, strict=True))
