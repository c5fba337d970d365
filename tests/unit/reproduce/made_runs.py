"""Runs and diagnoses with known numbers."""

from dataclasses import replace
from typing import Any

from rollingq.evaluation.diagnosis import Detection, Diagnosis, Intervention, NoiseCurve, NoisePoint, OODResult
from rollingq.evaluation.results import AttentionResult, Correlation, EpochRecord, RunResult, SampleScores
from rollingq.reproduce.entry import Part

PART = Part(title="CREMA-D", data="crema_d", modalities=("audio", "visual"))


def made_attention(**changes: Any) -> AttentionResult:
    empty = SampleScores({}, {}, {})
    noisy = SampleScores({}, {"audio": [0.1, 0.3]}, {})
    found = AttentionResult(
        score={"audio": 0.7, "visual": 0.2},
        token_share={"audio": 0.8, "visual": 0.2},
        score_under_noise={"audio": {"audio": 0.6, "visual": 0.3}, "visual": {"audio": 0.75, "visual": 0.1}},
        cosines={"audio": 0.5, "visual": -0.1},
        air=0.6,
        correlation={"audio": Correlation(-0.4, 0.001, 20), "visual": Correlation(0.3, 0.2, 20)},
        clean=replace(empty, key_norm={"audio": [2.0, 4.0], "visual": [1.0, 1.0]}),
        noisy={"audio": noisy},
    )
    return replace(found, **changes)


def made_epoch(epoch: int, **changes: Any) -> EpochRecord:
    return replace(EpochRecord(epoch, 1.0, 1.0, 0.5), **changes)


HISTORY = [
    made_epoch(0, cosines={"audio": 0.1, "visual": 0.0}, gradient_norm={"audio": 1.0, "visual": 2.0}),
    made_epoch(
        1,
        cosines={"audio": 0.4, "visual": 0.1},
        rotated=True,
        angle=70.0,
        attention_score={"audio": 0.8, "visual": 0.1},
        gradient_norm={"audio": 3.0, "visual": 1.0},
    ),
    made_epoch(
        2,
        cosines={"audio": 0.2, "visual": 0.6},
        attention_score={"audio": 0.5, "visual": 0.3},
        gradient_norm={"audio": 5.0, "visual": 1.5},
    ),
]


def made_run(method: str = "mt", seed: int = 0, **changes: Any) -> RunResult:
    found = RunResult(
        method=method,
        seed=seed,
        modalities=["audio", "visual"],
        selection="validation",
        best_epoch=2,
        val_accuracy=0.5,
        test_accuracy=0.6,
        accuracy_under_noise={"audio": 0.3, "visual": 0.5},
        probes={},
        num_parameters=10,
        seconds=1.0,
        attention=made_attention(),
        num_rotations=1,
        history=HISTORY,
    )
    return replace(found, **changes)


def made_diagnosis(method: str = "mt", seed: int = 0, **changes: Any) -> Diagnosis:
    points = [NoisePoint(0.0, [0.6], [0.1], [0.7]), NoisePoint(0.5, [0.4, 0.5], [0.1, 0.1], [0.6, 0.6])]
    detections = [Detection("msp", 0.9, 0.1, 0.1), Detection("gen", 0.7, 0.75, 0.8)]
    found = Diagnosis(
        method=method,
        seed=seed,
        num_samples=20,
        accuracy=0.6,
        ece=0.1,
        curves=[NoiseCurve("additive", "audio", []), NoiseCurve("mix", "audio", points)],
        interventions=[Intervention("average", 0.55, 0.05), Intervention("mask:audio", 0.25, 0.35)],
        ood=[OODResult("left-out classes", "near", 20, 20, 0.8, detections)],
    )
    return replace(found, **changes)
