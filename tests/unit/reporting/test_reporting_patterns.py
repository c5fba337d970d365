import pytest
from made_comparison import masses

from rollingq.reporting.patterns import attention_pattern

EVEN = {"audio": 0.5, "visual": 0.5}


def pattern(clean, noise, *, tokens=None, correlation=None):
    score = masses(["audio", "visual"], clean)
    noisy = {"audio": masses(["audio", "visual"], noise)}
    return attention_pattern(score, tokens or EVEN, noisy, correlation)


@pytest.mark.parametrize(
    ("clean", "noise", "kind"),
    [
        (0.93, 0.92, "locked"),
        (0.75, 0.66, "locked"),
        (0.75, 0.65, "leans"),
        (0.74, 0.74, "leans"),
        (0.90, 0.70, "leans"),
        (0.61, 0.21, "follows"),
        (0.65, 0.55, "follows"),
        (0.52, 0.50, "spreads"),
    ],
)
def test_the_written_rule(clean, noise, kind):
    assert pattern(clean, noise).kind == kind


def test_a_large_share_of_tokens_is_not_a_lock():
    assert pattern(0.80, 0.80, tokens={"audio": 0.78, "visual": 0.22}).kind == "spreads"


def test_the_dominant_modality_is_the_one_above_its_tokens():
    found = pattern(0.50, 0.50, tokens={"audio": 0.9, "visual": 0.1})
    assert (found.kind, found.dominant_modality) == ("leans", "visual")


def test_a_rise_under_noise_is_never_called_following():
    assert pattern(0.61, 0.21, correlation={"audio": -0.6, "visual": 0.2}).kind == "leans"
    noisy = {"audio": {"audio": 0.2, "visual": 0.8}, "visual": {"audio": 0.5, "visual": 0.5}}
    found = attention_pattern({"audio": 0.6, "visual": 0.4}, EVEN, noisy)
    assert (found.kind, found.rises) == ("leans", {"visual": (0.4, 0.5)})


def test_without_a_pass_under_noise_nothing_is_called_locked():
    found = attention_pattern({"audio": 0.95, "visual": 0.05}, {}, {})
    assert (found.kind, found.share_under_noise, found.token_share) == ("leans", None, 0.5)
