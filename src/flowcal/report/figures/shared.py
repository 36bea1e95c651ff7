"""Figures of what all hours say together: contrasts, sets that close in, distributions with tails."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import EPISTEMIC, POWERS
from flowcal.report.figures.style import BLUE, GREY, ORANGE, PALETTE, RED, legend_once, panels, small

__all__ = [
    "closing_in",
    "contrasts_by_point",
    "epistemic_pairs",
    "exceedance",
    "replicated_designs",
    "replicated_tails",
    "responses_by_lag",
]

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


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
