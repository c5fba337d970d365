"""One table or figure of the paper: train, diagnose, read off, write down."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rollingq.cli.diagnose import outside_data
from rollingq.cli.experiment import build_comparison, run_experiment
from rollingq.cli.options import Options, parse_options
from rollingq.cli.plain import Bar
from rollingq.config import DiagnoseConfig
from rollingq.data.entries import DATASETS
from rollingq.data.registry import entry_of, folder_of
from rollingq.reproduce.assemble import Trained, cells_of, changes_of, role_names
from rollingq.reproduce.entries import ENTRIES
from rollingq.reproduce.entry import COUNTED, NEEDS, Entry, Training
from rollingq.reproduce.results import Reproduction
from rollingq.reproduce.settings import differences, training_folder, with_changes

if TYPE_CHECKING:
    from rollingq.data.base import MultimodalData
    from rollingq.evaluation.diagnosis import Diagnosis
    from rollingq.evaluation.results import RunResult

SUMMARY = (
    "Run what is behind tables and figures of the paper and print ours beside the paper's: rollingq reproduce table1 "
    "figure4 [options], or all. Names come before the options; without any, they are listed. --data runs the same "
    "procedure on another dataset. --outside DIR gives table10 prepared samples to detect in place of classes left "
    "out. An entry says its own methods and classes."
)
RUNS_MEASURES = DiagnoseConfig(measures=("noise", "interventions"), kinds=("mix", "additive"))
"""What is diagnosed on every run that needs it, so that entries share one diagnosis."""
HALF_MEASURES = DiagnoseConfig(measures=("ood",))
"""The same of runs on half of the classes."""


@dataclass(frozen=True)
class Request:
    """What the user asked for beside the names of entries."""

    flags: tuple[str, ...]
    """The command line without names and --data."""
    out: Path
    data: str | None
    """The dataset that stands in for the paper's, None = the paper's."""
    seeds: int | None
    """None = as many as the entry says."""
    outside: str | None = None
    """Prepared folder of the outside samples, None = classes that are left out."""


def reproduce_entry(entry: Entry, request: Request) -> Reproduction:
    """Run what an entry needs and return ours beside the paper's; reports are written on the way.

    Args:
        entry: What to run, on data that is here.
        request: The rest of what the user asked for.
    """
    start = time.perf_counter()
    options = {training: _options(training, entry, request) for training in entry.trainings}
    deviations = list(dict.fromkeys(_deviations(entry, options, request)))
    label = label_of(request.data, deviations)
    counted = _counts(entry, request)
    made = {training: _train(training, entry, found, label, request.outside) for training, found in options.items()}
    trained = {training: one for training, (one, _) in made.items()}
    titles = next(iter(trained.values())).names() if trained else role_names(entry.cells[0].training)
    return Reproduction(
        entry=entry.name,
        title=entry.title.format(**titles),
        data=list(dict.fromkeys(training.part.data for training in trained)),
        label=label,
        is_papers_setting=not deviations,
        deviations=deviations,
        statement=entry.statement,
        cells=cells_of(entry.cells, trained, counted),
        changes=changes_of(entry.cells, trained),
        notes=[*(note.format(**titles) for note in entry.notes), *_biased_notes(entry, trained)],
        seeds=request.seeds or entry.seeds,
        runs=[str(folder) for training, found in options.items() for folder in _folders(found, trained[training].runs)],
        seconds=time.perf_counter() - start,
        reports=[str(report) for _, report in made.values()],
    )


def _biased_notes(entry: Entry, trained: dict[Training, Trained]) -> list[str]:
    """Say which modality was taken as the biased one, where the paper does not name it and the entry needs it."""
    if not any("{biased}" in cell.measure or "{biased}" in cell.method for cell in entry.cells):
        return []
    found = {one.training.part.title: one.names()["biased"] for one in trained.values() if not one.training.part.biased}
    return [f"The biased modality, as measured without RollingQ, is {name} ({title})." for title, name in found.items()]


def label_of(data: str | None, deviations: list[str]) -> str:
    """Return what was run, in words.

    Example:
        >>> label_of("av_digits", ["the data is av_digits"])
        "same procedure on av_digits, not the paper's data"
    """
    if data is not None:
        return f"same procedure on {data}, not the paper's data"
    return "the paper's data, other settings" if deviations else "the paper's setting"


def _options(training: Training, entry: Entry, request: Request) -> Options:
    """Return the options of one training, as the command ``compare`` would have them."""
    part = training.part
    given = parse_options("reproduce", SUMMARY, [*request.flags, "--data", part.data])
    settings = with_changes(given.settings, part.changes)
    inside = _half(part.data, given.dir) if part.is_half else None
    return replace(
        given,
        modalities=part.modalities,
        inside=inside,
        methods=training.methods_of(entry.cells),
        seeds=request.seeds or entry.seeds,
        out=training_folder(request.out, _data_name(part.data, request), part.modalities, inside, settings),
        settings=settings,
    )


def _data_name(data: str, request: Request) -> str:
    """Return the dataset's name; one that was prepared for its outside samples is told apart."""
    return data if request.outside is None else f"{data}-{outside_kind(data, request.outside)}"


def outside_kind(data: str, outside: str) -> str:
    """Return "near" if a prepared folder holds the same dataset, else "far"."""
    from rollingq.data.shards import read_manifest

    return "near" if read_manifest(Path(outside))["dataset"] == data else "far"


def _half(data: str, folder: str | None) -> int:
    from rollingq.data.shards import read_manifest

    known = entry_of(data)
    return (known.num_classes or len(read_manifest(folder_of(known, folder), data)["classes"])) // 2


def _deviations(entry: Entry, options: dict[Training, Options], request: Request) -> list[str]:
    """Return what differs from the paper's setting."""
    replaced = DATASETS[ENTRIES[entry.name].cells[0].part.data].title
    found = [] if request.data is None else [f"the data is {request.data} in place of {replaced}"]
    for training, given in options.items():
        part = training.part
        recipe = parse_options("reproduce", SUMMARY, ["--data", part.data]).settings
        found += differences(
            given.settings, with_changes(recipe, part.changes), leave_out=("encoder.pretrained", "selection")
        )
        if part.is_pretrained and given.settings.encoder.pretrained is None:
            found.append("encoders start at random, the paper's from ImageNet-21k: add --pretrained")
    return found


def _train(training: Training, entry: Entry, options: Options, label: str, outside: str | None) -> tuple[Trained, Path]:
    """Train, diagnose where the entry needs it, and write the report."""
    data, runs = run_experiment(options)
    diagnoses = _diagnoses(training, entry, options, data, runs, outside)
    trained = Trained(training, runs, options.settings.rollingq.rho, diagnoses)
    return trained, _report(trained, entry, options, data, label)


def _diagnoses(
    training: Training,
    entry: Entry,
    options: Options,
    data: MultimodalData,
    runs: list[RunResult],
    outside: str | None,
) -> dict[tuple[str, int], Diagnosis]:
    """Return (method, seed) -> diagnosis, of the methods whose cells need one."""
    wanted = {
        cell.method
        for cell in entry.cells
        if cell.is_run and cell.training == training and cell.measure.partition(":")[0] in NEEDS
    }
    if not wanted:
        return {}
    from rollingq.training.diagnosed import diagnose_run

    config = HALF_MEASURES if "ood" in entry.measures else RUNS_MEASURES
    sets = [] if outside is None else [outside_data(outside, data)]
    chosen = [run for run in runs if run.method in wanted]
    found = {}
    for run, folder in zip(chosen, _folders(options, chosen), strict=True):
        with Bar(f"diagnosing {run.method} seed {run.seed}") as bar:
            found[run.method, run.seed] = diagnose_run(
                folder, data, config=config, outside=sets, on_progress=bar.update
            )
    return found


def _folders(options: Options, runs: Sequence[RunResult]) -> list[Path]:
    """Return the folder of each run."""
    from rollingq.training.grid import Job
    from rollingq.training.methods import parse_methods

    methods = {method.name: method for method in parse_methods(options.methods, options.modalities or ())}
    return [options.out / "runs" / Job(methods[run.method], run.seed).folder for run in runs]


def _report(trained: Trained, entry: Entry, options: Options, data: MultimodalData, label: str) -> Path:
    """Write the report of one training, with the label in its title, and return its path."""
    from rollingq.reporting.html import write_report

    title = f"{entry.title.format(**trained.names())}, {trained.training.part.title}: {label}"
    comparison = build_comparison(options, data, list(trained.runs))
    shown = replace(comparison, title=title, diagnoses=list(trained.diagnoses.values()))
    part = "" if len(entry.trainings) == 1 else f"-{_slug(trained.training.part.title)}"
    return write_report(shown, options.out.parent / f"{entry.name}{part}.html")


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", title.lower()).strip("-")


def _counts(entry: Entry, request: Request) -> dict[tuple[str, str], float]:
    """Return (method, measure) -> count, of the paper's models or of those on other data."""
    cells = [cell for cell in entry.cells if cell.measure in COUNTED]
    if not cells:
        return {}
    from rollingq.cli.complexity import counted, of_data, of_preset

    methods = ",".join(dict.fromkeys(cell.method for cell in cells))
    flags = [*request.flags, "--data", str(request.data), "--methods", methods]
    title, subjects, _ = of_preset(["--preset", "paper-table4"]) if request.data is None else of_data(flags)
    report = counted(title, subjects)
    macs = {(row.method, "macs"): row.thop_macs / 1e9 for row in report.rows}
    return {**macs, **{(row.method, "parameters"): row.thop_parameters / 1e6 for row in report.rows}}
