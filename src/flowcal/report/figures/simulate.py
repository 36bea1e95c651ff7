"""Figures of the black box, its sensitivity and its observed hours."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import CONTROL, LOADS, OUTPUTS
from flowcal.report.figures import style
from flowcal.report.figures.style import BLUE, DASHES, GREY, PALETTE, RED, SKY, cell_of, named, panels, small, stroke

__all__ = [
    "autocorrelation",
    "control_points",
    "hour",
    "observed_distributions",
    "seeds",
    "sobol_bars",
    "sweep_atlas",
    "turning_points",
    "two_systems",
]

TWO = ((BLUE, "solid"), (RED, "dash"))  # how the lines of two systems are told apart


def hour(y: NDArray[np.float64]) -> go.Figure:
    """One hour (steps, outputs): the powers above, the loads below."""
    figure = panels(2, 1, shared_xaxes=True, vertical_spacing=0.08)
    for position, name in enumerate(OUTPUTS):
        row, turn = divmod(position, 3)
        line = stroke(PALETTE[position], DASHES[turn], 2)
        figure.add_scatter(y=small(y[:, position]), name=name, line=line, row=row + 1, col=1)
    figure.update_xaxes(title_text="time [min]", row=2)
    for row, title in enumerate(("power [MW]", "load [–]"), 1):
        figure.update_yaxes(title_text=title, rangemode="tozero", row=row)
    return figure.update_layout(height=460)


def sweep_atlas(sweeps: xr.Dataset, inputs: Sequence[str], common_scale: bool = True) -> go.Figure:
    """Every output (rows) along some of the inputs of `sweep_inputs` (columns): one grey line per minute, a blue mean.

    With a common scale an output has the same scale in all columns.
    """
    spacing = {"vertical_spacing": 0.02, "horizontal_spacing": 0.02 if common_scale else 0.14}
    figure = panels(len(OUTPUTS), len(inputs), shared_xaxes=True, shared_yaxes=common_scale, **spacing)
    levels = sweeps.level.values
    for column, name in enumerate(inputs, 1):
        for row, output in enumerate(OUTPUTS, 1):
            minutes = sweeps.y.sel(input=name, output=output).transpose("time", "level").values
            place, thin, thick = (
                {"showlegend": False, "row": row, "col": column},
                stroke(GREY, width=0.5),
                stroke(BLUE, width=2.5),
            )
            figure.add_scatter(**style.joined(levels, minutes), line=thin, hoverinfo="skip", **place)
            figure.add_scatter(x=levels, y=small(minutes.mean(axis=0)), name=f"mean {output}", line=thick, **place)
        figure.update_xaxes(title_text=f"level of {name}", row=len(OUTPUTS), col=column)
    for row, output in enumerate(OUTPUTS, 1):
        figure.update_yaxes(title_text=style.axis_title(output), row=row, col=1)
    return figure.update_yaxes(rangemode="tozero").update_layout(height=860)


def seeds(sweep: xr.Dataset) -> go.Figure:
    """Every output of `seed_sweep`, ten seeds at the same inputs, over the minutes of the hour."""
    figure = panels(2, 3, vertical_spacing=0.12, horizontal_spacing=0.13)
    for position, name in enumerate(OUTPUTS):
        lines = sweep.y.sel(output=name).values
        figure.add_scatter(**style.joined(np.arange(lines.shape[1]), lines), **cell_of(position))
        figure.update_yaxes(title_text=style.axis_title(name), **cell_of(position))
    figure.update_xaxes(title_text="time [min]", row=2)
    return figure.update_traces(line=stroke(BLUE, width=0.8), showlegend=False).update_layout(height=440)


def turning_points(sweeps: xr.Dataset, turns: dict[str, float | None]) -> go.Figure:
    """Mean over the hour of each output of `sweep_inputs` along the control inputs, in its own range.

    `turns` says where a control input has its turning point, if it has one.
    """
    figure = panels(1, len(CONTROL), shared_yaxes=True, subplot_titles=CONTROL, horizontal_spacing=0.03)
    for column, control in enumerate(CONTROL, 1):
        mean = sweeps.y.sel(input=control).mean("time")
        spread = mean.max("level") - mean.min("level")
        for position, name in enumerate(OUTPUTS):
            if spread.sel(output=name) > 0:
                curve = small(((mean - mean.min("level")) / spread).sel(output=name))
                line = stroke(PALETTE[position], "solid" if name in LOADS else "dot")
                figure.add_scatter(x=sweeps.level.values, y=curve, **named(name), line=line, row=1, col=column)
        if turns[control] is not None:
            figure.add_vline(turns[control], line=stroke(GREY, "dash"), row=1, col=column)
        figure.update_xaxes(title_text="level", row=1, col=column)
    figure.update_yaxes(title_text="share of own range", col=1)
    return style.legend_once(figure, height=380, legend_y=1.1)


def sobol_bars(indices: xr.Dataset) -> go.Figure:
    """First-order and total indices of every quantity from `sobol` by input, with their intervals."""
    quantities = indices.quantity.values
    figure = panels(len(quantities), 1, shared_xaxes=True, subplot_titles=quantities, vertical_spacing=0.06)
    for row, quantity in enumerate(quantities, 1):
        for name, title, color, shape in (("first_order", "first order", SKY, "/"), ("total", "total", BLUE, "")):
            value = indices[name].sel(quantity=quantity)
            estimate, low, high = (value.sel(bound=bound) for bound in ("estimate", "low", "high"))
            error = style.error_bars(estimate, low, high, GREY, thickness=1, width=3)
            bars = {"error_y": error, "marker": {"color": color, "pattern": {"shape": shape}}, **named(title, name)}
            figure.add_bar(x=indices.source.values, y=small(estimate), **bars, row=row, col=1)
    figure.update_yaxes(title_text="share", range=[-0.05, 1.1])
    return style.legend_once(figure, height=680, barmode="group", legend_y=1.06)


def control_points(designs: dict[str, ArrayLike]) -> go.Figure:
    """At most two sets (n, 3) of control points by name, each pair of control inputs against each other."""
    figure = panels(1, 3, horizontal_spacing=0.12)
    styles = ((BLUE, 17, "circle"), (style.ORANGE, 9, "diamond-open"))
    for position, ((name, points), look) in enumerate(zip(designs.items(), styles, strict=False)):
        points = np.asarray(points)
        numbers = [str(number) for number in range(1, len(points) + 1)] if position == 0 else None
        text = {"mode": "markers+text", "text": numbers, "textfont": {"size": 10, "color": "white"}}
        for column, (first, second) in enumerate(style.PAIRS, 1):
            marks = style.dots(*look) | text | named(name)
            figure.add_scatter(x=points[:, first], y=points[:, second], **marks, row=1, col=column)
    for column, (first, second) in enumerate(style.PAIRS, 1):
        figure.update_xaxes(title_text=CONTROL[first], range=[-0.05, 1.05], row=1, col=column)
        figure.update_yaxes(title_text=CONTROL[second], range=[-0.05, 1.1], row=1, col=column)
    return style.legend_once(figure, height=340)


def observed_distributions(hours: xr.Dataset, labels: Sequence[str]) -> go.Figure:
    """Spread over the hours of each output's mean, by the label of each sample's control point."""
    figure = panels(2, 3, vertical_spacing=0.12, horizontal_spacing=0.13)
    mean = hours.y.mean("time")
    for position, name in enumerate(OUTPUTS):
        look = {"line": stroke(RED if name in LOADS else BLUE, width=1), "marker": {"size": 3}, "showlegend": False}
        figure.add_box(x=np.asarray(labels), y=small(mean.sel(output=name)), **look, **cell_of(position))
        figure.update_yaxes(title_text=style.axis_title(name), rangemode="tozero", **cell_of(position))
    figure.update_xaxes(title_text="control point", row=2)
    return figure.update_xaxes(type="category").update_layout(height=480)


def two_systems(systems: dict[str, xr.Dataset]) -> go.Figure:
    """Empirical distribution of each output's mean over the hour, one line for each of two systems."""
    figure = panels(2, 3, vertical_spacing=0.2, horizontal_spacing=0.06)
    for (color, dash), (system, hours) in zip(TWO, systems.items(), strict=False):
        for position, name in enumerate(OUTPUTS):
            values = np.sort(hours.y.sel(output=name).mean("time").values)
            shares, line = (np.arange(len(values)) + 0.5) / len(values), stroke(color, dash, shape="hv")
            figure.add_scatter(x=small(values), y=small(shares), line=line, **named(system), **cell_of(position))
            figure.update_xaxes(title_text=style.axis_title(name), **cell_of(position))
    figure.update_yaxes(title_text="share of hours", col=1)
    return style.legend_once(figure, height=480)


def autocorrelation(by_system: dict[str, NDArray[np.float64]]) -> go.Figure:
    """Autocorrelation (lags, 2) within the hour of y1 and y4 of two systems by name."""
    figure = panels(1, 2, subplot_titles=("y1", "y4"), shared_yaxes=True, horizontal_spacing=0.05)
    for look, (system, values) in zip(TWO, by_system.items(), strict=False):
        for column, curve in enumerate(small(values).T, 1):
            figure.add_scatter(y=curve, **style.line(*look, mode="lines+markers"), **named(system), row=1, col=column)
    figure.update_xaxes(title_text="lag [min]")
    figure.update_yaxes(title_text="autocorrelation", col=1)
    return style.legend_once(figure, height=340, legend_y=1.1)
