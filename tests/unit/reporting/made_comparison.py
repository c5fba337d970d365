"""Made comparisons for the tests of reporting: small, exact and the same every time."""

import math
import statistics
from dataclasses import replace

import numpy as np
from made_diagnosis import REACTIONS, made_diagnosis, masses

from rollingq.evaluation.results import (
    AttentionResult,
    Comparison,
    Correlation,
    Difference,
    EpochRecord,
    Interval,
    MethodSummary,
    RunResult,
    SampleScores,
)

T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
LOCKED = (0.93, 0.92)
FOLLOWING = (0.61, 0.21)
HOSTILE = '<script>document.title="pwned";console.error("pwned")</script>"><img src=x onerror=console.error("pwned")>'


def interval(values):
    mean, num = statistics.fmean(values), len(values)
    if num < 2:
        return Interval(mean, math.nan, math.nan, math.nan, num)
    std = statistics.stdev(values)
    half = T_95[num] * std / math.sqrt(num)
    return Interval(mean, std, mean - half, mean + half, num)


def samples(modalities, start, num=60):
    dice = np.random.default_rng(round(1000 * sum(start.values())) % 997)
    cosine = {m: [round(float(start[m] + dice.normal(0, 0.04)), 4) for _ in range(num)] for m in modalities}
    key_norm = {
        m: [round(float(8 + 1.5 * k + dice.normal(0, 0.5)), 3) for _ in range(num)] for k, m in enumerate(modalities)
    }
    return SampleScores({m: [0.5] * num for m in modalities}, cosine, key_norm)


def attention(modalities, shares, correlation):
    """``shares``: mass of the first modality on clean samples and when it is noise; the others give up a fifth."""
    clean, noise = shares
    first = modalities[0]
    under_noise = {first: masses(modalities, noise)}
    for m in modalities[1:]:
        score = masses(modalities, clean)
        under_noise[m] = score | {m: 0.8 * score[m], first: score[first] + 0.2 * score[m]}
    token_share = {m: 0.55 if m == first else 0.44 / (len(modalities) - 1) for m in modalities}
    cosines = {m: 0.6 * clean if m == first else 0.3 * (1 - clean) for m in modalities}
    found = {m: Correlation(correlation[k % len(correlation)], 0.001, 60) for k, m in enumerate(modalities)}
    quiet = {m: cosine - (clean - noise) for m, cosine in cosines.items()}
    passes = {m: samples(modalities, cosines | {m: quiet[m]}) for m in modalities}
    air = max(cosines.values()) - min(cosines.values())
    return AttentionResult(
        masses(modalities, clean), token_share, under_noise, cosines, air, found, samples(modalities, cosines), passes
    )


def history(air, is_rotated, seed, num=12):
    return [
        EpochRecord(
            epoch=i,
            train_loss=2.0 / (i + 1),
            val_loss=2.2 / (i + 1),
            val_accuracy=0.3 + 0.03 * i,
            air=None
            if air is None
            else air * (0.3 if is_rotated and i > 3 else 1) * (i + 1 + 0.4 * math.sin(3 * i + seed)) / num,
            rotated=is_rotated and i == 3,
            angle=41.5 if is_rotated and i == 3 else None,
        )
        for i in range(num)
    ]


def run(method, seed, modalities, accuracy, *, found=None, probes=None, is_rotated=False, selection="validation"):
    return RunResult(
        method=method,
        seed=seed,
        modalities=list(modalities),
        selection=selection,
        best_epoch=11,
        val_accuracy=accuracy + 0.01,
        test_accuracy=accuracy,
        accuracy_under_noise=dict.fromkeys(modalities, accuracy - 0.2),
        probes={m: p + 0.01 * (seed - 1) for m, p in (probes or {}).items()},
        num_parameters=123456,
        seconds=12.5,
        attention=found,
        num_rotations=int(is_rotated),
        history=history(None if found is None else found.air, is_rotated, seed),
    )


def mean_of(mappings):
    return {key: statistics.fmean(mapping[key] for mapping in mappings) for key in mappings[0]}


def summary(method, runs):
    found = [r.attention for r in runs if r.attention is not None]
    noisy = {m: mean_of([a.score_under_noise[m] for a in found]) for m in found[0].score_under_noise} if found else None
    return MethodSummary(
        method=method,
        accuracy=interval([r.test_accuracy for r in runs]),
        accuracy_under_noise=mean_of([r.accuracy_under_noise for r in runs]),
        probes=mean_of([r.probes for r in runs]),
        attention_score=mean_of([a.score for a in found]) if found else None,
        token_share=mean_of([a.token_share for a in found]) if found else None,
        score_under_noise=noisy,
        air=statistics.fmean(a.air for a in found) if found else None,
        num_rotations=statistics.fmean(r.num_rotations for r in runs),
        correlation=mean_of([{m: c.r for m, c in a.correlation.items()} for a in found]) if found else None,
        cosines=mean_of([a.cosines for a in found]) if found else None,
    )


def difference(runs, method, baseline, p):
    pairs = zip(runs[method], runs[baseline], strict=True)
    spread = interval([first.test_accuracy - second.test_accuracy for first, second in pairs])
    is_shown = spread.num_seeds > 1 and not spread.low <= 0 <= spread.high
    verdict = "inconclusive" if not is_shown else "better" if spread.mean > 0 else "worse"
    return Difference(method, baseline, spread, p if spread.num_seeds > 1 else 1.0, verdict)


def made_comparison(
    modalities=("audio", "visual"),
    *,
    num_seeds=3,
    base=LOCKED,
    rotated=FOLLOWING,
    gains=(0.03, 0.01, -0.004),
    base_r=(-0.05, -0.4),
    rotated_r=(-0.62, -0.31),
    rotations=True,
    has_attention=True,
    selection="validation",
    title="Digits heard and seen",
):
    """``gains``: accuracy of mt+rollingq minus that of mt, one a seed."""
    modalities, seeds, jitter = list(modalities), range(num_seeds), (0.0, 0.008, -0.006)
    runs = {m: [run(m, s, [m], 0.71 - 0.06 * k + jitter[s]) for s in seeds] for k, m in enumerate(modalities)}
    poor = {m: 0.70 if k == 0 else 0.38 for k, m in enumerate(modalities)}
    fair = {m: 0.69 if k == 0 else 0.56 for k, m in enumerate(modalities)}
    runs["concat"] = [run("concat", s, modalities, 0.735 + jitter[s], probes=fair) for s in seeds]
    before, after = (
        attention(modalities, shares, r) if has_attention else None
        for shares, r in ((base, base_r), (rotated, rotated_r))
    )
    options = {"selection": selection}
    runs["mt"] = [run("mt", s, modalities, 0.70 + jitter[s], found=before, probes=poor, **options) for s in seeds]
    options["is_rotated"] = rotations and has_attention
    runs["mt+rollingq"] = [
        run("mt+rollingq", s, modalities, 0.70 + jitter[s] + gains[s], found=after, probes=fair, **options)
        for s in seeds
    ]
    return Comparison(
        title=title,
        data="Spoken and drawn digits, 3 000 recordings",
        modalities=modalities,
        classes=["zero", "one", "two"],
        num_samples={"train": 2000, "validation": 500, "test": 500},
        chance=0.34,
        summaries=[summary(method, found) for method, found in runs.items()],
        differences=[difference(runs, "mt+rollingq", "mt", 0.15), difference(runs, "mt", "concat", 0.004)],
        runs=[r for found in runs.values() for r in found],
        config={"fusion": {"rho": 0.6, "beta": 0.1, "heads": 4}, "seeds": list(seeds), "device": "cpu"},
        manifest={
            "source": "made from public recordings",
            "licence": "CC BY 4.0",
            "checksums": {"train": "9f86d081884c7d65"},
            "skipped": ["rec_001.wav", "rec_044.wav"],
        },
        versions={"rollingq": "0.1.0", "torch": "2.14.1"},
    )


def renamed(comparison, name):
    """Return the comparison with ``name`` as title, data, class, file and method."""
    rename = {"concat": name}
    return replace(
        comparison,
        title=name,
        data=name,
        classes=[name],
        summaries=[replace(s, method=rename.get(s.method, s.method)) for s in comparison.summaries],
        runs=[replace(r, method=rename.get(r.method, r.method)) for r in comparison.runs],
        differences=[replace(d, baseline=rename.get(d.baseline, d.baseline)) for d in comparison.differences],
        config={name: {name: name}},
        manifest={"skipped": [name], name: [{name: name}]},
        versions={name: name},
    )


def diagnosed(comparison, **options):
    """Return the comparison with a diagnosis of mt (ignores quality) and one of mt+rollingq (follows it)."""
    reactions = {"mt": "ignores", "mt+rollingq": "follows"}
    found = [made_diagnosis(m, comparison.modalities, reaction=r, **options) for m, r in reactions.items()]
    return replace(comparison, diagnoses=found)


def with_dynamics(comparison):
    """Return the comparison whose fusions recorded attention and gradient norms in every epoch."""
    return replace(comparison, runs=[r if len(r.modalities) == 1 else _dynamic(r) for r in comparison.runs])


def _dynamic(r):
    grown = [(0.5 + 0.04 * e.epoch if r.num_rotations == 0 else 0.5 + 0.01 * e.epoch, e) for e in r.history]
    has_attention = r.attention is not None
    records = [
        replace(
            e,
            attention_score=masses(r.modalities, mass) if has_attention else None,
            gradient_norm={m: (1.5 if k == 0 else 0.4) / (1 + e.epoch + r.seed) for k, m in enumerate(r.modalities)},
        )
        for mass, e in grown
    ]
    return replace(r, history=records)


def made_single(modalities=("audio", "visual"), *, reaction="ignores", num_samples=500, has_attention=True):
    """Return a comparison of one run: a user's own model, not trained here."""
    modalities, planted = list(modalities), REACTIONS[reaction]
    correlation = {"ignores": (-0.05,), "follows": (-0.7,), "inverts": (0.6,)}[reaction]
    found = attention(modalities, planted.shares, correlation) if has_attention else None
    only = replace(run("model", 0, modalities, 0.70, found=found), val_accuracy=math.nan, history=[], best_epoch=0)
    diagnosis = made_diagnosis(
        "model", modalities, reaction=reaction, num_samples=num_samples, has_attention=has_attention
    )
    whole = made_comparison(modalities, num_seeds=1)
    return replace(
        whole,
        title="One model",
        num_samples={"test": num_samples},
        summaries=[summary("model", [only])],
        differences=[],
        runs=[only],
        diagnoses=[diagnosis],
    )
