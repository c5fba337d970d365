"""How attention spreads over modalities, clean and under noise (paper, Fig. 1, 2, Table 2)."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from rollingq.evaluation.reading import Kept
from rollingq.evaluation.results import AttentionResult, Correlation, SampleScores
from rollingq.extras import lab_extra
from rollingq.functional import imbalance_of_cosines


def noise_correlation(clean: Float[Tensor, " N"], noisy: Float[Tensor, " N"]) -> Correlation:
    """Return Pearson's r of the attention score with "the modality is noise" (0 or 1) over both passes (Table 2).

    Good cooperation has r < 0: attention falls when the modality turns to noise. The paper prints |r|.

    Args:
        clean: Score of the modality on clean samples, ``[N]``.
        noisy: Score on the same samples with the modality replaced by noise, ``[N]``.

    Returns:
        r, its two-sided p, and the number of values; r and p are NaN where they are not defined: the score never
        changes, is not finite somewhere, or there are fewer than two samples.

    Example:
        >>> noise_correlation(torch.tensor([0.9, 0.8]), torch.tensor([0.1, 0.2])).r < -0.9
        True
    """
    score = torch.cat([clean, noisy]).double()
    is_noise = torch.cat([torch.zeros_like(clean), torch.ones_like(noisy)]).double()
    if len(clean) < 2 or not bool(score.isfinite().all()) or bool((score == score[0]).all()):
        return Correlation(float("nan"), float("nan"), len(score))
    with lab_extra("scipy"):
        from scipy import stats

    result = stats.pearsonr(score.numpy(), is_noise.numpy())
    return Correlation(float(result.statistic), float(result.pvalue), len(score))


def attention_result(clean: Kept, noisy: Mapping[str, Kept], modalities: tuple[str, ...]) -> AttentionResult | None:
    """Return the summary of a clean pass and one pass for each modality replaced by noise, None without attention.

    Args:
        clean: The clean pass.
        noisy: Modality replaced -> its pass.
        modalities: Names, in the order of the keys.
    """
    if clean.scores is None or clean.cosines is None or clean.token_share is None:
        return None
    mean_cosines = clean.cosines.nanmean(0)
    scores = {name: passed.scores for name, passed in noisy.items() if passed.scores is not None}
    is_present = clean.token_share > 0  # A sample without a modality has no attention on it, noise or not.
    return AttentionResult(
        score=_by_name(clean.scores.mean(0), modalities),
        token_share=_by_name(clean.token_share.mean(0), modalities),
        score_under_noise={name: _by_name(found.mean(0), modalities) for name, found in scores.items()},
        cosines=_by_name(mean_cosines, modalities),
        air=float(imbalance_of_cosines(mean_cosines)),
        correlation={
            name: noise_correlation(
                clean.scores[is_present[:, column], column], scores[name][is_present[:, column], column]
            )
            for column, name in enumerate(modalities)
            if name in scores
        },
        clean=_samples(clean, modalities),
        noisy={name: _samples(passed, modalities) for name, passed in noisy.items()},
    )


def _by_name(values: Tensor, modalities: tuple[str, ...]) -> dict[str, float]:
    return dict(zip(modalities, values.tolist(), strict=True))


def _samples(passed: Kept, modalities: tuple[str, ...]) -> SampleScores:
    parts = (passed.scores, passed.cosines, passed.key_norms)
    return SampleScores(*(_columns(part, modalities) for part in parts))


def _columns(values: Tensor | None, modalities: tuple[str, ...]) -> dict[str, list[float]]:
    assert values is not None
    columns = values.T.tolist()
    return {name: [round(value, 4) for value in column] for name, column in zip(modalities, columns, strict=True)}
