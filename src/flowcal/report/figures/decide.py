"""Figures of what follows from an uncertainty model."""

from collections.abc import Mapping

import plotly.graph_objects as go

from flowcal.challenge import LOADS
from flowcal.report.figures.style import PALETTE, legend_once, panels, small

__all__ = ["interval_bounds"]

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star", "circle-open")


def interval_bounds(bounds: Mapping[str, Mapping[float, Mapping[str, tuple[float, float, float]]]]) -> go.Figure:
    """Upper bounds of the loads, a panel a load: by source, alpha and output the bound and its interval."""
    alphas = sorted({alpha for by_alpha in bounds.values() for alpha in by_alpha})
    figure = panels(1, len(LOADS), subplot_titles=LOADS, shared_yaxes=True, horizontal_spacing=0.05)
    for alpha, color, symbol in zip(alphas, PALETTE, SYMBOLS, strict=False):
        for column, output in enumerate(LOADS, 1):
            rows = [(source, *by[alpha][output]) for source, by in bounds.items() if alpha in by]
            names, values, low, high = map(list, zip(*rows, strict=True))
            error = {
                "type": "data",
                "array": small([top - value for top, value in zip(high, values, strict=True)]),
                "arrayminus": small([value - bottom for value, bottom in zip(values, low, strict=True)]),
                "color": color,
            }
            trace = go.Scatter(
                x=small(values),
                y=names,
                error_x=error,
                mode="markers",
                name=f"alpha = {alpha}",
                legendgroup=str(alpha),
                marker={"color": color, "symbol": symbol, "size": 9},
            )
            figure.add_trace(trace, row=1, col=column)
    figure.update_xaxes(title_text="upper bound [–]", rangemode="tozero", tickangle=0, nticks=3)
    figure.update_yaxes(autorange="reversed").update_yaxes(title_text="", col=1)
    return legend_once(figure).update_layout(height=130 + 40 * len(bounds), legend_y=1.12)
