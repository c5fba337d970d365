"""One sample of a dataset as a picture: frames, flow, spectrograms and tokens, one row a modality."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from rollingq.data.view import Panel, SampleView
from rollingq.extras import lab_extra
from rollingq.reporting.plots.style import label, styled
from rollingq.reporting.thumbnails import motion_colors, unit_pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Picture = Shaped[np.ndarray, "H W ..."]
AXES = {"tokens": ("token", "feature"), "spectrogram": ("time", "frequency")}
"""What runs to the right and upwards."""


def sample_png(view: SampleView) -> bytes:
    """Return the picture of a sample as a PNG.

    Args:
        view: The sample.
    """
    stream = io.BytesIO()
    sample_figure(view).savefig(stream, format="png", dpi=130)
    return stream.getvalue()


@styled
def sample_figure(view: SampleView) -> "Figure":
    """Return a figure with one row for every modality; what is masked is said in words, not in colour alone."""
    with lab_extra("matplotlib"):
        from matplotlib.figure import Figure
    rows = {name: list(_pictures(panel)) for name, panel in view.panels.items()}
    figure = Figure(figsize=(8, 0.7 + 2.4 * len(rows)), layout="constrained")
    figure.suptitle(
        f"{label(view.label)}\n{label(view.dataset)}, {view.split} {view.index}: {label(view.name, max_length=80)}"
    )
    parts: Any = figure.subfigures(len(rows), 1, squeeze=False)
    for part, (name, pictures) in zip(parts[:, 0], rows.items(), strict=True):
        panel = view.panels[name]
        form = "x".join(map(str, panel.array.shape))
        part.suptitle(f"{label(name)}: {panel.kind} {form}{_masked(panel)}", x=0.02, ha="left")
        for axes, picture in zip(np.ravel(part.subplots(1, len(pictures), squeeze=False)), pictures, strict=True):
            _draw(axes, picture, panel)
    return figure


def _masked(panel: Panel) -> str:
    if panel.mask is None or panel.mask.all():
        return ""
    real = int(panel.mask.sum())
    return ", absent in this sample" if not real else f", {real} of {len(panel.mask)} real"


def _pictures(panel: Panel) -> Iterator[Picture]:
    """Yield what can be drawn: one picture a frame, one for everything else."""
    array = panel.array.astype(np.float32)
    if panel.kind == "tokens":
        yield array.T
    elif panel.kind == "spectrogram":
        yield array[0]
    elif panel.kind == "flow":
        yield from map(motion_colors, array)
    else:
        for frame in array if array.ndim == 4 else array[None]:
            yield frame[0] if len(frame) != 3 else unit_pixels(frame.transpose(1, 2, 0))


def _draw(axes: Any, picture: Picture, panel: Panel) -> None:  # noqa: ANN401
    is_chart = panel.kind in AXES
    axes.imshow(
        picture,
        aspect="auto" if is_chart else "equal",
        origin="lower" if is_chart else "upper",
        cmap="cividis" if is_chart else "gray",
        interpolation="nearest",
    )
    if not is_chart:
        axes.axis("off")
        return
    axes.set_xlabel(AXES[panel.kind][0])
    axes.set_ylabel(AXES[panel.kind][1])
