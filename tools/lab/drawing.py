"""How the laboratory draws: one quiet style, colours that the colour-blind can tell apart.

Colours are Okabe and Ito's (2008); every series has a dash or a marker of its own too, so that a
grey print can be read, and its name beside it instead of in a legend.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .statistics import estimate

BLUE, RED, GREEN, PURPLE, ORANGE, GREY = (
    "#0072B2", "#D55E00", "#007A5A", "#A8528A", "#B07A00", "#6B6B6B",
)  # fmt: skip
COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, GREY)
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1)), "-")
MARKERS = ("o", "s", "^", "D", "v", "x")

STYLE = {
    "font.size": 9.5,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#808080",
    "axes.linewidth": 0.8,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": "#303030",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": "#505050",
    "ytick.color": "#505050",
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "figure.facecolor": "white",
    "svg.hashsalt": "minigrad",  # the same bytes for the same numbers
}


@contextmanager
def panels(columns: int = 1, rows: int = 1, width: float = 4.3, height: float = 3.2) -> Iterator:
    """A figure and its axes, in a flat list, in the laboratory's style."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        FigureCanvasSVG(figure)
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
        yield figure, list(np.ravel(figure.subplots(rows, columns)))


def svg(figure: Any) -> str:
    """The figure as SVG text, the same bytes every time."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "minigrad"})
    return buffer.getvalue()


def band(
    ax: Any, x: Any, runs: Any, series: int, marker: bool = False, width: float = 1.8
) -> float:
    """The mean over seeds (rows of ``runs``) with its interval; the height where the line ends."""
    columns = [estimate(column) for column in np.asarray(runs, float).T]
    middle = np.array([e.mean for e in columns])
    half = np.nan_to_num(np.array([e.half for e in columns]))
    colour = COLOURS[series]
    ax.fill_between(x, middle - half, middle + half, color=colour, alpha=0.15, linewidth=0)
    kind = MARKERS[series] if marker else None
    ax.plot(x, middle, color=colour, linestyle=DASHES[series], marker=kind, linewidth=width)
    return float(middle[-1])


def name_lines(ax: Any, names: Sequence[tuple[float, str, int]], gap: float = 0.065) -> None:
    """The name of each line at its end ``(height, name, series)``, moved apart where they meet."""
    ax.figure.draw_without_rendering()  # limits are known from here on
    to_axes = ax.transData + ax.transAxes.inverted()
    at = [to_axes.transform((ax.get_xlim()[1], height))[1] for height, _, _ in names]
    for position, (_, text, series) in zip(spread(at, gap), names, strict=True):
        ax.text(
            1.02, position, text, transform=ax.transAxes, color=COLOURS[series], va="center",
            ha="left", fontsize=9,
        )  # fmt: skip


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Positions at least ``gap`` apart, in the same order, moved as little as is simple.

    >>> [round(p, 2) for p in spread([0.5, 0.52, 0.1], 0.1)]
    [0.46, 0.56, 0.1]
    """
    order = np.argsort(positions, kind="stable")
    placed = np.clip(np.asarray(positions, float)[order], 0, 1)
    for _ in range(100):
        moved = False
        for i in range(len(placed) - 1):
            overlap = gap - (placed[i + 1] - placed[i])
            if overlap > 1e-9:
                placed[i] -= overlap / 2
                placed[i + 1] += overlap / 2
                moved = True
        if not moved:
            break
    for i in reversed(range(len(placed))):  # nothing above the top
        placed[i] = min(placed[i], placed[i + 1] - gap if i + 1 < len(placed) else 1.0)
    found = [0.0] * len(placed)
    for index, value in zip(order, placed, strict=True):
        found[index] = float(value)
    return found


def note(ax: Any, x: float, y: float, text: str, colour: str = GREY, **options: Any) -> None:
    """A short remark in the plot, at data coordinates."""
    ax.text(x, y, text, color=colour, fontsize=8.5, **{"va": "center", "ha": "left", **options})


def labelled(ax: Any, title: str, x: str, y: str) -> None:
    ax.set_title(title)
    ax.set_xlabel(x)
    ax.set_ylabel(y)


def powers_of_two(ax: Any, sizes: Sequence[int]) -> None:
    """A logarithmic x axis that names the sizes themselves."""
    ax.set_xscale("log", base=2)
    ax.set_xticks(list(sizes), [str(size) for size in sizes])
    ax.minorticks_off()
