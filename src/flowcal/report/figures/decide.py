"""Figures of what follows from an uncertainty model: intervals, designs, and what choices cost."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from flowcal.challenge import CONTROL, LOADS, OUTPUTS, TIME_STEPS
from flowcal.report.figures import style
from flowcal.report.figures.style import BLUE, DASHES, GREY, PALETTE, RED, SYMBOLS, dots, line, panels, small, stroke

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
BINS = 20


def interval_bounds(bounds: Mapping[str, Mapping[float, Mapping[str, Interval]]]) -> go.Figure:
    """Upper bounds of the loads with their intervals by source, alpha and output, one panel per load."""
    alphas = sorted({alpha for by_alpha in bounds.values() for alpha in by_alpha})
    figure = panels(1, len(LOADS), subplot_titles=LOADS, shared_yaxes=True, horizontal_spacing=0.07)
    for alpha, color, symbol in zip(alphas, PALETTE, SYMBOLS, strict=False):
        for column, output in enumerate(LOADS, 1):
            rows = [(source, *by[alpha][output]) for source, by in bounds.items() if alpha in by]
            names, values, low, high = map(list, zip(*rows, strict=True))
            marks = dots(color, 9, symbol) | style.named(f"alpha = {alpha}", str(alpha))
            bars = style.error_bars(values, low, high, color)
            figure.add_scatter(x=small(values), y=names, error_x=bars, **marks, row=1, col=column)
    figure.update_xaxes(title_text="upper bound [–]", rangemode="tozero", tickangle=0, nticks=3)
    figure.update_yaxes(autorange="reversed").update_yaxes(title_text="", col=1)
    return style.legend_once(figure, height=130 + 40 * len(bounds), legend_y=1.12)


def surrogate_hour(hours: Array, predicted: Array) -> go.Figure:
    """Hours (n, steps, outputs) with the same inputs, and what a surrogate predicts (steps, outputs): y1 and y4."""
    figure, minutes = panels(1, 2, horizontal_spacing=0.12), np.arange(TIME_STEPS)
    for column, output in enumerate(("y1", "y4"), 1):
        place, cell = OUTPUTS.index(output), {"row": 1, "col": column}
        many = line(GREY, width=1) | {"opacity": 0.6, "name": "simulated, other seeds"}
        figure.add_scatter(**style.joined(minutes, hours[:, :, place]) | many, **cell)
        one = small(predicted[:, place])
        figure.add_scatter(x=minutes, y=one, **line(RED, width=3), name="sixty networks", **cell)
        figure.update_yaxes(title_text=style.axis_title(output), **cell)
    figure.update_xaxes(title_text="time [minutes]")
    return style.legend_once(figure, height=360, legend_y=1.06)


def noise_survival(noise: ArrayLike, survival: Callable[[Array], Array]) -> go.Figure:
    """Share of seeds whose noise Z exceeds a value, as measured and by a survival function with a tail."""
    noise = np.sort(noise)
    shares = 1 - (np.arange(len(noise)) + 0.5) / len(noise)
    beyond = np.linspace(noise[0], noise[-1] + 0.5 * np.ptp(noise), 200)
    figure = panels(1, 1)
    steps, smooth = line(BLUE, width=2, shape="hv"), line(style.ORANGE, "dash", 2)
    figure.add_scatter(x=small(noise[::5]), y=small(shares[::5]), **steps, name="seeds measured")
    figure.add_scatter(x=small(beyond), y=small(survival(beyond)), **smooth, name="with its tail")
    figure.update_xaxes(title_text="Z [–]")
    return style.log_axis(figure, "share of seeds with more").update_layout(height=360)


def emulated_power(simulated: ArrayLike, emulated: ArrayLike, levels: ArrayLike) -> go.Figure:
    """Emulated over simulated expectations [MW], and a histogram of integral transforms of totals in [0, 1]."""
    figure = panels(1, 2, horizontal_spacing=0.16)
    left, right = {"row": 1, "col": 1}, {"row": 1, "col": 2}
    figure.add_scatter(x=small(simulated), y=small(emulated), **dots(BLUE, 4, opacity=0.6), **left)
    ends = small([np.min(simulated), np.max(simulated)])
    figure.add_scatter(x=ends, y=ends, **line(GREY, "dash"), **left)
    figure.add_trace(style.histogram(levels, BINS), **right)
    low, high = binom.ppf([0.025, 0.975], np.size(levels), 1 / BINS).tolist()
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

    Both (k, n, n) are by X_c3, with the values `heights` (k,), and by X_c1 and X_c2 along a grid (n,). Marks are
    control points by name, shown where they lie in X_c1 and X_c2.
    """
    figure = panels(1, 2, horizontal_spacing=0.2)
    first = int(np.argmax(j.max(axis=(1, 2))))
    best, least = float(np.round(j.max(), 1)), float(np.floor(log_pof.min()))
    panes = (
        (j, "Viridis", {"start": best - SHOWN, "end": best, "size": 0.1}, {"title": "J [MW]", "x": 0.4}),
        (log_pof, "Cividis_r", {"start": least, "end": 0, "size": 0.5}, {"title": "log<sub>10</sub> pof", "x": 1.0}),
    )
    for column, (values, scale, contours, bar) in enumerate(panes, 1):
        bar |= {"thickness": 12, "dtick": 5 * contours["size"]}
        look = {"colorscale": scale, "contours": contours, "colorbar": bar, "line_width": 0.5}
        for number, there in enumerate(small(values)):
            shown = {"visible": number == first, "row": 1, "col": column}
            figure.add_contour(x=small(grid), y=small(grid), z=there.T, **look, **shown)
    surfaces = len(figure.data)
    for (name, x_c), symbol in zip(marks.items(), SYMBOLS, strict=False):
        look = dots(RED, 11, symbol, line=stroke("white", width=1.5)) | {"name": f"{name}, X_c3 = {x_c[2]:.2f}"}
        for column in (1, 2):
            figure.add_scatter(x=[x_c[0]], y=[x_c[1]], **look, row=1, col=column)
    shown_by_step = [[n == number for n in range(len(j))] * 2 for number in range(len(j))]
    steps = [
        {"label": f"{height:.2f}", "method": "restyle", "args": [{"visible": visible}, list(range(surfaces))]}
        for height, visible in zip(np.asarray(heights), shown_by_step, strict=True)
    ]
    slider = {"active": first, "currentvalue": {"prefix": "X_c3 = "}, "pad": {"t": 45}, "steps": steps}
    figure.update_xaxes(title_text=CONTROL[0], range=[0, 1]).update_yaxes(title_text=CONTROL[1], range=[0, 1])
    return style.legend_once(figure, height=520, sliders=[slider], legend_y=1.05)


def design_front(fronts: Mapping[str, Array], points: Mapping[str, Mapping[str, tuple[float, float]]]) -> go.Figure:
    """What performance costs in reliability: fronts (n, 2), and single designs by source and name.

    Both are probabilities of failure and J [MW].
    """
    figure = panels(1, 1)
    for (name, front), color, dash in zip(fronts.items(), PALETTE, DASHES, strict=False):
        pof, j = small(front).T
        figure.add_scatter(x=pof, y=j, **line(color, dash, 2, mode="lines+markers"), name=name)
    for (source, designs), symbol, color in zip(points.items(), SYMBOLS[1:], PALETTE[2:] + (GREY,) * 3, strict=False):
        pof, j = map(small, zip(*designs.values(), strict=True))
        marks = dots(color, 11, symbol, line=stroke("white", width=1))
        figure.add_scatter(x=pof, y=j, **marks, name=source, text=[*designs])
    style.log_axis(figure, "probability of failure [–]", "x", dtick=1).update_yaxes(title_text="J [MW]")
    return figure.update_layout(height=460)


def marked_values(
    values: Mapping[str, Mapping[str, Interval]], title: str, references: Mapping[str, float], log: bool = False
) -> go.Figure:
    """Values with intervals by series and row, and reference values as dashed lines; the axis title has its unit."""
    figure = panels(1, 1)
    rows = list(dict.fromkeys(row for series in values.values() for row in series))
    for (name, series), color, symbol in zip(values.items(), PALETTE, SYMBOLS, strict=False):
        middle, low, high = map(list, zip(*series.values(), strict=True))
        bars = style.error_bars(middle, low, high, color)
        figure.add_scatter(x=small(middle), y=[*series], error_x=bars, **dots(color, 11, symbol), name=name)
    for (name, value), dash in zip(references.items(), DASHES[1:], strict=False):
        figure.add_scatter(x=small([value] * len(rows)), y=rows, **line(GREY, dash, 2), name=name)
    figure.update_xaxes(title_text=title, type="log" if log else "linear")
    if log:
        found = [value for series in values.values() for value, _, _ in series.values()]
        decades = math.log10(max(found) / min(found))
        figure.update_xaxes(exponentformat="power", dtick=max(1, math.ceil(decades / 6)))
    figure.update_yaxes(autorange="reversed")
    return figure.update_layout(height=150 + 34 * len(rows), showlegend=True)
