"""What a cell reads off a run and its diagnosis: one pure function a measure."""

import math
from collections.abc import Callable, Mapping, Sequence

from rollingq.evaluation.diagnosis import Diagnosis
from rollingq.evaluation.results import AttentionResult, EpochRecord, RunResult
from rollingq.reproduce.entry import NEEDS

Value = float | str
"""A value, or why there is none."""
NO_ATTENTION = "this method has no attention in which the modalities compete"
NOISE_KIND = "mix"
"""Kind of noise of Table 3: at level 1 it stands in place of the input."""


def read(measure: str, run: RunResult, diagnosis: Diagnosis | None, rho: float) -> Value:
    """Return what a measure says of one run, or why it says nothing.

    Args:
        measure: Name and argument, such as "mass:audio" or "noise:audio:0.25".
        run: The run.
        diagnosis: Its diagnosis, where the measure needs one.
        rho: Sensitivity of RollingQ's anchor (Eq. 11).
    """
    kind, _, argument = measure.partition(":")
    if kind in NEEDS:
        assert diagnosis is not None, "an entry that needs a diagnosis has one made"
        value = _DIAGNOSED[kind](diagnosis, argument)
    elif kind in _ATTENTION:
        value = NO_ATTENTION if run.attention is None else _ATTENTION[kind](run.attention, argument)
    elif kind == "weight":
        value = _weight(run, argument, rho)
    else:
        value = _TRAINED[kind](run, argument)
    return "it is not defined" if isinstance(value, float) and not math.isfinite(value) else value


def biased_modality(runs: Sequence[RunResult]) -> str | None:
    """Return the modality that attention favours before RollingQ changes it, None where that is not known.

    It is the one whose attention lies furthest above its share of the tokens in the runs without RollingQ; if there
    are none, the one with the largest cosine in the epoch of the first rotation.

    Args:
        runs: Of all methods.
    """
    plain = [run.attention for run in runs if "rollingq" not in run.method and run.attention is not None]
    if plain:
        return _largest([{name: a.score[name] - a.token_share[name] for name in a.score} for a in plain])
    places = [(run, _first_rotation(run)) for run in runs]
    return _largest([run.history[place].cosines or {} for run, place in places if place is not None])


def _largest(rows: Sequence[Mapping[str, float]]) -> str | None:
    """Return the name with the largest sum over the rows."""
    names = [name for row in rows for name in row]
    return max(names, key=lambda name: math.fsum(row.get(name, 0.0) for row in rows), default=None)


def _noise(diagnosis: Diagnosis, argument: str) -> Value:
    modality, _, level = argument.partition(":")
    for curve in diagnosis.curves:
        if (curve.kind, curve.modality) == (NOISE_KIND, modality):
            for point in curve.points:
                if point.level == float(level):
                    return 100 * math.fsum(point.accuracy) / len(point.accuracy)
    return diagnosis.undefined.get("noise", f"{modality} was not read at noise level {level}")


def _edited(diagnosis: Diagnosis, name: str, field: str, sign: int) -> Value:
    for found in diagnosis.interventions:
        if found.name == name:
            return sign * 100 * float(getattr(found, field))
    return diagnosis.undefined.get("interventions", f"attention was not edited by {name!r}")


def _detection(diagnosis: Diagnosis, argument: str) -> Value:
    kind, _, field = argument.partition(":")
    for result in diagnosis.ood:
        if result.kind == kind:
            if field == "inside_accuracy":
                return 100 * result.inside_accuracy
            values = [float(getattr(d, field)) for d in result.detections if d.score == "gen"]
            return 100 * values[0] if values else "the score gen is not defined"
    return diagnosis.undefined.get("ood", f"no samples of kind {kind!r} from outside")


_DIAGNOSED: Mapping[str, Callable[[Diagnosis, str], Value]] = {
    "noise": _noise,
    "intervention": lambda found, name: _edited(found, name, "accuracy", 1),
    "change": lambda found, name: _edited(found, name, "drop", -1),
    "ood": _detection,
}


def _mean_cosine(found: AttentionResult, modality: str) -> Value:
    return _mean(found.noisy[modality].cosine[modality])


def _trusted(found: AttentionResult, modality: str) -> Value:
    p = found.correlation[modality].p
    return 100.0 * (p < 0.01) if math.isfinite(p) else p


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _fall(found: AttentionResult, modality: str) -> Value:
    return 100 * (found.score[modality] - found.score_under_noise[modality][modality])


_ATTENTION: Mapping[str, Callable[[AttentionResult, str], Value]] = {
    "mass": lambda found, name: 100 * found.score[name],
    "noisy_mass": lambda found, name: 100 * found.score_under_noise[name][name],
    "fall": _fall,
    "correlation": lambda found, name: abs(found.correlation[name].r),
    "signed_correlation": lambda found, name: found.correlation[name].r,
    "trusted": _trusted,
    "cosine": lambda found, name: found.cosines[name],
    "noisy_cosine": _mean_cosine,
    "gap": lambda found, _: abs(found.air),
    "key_norm": lambda found, name: _mean(found.clean.key_norm[name]),
}


def _first_rotation(run: RunResult) -> int | None:
    """Return the place in the history of the first epoch at whose end the query was rotated."""
    return next((place for place, record in enumerate(run.history) if record.rotated), None)


def _at_rotation(run: RunResult, get: Callable[[EpochRecord], float | None], later: int = 0) -> Value:
    """Return a value of the epoch of the first rotation, or of one some epochs later."""
    place = _first_rotation(run)
    if place is None:
        return "no rotation took place"
    if place + later >= len(run.history):
        return "the first rotation came after the last epoch"
    value = get(run.history[place + later])
    return "it was not recorded" if value is None else value


def _of(mapping: dict[str, float] | None, name: str, scale: float = 1.0) -> float | None:
    return None if mapping is None or name not in mapping else scale * mapping[name]


def _weight(run: RunResult, modality: str, rho: float) -> Value:
    """Return the modality's share of the anchor: softmax of -2 rho cos (Eq. 11 at two modalities)."""

    def share(record: EpochRecord) -> float | None:
        if record.cosines is None:
            return None
        mine = record.cosines[modality]
        return 1 / math.fsum(math.exp(min(2 * rho * (mine - other), 700)) for other in record.cosines.values())

    return _at_rotation(run, share)


def _gradient(run: RunResult, modality: str) -> Value:
    found = [_of(record.gradient_norm, modality) for record in run.history]
    norms = [norm for norm in found if norm is not None]
    return _mean(norms) if norms else "no gradient norms were recorded"


def _larger(run: RunResult, modality: str) -> Value:
    norms = [record.gradient_norm for record in run.history if record.gradient_norm]
    if not norms:
        return "no gradient norms were recorded"
    return 100 * sum(max(found, key=lambda name: found[name]) == modality for found in norms) / len(norms)


def _gradient_ratio(run: RunResult, _: str) -> Value:
    """Return the largest mean gradient norm of an encoder over the smallest."""
    norms = [_gradient(run, name) for name in run.modalities]
    values = [norm for norm in norms if isinstance(norm, float)]
    if len(values) < len(norms):
        return "no gradient norms were recorded"
    return max(values) / min(values) if min(values) else math.nan


def _mass_gap(run: RunResult, _: str) -> Value:
    """Return by how much attention differs between the modalities in the last epoch of training, in points."""
    masses = [_last_mass(run, name) for name in run.modalities]
    values = [mass for mass in masses if isinstance(mass, float)]
    return max(values) - min(values) if len(values) == len(masses) else "attention in training was not recorded"


def _last_mass(run: RunResult, modality: str) -> Value:
    value = _of(run.history[-1].attention_score, modality, 100) if run.history else None
    return "attention in training was not recorded" if value is None else value


_TRAINED: Mapping[str, Callable[[RunResult, str], Value]] = {
    "accuracy": lambda run, _: 100 * run.test_accuracy,
    "rotations": lambda run, _: float(run.num_rotations),
    "angle": lambda run, _: _at_rotation(run, lambda record: record.angle),
    "cosine_before": lambda run, name: _at_rotation(run, lambda record: _of(record.cosines, name)),
    "cosine_after": lambda run, name: _at_rotation(run, lambda record: _of(record.cosines, name), 1),
    "mass_before": lambda run, name: _at_rotation(run, lambda record: _of(record.attention_score, name, 100)),
    "mass_after": lambda run, name: _at_rotation(run, lambda record: _of(record.attention_score, name, 100), 1),
    "gradient": _gradient,
    "larger_gradient": _larger,
    "last_mass": _last_mass,
    "gradient_ratio": _gradient_ratio,
    "mass_gap": _mass_gap,
}
