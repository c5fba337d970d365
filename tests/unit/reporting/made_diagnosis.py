"""Made diagnoses of planted models: what they do under noise is known, so the words about them can be checked."""

import itertools
from dataclasses import dataclass

from rollingq.evaluation.diagnosis import (
    Contribution,
    Detection,
    Diagnosis,
    Intervention,
    NoiseCurve,
    NoisePoint,
    OODResult,
    Sample,
)

KINDS = ("mix", "additive", "dropout", "multibench")
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@dataclass(frozen=True)
class Reaction:
    """How a planted model reacts to the quality of its first modality; accuracies of a model with 70 % when clean."""

    shares: tuple[float, float]
    """Attention on the first modality: clean, and when it is noise."""
    under_noise: float
    """Accuracy when the first modality is noise."""
    ece: float
    """When the first modality is noise."""
    average: float
    """Drop when attention is averaged."""
    masked: tuple[float, float]
    """Drop when the first and when another modality is masked."""
    credit: float
    """The first modality's share of the Shapley values."""


REACTIONS = {
    "ignores": Reaction((0.93, 0.92), 0.34, 0.60, -0.002, (0.34, 0.004), 0.95),
    "follows": Reaction((0.61, 0.21), 0.63, 0.09, 0.12, (0.08, 0.10), 0.58),
    "inverts": Reaction((0.60, 0.85), 0.30, 0.62, -0.05, (0.02, 0.20), 0.20),
}


def masses(modalities, dominant_mass):
    rest = (0.99 - dominant_mass) / (len(modalities) - 1)
    return {m: dominant_mass if k == 0 else rest for k, m in enumerate(modalities)}


def noise_curve(kind, modality, clean, end, *, ece, shares, num_noise_seeds=3):
    """Accuracy falls with the square of the level, calibration and attention move in a line."""
    points = []
    for level in LEVELS:
        wobble = [0.0] if level == 0 else [0.01 * (k - (num_noise_seeds - 1) / 2) for k in range(num_noise_seeds)]
        accuracy = [clean + (end - clean) * level**2 + w for w in wobble]
        mass = None if shares is None else [shares[0] + (shares[1] - shares[0]) * level + w / 5 for w in wobble]
        points.append(NoisePoint(level, accuracy, [0.06 + (ece - 0.06) * level + w / 2 for w in wobble], mass))
    return NoiseCurve(kind, modality, points)


def curves(modalities, kinds, accuracy, reaction, *, has_attention):
    found, rest = [], (0.99 - reaction.shares[0]) / max(1, len(modalities) - 1)
    for k, modality in enumerate(modalities):
        shares = (reaction.shares if k == 0 else (rest, 0.8 * rest)) if has_attention else None
        end = reaction.under_noise if k == 0 else accuracy - 0.01
        for number, kind in enumerate(kinds):
            milder = end + 0.3 * number / len(kinds) * (accuracy - end)
            ece = reaction.ece if k == 0 else 0.07
            found.append(noise_curve(kind, modality, accuracy, milder, ece=ece, shares=shares))
    return found


def interventions(modalities, accuracy, reaction):
    drops = {f"mask:{m}": reaction.masked[min(k, 1)] for k, m in enumerate(modalities)}
    drops |= {"average": reaction.average, "quag:unimodal": 0.013, "quag:crossmodal": 0.036}
    drops |= {f"quag:average:{m}": 0.04 + 0.01 * k for k, m in enumerate(modalities)}
    drops |= {"quag_attention:unimodal": 0.011, "quag_attention:crossmodal": 0.031}
    drops |= {f"quag_attention:average:{m}": 0.035 + 0.01 * k for k, m in enumerate(modalities)}
    return [Intervention(name, accuracy - drop, drop) for name, drop in drops.items()]


def contribution(modalities, absent, full, none, credit):
    """Additive, so the Shapley values are known: every coalition is worth the sum of its members."""
    rest = (1 - credit) / max(1, len(modalities) - 1)
    values = {m: (full - none) * (credit if k == 0 else rest) for k, m in enumerate(modalities)}
    groups = [g for size in range(len(modalities) + 1) for g in itertools.combinations(modalities, size)]
    return Contribution(absent, values, {"+".join(g): none + sum(values[m] for m in g) for g in groups})


def out_of_distribution(better, num):
    names = ("msp", "energy", "max_logit", "gen", "mahalanobis", "knn")
    sets = {"left-out classes": ("near", 0.62), "another dataset": ("far", 0.74)}
    return [
        OODResult(
            name,
            kind,
            num,
            3 * num // 4,
            0.71,
            [
                Detection(s, auroc + better + 0.01 * k, 0.8 - better - 0.02 * k, 0.85 - better)
                for k, s in enumerate(names)
            ],
        )
        for name, (kind, auroc) in sets.items()
    ]


def browsed_samples(modalities, shares, num, *, has_pictures=True):
    """A third is wrong; the first two have a picture of every modality."""
    masses_of = {"attention": masses(modalities, shares[0])} if shares else {"attention": {}}
    under = {m: shares[1] if k == 0 else 0.05 for k, m in enumerate(modalities)} if shares else {}
    return [
        Sample(
            name=f"rec_{i:03d}",
            label=i % 3,
            prediction=(i + (i % 3 == 2)) % 3,
            probability=0.5 + 0.49 * (i % 7) / 6,
            attention_under_noise=under,
            pictures=dict.fromkeys(modalities, DOT) if has_pictures and i < 2 else {},
            **masses_of,
        )
        for i in range(num)
    ]


def made_diagnosis(
    method="mt",
    modalities=("audio", "visual"),
    *,
    seed=0,
    reaction="ignores",
    accuracy=0.70,
    num_samples=500,
    kinds=("mix",),
    has_attention=True,
    num_shown=12,
):
    """Return the diagnosis of a planted model: it "ignores", "follows" or "inverts" the first modality's quality."""
    planted, modalities = REACTIONS[reaction], list(modalities)
    return Diagnosis(
        method=method,
        seed=seed,
        num_samples=num_samples,
        accuracy=accuracy,
        ece=0.06,
        curves=curves(modalities, kinds, accuracy, planted, has_attention=has_attention),
        interventions=interventions(modalities, accuracy, planted) if has_attention else [],
        ood=out_of_distribution(0.04 if reaction == "follows" else 0.0, num_samples),
        contributions=[contribution(modalities, a, accuracy, 0.34, planted.credit) for a in ("zero", "mean", "noise")],
        samples=browsed_samples(modalities, planted.shares if has_attention else None, num_shown),
        layers=["fusion.attention"] if has_attention else [],
        num_passes=40,
        undefined={}
        if has_attention
        else {"interventions": "concat has no attention whose keys are of all modalities"},
        settings={"levels": list(LEVELS), "kinds": list(kinds), "noise_seeds": 3},
    )
