"""``rollingq report``: write the report of a finished comparison again."""

from __future__ import annotations

from rollingq.cli.options import parse_options
from rollingq.cli.output import write_results
from rollingq.errors import DataError

SUMMARY = "Write report, figures and tables of a finished comparison (--out) again, from its comparison.json."


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    from rollingq.evaluation.results import Comparison, from_json

    options = parse_options("report", SUMMARY, arguments)
    path = options.out / "comparison.json"
    try:
        comparison = from_json(Comparison, path.read_text())
    except OSError:
        raise DataError(
            f"Expected a finished comparison at {str(path)!r}, but there is none; run rollingq compare "
            f"--out {options.out} first."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"Expected a comparison in {str(path)!r}, but it cannot be read ({error}); run rollingq compare again."
        ) from None
    write_results(comparison, options.out, is_json=options.json)
    return 0
