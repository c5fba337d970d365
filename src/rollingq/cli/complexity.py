"""``rollingq complexity``: parameters and cost of every method, by the paper's count and truly."""

from __future__ import annotations

import argparse
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any, NoReturn

from rollingq.cli.options import Options, parse_options
from rollingq.config import EncoderConfig, FusionConfig, RollingQConfig
from rollingq.data.registry import modalities_of
from rollingq.errors import ConfigError, unknown_name
from rollingq.extras import lab_extra
from rollingq.training.methods import Method, parse_methods

if TYPE_CHECKING:
    from rollingq.evaluation.complexity import ComplexityReport, Subject

SUMMARY = (
    "Count parameters and cost of every method for the shapes of a dataset; or, without data, of the models of the "
    "paper's Table 4: rollingq complexity --preset paper-table4 [--json]."
)


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    is_preset = any(argument.partition("=")[0] == "--preset" for argument in arguments)
    title, subjects, is_json = of_preset(arguments) if is_preset else of_data(arguments)
    report = counted(title, subjects)
    if is_json:
        from rollingq.evaluation.results import to_json

        print(to_json(report))
    else:
        _print(report)
    return 0


def of_data(arguments: list[str]) -> tuple[str, list[Subject], bool]:
    """Return title, methods and form of a dataset's table."""
    options = parse_options("complexity", SUMMARY, arguments)
    methods = parse_methods(options.methods, options.modalities or modalities_of(options.data, dir=options.dir))
    from rollingq.data.registry import load

    data = load(options.data, dir=options.dir, modalities=options.modalities)
    num_classes = options.inside or len(data.classes)
    return data.name, [_subject(method, options, data.shapes, num_classes) for method in methods], options.json


def _subject(method: Method, options: Options, shapes: dict[str, tuple[int, ...]], num_classes: int) -> Subject:
    from rollingq.evaluation.complexity import Subject

    settings = options.settings
    return Subject(
        method=method.name,
        title=method.name,
        fusion=method.fusion,
        shapes={name: shapes[name] for name in method.modalities},
        num_classes=num_classes,
        encoder=settings.encoder,
        config=settings.fusion,
        rollingq=settings.rollingq if "rollingq" in method.balancing else None,
    )


class _Parser(argparse.ArgumentParser):
    """Says what is wrong as one of our errors instead of printing usage and leaving."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"Expected --preset NAME [--json], but {message}.")


def of_preset(arguments: list[str]) -> tuple[str, list[Subject], bool]:
    """Return title, methods and form of a preset's table."""
    parser = _Parser(prog="rollingq complexity", description=SUMMARY, allow_abbrev=False)
    parser.add_argument("--preset", required=True, help="name of the models to count")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    given, others = parser.parse_known_args(arguments)
    if others:
        raise ConfigError(f"Expected only --json beside --preset, which says all else, but got {' '.join(others)}.")
    preset = read_preset(given.preset)
    return preset["title"], [_row(row, preset) for row in preset["rows"]], given.json


def read_preset(name: str) -> dict[str, Any]:
    """Return what a preset in rollingq/recipes/presets says.

    Raises:
        ConfigError: If there is none of this name.

    Example:
        >>> read_preset("paper-table4")["classes"]
        6
    """
    with lab_extra("yaml"):
        import yaml

    folder = resources.files("rollingq.recipes") / "presets"
    files = {path.name.removesuffix(".yaml").replace("_", "-"): path for path in folder.iterdir()}
    if name not in files:
        raise ConfigError(unknown_name("--preset", name, sorted(files)))
    loaded: dict[str, Any] = yaml.safe_load(files[name].read_text(encoding="utf-8"))
    return loaded


def _row(row: dict[str, Any], preset: dict[str, Any]) -> Subject:
    from rollingq.evaluation.complexity import PaperValues, Subject

    (method,) = parse_methods([row["method"]], tuple(preset["shapes"]))
    return Subject(
        method=method.name,
        title=row["title"],
        fusion=method.fusion,
        shapes={name: tuple(preset["shapes"][name]) for name in method.modalities},
        num_classes=preset["classes"],
        encoder=EncoderConfig(**{**preset["encoder"], **row.get("encoder", {})}),
        config=_fusion_config(preset["fusion"]),
        rollingq=RollingQConfig(**preset["rollingq"]) if "rollingq" in method.balancing else None,
        has_probes=row.get("probes", False),
        paper=PaperValues(**row["paper"]) if "paper" in row else None,
        note=row.get("note", ""),
    )


def _fusion_config(values: dict[str, dict[str, Any]]) -> FusionConfig:
    default = FusionConfig()
    return replace(default, **{name: replace(getattr(default, name), **given) for name, given in values.items()})


def counted(title: str, subjects: list[Subject]) -> ComplexityReport:
    """Count every method, under a progress bar where there is a terminal."""
    from rich.console import Console
    from rich.progress import track

    from rollingq.evaluation.complexity import BATCH_SIZE, ComplexityReport, count_row

    console = Console(stderr=True)
    bar = track(subjects, "counting", console=console, transient=True, disable=not console.is_terminal)
    rows = [count_row(subject) for subject in bar]
    shapes = {name: list(shape) for subject in subjects for name, shape in subject.shapes.items()}
    return ComplexityReport(title, shapes, subjects[0].num_classes, BATCH_SIZE, rows)


def _print(report: ComplexityReport) -> None:
    from rich.console import Console

    from rollingq.reporting.complexity_table import complexity_lines, complexity_table

    is_terminal = Console().is_terminal
    console = Console(highlight=False, width=None if is_terminal else 100)
    console.print(complexity_table(report))
    for line in complexity_lines(report):
        console.print(line, markup=False)
