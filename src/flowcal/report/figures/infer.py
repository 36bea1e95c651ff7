"""Figures of trained flows and of what they infer.

Figures of what all hours say together: contrasts, sets that close in, distributions with tails.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from flowcal.challenge import ALEATORY, EPISTEMIC, OUTPUTS, POWERS
from flowcal.infer.checks import uniform_band
from flowcal.report.figures.style import BLUE, GREY, ORANGE, PALETTE, RED, legend_once, panels, small

__all__ = [
    "calibration",
    "closing_in",
    "contrasts_by_point",
    "distance_by_hours",
    "epistemic_pairs",
    "exceedance",
    "hour_posteriors",
    "joint_densities",
    "learning_curves",
    "marginal_densities",
    "predictive_levels",
    "replicated_designs",
    "replicated_tails",
    "responses_by_lag",
    "scores_by_point",
    "set_by_level",
]

COLUMNS = 3
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def learning_curves(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> go.Figure:
    """Training and held-out loss over the epochs, a panel for each trained flow.

    Parameters
    ----------
    curves : mapping of str to mapping
        By flow, what `History` holds.

    Returns
    -------
    Figure
    """
    figure = _grid(list(curves))
    for position, history in enumerate(curves.values()):
        for color, (key, name) in zip(
            (BLUE, RED), (("training_loss", "training, with dropout"), ("held_out_loss", "held out")), strict=True
        ):
            epochs = np.arange(1, len(history[key]) + 1)
            line = {"color": color, "dash": "solid" if color == BLUE else "dash"}
            trace = go.Scatter(x=epochs, y=small(history[key]), name=name, legendgroup=name, mode="lines", line=line)
            figure.add_trace(trace, **_cell(position))
    return _label_grid(figure, "epoch", "loss [nats]")


def calibration(results: Mapping[str, xr.Dataset], rng: np.random.Generator) -> go.Figure:
    """Excess of the distribution functions of ranks and credibilities over uniform ones, with 95 % bands.

    Parameters
    ----------
    results : mapping of str to Dataset
        From `calibrate`, by posterior.
    rng : Generator
        For the bands.

    Returns
    -------
    Figure
    """
    figure = _grid(list(results))
    at = np.linspace(0.01, 0.99, 99)
    for position, result in enumerate(results.values()):
        low, high = uniform_band(result.sizes["sample"], at, rng) - at
        band = go.Scatter(
            x=small(np.concatenate([at, at[::-1]])),
            y=small(np.concatenate([high, low[::-1]])),
            fill="toself",
            fillcolor="rgba(127,127,127,0.3)",
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
            name="95 % of right posteriors stay within",
            legendgroup="band",
        )
        figure.add_trace(band, **_cell(position))
        lines = {str(name): result["rank"].sel(parameter=name).values for name in result.parameter.values}
        lines["credibility"] = result.credibility.values
        for color, dash, (name, values) in zip(PALETTE, DASHES, lines.items(), strict=False):
            excess = np.searchsorted(np.sort(values), at, side="right") / len(values) - at
            line = {"color": color, "dash": dash, "width": 2}
            figure.add_trace(
                go.Scatter(x=at, y=small(excess), name=name, legendgroup=name, line=line), **_cell(position)
            )
    return _label_grid(figure, "level", "excess share")


def marginal_densities(
    curves: Mapping[str, NDArray[np.float64]],
    grid: ArrayLike,
    names: Sequence[str],
    spans: Mapping[str, Sequence[Sequence[float]]] | None = None,
    marks: Mapping[str, Sequence[float]] | None = None,
) -> go.Figure:
    """Marginal densities, a panel an input and a line a source, with intervals and single values.

    Parameters
    ----------
    curves : mapping of str to ndarray, shape (inputs, k)
        By source.
    grid : array_like, shape (k,)
        Where they are given.
    names : sequence of str
        Of the inputs.
    spans : mapping of str to sequence of intervals, optional
        By source, one for each input.
    marks : mapping of str to sequence of float, optional
        By source, a value for each input.

    Returns
    -------
    Figure
    """
    figure = panels(1, len(names), subplot_titles=list(names), horizontal_spacing=0.07)
    for (name, densities), color, dash in zip(curves.items(), PALETTE, DASHES, strict=False):
        for column, density in enumerate(densities, 1):
            line = {"color": color, "dash": dash, "width": 2}
            trace = go.Scatter(x=small(grid), y=small(density), name=name, legendgroup=name, line=line)
            figure.add_trace(trace, row=1, col=column)
    for height, (name, intervals) in enumerate((spans or {}).items(), 1):
        for column, interval in enumerate(intervals, 1):
            line = {"color": GREY, "width": 9 - 4 * height, "dash": "solid"}
            place = [-0.06 * height * max(np.max(d[column - 1]) for d in curves.values())] * 2
            trace = go.Scatter(x=interval, y=place, name=name, legendgroup=name, mode="lines", line=line)
            figure.add_trace(trace, row=1, col=column)
    for name, values in (marks or {}).items():
        for column, value in enumerate(values, 1):
            marker = {"symbol": "diamond", "size": 11, "color": "black", "line": {"color": "white", "width": 1}}
            trace = go.Scatter(x=[value], y=[0], name=name, legendgroup=name, mode="markers", marker=marker)
            figure.add_trace(trace, row=1, col=column)
    figure.update_xaxes(title_text="value [–]", range=[-0.02, 1.02])
    figure.update_yaxes(title_text="density [–]", col=1)
    return legend_once(figure).update_layout(height=380, legend_y=1.12)


def joint_densities(grid: ArrayLike, log_densities: Mapping[str, NDArray[np.float64]]) -> go.Figure:
    """Log densities of X_a, a panel a source, on one colour scale.

    Parameters
    ----------
    grid : array_like, shape (k,)
        Along X_a1 and X_a2.
    log_densities : mapping of str to ndarray, shape (k, k)
        By source, along X_a2 and X_a1.

    Returns
    -------
    Figure
    """
    titles = list(log_densities)
    figure = panels(1, len(titles), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    for column, values in enumerate(log_densities.values(), 1):
        shown = small(np.maximum(values, -6) / np.log(10))
        heat = go.Heatmap(x=small(grid), y=small(grid), z=shown, coloraxis="coloraxis", hoverinfo="x+y+z")
        figure.add_trace(heat, row=1, col=column)
    scale = {"colorscale": "Cividis", "cmin": -2, "cmax": 1.3, "colorbar": {"title": {"text": "log₁₀ density"}}}
    figure.update_xaxes(title_text=ALEATORY[0])
    figure.update_yaxes(title_text=ALEATORY[1], col=1)
    return figure.update_layout(height=360, coloraxis=scale)


def hour_posteriors(draws: Mapping[str, NDArray[np.float64]], truth: ArrayLike, names: Sequence[str]) -> go.Figure:
    """Posterior draws of single hours with the true values, a panel an hour.

    Parameters
    ----------
    draws : mapping of str to ndarray, shape (n, hours, 2)
        By posterior.
    truth : array_like, shape (hours, 2)
    names : sequence of str
        Of the two inputs.

    Returns
    -------
    Figure
    """
    truth = np.asarray(truth)
    figure = panels(1, len(truth), subplot_titles=[f"hour {n}" for n in range(1, len(truth) + 1)], shared_yaxes=True)
    for (source, values), color, symbol in zip(draws.items(), PALETTE, ("x-thin", "circle-open"), strict=False):
        for hour in range(len(truth)):
            marker = {"color": color, "size": 4, "symbol": symbol, "line": {"color": color, "width": 1}, "opacity": 0.6}
            x, y = small(values[:, hour].T)
            trace = go.Scatter(x=x, y=y, mode="markers", name=source, legendgroup=source, marker=marker)
            figure.add_trace(trace, row=1, col=hour + 1)
    for hour, (x, y) in enumerate(truth):
        marker = {"symbol": "star", "size": 11, "color": "gold", "line": {"color": "black", "width": 1.5}}
        trace = go.Scatter(x=[x], y=[y], mode="markers", name="truth", legendgroup="truth", marker=marker)
        figure.add_trace(trace, row=1, col=hour + 1)
    figure.update_xaxes(title_text=names[0]).update_yaxes(title_text=names[1], col=1)
    return legend_once(figure).update_layout(height=360, legend_y=1.12)


def distance_by_hours(hours: Sequence[int], lines: Mapping[str, NDArray[np.float64]]) -> go.Figure:
    """Energy distance of f_a from the truth against the number of observed hours: repeats as dots, medians as lines.

    Parameters
    ----------
    hours : sequence of int
        Their numbers.
    lines : mapping of str to ndarray, shape (hours, repeats)
        By source.

    Returns
    -------
    Figure
    """
    figure = panels(1, 1)
    for (name, values), color, dash in zip(lines.items(), PALETTE, DASHES, strict=False):
        values = np.where(values > 0, values, np.nan)  # an unbiased estimate of nearly nothing may be negative
        line = {"color": color, "dash": dash, "width": 2}
        figure.add_scatter(x=list(hours), y=small(np.nanmedian(values, axis=1)), name=name, legendgroup=name, line=line)
        every = np.repeat(hours, values.shape[1])
        marker = {"color": color, "size": 5, "opacity": 0.5}
        figure.add_scatter(x=every, y=small(values.ravel()), mode="markers", name=name, legendgroup=name, marker=marker)
    figure.update_xaxes(type="log", title_text="observed hours", tickvals=list(hours))
    figure.update_yaxes(type="log", title_text="energy distance [–]", exponentformat="power")
    return legend_once(figure).update_layout(height=380)


def set_by_level(
    levels: Sequence[float], volume: Sequence[float], contains: Sequence[bool], published: float
) -> go.Figure:
    """Volume of the box against the share of draws in each of its intervals; a filled dot holds X_e*.

    Parameters
    ----------
    levels : sequence of float
        Shares of the draws in each interval.
    volume : sequence of float
        Of the box at each, the unit cube being 1.
    contains : sequence of bool
        Whether it holds X_e*.
    published : float
        The volume of the paper's box.

    Returns
    -------
    Figure
    """
    figure = panels(1, 1)
    figure.add_scatter(x=list(levels), y=small(volume), mode="lines", line={"color": BLUE}, showlegend=False)
    for holds, name, symbol in ((True, "holds X_e*", "circle"), (False, "misses X_e*", "circle-open")):
        chosen = [place for place, value in enumerate(contains) if value == holds]
        marker = {"color": BLUE, "size": 10, "symbol": symbol, "line": {"width": 2}}
        figure.add_scatter(
            x=[levels[i] for i in chosen],
            y=small([volume[i] for i in chosen]),
            mode="markers",
            name=name,
            marker=marker,
        )
    line = {"color": RED, "dash": "dash"}
    figure.add_scatter(
        x=[min(levels), max(levels)], y=[published] * 2, mode="lines", name="Table 2 of the paper", line=line
    )
    figure.update_xaxes(title_text="share of the pooled draws in each interval")
    figure.update_yaxes(type="log", title_text="volume of E [unit cube]", exponentformat="power")
    return figure.update_layout(height=360)


def predictive_levels(levels: xr.DataArray, bins: int = 10) -> go.Figure:
    """Histograms of where observed hours lie among predicted ones, with 95 % of what chance allows each bar.

    Parameters
    ----------
    levels : DataArray
        From `flowcal.infer.checks.predictive_levels`.
    bins : int

    Returns
    -------
    Figure
    """
    quantities = list(levels.quantity.values)
    figure = panels(len(quantities), len(OUTPUTS), shared_xaxes=True, shared_yaxes="all", column_titles=list(OUTPUTS))
    hours = levels.sizes["sample"]
    low, high = binom.ppf([0.025, 0.975], hours, 1 / bins).tolist()
    tallest = high
    for row, quantity in enumerate(quantities, 1):
        for column, output in enumerate(OUTPUTS, 1):
            counts, edges = np.histogram(levels.sel(quantity=quantity, output=output), bins, (0, 1))
            tallest = max(tallest, int(counts.max()))
            bar = go.Bar(
                x=small((edges[1:] + edges[:-1]) / 2), y=small(counts), marker={"color": BLUE}, showlegend=False
            )
            figure.add_trace(bar, row=row, col=column)
            figure.add_hrect(low, high, fillcolor=GREY, opacity=0.35, line_width=0, row=row, col=column)
        figure.update_yaxes(title_text=f"hours, by {quantity}", row=row, col=1)
    figure.update_yaxes(range=[0, 1.05 * tallest])
    figure.update_xaxes(range=[0, 1], tickvals=[0, 0.5, 1]).update_xaxes(title_text="level", row=len(quantities))
    return figure.update_layout(height=380, bargap=0.08)


def scores_by_point(scores: Mapping[str, tuple[ArrayLike, ArrayLike]], points: Sequence[int]) -> go.Figure:
    """Held-out score of step 2 at each control point with two standard errors, a series a reading.

    Parameters
    ----------
    scores : mapping of str to tuple of two array_like
        By reading, score and standard error at each point.
    points : sequence of int
        Of Table 1, counted from 1.

    Returns
    -------
    Figure
    """
    figure = panels(1, 1)
    for (name, (score, error)), color, symbol in zip(scores.items(), PALETTE, ("circle", "diamond-open"), strict=False):
        bars = {"type": "data", "array": small(2 * np.asarray(error)), "color": color, "thickness": 1}
        marker = {"color": color, "symbol": symbol, "size": 10}
        figure.add_scatter(x=list(points), y=small(score), error_y=bars, mode="markers", name=name, marker=marker)
    figure.add_hline(0, line={"color": GREY, "dash": "dash"})
    figure.update_xaxes(title_text="control point of Table 1", tickvals=list(points))
    figure.update_yaxes(title_text="mean log density of the true X_e [nats]")
    return figure.update_layout(height=360)


def _grid(titles: Sequence[str]) -> go.Figure:
    """Panels in rows of three, as many as there are titles, on one vertical scale."""
    rows, columns = -(-len(titles) // COLUMNS), min(COLUMNS, len(titles))
    spacing = {"vertical_spacing": 0.34 / rows, "horizontal_spacing": 0.04}
    figure = panels(rows, columns, subplot_titles=list(titles), shared_yaxes="all", **spacing)
    return figure.update_layout(height=120 + 230 * rows, legend_y=1 + 0.12 / rows)


def _cell(position: int) -> dict[str, int]:
    """Row and column of a panel of such a grid."""
    return {"row": position // COLUMNS + 1, "col": position % COLUMNS + 1}


def _label_grid(figure: go.Figure, x: str, y: str) -> go.Figure:
    figure.update_xaxes(title_text=x).update_yaxes(title_text=y, col=1)
    return legend_once(figure)


def contrasts_by_point(
    observed: Sequence[NDArray[np.float64]], possible: Sequence[NDArray[np.float64]], names: Sequence[str]
) -> go.Figure:
    """Contrasts of each observed hour and those that other X_e would give, by control point.

    Parameters
    ----------
    observed : sequence of ndarray, shape (hours, k)
        By control point.
    possible : sequence of ndarray, shape (n, k)
        By control point.
    names : sequence of str
        Of the k contrasts.

    Returns
    -------
    Figure
    """
    figure = panels(1, len(names), subplot_titles=list(names), horizontal_spacing=0.09)
    for column in range(len(names)):
        for number, (hours, others) in enumerate(zip(observed, possible, strict=True), 1):
            low, high = np.min(others[:, column]), np.max(others[:, column])
            bar = go.Scatter(
                x=[number, number],
                y=small([low, high]),
                mode="lines",
                line={"color": GREY, "width": 9},
                opacity=0.5,
                name="range over all X_e",
                legendgroup="range",
            )
            dots = go.Scatter(
                x=[number] * len(hours),
                y=small(hours[:, column]),
                mode="markers",
                marker={"color": BLUE, "size": 8, "symbol": "line-ew", "line": {"color": BLUE, "width": 2}},
                name="observed hours",
                legendgroup="hours",
            )
            figure.add_trace(bar, row=1, col=column + 1)
            figure.add_trace(dots, row=1, col=column + 1)
    figure.update_xaxes(title_text="control point", tickvals=list(range(1, len(observed) + 1)))
    figure.update_yaxes(title_text="logarithm of the ratio [–]", col=1)
    return legend_once(figure).update_layout(height=380, legend_y=1.12)


def responses_by_lag(panels_of: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> go.Figure:
    """What a power strives for against the first load (log), a panel for each assumed lag.

    Parameters
    ----------
    panels_of : mapping of str to tuple of two array_like
        By lag, log load and what the power strives for.

    Returns
    -------
    Figure
    """
    titles = list(panels_of)
    figure = panels(1, len(titles), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04)
    for column, (load, strives) in enumerate(panels_of.values(), 1):
        marker = {"color": BLUE, "size": 3, "opacity": 0.6}
        trace = go.Scatter(x=small(load), y=small(strives), mode="markers", marker=marker, showlegend=False)
        figure.add_trace(trace, row=1, col=column)
    figure.update_xaxes(title_text="logarithm of y4 [–]")
    figure.update_yaxes(title_text=f"what {POWERS[0]} strives for [MW]", col=1)
    return figure.update_layout(height=360)


def closing_in(widths: NDArray[np.float64], volumes: Sequence[float], others: Mapping[str, float]) -> go.Figure:
    """Widths of E's bounding box and its volume after each round, with other sets' volumes as lines.

    Parameters
    ----------
    widths : ndarray, shape (rounds, 3)
    volumes : sequence of float
        After each round, the unit cube being 1.
    others : mapping of str to float
        Volumes by name.

    Returns
    -------
    Figure
    """
    figure = panels(1, 2, subplot_titles=("width of E", "volume of E"), horizontal_spacing=0.2)
    rounds = list(range(len(widths)))
    for name, values, color, dash in zip(EPISTEMIC, widths.T, PALETTE, DASHES, strict=False):
        line = {"color": color, "dash": dash, "width": 2}
        trace = go.Scatter(x=rounds, y=small(values), name=name, mode="lines+markers", line=line)
        figure.add_trace(trace, row=1, col=1)
    line = {"color": BLUE, "width": 2}
    trace = go.Scatter(x=rounds, y=volumes, mode="lines+markers", line=line, showlegend=False)
    figure.add_trace(trace, row=1, col=2)
    for (name, volume), color, dash in zip(others.items(), (RED, ORANGE, GREY), DASHES[1:], strict=False):
        line = {"color": color, "dash": dash}
        trace = go.Scatter(x=[rounds[0], rounds[-1]], y=[volume] * 2, mode="lines", name=name, line=line)
        figure.add_trace(trace, row=1, col=2)
    figure.update_xaxes(title_text="round", tickvals=rounds)
    figure.update_yaxes(type="log", exponentformat="power")
    figure.update_yaxes(title_text="largest less smallest value [–]", col=1)
    figure.update_yaxes(title_text="share of the unit cube", col=2)
    return figure.update_layout(height=400, legend_y=1.12)


def exceedance(
    x: ArrayLike,
    curves: Mapping[str, ArrayLike],
    band: tuple[ArrayLike, ArrayLike],
    name: str,
    lowest: float = 1e-8,
) -> go.Figure:
    """Probability that an input exceeds x, on a logarithmic scale, by source, with a band of 90 %.

    Parameters
    ----------
    x : array_like, shape (k,)
    curves : mapping of str to array_like, shape (k,)
        Probabilities by source.
    band : tuple of two array_like, each of shape (k,)
        Between which the middle 90 % of the replicates lie.
    name : str
        Of the input.
    lowest : float
        Probability at which the scale ends.

    Returns
    -------
    Figure
    """
    figure = panels(1, 1)
    low, high = (np.maximum(values, lowest / 10) for values in band)
    figure.add_scatter(
        x=small(np.concatenate([x, np.asarray(x)[::-1]])),
        y=small(np.concatenate([high, low[::-1]])),
        fill="toself",
        fillcolor="rgba(0,114,178,0.2)",
        line={"width": 0},
        mode="lines",
        name="90 % of the replicates",
        hoverinfo="skip",
    )
    for (source, values), color, dash in zip(curves.items(), PALETTE, DASHES, strict=False):
        shown = np.where(np.asarray(values) > lowest / 10, values, np.nan)
        line = {"color": color, "dash": dash, "width": 2}
        figure.add_scatter(x=small(x), y=small(shown), name=source, mode="lines", line=line)
    figure.update_xaxes(title_text=f"{name} [–]")
    figure.update_yaxes(
        type="log", title_text="probability of more", exponentformat="power", range=[np.log10(lowest), 0]
    )
    return figure.update_layout(height=420, legend_y=1.05)


def epistemic_pairs(
    draws: NDArray[np.float64],
    boxes: Mapping[str, Mapping[str, tuple[float, float]]],
    truth: ArrayLike,
) -> go.Figure:
    """Draws of X_e, boxes and a true value, a panel for each pair of inputs.

    Parameters
    ----------
    draws : ndarray, shape (n, 3)
    boxes : mapping of str to mapping
        By source and input, an interval.
    truth : array_like, shape (3,)

    Returns
    -------
    Figure
    """
    pairs, true = [(0, 1), (0, 2), (1, 2)], np.asarray(truth)
    figure = panels(1, len(pairs), horizontal_spacing=0.1)
    for column, (first, second) in enumerate(pairs, 1):
        cloud = {"color": BLUE, "size": 3, "opacity": 0.5}
        star = {"symbol": "star", "size": 12, "color": "gold", "line": {"color": "black", "width": 1.5}}
        traces = [
            go.Scatter(x=small(draws[:, first]), y=small(draws[:, second]), mode="markers", marker=cloud, name="E"),
            go.Scatter(x=true[[first]], y=true[[second]], mode="markers", marker=star, name="X_e*"),
        ]
        for (name, intervals), color, dash in zip(boxes.items(), (RED, ORANGE, GREY), DASHES[1:], strict=False):
            (left, right), (low, high) = intervals[EPISTEMIC[first]], intervals[EPISTEMIC[second]]
            line = {"color": color, "dash": dash, "width": 2}
            corners = {"x": [left, right, right, left, left], "y": [low, low, high, high, low]}
            traces.append(go.Scatter(**corners, mode="lines", line=line, name=name))
        for trace in traces:
            figure.add_trace(trace.update(legendgroup=trace.name), row=1, col=column)
        figure.update_xaxes(title_text=f"{EPISTEMIC[first]} [–]", row=1, col=column)
        figure.update_yaxes(title_text=f"{EPISTEMIC[second]} [–]", row=1, col=column)
    return legend_once(figure).update_layout(height=400, legend_y=1.08)


def replicated_tails(systems: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Inferred intervals of probabilities of exceedance, a bar a system, ordered by shape; a panel a probability.

    Parameters
    ----------
    systems : sequence of mapping
        What `judge` returned for each.

    Returns
    -------
    Figure
    """
    ordered = sorted(systems, key=lambda row: (row["shape"], row["number"]))
    probabilities = [tail["probability"] for tail in ordered[0]["tail"]]
    figure = panels(1, len(probabilities), subplot_titles=[f"truth: {p:g}" for p in probabilities])
    for column, probability in enumerate(probabilities, 1):
        for shape, color in zip(dict.fromkeys(row["shape"] for row in ordered), PALETTE, strict=False):
            places = [place for place, row in enumerate(ordered, 1) if row["shape"] == shape]
            tails = [ordered[place - 1]["tail"][column - 1] for place in places]
            values = probability * np.exp([tail["log_error"] for tail in tails])
            low, high = np.array([tail["interval"] for tail in tails]).T
            error = {"type": "data", "array": np.maximum(high - values, 0), "arrayminus": np.maximum(values - low, 0)}
            trace = go.Scatter(
                x=places,
                y=values,
                error_y={**error, "color": color, "thickness": 1.5, "width": 0},
                mode="markers",
                marker={"color": color, "size": 4},
                name=shape,
                legendgroup=shape,
            )
            figure.add_trace(trace, row=1, col=column)
        figure.add_hline(probability, line={"color": GREY, "width": 1}, row=1, col=column)
    figure.update_xaxes(title_text="system")
    figure.update_yaxes(type="log", exponentformat="power")
    figure.update_yaxes(title_text="inferred probability", col=1)
    return legend_once(figure).update_layout(height=420, legend_y=1.1)


def replicated_designs(solved: Sequence[Mapping[str, Any]], epsilon: float) -> go.Figure:
    """Power given up and probability of failure of each system's design with and without the credible bound.

    Parameters
    ----------
    solved : sequence of mapping
        What `judge_designs` returned for systems whose designs were all found.
    epsilon : float
        The probability of failure that was allowed.

    Returns
    -------
    Figure
    """
    figure = panels(1, 1)
    cases = {"credible": ("at the credible bound", BLUE, "circle"), "plain": ("f_a at its word", ORANGE, "square")}
    price = {case: [1000 * (row["truth"]["j"] - row[case]["j"]) for row in solved] for case in cases}
    pof = {case: [row[case]["pof"] for row in solved] for case in cases}
    for ends in zip(price["credible"], price["plain"], pof["credible"], pof["plain"], strict=True):
        line = {"color": GREY, "width": 1}
        figure.add_scatter(x=ends[:2], y=ends[2:], mode="lines", line=line, showlegend=False, hoverinfo="skip")
    for case, (name, color, symbol) in cases.items():
        marker = {"color": color, "symbol": symbol, "size": 9}
        shape = [f"system {row['number']}, {row['shape']}" for row in solved]
        figure.add_scatter(x=price[case], y=pof[case], mode="markers", marker=marker, name=name, text=shape)
    figure.add_hline(epsilon, line={"color": GREY, "width": 1.5, "dash": "dash"})
    figure.update_xaxes(title_text="power given up against the best that keeps epsilon [kW]")
    figure.update_yaxes(type="log", exponentformat="power", title_text="probability of failure, truth")
    return figure.update_layout(height=420, legend_y=1.1)
