"""The options that every command shares, from flags, a configuration file and the dataset's recipe."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollingq.errors import ConfigError, MissingExtraError, nearest
from rollingq.training.settings import Settings

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


INSIDE = "train on the first N classes only; the others are what diagnose tries to detect"


@dataclass(frozen=True)
class Options:
    """What to run on what, and where results go."""

    data: str
    dir: str | None
    modalities: tuple[str, ...] | None
    inside: int | None
    """Train on the first so many classes only; None = all."""
    methods: tuple[str, ...]
    seeds: int
    out: Path
    json: bool
    workers: int
    settings: Settings


def parse_options(command: str, summary: str, arguments: list[str]) -> Options:
    """Return the options of a command; flags win over --config, which wins over the dataset's recipe.

    Args:
        command: Name of the command, for the usage line.
        summary: What it does.
        arguments: The command line after the command.

    Raises:
        ConfigError: If a flag, a name or a value is wrong.
    """
    parser = _parser(command, summary)
    parsed = parse(parser, _with_recipe(arguments))
    return _options(parser.instantiate(parsed))


def new_parser(command: str, summary: str) -> ArgumentParser:
    """Return an empty parser that reads options from flags and from ``--config``."""
    try:
        from jsonargparse import ActionConfigFile, ArgumentParser, set_parsing_settings  # type: ignore[attr-defined]
    except ImportError as error:
        raise MissingExtraError("jsonargparse", "lab") from error
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=f"rollingq {command}", description=summary, exit_on_error=False)
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file with any of these options")
    return parser


def _parser(command: str, summary: str) -> ArgumentParser:
    parser = new_parser(command, summary)
    add = parser.add_argument
    add("--data", type=str, default="av_digits", help="name of the dataset (rollingq data list)")
    add("--dir", type=str | None, default=None, help="its prepared folder; the last prepared one if not given")
    add("--modalities", type=str | None, default=None, help="names with commas; all if not given")
    add("--inside", type=int | None, default=None, help=INSIDE)
    add("--methods", type=str, default="unimodal,concat,mt,mt+rollingq", help="names with commas")
    add("--seeds", type=int, default=3, help="number of seeds: 0 .. N-1")
    add("--epochs", type=int | None, default=None, help="short for --train.epochs")
    add("--pretrained", nargs="?", const="hub", default=None, help="short for --encoder.pretrained; alone: timm's hub")
    add("--out", type=str | None, default=None, help="folder of the results (default runs/NAME)")
    add("--json", action="store_true", help="print the result as JSON on standard output")
    add("--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes, one core each; 0 = none")
    parser.add_class_arguments(Settings, nested_key=None, as_group=False)
    return parser


def _with_recipe(arguments: list[str]) -> list[str]:
    """Put the recipe of the dataset before what the user said, so that the user wins."""
    name = _flag(arguments, "--data") or _config_value(arguments, "data") or "av_digits"
    recipe = resources.files("rollingq.recipes") / f"{re.sub(r'[^a-z0-9_]', '', name)}.yaml"
    return ["--config", str(recipe), *arguments] if recipe.is_file() else arguments


def _flag(arguments: list[str], flag: str) -> str | None:
    for i, argument in enumerate(arguments):
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
        if argument == flag and i + 1 < len(arguments):
            return arguments[i + 1]
    return None


def _config_value(arguments: list[str], key: str) -> str | None:
    """Return a top-level value of the --config file, if it can be read."""
    import yaml

    path = _flag(arguments, "--config")
    try:
        loaded = yaml.safe_load(Path(path).read_text()) if path else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return str(loaded[key]) if isinstance(loaded, dict) and key in loaded else None


def parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """Return what the command line says.

    Raises:
        ConfigError: If an option is unknown or its value of the wrong form.
    """
    from jsonargparse import ArgumentError

    known = {flag for action in parser._actions for flag in action.option_strings}
    try:
        return parser.parse_args(arguments)
    except SystemExit as end:
        if not end.code:
            raise
        raise ConfigError("Expected options that the command knows; see --help.") from None
    except (ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(_one_line(str(error), arguments, known)) from None


def _one_line(text: str, arguments: list[str], known: set[str]) -> str:
    """Return the parser's complaint in one line, with the nearest flag for an unknown one."""
    flags = [a.partition("=")[0] for a in arguments if a.startswith("--")]
    unknown = [flag for flag in flags if flag not in known]
    if unknown:
        hints = "".join(nearest(flag, known) for flag in unknown[:1])
        return f"Expected options that the command knows, but got {', '.join(unknown)}.{hints}"
    text = " ".join(text.split()).removesuffix(".")
    text = re.sub(r"<class '(\w+)'>", r"\1", text)
    text = re.sub(r"typing\.Literal\[([^\]]+)\]", r"one of \1", text)
    text = re.sub(r'Parser key "([^"]+)": Expected (.+)\. Got value: (.*)', r"Expected --\1 to be \2, but got \3", text)
    text = re.sub(
        r'Parser key "([^"]+)": Does not validate .*Subtypes: \[(\w+), NoneType\].*Given value: (.*)',
        r"Expected --\1 to be a \2, but got \3",
        text,
    )
    text = re.sub(r'Parser key "([^"]+)": ', r"--\1: ", text).replace(" to be a one of ", " to be one of ")
    return f"{text}." if text.startswith("Expected") else f"Expected valid options, but {text}; see --help."


def _options(parsed: Namespace) -> Options:
    values: dict[str, Any] = vars(parsed)
    settings = Settings(
        **{name: values[name] for name in ("selection", "train", "encoder", "fusion", "rollingq", "balancing")}
    )
    if values["epochs"] is not None:
        settings = replace(settings, train=replace(settings.train, epochs=values["epochs"]))
    if values["pretrained"] is not None:
        settings = replace(settings, encoder=replace(settings.encoder, pretrained=values["pretrained"]))
    if values["seeds"] < 1:
        raise ConfigError(f"Expected --seeds to be at least 1, but got {values['seeds']}.")
    if values["workers"] < 0:
        raise ConfigError(f"Expected --workers to be at least 0, but got {values['workers']}.")
    if values["inside"] is not None and values["inside"] < 1:
        raise ConfigError(f"Expected --inside to be at least 1, but got {values['inside']}.")
    return Options(
        data=values["data"],
        dir=values["dir"],
        modalities=names_of(values["modalities"]),
        inside=values["inside"],
        methods=names_of(values["methods"]) or (),
        seeds=values["seeds"],
        out=Path(values["out"] or Path("runs") / values["data"]),
        json=values["json"],
        workers=values["workers"],
        settings=settings,
    )


def names_of(text: str | None) -> tuple[str, ...] | None:
    """Return the names in a text with commas, or None if nothing was given.

    Example:
        >>> names_of("audio, image,")
        ('audio', 'image')
    """
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())
