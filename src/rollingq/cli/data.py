"""``rollingq data``: list, prepare, check and show datasets."""

import importlib

from rollingq.errors import ConfigError, unknown_name

ACTIONS = {
    "list": "the datasets: what they hold, their size and licence, where to get them, which are prepared",
    "prepare": "turn raw files, as published, into a folder that training reads",
    "check": "verify every shard of a prepared folder",
    "show": "draw one sample as a PNG: frames, spectrogram or tokens, and the label",
}


def usage() -> str:
    """Return the text of ``rollingq data --help``."""
    lines = [f"  {name:<8}  {text}" for name, text in ACTIONS.items()]
    return "\n".join(["usage: rollingq data ACTION [options]", "", *lines, "", "ACTION --help shows its options."])


def run(arguments: list[str]) -> int:
    """Run ``rollingq data ACTION`` and return the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    action, *others = arguments
    if action.startswith("-"):
        raise ConfigError(f"Expected an action before options, but got {action}: one of {', '.join(ACTIONS)}.")
    if action not in ACTIONS:
        raise ConfigError(unknown_name("the action of rollingq data", action, ACTIONS))
    code: int = importlib.import_module(f"rollingq.cli.data_{action}").run(others)
    return code
