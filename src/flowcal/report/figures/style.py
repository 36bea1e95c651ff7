"""How all figures look, and the pieces they are put together from."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray
from plotly.subplots import make_subplots

from flowcal.challenge import OUTPUT_UNITS

__all__ = ["present"]

# Okabe and Ito's palette, told apart by colour-blind readers and in grey print.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
GREY = "#7f7f7f"

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
    """A figure with the caption and the text alternative that the book prints with it.

    Parameters
    ----------
    figure : Figure
    caption : str
        What to see in it.
    alt : str
        What stands in for it where it cannot be seen.

    Returns
    -------
    Figure
        The same one.

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


def joined(x: ArrayLike, lines: NDArray[np.float64]) -> dict[str, NDArray[Any] | str]:
    """Many lines as one trace, with a gap after each: far lighter than a trace a line."""
    gap = np.full((len(lines), 1), np.nan)
    return {
        "x": np.tile(np.append(np.asarray(x, np.float32), np.nan), len(lines)),
        "y": small(np.hstack([lines, gap]).ravel()),
        "mode": "lines",
    }


def small(values: ArrayLike) -> NDArray[np.float32]:
    """Single precision, half the page's weight and more than a screen shows."""
    return np.asarray(values, np.float32)


def legend_once(figure: go.Figure) -> go.Figure:
    """Each name once in the legend, which switches all its lines."""
    seen: set[str] = set()
    for trace in figure.data:
        trace.showlegend = trace.name not in seen
        seen.add(trace.name)
    return figure


def axis_title(output: str) -> str:
    """Name and unit of an output."""
    return f"{output} [{OUTPUT_UNITS[output].replace('1', '–')}]"
