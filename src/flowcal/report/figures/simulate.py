"""Figures of the black box, its sensitivity and its observed hours."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import CONTROL, LOADS, OUTPUTS
from flowcal.report.figures.style import BLUE, GREY, PALETTE, RED, SKY, axis_title, joined, legend_once, panels, small

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


def hour(y: NDArray[np.float64]) -> go.Figure:
    """One hour: the powers above, the loads below.

    Parameters
    ----------
    y : ndarray, shape (60, 6)

    Returns
    -------
    Figure
    """
    figure = panels(2, 1, shared_xaxes=True, vertical_spacing=0.08)
    dashes = ("solid", "dash", "dot")
    for position, name in enumerate(OUTPUTS):
        row, turn = divmod(position, 3)
        line = {"color": PALETTE[position], "dash": dashes[turn], "width": 2}
        figure.add_scatter(y=small(y[:, position]), name=name, line=line, row=row + 1, col=1)
    figure.update_xaxes(title_text="time [min]", row=2)
    figure.update_yaxes(title_text="power [MW]", rangemode="tozero", row=1)
    figure.update_yaxes(title_text="load [–]", rangemode="tozero", row=2)
    return figure.update_layout(height=460)


def sweep_atlas(sweeps: xr.Dataset, inputs: Sequence[str], common_scale: bool = True) -> go.Figure:
    """Every output (rows) along every swept input (columns): a grey line a minute, their mean in colour.

    Parameters
    ----------
    sweeps : Dataset
        From `sweep_inputs`.
    inputs : sequence of str
        Which of the swept inputs to show.
    common_scale : bool
        Whether an output has the same scale in all columns.

    Returns
    -------
    Figure
    """
    figure = panels(
        len(OUTPUTS),
        len(inputs),
        shared_xaxes=True,
        shared_yaxes=common_scale,
        vertical_spacing=0.02,
        horizontal_spacing=0.02 if common_scale else 0.14,
    )
    levels = sweeps.level.values
    for column, name in enumerate(inputs, 1):
        for row, output in enumerate(OUTPUTS, 1):
            minutes = sweeps.y.sel(input=name, output=output).transpose("time", "level").values
            place = {"showlegend": False, "row": row, "col": column}
            figure.add_scatter(**joined(levels, minutes), line={"color": GREY, "width": 0.5}, hoverinfo="skip", **place)
            figure.add_scatter(
                x=levels,
                y=small(minutes.mean(axis=0)),
                name=f"mean {output}",
                line={"color": BLUE, "width": 2.5},
                **place,
            )
        figure.update_xaxes(title_text=f"level of {name}", row=len(OUTPUTS), col=column)
    for row, output in enumerate(OUTPUTS, 1):
        figure.update_yaxes(title_text=axis_title(output), row=row, col=1)
    return figure.update_yaxes(rangemode="tozero").update_layout(height=860)


def seeds(sweep: xr.Dataset) -> go.Figure:
    """Every output of ten seeds at the same inputs, over the minutes of the hour.

    Parameters
    ----------
    sweep : Dataset
        From `seed_sweep`.

    Returns
    -------
    Figure
    """
    figure = panels(2, 3, vertical_spacing=0.12, horizontal_spacing=0.13)
    for position, name in enumerate(OUTPUTS):
        row, column = divmod(position, 3)
        lines = sweep.y.sel(output=name).values
        figure.add_scatter(**joined(np.arange(lines.shape[1]), lines), row=row + 1, col=column + 1)
        figure.update_yaxes(title_text=axis_title(name), row=row + 1, col=column + 1)
    figure.update_xaxes(title_text="time [min]", row=2)
    return figure.update_traces(line={"color": BLUE, "width": 0.8}, showlegend=False).update_layout(height=440)


def turning_points(sweeps: xr.Dataset, turns: dict[str, float | None]) -> go.Figure:
    """Mean over the hour of each output, in its own range, along the control inputs, with the turning points found.

    Parameters
    ----------
    sweeps : Dataset
        From `sweep_inputs`.
    turns : dict of str to float or None
        Where each control input has its turning point, if it has one.

    Returns
    -------
    Figure
    """
    figure = panels(1, len(CONTROL), shared_yaxes=True, subplot_titles=CONTROL, horizontal_spacing=0.03)
    for column, control in enumerate(CONTROL, 1):
        mean = sweeps.y.sel(input=control).mean("time")
        spread = mean.max("level") - mean.min("level")
        for position, name in enumerate(OUTPUTS):
            if spread.sel(output=name) > 0:
                curve = ((mean - mean.min("level")) / spread).sel(output=name)
                line = {"color": PALETTE[position], "dash": "solid" if name in LOADS else "dot"}
                figure.add_scatter(
                    x=sweeps.level.values, y=small(curve), name=name, legendgroup=name, line=line, row=1, col=column
                )
        if turns[control] is not None:
            figure.add_vline(turns[control], line={"color": GREY, "dash": "dash"}, row=1, col=column)
        figure.update_xaxes(title_text="level", row=1, col=column)
    figure.update_yaxes(title_text="share of own range", col=1)
    return legend_once(figure).update_layout(height=380, legend_y=1.1)


def sobol_bars(indices: xr.Dataset) -> go.Figure:
    """First-order and total indices of every quantity by input, with their intervals.

    Parameters
    ----------
    indices : Dataset
        From `sobol`.

    Returns
    -------
    Figure
    """
    quantities = indices.quantity.values
    figure = panels(len(quantities), 1, shared_xaxes=True, subplot_titles=quantities, vertical_spacing=0.06)
    for row, quantity in enumerate(quantities, 1):
        for name, title, color in (("first_order", "first order", SKY), ("total", "total", BLUE)):
            value = indices[name].sel(quantity=quantity)
            estimate = value.sel(bound="estimate")
            error = {
                "type": "data",
                "array": small(value.sel(bound="high") - estimate),
                "arrayminus": small(estimate - value.sel(bound="low")),
                "thickness": 1,
                "width": 3,
                "color": GREY,
            }
            figure.add_bar(
                x=indices.source.values,
                y=small(estimate),
                error_y=error,
                name=title,
                legendgroup=name,
                marker={"color": color, "pattern": {"shape": "/" if name == "first_order" else ""}},
                row=row,
                col=1,
            )
    figure.update_yaxes(title_text="share", range=[-0.05, 1.1])
    return legend_once(figure).update_layout(height=680, barmode="group", legend_y=1.06)


def control_points(designs: dict[str, ArrayLike]) -> go.Figure:
    """Sets of control points, each pair of control inputs against each other.

    Parameters
    ----------
    designs : dict of str to array_like, shape (n, 3)
        Two sets at most, by name.

    Returns
    -------
    Figure
    """
    pairs = ((0, 1), (0, 2), (1, 2))
    figure = panels(1, 3, horizontal_spacing=0.12)
    for position, (name, points) in enumerate(designs.items()):
        points = np.asarray(points)
        marker = {"color": PALETTE[position], "symbol": ("circle", "diamond-open")[position], "size": (17, 9)[position]}
        for column, (first, second) in enumerate(pairs, 1):
            figure.add_scatter(
                x=points[:, first],
                y=points[:, second],
                mode="markers+text",
                text=[str(number) for number in range(1, len(points) + 1)] if position == 0 else None,
                textfont={"size": 10, "color": "white"},
                name=name,
                legendgroup=name,
                marker=marker,
                row=1,
                col=column,
            )
    for column, (first, second) in enumerate(pairs, 1):
        figure.update_xaxes(title_text=CONTROL[first], range=[-0.05, 1.05], row=1, col=column)
        figure.update_yaxes(title_text=CONTROL[second], range=[-0.05, 1.1], row=1, col=column)
    return legend_once(figure).update_layout(height=340)


def observed_distributions(hours: xr.Dataset, labels: Sequence[str]) -> go.Figure:
    """Spread over the hours of each output's mean, by control point.

    Parameters
    ----------
    hours : Dataset
        y by sample.
    labels : sequence of str
        Of the control point of each sample.

    Returns
    -------
    Figure
    """
    figure = panels(2, 3, vertical_spacing=0.12, horizontal_spacing=0.13)
    mean = hours.y.mean("time")
    for position, name in enumerate(OUTPUTS):
        row, column = divmod(position, 3)
        figure.add_box(
            x=np.asarray(labels),
            y=small(mean.sel(output=name)),
            line={"width": 1, "color": BLUE if name not in LOADS else RED},
            marker={"size": 3},
            showlegend=False,
            row=row + 1,
            col=column + 1,
        )
        figure.update_yaxes(title_text=axis_title(name), rangemode="tozero", row=row + 1, col=column + 1)
    figure.update_xaxes(title_text="control point", row=2)
    return figure.update_xaxes(type="category").update_layout(height=480)


def two_systems(systems: dict[str, xr.Dataset]) -> go.Figure:
    """Empirical distribution of each output's mean over the hour, a line for each system.

    Parameters
    ----------
    systems : dict of str to Dataset
        Hours of two systems by name.

    Returns
    -------
    Figure
    """
    figure = panels(2, 3, vertical_spacing=0.2, horizontal_spacing=0.06)
    for color, (system, hours) in zip((BLUE, RED), systems.items(), strict=False):
        for position, name in enumerate(OUTPUTS):
            row, column = divmod(position, 3)
            values = np.sort(hours.y.sel(output=name).mean("time").values)
            figure.add_scatter(
                x=small(values),
                y=small((np.arange(len(values)) + 0.5) / len(values)),
                name=system,
                legendgroup=system,
                line={"color": color, "shape": "hv", "dash": "solid" if color == BLUE else "dash"},
                row=row + 1,
                col=column + 1,
            )
            figure.update_xaxes(title_text=axis_title(name), row=row + 1, col=column + 1)
    figure.update_yaxes(title_text="share of hours", col=1)
    return legend_once(figure).update_layout(height=480)


def autocorrelation(by_system: dict[str, NDArray[np.float64]]) -> go.Figure:
    """Autocorrelation within the hour of y1 and y4.

    Parameters
    ----------
    by_system : dict of str to ndarray, shape (lags, 2)
        Of two systems by name.

    Returns
    -------
    Figure
    """
    figure = panels(1, 2, subplot_titles=("y1", "y4"), shared_yaxes=True, horizontal_spacing=0.05)
    for color, (system, values) in zip((BLUE, RED), by_system.items(), strict=False):
        for column in (1, 2):
            figure.add_scatter(
                y=small(values[:, column - 1]),
                name=system,
                legendgroup=system,
                mode="lines+markers",
                line={"color": color, "dash": "solid" if color == BLUE else "dash"},
                row=1,
                col=column,
            )
    figure.update_xaxes(title_text="lag [min]")
    figure.update_yaxes(title_text="autocorrelation", col=1)
    return legend_once(figure).update_layout(height=340, legend_y=1.1)
