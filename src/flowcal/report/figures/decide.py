"""Figures of what follows from an uncertainty model: intervals, designs, and what choices cost."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from flowcal.challenge import CONTROL, LOADS, OUTPUTS, TIME_STEPS
from flowcal.report.figures.style import (
    BLUE,
    DASHES,
    GREY,
    ORANGE,
    PALETTE,
    RED,
    SYMBOLS,
    axis_title,
    edged,
    error_bars,
    histogram,
    joined,
    legend_once,
    log_axis,
    marker,
    panels,
    small,
    stroke,
)

__all__ = [
    "design_front",
    "design_landscape",
    "emulated_power",
    "interval_bounds",
    "marked_values",
    "noise_survival",
    "surrogate_hour",
]

Array = NDArray[np.float64]
Interval = tuple[float, float, float]  # a value, and the ends of its interval

SHOWN = 1.5  # MW below the best that a landscape tells apart


def interval_bounds(bounds: Mapping[str, Mapping[float, Mapping[str, Interval]]]) -> go.Figure:
    """Upper bounds of the loads with their intervals by source, alpha and output, one panel per load."""
    alphas = sorted({alpha for by_alpha in bounds.values() for alpha in by_alpha})
    figure = panels(1, len(LOADS), subplot_titles=LOADS, shared_yaxes=True, horizontal_spacing=0.07)
    for alpha, color, symbol in zip(alphas, PALETTE, SYMBOLS, strict=False):
        for column, output in enumerate(LOADS, 1):
            rows = [(source, *by[alpha][output]) for source, by in bounds.items() if alpha in by]
            names, values, low, high = map(list, zip(*rows, strict=True))
            figure.add_scatter(
                x=small(values),
                y=names,
                error_x=error_bars(values, low, high, color),
                mode="markers",
                name=f"alpha = {alpha}",
                legendgroup=str(alpha),
                marker=marker(color, 9, symbol),
                row=1,
                col=column,
            )
    figure.update_xaxes(title_text="upper bound [–]", rangemode="tozero", tickangle=0, nticks=3)
    figure.update_yaxes(autorange="reversed").update_yaxes(title_text="", col=1)
    return legend_once(figure).update_layout(height=130 + 40 * len(bounds), legend_y=1.12)


def surrogate_hour(hours: Array, predicted: Array) -> go.Figure:
    """Hours (n, steps, outputs) with the same inputs, and what a surrogate predicts (steps, outputs): y1 and y4."""
    shown = ("y1", "y4")
    figure = panels(1, len(shown), horizontal_spacing=0.12)
    minutes = np.arange(TIME_STEPS)
    for column, output in enumerate(shown, 1):
        place, cell = OUTPUTS.index(output), {"row": 1, "col": column}
        many = {"line": stroke(GREY, width=1), "opacity": 0.6, "name": "simulated, other seeds"}
        one = {"line": stroke(RED, width=3), "mode": "lines", "name": "sixty networks"}
        figure.add_scatter(**joined(minutes, hours[:, :, place]), **many, **cell)
        figure.add_scatter(x=minutes, y=small(predicted[:, place]), **one, **cell)
        figure.update_yaxes(title_text=axis_title(output), **cell)
    figure.update_xaxes(title_text="time [minutes]")
    return legend_once(figure).update_layout(height=360, legend_y=1.06)


def noise_survival(noise: ArrayLike, survival: Callable[[Array], Array]) -> go.Figure:
    """Share of seeds whose noise Z exceeds a value, as measured and by a survival function with a tail."""
    noise = np.sort(noise)
    shares = 1 - (np.arange(len(noise)) + 0.5) / len(noise)
    beyond = np.linspace(noise[0], noise[-1] + 0.5 * np.ptp(noise), 200)
    figure = panels(1, 1)
    step, smooth = stroke(BLUE, width=2, shape="hv"), stroke(ORANGE, "dash", 2)
    figure.add_scatter(x=small(noise[::5]), y=small(shares[::5]), mode="lines", line=step, name="seeds measured")
    figure.add_scatter(x=small(beyond), y=small(survival(beyond)), mode="lines", line=smooth, name="with its tail")
    figure.update_xaxes(title_text="Z [–]")
    return log_axis(figure, "share of seeds with more").update_layout(height=360)


def emulated_power(simulated: ArrayLike, emulated: ArrayLike, levels: ArrayLike, bins: int = 20) -> go.Figure:
    """Emulated over simulated expectations [MW], and a histogram of integral transforms of totals in [0, 1]."""
    figure = panels(1, 2, horizontal_spacing=0.16)
    left, right = {"row": 1, "col": 1}, {"row": 1, "col": 2}
    dots = marker(BLUE, 4, opacity=0.6)
    figure.add_scatter(x=small(simulated), y=small(emulated), mode="markers", marker=dots, **left)
    ends = small([np.min(simulated), np.max(simulated)])
    figure.add_scatter(x=ends, y=ends, mode="lines", line=stroke(GREY, "dash"), **left)
    figure.add_trace(histogram(levels, bins), **right)
    low, high = binom.ppf([0.025, 0.975], np.size(levels), 1 / bins).tolist()
    figure.add_hrect(low, high, fillcolor=GREY, opacity=0.35, line_width=0, **right)
    figure.update_xaxes(title_text="simulated expectation of power [MW]", **left)
    figure.update_yaxes(title_text="emulated [MW]", **left)
    figure.update_xaxes(title_text="level in the emulated distribution", **right)
    figure.update_yaxes(title_text="hours", **right)
    return figure.update_layout(height=380, showlegend=False, bargap=0.05)


def design_landscape(
    grid: ArrayLike, heights: ArrayLike, j: Array, log_pof: Array, marks: Mapping[str, Sequence[float]]
) -> go.Figure:
    """J [MW] and log10 of the probability of failure over X_c1 and X_c2, with a slider for X_c3.

    Parameters
    ----------
    grid, heights : array_like, shape (n,) and (k,)
        Values along X_c1 and X_c2, and of X_c3.
    j, log_pof : ndarray, shape (k, n, n)
        By X_c3, X_c1 and X_c2.
    marks : mapping of str to sequence of float, shape (3,)
        Control points by name, shown where they lie in X_c1 and X_c2.
    """
    figure = panels(1, 2, horizontal_spacing=0.2)
    first = int(np.argmax(j.max(axis=(1, 2))))
    best, least = float(np.round(j.max(), 1)), float(np.floor(log_pof.min()))
    panes = (
        (j, "Viridis", {"start": best - SHOWN, "end": best, "size": 0.1}, "J [MW]"),
        (log_pof, "Cividis_r", {"start": least, "end": 0, "size": 0.5}, "log<sub>10</sub> pof"),
    )
    for column, (values, scale, contours, title) in enumerate(panes, 1):
        for number, values_there in enumerate(values):
            figure.add_contour(
                x=small(grid),
                y=small(grid),
                z=small(values_there.T),
                colorscale=scale,
                contours=contours,
                line_width=0.5,
                visible=number == first,
                colorbar={"title": title, "x": (0.4, 1.0)[column - 1], "thickness": 12, "dtick": 5 * contours["size"]},
                row=1,
                col=column,
            )
    surfaces = len(figure.data)
    for (name, x_c), symbol in zip(marks.items(), SYMBOLS, strict=False):
        dot, name = edged(RED, 11, symbol, width=1.5), f"{name}, X_c3 = {x_c[2]:.2f}"
        for column in (1, 2):
            figure.add_scatter(x=[x_c[0]], y=[x_c[1]], mode="markers", marker=dot, name=name, row=1, col=column)
    steps = [
        {
            "label": f"{height:.2f}",
            "method": "restyle",
            "args": [{"visible": [n == number for n in range(len(j))] * 2}, list(range(surfaces))],
        }
        for number, height in enumerate(np.asarray(heights))
    ]
    slider = {"active": first, "currentvalue": {"prefix": "X_c3 = "}, "pad": {"t": 45}, "steps": steps}
    figure.update_xaxes(title_text=CONTROL[0], range=[0, 1]).update_yaxes(title_text=CONTROL[1], range=[0, 1])
    return legend_once(figure).update_layout(height=520, sliders=[slider], legend_y=1.05)


def design_front(fronts: Mapping[str, Array], points: Mapping[str, Mapping[str, tuple[float, float]]]) -> go.Figure:
    """What performance costs in reliability: fronts (n, 2), and single designs by source and name.

    Both are probabilities of failure and J [MW].
    """
    figure = panels(1, 1)
    for (name, front), color, dash in zip(fronts.items(), PALETTE, DASHES, strict=False):
        x, y, line = small(front[:, 0]), small(front[:, 1]), stroke(color, dash, 2)
        figure.add_scatter(x=x, y=y, mode="lines+markers", line=line, name=name)
    for (source, designs), symbol, color in zip(points.items(), SYMBOLS[1:], PALETTE[2:] + (GREY,) * 3, strict=False):
        pof, j = map(small, zip(*designs.values(), strict=True))
        dots = edged(color, 11, symbol)
        figure.add_scatter(x=pof, y=j, mode="markers", marker=dots, name=source, text=[*designs])
    log_axis(figure, "probability of failure [–]", "x", dtick=1).update_yaxes(title_text="J [MW]")
    return figure.update_layout(height=460)


def marked_values(
    values: Mapping[str, Mapping[str, Interval]], title: str, references: Mapping[str, float], log: bool = False
) -> go.Figure:
    """Values with intervals by series and row, and reference values as dashed lines; the axis title has its unit."""
    figure = panels(1, 1)
    rows = list(dict.fromkeys(row for series in values.values() for row in series))
    for (name, series), color, symbol in zip(values.items(), PALETTE, SYMBOLS, strict=False):
        middle, low, high = map(list, zip(*series.values(), strict=True))
        bars, dots = error_bars(middle, low, high, color), marker(color, 11, symbol)
        figure.add_scatter(x=small(middle), y=[*series], error_x=bars, mode="markers", marker=dots, name=name)
    for (name, value), dash in zip(references.items(), DASHES[1:], strict=False):
        line = stroke(GREY, dash, 2)
        figure.add_scatter(x=small([value] * len(rows)), y=rows, mode="lines", line=line, name=name)
    figure.update_xaxes(title_text=title, type="log" if log else "linear")
    if log:
        figure.update_xaxes(exponentformat="power", dtick=max(1, math.ceil(_decades(values) / 6)))
    figure.update_yaxes(autorange="reversed")
    return figure.update_layout(height=150 + 34 * len(rows), showlegend=True)


def _decades(values: Mapping[str, Mapping[str, Interval]]) -> float:
    found = [value for series in values.values() for value, _, _ in series.values()]
    return math.log10(max(found) / min(found))
