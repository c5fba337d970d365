"""Parameters and cost as a table for a terminal, and what stands below it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rollingq.extras import lab_extra
from rollingq.reporting.text import DASH, clean

if TYPE_CHECKING:
    from rich.table import Table

    from rollingq.evaluation.complexity import ComplexityReport, ComplexityRow, PaperValues, RotationCost

_UNITS = (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))


def complexity_table(report: "ComplexityReport") -> "Table":
    """Return the methods for a terminal, within 100 columns: parameters and cost, by the paper's count and truly.

    Where the paper prints values they stand beside those of its count.

    Args:
        report: What was counted.

    Raises:
        MissingExtraError: Without the package rich.
    """
    with lab_extra("rich"):
        from rich import box
        from rich.table import Table
        from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=Text(_title(report)))
    columns = list(_columns(report))
    for index, (head, _) in enumerate(columns):
        table.add_column(head, justify="right" if index else "left", overflow="fold")
    for cells in zip(*(cells for _, cells in columns), strict=True):
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _title(report: "ComplexityReport") -> str:
    shapes = ", ".join(f"{clean(name)} {' x '.join(map(str, shape))}" for name, shape in report.shapes.items())
    return f"{clean(report.title)}: {shapes}; {report.num_classes} classes"


def _columns(report: "ComplexityReport") -> Iterator[tuple[str, list[str]]]:
    """Return heading and cells of every column; those of the paper only where it prints anything."""
    rows = report.rows
    papers = [row.paper for row in rows] if any(row.paper for row in rows) else []
    unit, size = _unit(max(row.parameters for row in rows))
    flops_unit, flops_size = _unit(max(row.flops for row in rows))
    yield "Method", [clean(row.title, max_length=24) for row in rows]
    yield f"Params,\n{unit} (thop)", [_digits(r.thop_parameters / size) for r in rows]
    if papers:
        yield "in the\npaper", [_printed(paper, "parameters") for paper in papers]
    yield f"Params,\n{unit} (all)", [_digits(r.parameters / size) for r in rows]
    yield f"GMACs of\n{report.batch_size} (thop)", [_digits(row.thop_macs / 1e9) for row in rows]
    if papers:
        yield "in the\npaper", [_printed(paper, "macs") for paper in papers]
    yield f"{flops_unit}FLOPs of\n1 (true)", [_digits(row.flops / flops_size) for row in rows]
    if papers:
        yield "Acc. in the\npaper, %", [_printed(paper, "accuracy", 1) for paper in papers]


def _unit(largest: float) -> tuple[str, float]:
    return next((unit for unit in _UNITS if largest >= unit[1]), _UNITS[-1])


def _digits(value: float) -> str:
    """Return two decimals, or four digits where that would show fewer."""
    return f"{value:.2f}" if value >= 10 else f"{value:#.4g}"


def _printed(paper: "PaperValues | None", name: str, digits: int = 2) -> str:
    return DASH if paper is None else f"{getattr(paper, name):.{digits}f}"


def complexity_lines(report: "ComplexityReport") -> list[str]:
    """Return what stands below the table: the fusion in both forms, RollingQ's share, notes, and a legend."""
    lines = []
    vanilla = next((row for row in report.rows if row.method.split("+")[0] == "mt"), None)
    if vanilla is not None:
        fast, plain = (_digits(flops / 1e6) for flops in (vanilla.fusion_flops, vanilla.plain_fusion_flops))
        lines.append(f"MT fusion, absorbed projections: {fast} MFLOPs a sample instead of {plain}.")
    lines += [f"{clean(row.title)}: {_rotation_text(row.rotation)}." for row in report.rows if row.rotation]
    lines += [f"{clean(row.title)}: {row.note}." for row in report.rows if row.note]
    return [*lines, "", *_legend(report)]


def _rotation_text(cost: "RotationCost") -> str:
    factored = f"rotation factored + {cost.numbers:,} numbers, + {cost.flops:,} FLOPs"
    if cost.folded_numbers is None or cost.folded_flops is None:
        return f"{factored}; cannot be folded, as other rows pass too"
    return f"{factored}; folded + {cost.folded_numbers:,}, + {cost.folded_flops:,}"


def _legend(report: "ComplexityReport") -> list[str]:
    probed = [row for row in report.rows if row.has_probes]
    probes = f"only in {_names(probed)}, as in the paper" if probed else "not counted"
    return [
        "thop: the paper's count, of Linear, convolution and LayerNorm modules that ran, every row computed; "
        "without matrix products, nn.MultiheadAttention, tokens, positions; with the original's dense D x D rotation.",
        f'GMACs of {report.batch_size}: 1e9 multiply-adds of so many samples; the paper calls them "GFLOPs".',
        "all, true: all parameters; 2 FLOPs a multiply-add of one sample, attention included. A factored rotation adds "
        f"2 D numbers each time and a small core. Linear probes: {probes}.",
    ]


def _names(rows: "list[ComplexityRow]") -> str:
    return ", ".join(clean(row.title) for row in rows)
