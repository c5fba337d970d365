from dataclasses import replace

import pytest
from made_comparison import FOLLOWING, HOSTILE, LOCKED, attention, made_comparison, renamed

from rollingq.reporting.caveats import caveats
from rollingq.reporting.findings import encoder_finding
from rollingq.reporting.verdict import findings, headline, verdict_lines

LOCK = "Attention is locked on audio: 93 % of the mass on clean samples, 92 % when audio is pure noise"
FOLLOW = "follows quality: audio holds 61 % of the mass on clean samples, 21 % when audio is pure noise"
BETTER, WORSE = (0.03, 0.031, 0.029), (-0.02, -0.021, -0.019)


def without(comparison, *methods):
    return replace(
        comparison,
        summaries=[s for s in comparison.summaries if s.method not in methods],
        runs=[r for r in comparison.runs if r.method not in methods],
        differences=[d for d in comparison.differences if not {d.method, d.baseline} & set(methods)],
    )


def topics(comparison):
    return {f"{finding.topic}, {finding.tone}": finding.text for finding in findings(comparison)}


def test_the_whole_verdict_of_a_lock_that_is_broken(comparison):
    assert verdict_lines(comparison) == [
        "Attention is locked on audio: 93 % of the mass on clean samples, 92 % when audio is pure noise; "
        "RollingQ brings that to 61 % and 21 %. The effect on accuracy is inconclusive: +1.2 points [-3.0, +5.4].",
        "Attention: Attention of mt is locked on audio: audio holds 93 % of the mass on clean samples "
        "(its share of the tokens is 55 %) and 92 % when audio is pure noise.",
        "RollingQ: RollingQ rotated 1.0 times a run. Attention of mt+rollingq follows quality: audio holds 61 % of the "
        "mass on clean samples (its share of the tokens is 55 %) and 21 % when audio is pure noise.",
        "Accuracy: mt+rollingq minus mt: +1.2 points (95 % interval [-3.0, +5.4], p = 0.15, 3 seeds): "
        "inconclusive, neither a gain nor a loss is shown.",
        "Reaction to noise: Attention on a modality must fall when it turns to noise. "
        "mt: on audio it hardly falls (r = -0.05), on visual it falls (r = -0.40). "
        "mt+rollingq: on audio it falls clearly (r = -0.62), on visual it falls (r = -0.31).",
        "Encoders: The visual encoder is starved: 65.1 % alone, but a probe reads 56.0 % inside concat, "
        "38.0 % inside mt and 56.0 % inside mt+rollingq.",
        "Fusion: The best single modality, audio, reaches 71.1 %; above it: concat (73.6 %) and mt+rollingq (71.3 %); "
        "not above it: mt (70.1 %).",
        "Mind: Intervals and p-values show the spread between training seeds on one test split of 500 samples, "
        "not that of other test data.",
    ]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"gains": BETTER},
            f"{LOCK}; RollingQ brings that to 61 % and 21 %. Accuracy is better by 3.0 points.",
        ),
        (
            {"gains": WORSE, "rotated": LOCKED},
            f"{LOCK}; with RollingQ it stays locked: 93 % and 92 %. Accuracy is worse by 2.0 points.",
        ),
        (
            {"gains": WORSE, "rotated": (0.9, 0.7)},
            f"{LOCK}; RollingQ brings that to 90 % and 70 %. Accuracy is worse by 2.0 points.",
        ),
        (
            {"gains": BETTER, "base": FOLLOWING, "base_r": (-0.6, -0.5)},
            f"Attention {FOLLOW}; with RollingQ it {FOLLOW}. Accuracy is better by 3.0 points.",
        ),
        (
            {"gains": BETTER, "rotations": False},
            f"{LOCK}; RollingQ never rotated. Accuracy is better by 3.0 points.",
        ),
        (
            {"num_seeds": 1},
            f"{LOCK}; RollingQ brings that to 61 % and 21 %. Accuracy cannot be compared with one seed.",
        ),
        (
            {"has_attention": False, "gains": BETTER},
            "There is no attention to compare. Accuracy is better by 3.0 points.",
        ),
    ],
)
def test_headlines(options, text):
    assert headline(made_comparison(**options)) == text


def test_a_moved_lock_is_no_success():
    comparison = made_comparison(gains=BETTER)
    other = attention(["visual", "audio"], LOCKED, (-0.05, -0.05))
    other = replace(other, token_share={"audio": 0.55, "visual": 0.44})
    rotated = comparison.summaries[-1]
    fields = {"attention_score": other.score, "score_under_noise": other.score_under_noise}
    moved = replace(
        comparison,
        summaries=[*comparison.summaries[:-1], replace(rotated, **fields)],
        runs=[replace(r, attention=other) if r.method == "mt+rollingq" else r for r in comparison.runs],
    )
    assert headline(moved).startswith(
        "RollingQ only moves the lock: attention is locked on audio without it and on visual"
    )


def test_seeds_that_disagree_are_not_averaged_away(comparison):
    runs = [
        replace(r, attention=attention(["audio", "visual"], FOLLOWING, (-0.6, -0.3)))
        if (r.method, r.seed) == ("mt", 2)
        else r
        for r in comparison.runs
    ]
    mixed = replace(comparison, runs=runs)
    text = "Attention of mt differs between seeds: it is locked on audio in 2 of 3 runs, follows quality in 1. "
    assert topics(mixed)["Attention, bad"].startswith(text)
    assert headline(mixed).startswith(f"Attention differs between seeds; with RollingQ it {FOLLOW}.")


def test_a_loss_is_said_as_plainly_as_a_gain():
    worse, better = topics(made_comparison(gains=WORSE)), topics(made_comparison(gains=BETTER))
    shape = "mt+rollingq minus mt: {} points (95 % interval {}, p = 0.15, 3 seeds): {}."
    assert worse["Accuracy, bad"] == shape.format("-2.0", "[-2.2, -1.8]", "worse")
    assert better["Accuracy, good"] == shape.format("+3.0", "[+2.8, +3.2]", "better")


def test_one_seed_shows_no_difference():
    comparison = made_comparison(num_seeds=1)
    text = "mt+rollingq minus mt: +3.0 points with 1 seed. One seed cannot show a difference: inconclusive."
    assert topics(comparison)["Accuracy, open"] == text
    names = "audio, visual, concat, mt and mt+rollingq"
    assert caveats(comparison) == [f"One seed only for {names}: nothing can be said about their differences."]


def test_a_rotation_that_never_came_gets_no_credit():
    text = "RollingQ never rotated in mt+rollingq, so no difference to mt is its doing."
    assert topics(made_comparison(rotations=False, gains=BETTER))["RollingQ, note"] == text


def test_a_rise_of_attention_under_noise_is_called_wrong(comparison_of_three):
    found = topics(comparison_of_three)
    assert "on visual it rises, which is wrong (r = +0.30)" in found["Reaction to noise, bad"]
    rising = made_comparison(rotated=(0.60, 0.70))
    sentence = "Attention on audio rises from 60 % to 70 % when audio is pure noise: wrong, it should fall."
    assert sentence in topics(rising)["RollingQ, bad"]


def test_the_paper_protocol_is_said(comparison_of_three):
    text = "Best epoch chosen on test for mt and mt+rollingq: these accuracies are too good."
    assert caveats(comparison_of_three)[0] == text


def test_accuracy_near_chance_is_said(comparison):
    text = "Not shown to be better than always guessing the most frequent class (64.0 %): visual."
    assert text in caveats(replace(comparison, chance=0.64))


def test_comparisons_without_some_methods(comparison):
    assert headline(without(comparison, "mt")) == (f"Attention of mt+rollingq {FOLLOW}; RollingQ was not compared.")
    lock = LOCK.replace("Attention", "Attention of mt")
    assert headline(without(comparison, "mt+rollingq")) == f"{lock}; RollingQ was not compared."
    assert headline(without(comparison, "mt", "mt+rollingq")) == (
        "concat has the highest mean accuracy, 73.6 %; no attention was read."
    )
    assert headline(replace(comparison, summaries=[], runs=[], differences=[])) == "No accuracy was measured."
    assert topics(replace(comparison, differences=[]))["Accuracy, open"] == "mt+rollingq minus mt was not compared."
    assert encoder_finding(without(comparison, "audio", "visual")) is None


def test_a_fed_encoder_is_not_called_starved(comparison):
    fed = replace(
        comparison, summaries=[replace(s, probes={"audio": 0.70, "visual": 0.64}) for s in comparison.summaries]
    )
    finding = encoder_finding(fed)
    assert finding is not None
    assert (finding.tone, finding.text) == (
        "good",
        "No encoder is starved: no probe is 5.0 points below its modality alone.",
    )


def test_hostile_names_stay_one_line():
    lines = verdict_lines(renamed(made_comparison(), HOSTILE + "\n\x1b[2J"))
    assert not [line for line in lines if "\n" in line or "\x1b" in line]
