"""Figures of what follows from an uncertainty model.

Figures of what choices cost.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from flowcal.challenge import CONTROL, LOADS, OUTPUTS, TIME_STEPS
from flowcal.report.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    PALETTE,
    RED,
    axis_title,
    joined,
    legend_once,
    panels,
    small,
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

SHOWN = 1.5  # MW below the best that a landscape tells apart
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star", "circle-open")


def interval_bounds(bounds: Mapping[str, Mapping[float, Mapping[str, tuple[float, float, float]]]]) -> go.Figure:
    """Upper bounds of the loads with their intervals, a panel a load.

    Parameters
    ----------
    bounds : mapping
        By source, alpha and output: the bound, and the ends of its interval.

    Returns
    -------
    Figure
    """
    alphas = sorted({alpha for by_alpha in bounds.values() for alpha in by_alpha})
    figure = panels(1, len(LOADS), subplot_titles=LOADS, shared_yaxes=True, horizontal_spacing=0.07)
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


def surrogate_hour(hours: NDArray[np.float64], predicted: NDArray[np.float64]) -> go.Figure:
    """Hours with the same inputs, and what a surrogate predicts for them: y1 and y4.

    Parameters
    ----------
    hours : ndarray, shape (n, 60, 6)
    predicted : ndarray, shape (60, 6)

    Returns
    -------
    Figure
    """
    shown = ("y1", "y4")
    figure = panels(1, len(shown), horizontal_spacing=0.12)
    minutes = np.arange(TIME_STEPS)
    for column, output in enumerate(shown, 1):
        place = OUTPUTS.index(output)
        many = {"line": {"color": GREY, "width": 1}, "opacity": 0.6, "name": "simulated, other seeds"}
        one = {"line": {"color": RED, "width": 3}, "mode": "lines", "name": "sixty networks"}
        figure.add_trace(go.Scatter(**joined(minutes, hours[:, :, place]), **many), row=1, col=column)
        figure.add_trace(go.Scatter(x=minutes, y=small(predicted[:, place]), **one), row=1, col=column)
        figure.update_yaxes(title_text=axis_title(output), row=1, col=column)
    figure.update_xaxes(title_text="time [minutes]")
    return legend_once(figure).update_layout(height=360, legend_y=1.06)


def noise_survival(noise: ArrayLike, survival: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> go.Figure:
    """Share of seeds whose noise exceeds a value, as measured and by a survival function with a tail.

    Parameters
    ----------
    noise : array_like, shape (m,)
        Z of the seeds.
    survival : callable
        From values of Z to probabilities, elementwise.

    Returns
    -------
    Figure
    """
    noise = np.sort(noise)
    shares = 1 - (np.arange(len(noise)) + 0.5) / len(noise)
    beyond = np.linspace(noise[0], noise[-1] + 0.5 * np.ptp(noise), 200)
    figure = panels(1, 1)
    step = {"color": BLUE, "width": 2, "shape": "hv"}
    figure.add_scatter(x=small(noise[::5]), y=small(shares[::5]), mode="lines", line=step, name="seeds measured")
    smooth = {"color": ORANGE, "width": 2, "dash": "dash"}
    figure.add_scatter(x=small(beyond), y=small(survival(beyond)), mode="lines", line=smooth, name="with its tail")
    figure.update_xaxes(title_text="Z [–]")
    figure.update_yaxes(type="log", title_text="share of seeds with more", exponentformat="power")
    return figure.update_layout(height=360)


def emulated_power(simulated: ArrayLike, emulated: ArrayLike, levels: ArrayLike, bins: int = 20) -> go.Figure:
    """Emulated against simulated expectations, and a histogram of integral transforms.

    Parameters
    ----------
    simulated : array_like, shape (n,)
        [MW].
    emulated : array_like, shape (n,)
        [MW].
    levels : array_like, shape (m,)
        Integral transforms of totals, in [0, 1].
    bins : int

    Returns
    -------
    Figure
    """
    figure = panels(1, 2, horizontal_spacing=0.16)
    dots = {"color": BLUE, "size": 4, "opacity": 0.6}
    figure.add_trace(go.Scatter(x=small(simulated), y=small(emulated), mode="markers", marker=dots), row=1, col=1)
    ends = small([np.min(simulated), np.max(simulated)])
    line = {"color": GREY, "dash": "dash"}
    figure.add_trace(go.Scatter(x=ends, y=ends, mode="lines", line=line), row=1, col=1)
    counts, edges = np.histogram(levels, bins, (0, 1))
    bar = go.Bar(x=small((edges[1:] + edges[:-1]) / 2), y=small(counts), marker={"color": BLUE})
    figure.add_trace(bar, row=1, col=2)
    low, high = binom.ppf([0.025, 0.975], np.size(levels), 1 / bins).tolist()
    figure.add_hrect(low, high, fillcolor=GREY, opacity=0.35, line_width=0, row=1, col=2)
    figure.update_xaxes(title_text="simulated expectation of power [MW]", row=1, col=1)
    figure.update_yaxes(title_text="emulated [MW]", row=1, col=1)
    figure.update_xaxes(title_text="level in the emulated distribution", row=1, col=2)
    figure.update_yaxes(title_text="hours", row=1, col=2)
    return figure.update_layout(height=380, showlegend=False, bargap=0.05)


def design_landscape(
    grid: ArrayLike,
    heights: ArrayLike,
    j: NDArray[np.float64],
    log_pof: NDArray[np.float64],
    marks: Mapping[str, Sequence[float]],
) -> go.Figure:
    """J [MW] and log10 of the probability of failure over X_c1 and X_c2, with a slider for X_c3.

    Parameters
    ----------
    grid : array_like, shape (n,)
        Along X_c1 and X_c2.
    heights : array_like, shape (k,)
        Values of X_c3.
    j, log_pof : ndarray, shape (k, n, n)
        By X_c3, X_c1 and X_c2.
    marks : mapping of str to sequence of float, shape (3,)
        Control points by name, shown where they lie in X_c1 and X_c2.

    Returns
    -------
    Figure
    """
    figure = panels(1, 2, horizontal_spacing=0.2)
    first = int(np.argmax(j.max(axis=(1, 2))))
    best = float(np.round(j.max(), 1))
    panes = (
        (j, "Viridis", {"start": best - SHOWN, "end": best, "size": 0.1}, "J [MW]"),
        (
            log_pof,
            "Cividis_r",
            {"start": float(np.floor(log_pof.min())), "end": 0, "size": 0.5},
            "log<sub>10</sub> pof",
        ),
    )
    for column, (values, scale, contours, title) in enumerate(panes, 1):
        for number, values_there in enumerate(values):
            surface = go.Contour(
                x=small(grid),
                y=small(grid),
                z=small(values_there.T),
                colorscale=scale,
                contours=contours,
                line_width=0.5,
                visible=number == first,
                colorbar={"title": title, "x": (0.4, 1.0)[column - 1], "thickness": 12, "dtick": 5 * contours["size"]},
            )
            figure.add_trace(surface, row=1, col=column)
    surfaces = len(figure.data)
    for (name, x_c), symbol in zip(marks.items(), SYMBOLS, strict=False):
        dot = {"symbol": symbol, "size": 11, "color": RED, "line": {"color": "white", "width": 1.5}}
        for column in (1, 2):
            mark = go.Scatter(x=[x_c[0]], y=[x_c[1]], mode="markers", marker=dot, name=f"{name}, X_c3 = {x_c[2]:.2f}")
            figure.add_trace(mark, row=1, col=column)
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


def design_front(
    fronts: Mapping[str, NDArray[np.float64]], points: Mapping[str, Mapping[str, tuple[float, float]]]
) -> go.Figure:
    """What performance costs in reliability: fronts, and single designs.

    Parameters
    ----------
    fronts : mapping of str to ndarray, shape (n, 2)
        Probability of failure and J [MW], by name.
    points : mapping of str to mapping
        By source and name of a design, the same two numbers.

    Returns
    -------
    Figure
    """
    figure = panels(1, 1)
    for (name, front), color, dash in zip(fronts.items(), PALETTE, ("solid", "dash", "dot"), strict=False):
        line = {"color": color, "dash": dash, "width": 2}
        figure.add_scatter(x=small(front[:, 0]), y=small(front[:, 1]), mode="lines+markers", line=line, name=name)
    for (source, designs), symbol, color in zip(points.items(), SYMBOLS[1:], PALETTE[2:] + (GREY,) * 3, strict=False):
        dot = {"color": color, "symbol": symbol, "size": 11, "line": {"color": "white", "width": 1}}
        pof, j = map(small, zip(*designs.values(), strict=True))
        figure.add_scatter(x=pof, y=j, mode="markers", marker=dot, name=source, text=[*designs])
    figure.update_xaxes(type="log", title_text="probability of failure [–]", exponentformat="power", dtick=1)
    figure.update_yaxes(title_text="J [MW]")
    return figure.update_layout(height=460)


SCORECARD_SYMBOLS = ("circle", "diamond", "square", "triangle-up")


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
    for (name, series), color, symbol in zip(values.items(), PALETTE, SCORECARD_SYMBOLS, strict=False):
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
