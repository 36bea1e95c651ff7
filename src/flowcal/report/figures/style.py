"""How all figures look, and the pieces they are put together from."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray
from plotly.subplots import make_subplots

from flowcal.challenge import OUTPUT_UNITS

__all__ = ["present"]

Array = NDArray[np.float64]

# Okabe and Ito's palette, told apart by colour-blind readers and in grey print.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
GREY = "#7f7f7f"
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star", "circle-open")
PAIRS = ((0, 1), (0, 2), (1, 2))  # of three inputs

LAYOUT = {
    "colorway": PALETTE,
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "margin": {"l": 75, "r": 20, "t": 30, "b": 50},
    "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    "hovermode": "closest",
    "template": "none",
}
AXIS = {
    "gridcolor": "rgba(127,127,127,0.25)",
    "zeroline": False,
    "linecolor": GREY,
    "ticks": "outside",
    "title": {"standoff": 8},
    "automargin": True,
}


def present(figure: go.Figure, caption: str, alt: str) -> go.Figure:
    """The same figure with the caption and the text alternative that the book prints with it.

    Examples
    --------
    >>> figure = present(go.Figure(), "Nothing at all.", "An empty figure.")
    >>> figure.layout.meta["caption"]
    'Nothing at all.'
    """
    return figure.update_layout(meta={"caption": caption, "alt": alt})


def panels(rows: int, columns: int, **options: Any) -> go.Figure:
    """A grid of empty panels in the study's style."""
    figure = make_subplots(rows, columns, **options).update_layout(LAYOUT)
    return figure.update_xaxes(AXIS).update_yaxes(AXIS)


def stroke(color: str, dash: str | None = None, width: float | None = None, shape: str | None = None) -> dict[str, Any]:
    """How a line is drawn."""
    parts = {"color": color, "dash": dash, "width": width, "shape": shape}
    return {name: value for name, value in parts.items() if value is not None}


def line(*look: Any, mode: str = "lines", **options: Any) -> dict[str, Any]:
    """Options of a trace that is drawn as a line; the line itself as for `stroke`."""
    return {"mode": mode, "line": stroke(*look, **options)}


def dots(color: str, size: float, symbol: str | None = None, **options: Any) -> dict[str, Any]:
    """Options of a trace that is drawn as marks."""
    return {"mode": "markers", "marker": {"color": color, "size": size, "symbol": symbol, **options}}


def named(name: str, group: str | None = None) -> dict[str, str]:
    """Options of a trace that the legend switches together with all others of its group, by default of its name."""
    return {"name": name, "legendgroup": group or name}


def error_bars(values: ArrayLike, low: ArrayLike, high: ArrayLike, color: str, **options: Any) -> dict[str, Any]:
    """Bars from the low to the high ends of intervals."""
    middle = np.asarray(values)
    ends = {"array": small(np.asarray(high) - middle), "arrayminus": small(middle - np.asarray(low))}
    return {"type": "data", **ends, "color": color, **options}


def band(x: Array, low: Array, high: Array, color: str, **options: Any) -> go.Scatter:
    """The area between two curves."""
    around = {"x": small([*x, *x[::-1]]), "y": small([*high, *low[::-1]])}
    look = {"mode": "lines", "line": {"width": 0}, "fill": "toself", "fillcolor": color, "hoverinfo": "skip"}
    return go.Scatter(**around, **look, **options)


def histogram(values: ArrayLike, bins: int, **options: Any) -> go.Bar:
    """Counts of values in [0, 1]."""
    counts, edges = np.histogram(values, bins, (0, 1))
    return go.Bar(x=small((edges[1:] + edges[:-1]) / 2), y=small(counts), marker={"color": BLUE}, **options)


def joined(x: ArrayLike, lines: Array) -> dict[str, NDArray[Any] | str]:
    """Many lines as one trace, with a gap after each: far lighter than a trace per line."""
    gap = np.full((len(lines), 1), np.nan)
    x = np.tile(np.append(small(x), np.nan), len(lines))
    return {"x": x, "y": small(np.hstack([lines, gap]).ravel()), "mode": "lines"}


def small(values: ArrayLike) -> NDArray[np.float32]:
    """Single precision, half the page's weight and more than a screen shows."""
    return np.asarray(values, np.float32)


def legend_once(figure: go.Figure, **layout: Any) -> go.Figure:
    """Each name once in the legend, which switches all its traces; with changes of the layout."""
    seen: set[str] = set()
    for trace in figure.data:
        trace.showlegend = trace.name not in seen
        seen.add(trace.name)
    return figure.update_layout(**layout)


def log_axis(figure: go.Figure, title: str | None = None, axis: str = "y", **options: Any) -> go.Figure:
    """A logarithmic axis with powers of ten."""
    update = figure.update_yaxes if axis == "y" else figure.update_xaxes
    return update(title_text=title, type="log", exponentformat="power", **options)


def axis_title(output: str) -> str:
    """Name and unit of an output."""
    return f"{output} [{OUTPUT_UNITS[output].replace('1', '–')}]"


def cell_of(output: int) -> dict[str, int]:
    """Row and column of an output's panel in two rows of three."""
    row, column = divmod(output, 3)
    return {"row": row + 1, "col": column + 1}
