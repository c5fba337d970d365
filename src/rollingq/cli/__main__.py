"""Entry of the command line: find the command by name and import only it."""

import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from rollingq.errors import MissingExtraError, RollingQError, RunError, unknown_name

COMMANDS = {
    "compare": "train methods over seeds, compare them pairwise, write a report",
    "train": "train methods over seeds and keep their checkpoints",
    "diagnose": "measure attention, robustness, interventions and more on finished runs",
    "report": "write the report of a finished comparison again",
    "reproduce": "run the paper's tables and figures, ours beside the paper's",
    "complexity": "count parameters and cost of methods, as the paper does and truly",
    "data": "list, prepare and check datasets",
}


def usage() -> str:
    """Return the text of ``rollingq --help``."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: rollingq COMMAND [options]",
            "",
            "Measure and break attention lock-in in multimodal transformers by rotating the query.",
            "",
            *lines,
            "",
            "rollingq COMMAND --help shows a command's options; rollingq compare alone runs the demo.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code: 0 done, 1 the run failed, 2 bad input."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        print(importlib.import_module("rollingq").__version__)
        return 0
    try:
        return _run(arguments[0], arguments[1:])
    except (RollingQError, MissingExtraError) as error:
        return _fail(error, 2)
    except RunError as error:
        return _fail(error, 1)
    except BrokenPipeError:  # The reader of our output has gone, as in `rollingq data list | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _fail("stopped; finished runs are kept, the same command goes on from there", 130)


def _run(command: str, arguments: list[str]) -> int:
    if command not in COMMANDS:
        raise RollingQError(unknown_name("the command", command, COMMANDS))
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
    code: int = importlib.import_module(f"rollingq.cli.{command}").run(arguments)
    return code


def _fail(error: object, code: int) -> int:
    print(f"rollingq: {' '.join(str(error).split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
