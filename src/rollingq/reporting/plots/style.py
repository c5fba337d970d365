"""The look that all figures share: one colour-blind-safe colour, marker and hatch a modality, the same everywhere."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from rollingq.evaluation.results import Comparison
from rollingq.extras import lab_extra
from rollingq.reporting.text import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
T = TypeVar("T")
Row = dict[str, str | float | int | None]
"""One line of the numbers behind a figure."""

INK, MUTED, GRID, PAPER = "#1f2933", "#5f6b7a", "#e3e7ec", "#ffffff"
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
"""Okabe and Ito's colours (2008), told apart with every form of colour blindness."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "///", "...", "xx", "\\\\\\", "++", "oo", "--")
METHOD_COLORS = ("#5f6b7a", "#6a3d9a", "#1f2933", "#a0522d")
"""Colours of methods, which no modality has; methods differ in their markers or dashes as well."""
Dash = Literal["-", "--", "-.", ":"]
DASHES: tuple[Dash, ...] = ("-", "--", "-.", ":")

RING: dict[str, Any] = {
    "markersize": 8,
    "markerfacecolor": "white",
    "markeredgecolor": INK,
    "markeredgewidth": 1.4,
    "linestyle": "",
}
"""How a rotation is marked."""

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "hatch.linewidth": 0.7,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "rollingq",
}
"""Matplotlib settings of every figure, whatever the reader's own settings are."""


@dataclass(frozen=True)
class Look:
    """How a modality is drawn in every figure."""

    color: str
    marker: str
    hatch: str

    @property
    def on_color(self) -> str:
        """The text colour that reads on this colour."""
        red, green, blue = (int(self.color[i : i + 2], 16) for i in (1, 3, 5))
        return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 100 else PAPER


def looks(comparison: Comparison) -> dict[str, Look]:
    """Return modality -> colour, marker and hatch, by its place in ``comparison.modalities``."""
    pick = [(OKABE_ITO[i % 8], MARKERS[i % 8], HATCHES[i % 8]) for i in range(len(comparison.modalities))]
    return {m: Look(*chosen) for m, chosen in zip(comparison.modalities, pick, strict=True)}


def method_looks(methods: Sequence[str]) -> dict[str, Look]:
    """Return method -> colour, marker and hatch, by its place; for charts that set methods beside each other."""
    pick = [(METHOD_COLORS[i % 4], MARKERS[i % 8], HATCHES[i % 8]) for i in range(len(methods))]
    return {method: Look(*chosen) for method, chosen in zip(methods, pick, strict=True)}


def label(name: object, *, max_length: int = 24) -> str:
    """Return a name that matplotlib draws as it is: no formula, no hidden legend entry, not too long."""
    shown = clean(name, max_length=max_length).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Run a drawing or saving function with matplotlib's defaults and :data:`RC` alone."""

    @functools.wraps(draw)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with lab_extra("matplotlib"):
            import matplotlib as mpl
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(RC)
            return draw(*args, **kwargs)

    return run


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of a size in inches (Agg canvas, no window, no global state)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(h_pad=0.09)  # type: ignore[call-arg]
    return figure


def name_rows(axes: "Axes", names: Sequence[str], *, max_length: int = 24) -> None:
    """Name the rows 0, 1, ... of a chart, the first on top."""
    axes.set_yticks(range(len(names)), [label(name, max_length=max_length) for name in names])
    axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def spread_out(num: int, width: float = 0.36) -> list[float]:
    """Return ``num`` offsets around 0, so that dots of one row do not hide each other."""
    return [0.0] if num == 1 else [width * (i / (num - 1) - 0.5) for i in range(num)]


def panel_grid(figure: "Figure", num: int, num_columns: int, *, share_y: bool = True) -> list["Axes"]:
    """Return ``num`` panels in rows of ``num_columns`` that share their axes; places that are left over are hidden."""
    num_rows = max(1, -(-num // num_columns))
    panels = figure.subplots(num_rows, num_columns, squeeze=False, sharex=True, sharey=share_y).ravel()
    for axes in panels[num:]:
        axes.set_visible(False)
    return list(panels[:num])


def name_axes(panels: Sequence["Axes"], num_columns: int, x: str, y: str) -> None:
    """Name the axes of panels that share them: x under the lowest panel of every column, y left of every row."""
    for place, axes in enumerate(panels):
        is_lowest = place + num_columns >= len(panels)
        axes.tick_params(labelbottom=is_lowest, labelleft=place % num_columns == 0)
        axes.set_xlabel(x if is_lowest else "")
        axes.set_ylabel(y if place % num_columns == 0 else "")


def legend_below(figure: "Figure", handles: Sequence[Any], *, num_columns: int = 3) -> None:
    """Explain the marks of a figure in one legend under it."""
    if handles:
        columns = min(num_columns, len(handles))
        figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, handlelength=3)
