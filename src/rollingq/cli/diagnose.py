"""``rollingq diagnose``: measure everything on finished runs, without training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollingq.cli.options import names_of, new_parser, parse
from rollingq.cli.output import write_results
from rollingq.cli.plain import Bar
from rollingq.config import DiagnoseConfig
from rollingq.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rollingq.data.base import MultimodalData
    from rollingq.evaluation.diagnosis import Diagnosis
    from rollingq.evaluation.results import Comparison, RunResult
    from rollingq.training.stored import StoredRun

SUMMARY = (
    "Measure attention, robustness to noise, interventions, OOD detection, Shapley values and calibration of finished "
    "runs, and write one report. A comparison's folder stands for its multimodal runs with the first seed."
)


@dataclass(frozen=True)
class DiagnoseOptions:
    """What to diagnose on what, and where the report goes."""

    runs: tuple[str, ...]
    data: str | None
    dir: str | None
    outside: tuple[str, ...]
    out: Path
    json: bool
    config: DiagnoseConfig


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = _options(arguments)
    write_results(diagnose_runs(options), options.out, is_json=options.json)
    return 0


def _options(arguments: list[str]) -> DiagnoseOptions:
    defaults = DiagnoseConfig()
    parser = new_parser("diagnose", SUMMARY)
    add = parser.add_argument
    add("runs", type=str, nargs="+", help="folders of runs, or of a comparison")
    add(
        "--data",
        type=str | None,
        default=None,
        help="another dataset of the same classes to read",
    )
    add("--dir", type=str | None, default=None, help="prepared folder of the dataset, if it is not where it was")
    add("--outside", type=str | None, default=None, help="prepared folders with other classes to detect, with commas")
    add("--measures", type=str, default=",".join(defaults.measures), help="names with commas")
    add("--kinds", type=str, default=",".join(defaults.kinds), help="kinds of noise, with commas")
    add("--levels", type=str, default=",".join(map(str, defaults.levels)), help="levels of noise with commas")
    add("--noise_seeds", type=int, default=defaults.noise_seeds, help="noise seeds a point of the curve")
    add("--out", type=str | None, default=None, help="folder of the report (default: the first of RUNS)")
    add("--json", action="store_true", help="print the result as JSON on standard output")
    values: dict[str, Any] = vars(parse(parser, arguments))
    config = DiagnoseConfig(
        measures=names_of(values["measures"]) or (),  # type: ignore[arg-type]
        kinds=names_of(values["kinds"]) or (),  # type: ignore[arg-type]
        levels=_numbers(values["levels"]),
        noise_seeds=values["noise_seeds"],
    )
    return DiagnoseOptions(
        runs=tuple(values["runs"]),
        data=values["data"],
        dir=values["dir"],
        outside=names_of(values["outside"]) or (),
        out=Path(values["out"] or values["runs"][0]),
        json=values["json"],
        config=config,
    )


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in names_of(text) or ())
    except ValueError:
        raise ConfigError(f"Expected --levels as numbers with commas, such as 0.5,1, but got {text!r}.") from None


def diagnose_runs(options: DiagnoseOptions) -> Comparison:
    """Measure all runs and return them with the comparison that they belong to."""
    from rollingq.training.stored import read_run

    folders = list(dict.fromkeys(folder for given in options.runs for folder in chosen_runs(Path(given))))
    stored = [read_run(folder, dir=None if options.data else options.dir) for folder in folders]
    stored.sort(key=lambda run: (run.method.name, run.seed))  # A method stands before the same with RollingQ.
    data = stored[0].source.load()
    if any(run.source != stored[0].source for run in stored):
        raise DataError("Expected runs on one dataset with the same modalities, but got several; diagnose them apart.")
    read = data if options.data is None else _in_place_of(data, options.data, options.dir)
    outside = [outside_data(folder, data) for folder in options.outside]
    diagnoses = [_diagnosed(run.folder, read, outside, options) for run in stored]
    comparison = _comparison(Path(options.runs[0]), read, stored)
    return replace(comparison, diagnoses=diagnoses)


def chosen_runs(given: Path) -> list[Path]:
    """Return the runs that a folder stands for: itself, or a comparison's multimodal runs with the first seed."""
    from rollingq.training.stored import find_runs, read_run

    folders = find_runs(given)
    if folders == [given]:
        return folders
    runs = {folder: read_run(folder) for folder in folders}
    fused = {folder: run for folder, run in runs.items() if len(run.method.modalities) > 1} or runs
    first = min(run.seed for run in fused.values())
    return [folder for folder, run in fused.items() if run.seed == first]


def _in_place_of(data: MultimodalData, name: str, dir: str | None) -> MultimodalData:
    """Return the run's data with the test split of another dataset, normalised as the run's was."""
    from rollingq.data.prepared import load_folder
    from rollingq.data.registry import entry_of, folder_of

    other = load_folder(folder_of(entry_of(name), dir), name=name, modalities=tuple(data.modalities), like=data)
    if other.classes != data.classes:
        raise DataError(
            f"Expected the classes of {data.name} in {name}, but it has others; give it as --outside to detect them."
        )
    return replace(data, name=f"{name}, trained on {data.name}", splits={**data.splits, "test": other.splits["test"]})


def outside_data(folder: str, data: MultimodalData) -> MultimodalData:
    """Return a prepared dataset with the modalities of another, normalised as that is.

    Args:
        folder: Where it was prepared.
        data: What models were trained on.
    """
    from rollingq.data.prepared import load_folder

    return load_folder(Path(folder), modalities=tuple(data.modalities), like=data)


def _diagnosed(
    folder: Path, read: MultimodalData, outside: list[MultimodalData], options: DiagnoseOptions
) -> Diagnosis:
    from rollingq.data.view import view_sample
    from rollingq.reporting.pictures import with_pictures
    from rollingq.training.diagnosed import diagnose_run

    with Bar(f"diagnosing {folder.name}") as bar:
        found = diagnose_run(folder, read, config=options.config, outside=outside, on_progress=bar.update)
    return with_pictures(found, lambda indices: {i: view_sample(read, "test", i).panels for i in indices})


def _comparison(given: Path, data: MultimodalData, stored: list[StoredRun]) -> Comparison:
    """Return the comparison in a folder or above a run's, or one of the runs alone."""
    from rollingq.evaluation.results import Comparison, from_json
    from rollingq.training.comparison import comparison_of

    runs = [run.result for run in stored]
    for folder in (given, given.parent.parent):
        try:
            found = from_json(Comparison, (folder / "comparison.json").read_text())
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if {_identity(run) for run in runs} <= {_identity(run) for run in found.runs}:
            return found
    first = stored[0]
    return comparison_of(data, runs, {"data": first.source.name, **asdict(first.settings)})


def _identity(run: RunResult) -> tuple[str, int, float]:
    return run.method, run.seed, run.test_accuracy
