"""Average keys: cosine to the query against the key's norm (paper, Fig. 1d and 2)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rollingq.evaluation.results import AttentionResult, Comparison, SampleScores
from rollingq.reporting.lookup import attention_runs, attention_summaries
from rollingq.reporting.plots.style import INK, Look, Row, label, looks, new_figure, styled
from rollingq.reporting.text import clean, is_defined, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Keys and the query"
READING = (
    "A point is one sample's average key; further right means more attention. Noise (crosses) should lie left of the "
    "clean cloud of the same colour: where it lies among it or to its right, the attention cannot tell noise from data."
)
MAX_POINTS = 6000
"""Most points drawn in one figure, shared out over its clouds; clouds are thinned evenly beyond that."""
MAX_CLOUD = 250


@dataclass(frozen=True)
class Cloud:
    """The average keys of one modality in one pass of one method."""

    method: str
    seed: int
    modality: str
    is_noise: bool
    cosine: list[float]
    key_norm: list[float]


def clouds(comparison: Comparison) -> list[Cloud]:
    """Return the clouds of one seed a method: the smallest that all methods have, else each method's first."""
    by_method = {s.method: dict(_by_seed(comparison, s.method)) for s in attention_summaries(comparison)}
    by_method = {method: found for method, found in by_method.items() if found}
    if not by_method:
        return []
    shared = set.intersection(*(set(found) for found in by_method.values()))
    seeds = {method: min(shared or found) for method, found in by_method.items()}
    made = [c for method, seed in seeds.items() for c in _run_clouds(comparison, method, seed, by_method[method][seed])]
    limit = min(MAX_CLOUD, max(1, MAX_POINTS // max(1, len(made))))
    return [_thinned(cloud, limit) for cloud in made]


def _by_seed(comparison: Comparison, method: str) -> list[tuple[int, AttentionResult]]:
    return [(run.seed, attention) for run, attention in attention_runs(comparison, method) if attention.clean.cosine]


def _run_clouds(comparison: Comparison, method: str, seed: int, attention: AttentionResult) -> list[Cloud]:
    found = [_cloud(method, seed, m, attention.clean, is_noise=False) for m in comparison.modalities]
    noisy = [m for m in comparison.modalities if m in attention.noisy]
    found += [_cloud(method, seed, m, attention.noisy[m], is_noise=True) for m in noisy]
    in_order = sorted(found, key=lambda cloud: (comparison.modalities.index(cloud.modality), cloud.is_noise))
    return [cloud for cloud in in_order if cloud.cosine]


def _cloud(method: str, seed: int, modality: str, scores: SampleScores, *, is_noise: bool) -> Cloud:
    pairs = zip(scores.cosine.get(modality, []), scores.key_norm.get(modality, []), strict=False)
    kept = [(x, y) for x, y in pairs if is_defined(x) and is_defined(y)]
    return Cloud(method, seed, modality, is_noise, [x for x, _ in kept], [y for _, y in kept])


def _thinned(cloud: Cloud, limit: int) -> Cloud:
    num = len(cloud.cosine)
    if num <= limit:
        return cloud
    keep = [i * num // limit for i in range(limit)]
    cosine, key_norm = [cloud.cosine[i] for i in keep], [cloud.key_norm[i] for i in keep]
    return Cloud(cloud.method, cloud.seed, cloud.modality, cloud.is_noise, cosine, key_norm)


@styled
def keys_figure(comparison: Comparison) -> "Figure":
    """Draw the average keys of one seed: a panel a method, a colour a modality, noise as crosses."""
    found = clouds(comparison)
    methods = list(dict.fromkeys(cloud.method for cloud in found)) or [""]
    num_columns = min(2, len(methods))
    num_rows = -(-len(methods) // num_columns)
    figure = new_figure(7.2, 0.7 + 3.1 * num_rows)
    panels = figure.subplots(num_rows, num_columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, method in zip(panels, methods, strict=False):
        _draw_panel(axes, comparison, [cloud for cloud in found if cloud.method == method])
    for axes in panels[len(methods) :]:
        axes.set_visible(False)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=max(1, -(-len(names) // 2)), markerscale=1.6)
    return figure


def _draw_panel(axes: "Axes", comparison: Comparison, found: list[Cloud]) -> None:
    styles = looks(comparison)
    for cloud in found:
        _draw_cloud(axes, styles[cloud.modality], cloud)
    axes.grid()
    axes.set_xlabel("cosine to the query")
    axes.set_ylabel("norm of the average key")
    axes.label_outer()
    if found:
        axes.set_title(f"{label(found[0].method)} (seed {found[0].seed})")


def _draw_cloud(axes: "Axes", look: Look, cloud: Cloud) -> None:
    name = f"{label(cloud.modality)}, {'noise' if cloud.is_noise else 'clean'}"
    if cloud.is_noise:
        axes.scatter(
            cloud.cosine, cloud.key_norm, s=20, marker="x", color=look.color, linewidths=1, alpha=0.8, label=name
        )
    else:
        edge: dict[str, Any] = {"edgecolors": INK, "linewidths": 0.25}
        axes.scatter(
            cloud.cosine, cloud.key_norm, s=16, marker=look.marker, color=look.color, alpha=0.6, label=name, **edge
        )


def keys_numbers(comparison: Comparison) -> list[Row]:
    """Return one line a point."""
    return [
        {
            "method": cloud.method,
            "seed": cloud.seed,
            "modality": cloud.modality,
            "samples": "noise" if cloud.is_noise else "clean",
            "cosine": cosine,
            "key_norm": key_norm,
        }
        for cloud in clouds(comparison)
        for cosine, key_norm in zip(cloud.cosine, cloud.key_norm, strict=True)
    ]


def keys_alt(comparison: Comparison) -> str:
    """Return the figure in words."""
    told = [
        f"{clean(c.method)}, {clean(c.modality)} {'noise' if c.is_noise else 'clean'} "
        f"{number(sum(c.cosine) / len(c.cosine), is_signed=True)}"
        for c in clouds(comparison)
    ]
    return f"Scatter chart of average keys. Mean cosine to the query: {'; '.join(told)}."
