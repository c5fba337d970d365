"""What is needed to do it again: data, configuration, versions, seeds, and how each model was diagnosed."""

from collections.abc import Iterator, Mapping, Sequence

from rollingq.evaluation.diagnosis import Diagnosis
from rollingq.evaluation.results import Comparison
from rollingq.reporting.diagnosis_lookup import diagnosed_methods, diagnoses_of
from rollingq.reporting.grids import method_cell
from rollingq.reporting.lookup import runs_of
from rollingq.reporting.text import clean, count

MAX_NUMBERS = 6
"""Most numbers of a long list of measurements, such as the means of all features."""
MAX_ITEMS = 100
"""Most items of one list in the configuration and the manifest; the page says how many more there are."""

Line = tuple[str, str]


def provenance(comparison: Comparison) -> list[tuple[str, list[Line]]]:
    """Return the parts of what is needed to do it again: title and key-value lines each."""
    splits = [(f"{clean(split)} samples", str(num)) for split, num in comparison.num_samples.items()]
    classes = ("classes", f"{len(comparison.classes)}: {_items(comparison.classes)}")
    modalities = ("modalities", _items(comparison.modalities))
    seeds = [(method_cell(comparison, s.method).text, _seeds(comparison, s.method)) for s in comparison.summaries]
    data = [("data", clean(comparison.data)), modalities, classes, *splits, *flattened(comparison.manifest)]
    sections = [
        ("Data", data),
        ("Configuration", list(flattened(comparison.config))),
        ("Versions", list(flattened(comparison.versions))),
        ("Seeds and choice of epoch", seeds),
        ("Diagnosis", list(_diagnosed(comparison))),
    ]
    return [(title, lines) for title, lines in sections if lines]


def _seeds(comparison: Comparison, method: str) -> str:
    runs = runs_of(comparison, method)
    seeds = ", ".join(f"{run.seed}{_epoch(run.best_epoch)}" for run in runs)
    chosen = ", ".join(sorted({clean(run.selection) for run in runs}))
    return f"seeds {seeds}; best epoch chosen by: {chosen}" if runs else "no runs"


def _epoch(best_epoch: int | None) -> str:
    return "" if best_epoch is None else f" (epoch {best_epoch})"


def _diagnosed(comparison: Comparison) -> Iterator[Line]:
    for method in diagnosed_methods(comparison):
        for diagnosis in diagnoses_of(comparison, method):
            name = f"{clean(method)}, seed {diagnosis.seed}"
            yield name, _measured(diagnosis)
            yield from flattened(diagnosis.settings, f"{name}: ")
            yield from ((f"{name}: no {clean(what)}", clean(why)) for what, why in diagnosis.undefined.items())


def _measured(diagnosis: Diagnosis) -> str:
    layers = f"; attention edited in {_items(diagnosis.layers)}" if diagnosis.layers else ""
    passes = count(diagnosis.num_passes, "time")
    return f"{count(diagnosis.num_samples, 'test sample')}, each went through the model {passes}{layers}"


def flattened(mapping: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield ``("a.b", "value")`` for every leaf of a nested mapping, long lists cut with the number left out.

    Example:
        >>> list(flattened({"fusion": {"rho": 0.6}, "seeds": [1, 2]}))
        [('fusion.rho', '0.6'), ('seeds', '1, 2')]
    """
    for index, (key, value) in enumerate(mapping.items()):
        name = f"{prefix}{clean(key)}"
        if index == MAX_ITEMS:
            yield f"{prefix}...", f"and {len(mapping) - index} more, in the JSON file"
            return
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{name}.")
        else:
            yield name, _items(value) if isinstance(value, list | tuple) else _leaf(value)


def _items(values: Sequence[object]) -> str:
    is_measured = len(values) > MAX_NUMBERS and all(isinstance(value, float) for value in values)
    shown = [_leaf(value) for value in values[: MAX_NUMBERS if is_measured else MAX_ITEMS]]
    more = len(values) - len(shown)
    return ", ".join(shown) + (f" and {more} more, in the JSON file" if more else "") if shown else "none"


def _leaf(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {text}" for key, text in flattened(value)) or "none"
    if isinstance(value, list | tuple):
        return f"({_items(value)})"
    return "none" if value is None else clean(value, max_length=1000)
