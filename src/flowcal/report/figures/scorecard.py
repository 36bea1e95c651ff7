"""Figures of what choices cost."""

import math
from collections.abc import Mapping

import plotly.graph_objects as go

from flowcal.report.figures.style import GREY, PALETTE, panels, small

__all__ = ["marked_values"]

SYMBOLS = ("circle", "diamond", "square", "triangle-up")


def marked_values(
    values: Mapping[str, Mapping[str, tuple[float, float, float]]],
    title: str,
    references: Mapping[str, float],
    log: bool = False,
) -> go.Figure:
    """Values with intervals, a row each, beside reference values as dashed lines.

    Parameters
    ----------
    values : mapping of str to mapping
        By series and row: the value, and the ends of its interval.
    title : str
        Of the axis, with the unit.
    references : mapping of str to float
        By name.
    log : bool
        Whether the axis is logarithmic.

    Returns
    -------
    Figure
    """
    figure = panels(1, 1)
    rows = list(dict.fromkeys(row for series in values.values() for row in series))
    for (name, series), color, symbol in zip(values.items(), PALETTE, SYMBOLS, strict=False):
        middle, low, high = map(list, zip(*series.values(), strict=True))
        error = {
            "array": small([top - value for top, value in zip(high, middle, strict=True)]),
            "arrayminus": small([value - bottom for value, bottom in zip(middle, low, strict=True)]),
            "color": color,
        }
        marker = {"color": color, "symbol": symbol, "size": 11}
        figure.add_scatter(x=small(middle), y=[*series], error_x=error, mode="markers", marker=marker, name=name)
    for (name, value), dash in zip(references.items(), ("dash", "dot", "dashdot"), strict=False):
        line = {"color": GREY, "dash": dash, "width": 2}
        figure.add_scatter(x=small([value] * len(rows)), y=rows, mode="lines", line=line, name=name)
    figure.update_xaxes(title_text=title, type="log" if log else "linear")
    if log:
        figure.update_xaxes(exponentformat="power", dtick=max(1, math.ceil(_decades(values) / 6)))
    figure.update_yaxes(autorange="reversed")
    return figure.update_layout(height=150 + 34 * len(rows), showlegend=True)


def _decades(values: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> float:
    found = [value for series in values.values() for value, _, _ in series.values()]
    return math.log10(max(found) / min(found))
