"""How attention spreads over modalities, clean and under noise (paper, Fig. 1, 2, Table 2)."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from rollingq.evaluation.collect import Collected
from rollingq.evaluation.results import AttentionResult, Correlation, SampleScores
from rollingq.functional import imbalance_of_cosines


def noise_correlation(clean: Float[Tensor, " N"], noisy: Float[Tensor, " N"]) -> Correlation:
    """Return Pearson's r of the attention score with "the modality is noise" (0 or 1) over both passes (Table 2).

    Good cooperation has r < 0: attention falls when the modality turns to noise. The paper prints |r|.

    Args:
        clean: Score of the modality on clean samples, ``[N]``.
        noisy: Score on the same samples with the modality replaced by noise, ``[N]``.

    Returns:
        r, its two-sided p, and the number of values; r and p are NaN where the score never changes.

    Example:
        >>> noise_correlation(torch.tensor([0.9, 0.8]), torch.tensor([0.1, 0.2])).r < -0.9
        True
    """
    score = torch.cat([clean, noisy]).double()
    is_noise = torch.cat([torch.zeros_like(clean), torch.ones_like(noisy)]).double()
    if bool((score == score[0]).all()):
        return Correlation(float("nan"), float("nan"), len(score))
    result = stats.pearsonr(score.numpy(), is_noise.numpy())
    return Correlation(float(result.statistic), float(result.pvalue), len(score))


def attention_result(
    clean: Collected, noisy: Mapping[str, Collected], tokens: Mapping[str, int], modalities: tuple[str, ...]
) -> AttentionResult | None:
    """Return the summary of a clean pass and one pass for each modality replaced by noise, None without attention.

    Args:
        clean: The clean pass.
        noisy: Modality replaced -> its pass.
        tokens: Order and number of the key positions.
        modalities: Names, in the order of the keys.
    """
    if clean.scores is None or clean.cosines is None:
        return None
    total = sum(tokens[name] for name in modalities)
    mean_cosines = clean.cosines.mean(0)
    return AttentionResult(
        score=_means(clean, modalities),
        token_share={name: tokens[name] / total for name in modalities},
        score_under_noise={name: _means(passed, modalities) for name, passed in noisy.items()},
        cosines=dict(zip(modalities, mean_cosines.tolist(), strict=True)),
        air=float(imbalance_of_cosines(mean_cosines)),
        correlation={
            name: noise_correlation(clean.scores[name], passed.scores[name])
            for name, passed in noisy.items()
            if passed.scores is not None
        },
        clean=_samples(clean, modalities),
        noisy={name: _samples(passed, modalities) for name, passed in noisy.items()},
    )


def _means(passed: Collected, modalities: tuple[str, ...]) -> dict[str, float]:
    assert passed.scores is not None
    return {name: float(passed.scores[name].mean()) for name in modalities}


def _samples(passed: Collected, modalities: tuple[str, ...]) -> SampleScores:
    assert passed.scores is not None
    assert passed.cosines is not None
    assert passed.key_norms is not None
    return SampleScores(
        attention={name: _rounded(passed.scores[name]) for name in modalities},
        cosine={name: _rounded(passed.cosines[:, i]) for i, name in enumerate(modalities)},
        key_norm={name: _rounded(passed.key_norms[:, i]) for i, name in enumerate(modalities)},
    )


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]
