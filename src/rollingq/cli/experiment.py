"""What compare and train share: load, run the grid under a progress bar, keep what was found."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rollingq.cli.options import Options
from rollingq.data.registry import modalities_of
from rollingq.errors import DataError
from rollingq.training.methods import EVERYTHING, check_methods, left_out, parse_methods

if TYPE_CHECKING:
    from rollingq.data.base import MultimodalData
    from rollingq.evaluation.results import Comparison, EpochRecord, RunResult
    from rollingq.training.grid import Job


def run_experiment(options: Options) -> tuple[MultimodalData, list[RunResult]]:
    """Load the data, run every method with every seed, and return the data and the results."""
    # Names are checked before anything imports torch: bad input should not wait for it.
    modalities = options.modalities or modalities_of(options.data, dir=options.dir)
    methods = parse_methods(options.methods, modalities)
    settings = options.settings
    check_methods(methods, settings.encoder.num_layers, settings.rollingq.scope, settings.fusion.mult.memory)
    if EVERYTHING in options.methods:
        for reason in left_out(len(modalities)):
            print(f"Left out: {reason}.", file=sys.stderr)
    from rollingq.training.grid import Job, Source, run_grid
    from rollingq.training.run import check_models

    source = Source(options.data, options.dir, options.modalities, options.inside)
    data = source.load()
    check_models(methods, data, settings)
    say_pretrained(options, data)
    jobs = [Job(method, seed) for seed in range(options.seeds) for method in methods]
    prepare_folder(options)
    with Progress(len(jobs), options.settings.train.epochs) as progress:
        results = run_grid(
            jobs,
            source,
            data,
            options.settings,
            options.out,
            workers=options.workers,
            on_epoch=progress.epoch,
            on_done=progress.done,
        )
    order = {method.name: i for i, method in enumerate(methods)}
    return data, sorted(results, key=lambda run: (order[run.method], run.seed))


def say_pretrained(options: Options, data: MultimodalData) -> None:
    """Load pretrained weights once before any run does, and say on standard error what became of them."""
    if options.settings.encoder.pretrained is None:
        return
    from rollingq.errors import ConfigError
    from rollingq.nn.encoders import build_encoder

    encoders = {name: build_encoder(name, shape, options.settings.encoder) for name, shape in data.shapes.items()}
    reports = {name: encoder.load_report for name, encoder in encoders.items()}
    if not any(reports.values()):
        raise ConfigError(
            "Expected an encoder of timm for --pretrained, but all modalities have sequence encoders, which have no "
            "weights to start from; leave --pretrained out, or choose --encoder.name."
        )
    for name, report in reports.items():
        print(f"{name}: {report or 'sequence encoder, starts at random'}", file=sys.stderr)
    print("fusion: starts at random; blocks of mbt and joint take up deeper blocks of the weights", file=sys.stderr)


def prepare_folder(options: Options) -> None:
    """Make the folder of the results, or say why it cannot be made."""
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"Expected to write results to {str(options.out)!r}, but {error.strerror or error}; give another --out."
        ) from None


class Progress:
    """A progress bar over all epochs of all runs, on standard error."""

    def __init__(self, num_runs: int, epochs: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Bar(*columns, TextColumn("left"), TimeRemainingColumn(), console=console)
        self._epochs = epochs
        self._is_terminal = console.is_terminal
        self._runs = (0, num_runs)
        self._task = self._bar.add_task("training", total=num_runs * epochs)

    def __enter__(self) -> Progress:
        if self._is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def epoch(self, job: Job, record: EpochRecord) -> None:
        """Move by one epoch."""
        self._bar.update(self._task, advance=1, description=f"{job.method.name} seed {job.seed}")

    def done(self, job: Job, result: RunResult, is_cached: bool) -> None:
        """Say that a run is finished; a line a run where there is no terminal to draw on."""
        self._runs = (self._runs[0] + 1, self._runs[1])
        if is_cached:
            self._bar.update(self._task, advance=self._epochs)
        if not self._is_terminal:
            how = "kept from before" if is_cached else f"{result.seconds:.0f} s"
            print(
                f"[{self._runs[0]}/{self._runs[1]}] {job.method.name} seed {job.seed}: validation "
                f"{100 * result.val_accuracy:.1f} % ({how})",
                file=sys.stderr,
            )


def build_comparison(options: Options, data: MultimodalData, runs: list[RunResult]) -> Comparison:
    """Return everything that a report shows."""
    from rollingq.training.comparison import comparison_of

    return comparison_of(data, runs, _config(options))


def _config(options: Options) -> dict[str, Any]:
    """Return the configuration without what only says where things lie."""
    kept = {"data": options.data, "inside": options.inside, "methods": list(options.methods), "seeds": options.seeds}
    return {**kept, **asdict(options.settings)}
