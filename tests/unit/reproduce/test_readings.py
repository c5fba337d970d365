"""What is read off a run: closed forms on made runs, and a reason wherever there is no value."""

import math

import pytest
from made_runs import HISTORY, made_attention, made_diagnosis, made_epoch, made_run

from rollingq.evaluation.results import Correlation
from rollingq.reproduce.entries import ENTRIES
from rollingq.reproduce.readings import NO_ATTENTION, biased_modality, read

VALUES = {
    "accuracy": 60.0,
    "mass:audio": 70.0,
    "noisy_mass:audio": 60.0,
    "fall:audio": 10.0,
    "correlation:audio": 0.4,
    "signed_correlation:audio": -0.4,
    "trusted:audio": 100.0,
    "trusted:visual": 0.0,
    "cosine:visual": -0.1,
    "noisy_cosine:audio": 0.2,
    "gap": 0.6,
    "key_norm:audio": 3.0,
    "rotations": 1.0,
    "angle": 70.0,
    "cosine_before:audio": 0.4,
    "cosine_after:audio": 0.2,
    "cosine_after:visual": 0.6,
    "mass_before:audio": 80.0,
    "mass_after:audio": 50.0,
    "last_mass:visual": 30.0,
    "mass_gap": 20.0,
    "gradient:audio": 3.0,
    "gradient_ratio": 2.0,
    "larger_gradient:audio": 200 / 3,
    "noise:audio:0.5": 45.0,
    "intervention:mask:audio": 25.0,
    "change:average": -5.0,
    "ood:near:inside_accuracy": 80.0,
    "ood:near:fpr95": 75.0,
    "ood:near:auroc": 70.0,
}


@pytest.mark.parametrize("measure", VALUES)
def test_values(measure: str) -> None:
    assert read(measure, made_run(), made_diagnosis(), 2.0) == pytest.approx(VALUES[measure])


def test_weight_is_the_papers_alpha() -> None:
    air, rho = 0.4 - 0.1, 2.0
    alpha = 0.5 * (1 + math.tanh(-rho * air))
    assert read("weight:audio", made_run(), None, rho) == pytest.approx(alpha)
    assert read("weight:visual", made_run(), None, rho) == pytest.approx(1 - alpha)
    assert read("weight:audio", made_run(), None, 1e6) == pytest.approx(0.0, abs=1e-12)


def test_every_measure_of_every_entry_is_read() -> None:
    words = {"biased": "audio", "other": "visual", "first": "audio", "second": "visual"}
    kinds = {measure.partition(":")[0] for measure in VALUES} | {"weight", "parameters", "macs"}
    for entry in ENTRIES.values():
        assert {cell.measure.format(**words).partition(":")[0] for cell in entry.cells} <= kinds


def test_reasons() -> None:
    still = made_run(history=HISTORY[:1])
    late = made_run(history=HISTORY[:2])
    blind = made_run(attention=None, history=[made_epoch(0)])
    flat = made_run(attention=made_attention(correlation={"audio": Correlation(math.nan, math.nan, 4)}))
    bare = made_diagnosis(curves=[], interventions=[], ood=[], undefined={"interventions": "no shared softmax"})
    cases = [
        ("angle", still, "no rotation took place"),
        ("weight:audio", still, "no rotation took place"),
        ("cosine_after:audio", late, "the first rotation came after the last epoch"),
        ("mass:audio", blind, NO_ATTENTION),
        ("last_mass:audio", blind, "attention in training was not recorded"),
        ("mass_gap", blind, "attention in training was not recorded"),
        ("gradient:audio", blind, "no gradient norms were recorded"),
        ("gradient_ratio", blind, "no gradient norms were recorded"),
        ("larger_gradient:audio", blind, "no gradient norms were recorded"),
        ("correlation:audio", flat, "it is not defined"),
        ("trusted:audio", flat, "it is not defined"),
        ("noise:audio:0.5", made_run(), "audio was not read at noise level 0.5"),
        ("intervention:mask:audio", made_run(), "no shared softmax"),
        ("ood:near:auroc", made_run(), "no samples of kind 'near' from outside"),
    ]
    for measure, run, reason in cases:
        assert read(measure, run, bare, 2.0) == reason


def test_biased_modality() -> None:
    # Audio has most of the attention, but less than its share of the tokens; RollingQ's runs do not count.
    turned = made_attention(score={"audio": 0.9, "visual": 0.0})
    assert biased_modality([made_run(), made_run("mt+rollingq", attention=turned)]) == "visual"
    assert biased_modality([made_run(attention=turned)]) == "audio"
    assert biased_modality([made_run("mt+rollingq")]) == "audio"  # The larger cosine when it was rotated.
    assert biased_modality([made_run("mt+rollingq", history=[])]) is None
    assert biased_modality([made_run(attention=None, history=[])]) is None
