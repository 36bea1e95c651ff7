"""Figures of trained flows, of what they infer, and of what all hours say together."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from flowcal.challenge import ALEATORY, EPISTEMIC, OUTPUTS
from flowcal.infer.checks import uniform_band
from flowcal.report.figures import style
from flowcal.report.figures.style import BLUE, DASHES, GREY, PALETTE, RED, dots, line, named, panels, small, stroke

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
    "scores_by_point",
    "spread_of_readings",
    "volume_by_misfit",
]

Array = NDArray[np.float64]

BINS = 10
LEAST = 1e-8  # probability of exceedance that is shown


def learning_curves(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> go.Figure:
    """Training and held-out loss over the epochs, one panel for the `History` of each trained flow."""
    figure = _grid(list(curves))
    losses = {"training_loss": ("training, with dropout", BLUE, "solid"), "held_out_loss": ("held out", RED, "dash")}
    for position, history in enumerate(curves.values()):
        for key, (name, *look) in losses.items():
            epochs, loss = np.arange(1, len(history[key]) + 1), small(history[key])
            figure.add_scatter(x=epochs, y=loss, **line(*look), **named(name), **style.cell_of(position))
    return _label_grid(figure, "epoch", "loss [nats]")


def calibration(results: Mapping[str, xr.Dataset], rng: np.random.Generator) -> go.Figure:
    """Excess of the distribution functions of ranks and credibilities over uniform ones, with simulated 95 % bands.

    `results` are from `calibrate`, by posterior.
    """
    figure = _grid(list(results))
    at, chance = np.linspace(0.01, 0.99, 99), named("95 % of right posteriors stay within", "band")
    for position, result in enumerate(results.values()):
        cell = style.cell_of(position)
        low, high = uniform_band(result.sizes["sample"], at, rng) - at
        figure.add_trace(style.band(at, low, high, "rgba(127,127,127,0.3)", **chance), **cell)
        lines = {str(name): result["rank"].sel(parameter=name).values for name in result.parameter.values}
        lines["credibility"] = result.credibility.values
        for color, dash, (name, values) in zip(PALETTE, DASHES, lines.items(), strict=False):
            excess = np.searchsorted(np.sort(values), at, side="right") / len(values) - at
            figure.add_scatter(x=at, y=small(excess), line=stroke(color, dash, 2), **named(name), **cell)
    return _label_grid(figure, "level", "excess share")


def marginal_densities(
    curves: Mapping[str, Array],
    grid: ArrayLike,
    names: Sequence[str],
    spans: Mapping[str, Sequence[Sequence[float]]] | None = None,
    marks: Mapping[str, Sequence[float]] | None = None,
) -> go.Figure:
    """Marginal densities (inputs, k) on a grid (k,), one panel per input, one line per source.

    Spans are intervals, and marks are values, for each input by source.
    """
    figure = panels(1, len(names), subplot_titles=list(names), horizontal_spacing=0.07)
    for (name, densities), color, dash in zip(curves.items(), PALETTE, DASHES, strict=False):
        for column, density in enumerate(densities, 1):
            look = {"line": stroke(color, dash, 2), **named(name)}
            figure.add_scatter(x=small(grid), y=small(density), **look, row=1, col=column)
    for height, (name, intervals) in enumerate((spans or {}).items(), 1):
        for column, interval in enumerate(intervals, 1):
            place = -0.06 * height * max(np.max(densities[column - 1]) for densities in curves.values())
            look = line(GREY, "solid", 9 - 4 * height) | named(name)
            figure.add_scatter(x=interval, y=[place] * 2, **look, row=1, col=column)
    for name, values in (marks or {}).items():
        for column, value in enumerate(values, 1):
            look = dots("black", 11, "diamond", line=stroke("white", width=1)) | named(name)
            figure.add_scatter(x=[value], y=[0], **look, row=1, col=column)
    figure.update_xaxes(title_text="value [–]", range=[-0.02, 1.02])
    figure.update_yaxes(title_text="density [–]", col=1)
    return style.legend_once(figure, height=380, legend_y=1.12)


def joint_densities(grid: ArrayLike, log_densities: Mapping[str, Array]) -> go.Figure:
    """Log densities (k, k) along X_a2 and X_a1 on a grid (k,), one panel per source, on one colour scale."""
    figure = _row(list(log_densities), 0.04, shared_yaxes=True)
    for column, values in enumerate(log_densities.values(), 1):
        shown = small(np.maximum(values, -6) / np.log(10))
        heat = {"x": small(grid), "y": small(grid), "z": shown, "coloraxis": "coloraxis", "hoverinfo": "x+y+z"}
        figure.add_heatmap(**heat, row=1, col=column)
    scale = {"colorscale": "Cividis", "cmin": -2, "cmax": 1.3, "colorbar": {"title": {"text": "log₁₀ density"}}}
    figure.update_xaxes(title_text=ALEATORY[0]).update_yaxes(title_text=ALEATORY[1], col=1)
    return figure.update_layout(height=360, coloraxis=scale)


def hour_posteriors(draws: Mapping[str, Array], truth: ArrayLike, names: Sequence[str]) -> go.Figure:
    """Posterior samples (n, hours, 2) of X_a by posterior, with the true values (hours, 2); one panel per hour."""
    truth = np.asarray(truth)
    figure = panels(1, len(truth), subplot_titles=[f"hour {n}" for n in range(1, len(truth) + 1)], shared_yaxes=True)
    for (source, values), color, symbol in zip(draws.items(), PALETTE, ("x-thin", "circle-open"), strict=False):
        look = dots(color, 4, symbol, line=stroke(color, width=1), opacity=0.6) | named(source)
        for column, (x, y) in enumerate(small(values).transpose(1, 2, 0), 1):
            figure.add_scatter(x=x, y=y, **look, row=1, col=column)
    for column, (x, y) in enumerate(truth, 1):
        figure.add_scatter(x=[x], y=[y], **_star(11), **named("truth"), row=1, col=column)
    figure.update_xaxes(title_text=names[0]).update_yaxes(title_text=names[1], col=1)
    return style.legend_once(figure, height=360, legend_y=1.12)


def distance_by_hours(hours: Sequence[int], lines: Mapping[str, Array]) -> go.Figure:
    """Energy distances (hours, repeats) of f_a from the truth by source, over the number of observed hours.

    Repeats are dots, their medians lines.
    """
    figure = panels(1, 1)
    for (name, values), color, dash in zip(lines.items(), PALETTE, DASHES, strict=False):
        values = np.where(values > 0, values, np.nan)  # an unbiased estimate of nearly nothing may be negative
        medians, look = small(np.nanmedian(values, axis=1)), dots(color, 5, opacity=0.5)
        figure.add_scatter(x=list(hours), y=medians, line=stroke(color, dash, 2), **named(name))
        figure.add_scatter(x=np.repeat(hours, values.shape[1]), y=small(values.ravel()), **look, **named(name))
    figure.update_xaxes(type="log", title_text="observed hours", tickvals=list(hours))
    return style.legend_once(style.log_axis(figure, "energy distance [–]"), height=380)


def spread_of_readings(
    values: Mapping[str, ArrayLike],
    good: Mapping[str, ArrayLike],
    title: str,
    names: tuple[str, str],
    reference: tuple[str, float],
) -> go.Figure:
    """Values by row on a logarithmic axis, filled where they are good, and a reference as a dashed line.

    The two names are those of good and of other values.
    """
    figure, rng = panels(1, 1), np.random.default_rng(1)
    for holds, name, symbol in ((True, names[0], "circle"), (False, names[1], "circle-open")):
        x, y = [np.array([])], [np.array([])]
        for place, row in enumerate(values):
            chosen = np.asarray(values[row])[np.asarray(good[row]) == holds]
            x.append(chosen)
            y.append(place + rng.uniform(-0.3, 0.3, len(chosen)))
        look = dots(BLUE, 7, symbol, line={"width": 1}, opacity=0.7)
        figure.add_scatter(x=small(np.concatenate(x)), y=small(np.concatenate(y)), name=name, **look)
    ends = [-0.5, len(values) - 0.5]
    figure.add_scatter(x=small([reference[1]] * 2), y=ends, name=reference[0], **line(RED, "dash"))
    places = {"tickvals": list(range(len(values))), "ticktext": list(values)}
    figure.update_yaxes(title_text="choice", range=ends[::-1], **places)
    return style.log_axis(figure, title, "x", dtick=1).update_layout(height=150 + 34 * len(values))


def predictive_levels(levels: xr.DataArray) -> go.Figure:
    """Histograms of `flowcal.infer.checks.predictive_levels`, with the 95 % range of each bar by chance."""
    quantities = list(levels.quantity.values)
    figure = panels(len(quantities), len(OUTPUTS), shared_xaxes=True, shared_yaxes="all", column_titles=list(OUTPUTS))
    low, high = binom.ppf([0.025, 0.975], levels.sizes["sample"], 1 / BINS).tolist()
    tallest = high
    for row, quantity in enumerate(quantities, 1):
        for column, output in enumerate(OUTPUTS, 1):
            bars = style.histogram(levels.sel(quantity=quantity, output=output), BINS, showlegend=False)
            tallest = max(tallest, int(bars.y.max()))
            figure.add_trace(bars, row=row, col=column)
            figure.add_hrect(low, high, fillcolor=GREY, opacity=0.35, line_width=0, row=row, col=column)
        figure.update_yaxes(title_text=f"hours, by {quantity}", row=row, col=1)
    figure.update_yaxes(range=[0, 1.05 * tallest])
    figure.update_xaxes(range=[0, 1], tickvals=[0, 0.5, 1]).update_xaxes(title_text="level", row=len(quantities))
    return figure.update_layout(height=380, bargap=0.08)


def scores_by_point(scores: Mapping[str, tuple[ArrayLike, ArrayLike]], points: Sequence[int]) -> go.Figure:
    """Held-out scores of step 2 with two standard errors at control points of Table 1, one series per reading.

    Scores come with their standard errors; points are counted from 1.
    """
    figure = panels(1, 1)
    for (name, (score, error)), color, symbol in zip(scores.items(), PALETTE, ("circle", "diamond-open"), strict=False):
        bars = {"type": "data", "array": small(2 * np.asarray(error)), "color": color, "thickness": 1}
        figure.add_scatter(x=list(points), y=small(score), error_y=bars, name=name, **dots(color, 10, symbol))
    figure.add_hline(0, line=stroke(GREY, "dash"))
    figure.update_xaxes(title_text="control point of Table 1", tickvals=list(points))
    figure.update_yaxes(title_text="mean log density of the true X_e [nats]")
    return figure.update_layout(height=360)


def contrasts_by_point(observed: Sequence[Array], possible: Sequence[Array], names: Sequence[str]) -> go.Figure:
    """Contrasts (hours, k) of the observed hours, and those (n, k) that other X_e would give, by control point."""
    figure = _row(list(names), 0.09)
    wide = line(GREY, width=9) | named("range over all X_e", "range") | {"opacity": 0.5}
    thin = dots(BLUE, 8, "line-ew", line=stroke(BLUE, width=2)) | named("observed hours", "hours")
    for column in range(len(names)):
        for number, (hours, others) in enumerate(zip(observed, possible, strict=True), 1):
            ends, cell = small([np.min(others[:, column]), np.max(others[:, column])]), {"row": 1, "col": column + 1}
            figure.add_scatter(x=[number] * 2, y=ends, **wide, **cell)
            figure.add_scatter(x=[number] * len(hours), y=small(hours[:, column]), **thin, **cell)
    figure.update_xaxes(title_text="control point", tickvals=list(range(1, len(observed) + 1)))
    figure.update_yaxes(title_text="logarithm of the ratio [–]", col=1)
    return style.legend_once(figure, height=380, legend_y=1.12)


def volume_by_misfit(granted: Mapping[float, tuple[float, bool]]) -> go.Figure:
    """Volume of E over the misfit that is granted, but for 0; marks are filled where E holds the truth."""
    figure = panels(1, 1)
    scales = [scale for scale in granted if scale > 0]
    volumes, holds = zip(*(granted[scale] for scale in scales), strict=True)
    figure.add_scatter(x=scales, y=volumes, showlegend=False, **line(GREY, width=1.5))
    for verdict, name, symbol in ((True, "holds the truth", "circle"), (False, "misses the truth", "circle-open")):
        some = [place for place, held in enumerate(holds) if held is verdict]
        x, y = ([values[place] for place in some] for values in (scales, volumes))
        figure.add_scatter(x=x, y=y, name=name, **dots(BLUE, 11, symbol))
    figure.update_xaxes(type="log", title_text="misfit that is granted, relative error of outputs [–]")
    return style.log_axis(figure, "volume of E, share of the unit cube [–]").update_layout(height=360)


def closing_in(widths: Array, volumes: Sequence[float], others: Mapping[str, float]) -> go.Figure:
    """Widths (rounds, inputs) of E's bounding box and its volume after each round; other sets' volumes are lines."""
    figure, rounds = _row(["width of E", "volume of E"], 0.2), list(range(len(widths)))
    left, right = {"row": 1, "col": 1}, {"row": 1, "col": 2}
    for name, values, color, dash in zip(EPISTEMIC, small(widths).T, PALETTE, DASHES, strict=False):
        figure.add_scatter(x=rounds, y=values, name=name, **line(color, dash, 2, mode="lines+markers"), **left)
    figure.add_scatter(x=rounds, y=volumes, showlegend=False, **line(BLUE, width=2, mode="lines+markers"), **right)
    for (name, volume), color, dash in zip(others.items(), (RED, style.ORANGE, GREY), DASHES[1:], strict=False):
        figure.add_scatter(x=[rounds[0], rounds[-1]], y=[volume] * 2, name=name, **line(color, dash), **right)
    figure.update_xaxes(title_text="round", tickvals=rounds)
    style.log_axis(figure).update_yaxes(title_text="largest less smallest value [–]", col=1)
    figure.update_yaxes(title_text="share of the unit cube", col=2)
    return figure.update_layout(height=400, legend_y=1.12)


def exceedance(
    x: ArrayLike, curves: Mapping[str, ArrayLike], replicates: tuple[ArrayLike, ArrayLike], name: str
) -> go.Figure:
    """Probabilities (k,) by source that an input exceeds x (k,).

    `replicates` are the ends (k,) of the middle 90 % of the replicates.
    """
    figure = panels(1, 1)
    low, high = (np.maximum(values, LEAST / 10) for values in replicates)
    figure.add_trace(style.band(np.asarray(x), low, high, "rgba(0,114,178,0.2)", name="90 % of the replicates"))
    for (source, values), color, dash in zip(curves.items(), PALETTE, DASHES, strict=False):
        shown = np.where(np.asarray(values) > LEAST / 10, values, np.nan)
        figure.add_scatter(x=small(x), y=small(shown), name=source, **line(color, dash, 2))
    figure.update_xaxes(title_text=f"{name} [–]")
    return style.log_axis(figure, "probability of more", range=[np.log10(LEAST), 0]).update_layout(
        height=420, legend_y=1.05
    )


def epistemic_pairs(
    draws: Array, boxes: Mapping[str, Mapping[str, tuple[float, float]]], truth: ArrayLike
) -> go.Figure:
    """Samples (n, 3) of X_e, boxes by source and input, and a true value (3,); one panel per pair of inputs."""
    figure, true = panels(1, len(style.PAIRS), horizontal_spacing=0.1), np.asarray(truth)
    for column, (first, second) in enumerate(style.PAIRS, 1):
        cell = {"row": 1, "col": column}
        samples = {"x": small(draws[:, first]), "y": small(draws[:, second])}
        figure.add_scatter(**samples, **dots(BLUE, 3, opacity=0.5), **named("E"), **cell)
        figure.add_scatter(x=true[[first]], y=true[[second]], **_star(12), **named("X_e*"), **cell)
        for (name, intervals), color, dash in zip(boxes.items(), (RED, style.ORANGE, GREY), DASHES[1:], strict=False):
            (left, right), (low, high) = intervals[EPISTEMIC[first]], intervals[EPISTEMIC[second]]
            corners = {"x": [left, right, right, left, left], "y": [low, low, high, high, low]}
            figure.add_scatter(**corners, **line(color, dash, 2), **named(name), **cell)
        figure.update_xaxes(title_text=f"{EPISTEMIC[first]} [–]", **cell)
        figure.update_yaxes(title_text=f"{EPISTEMIC[second]} [–]", **cell)
    return style.legend_once(figure, height=400, legend_y=1.08)


def replicated_tails(systems: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Intervals of probabilities of exceedance that `judge` returned, by shape; one bar per system."""
    ordered = sorted(systems, key=lambda row: (row["shape"], row["number"]))
    probabilities = [tail["probability"] for tail in ordered[0]["tail"]]
    figure = panels(1, len(probabilities), subplot_titles=[f"truth: {p:g}" for p in probabilities])
    for column, probability in enumerate(probabilities, 1):
        for shape, color in zip(dict.fromkeys(row["shape"] for row in ordered), PALETTE, strict=False):
            places = [place for place, row in enumerate(ordered, 1) if row["shape"] == shape]
            tails = [ordered[place - 1]["tail"][column - 1] for place in places]
            values = probability * np.exp([tail["log_error"] for tail in tails])
            low, high = np.array([tail["interval"] for tail in tails]).T
            ends = {"array": np.maximum(high - values, 0), "arrayminus": np.maximum(values - low, 0)}
            look = {"error_y": {"type": "data", **ends, "color": color, "thickness": 1.5, "width": 0}}
            look |= dots(color, 4) | named(shape)
            figure.add_scatter(x=places, y=values, **look, row=1, col=column)
        figure.add_hline(probability, line=stroke(GREY, width=1), row=1, col=column)
    figure.update_xaxes(title_text="system")
    style.log_axis(figure).update_yaxes(title_text="inferred probability", col=1)
    return style.legend_once(figure, height=420, legend_y=1.1)


def replicated_designs(solved: Sequence[Mapping[str, Any]], epsilon: float) -> go.Figure:
    """Power given up and probability of failure of the designs that `judge_designs` returned, where all were found.

    `epsilon` is the probability of failure that was allowed.
    """
    figure = panels(1, 1)
    cases = {
        "credible": ("at the credible bound", BLUE, "circle"),
        "plain": ("with the inferred f_a alone", style.ORANGE, "square"),
    }
    price = {case: [1000 * (row["truth"]["j"] - row[case]["j"]) for row in solved] for case in cases}
    pof = {case: [row[case]["pof"] for row in solved] for case in cases}
    link = line(GREY, width=1) | {"showlegend": False, "hoverinfo": "skip"}
    for ends in zip(price["credible"], price["plain"], pof["credible"], pof["plain"], strict=True):
        figure.add_scatter(x=ends[:2], y=ends[2:], **link)
    text = [f"system {row['number']}, {row['shape']}" for row in solved]
    for case, (name, color, symbol) in cases.items():
        figure.add_scatter(x=price[case], y=pof[case], name=name, text=text, **dots(color, 9, symbol))
    figure.add_hline(epsilon, line=stroke(GREY, "dash", 1.5))
    figure.update_xaxes(title_text="power given up against the best that keeps epsilon [kW]")
    return style.log_axis(figure, "probability of failure, truth").update_layout(height=420, legend_y=1.1)


def _star(size: float) -> dict[str, Any]:
    """How a true value is drawn."""
    return dots("gold", size, "star", line=stroke("black", width=1.5))


def _row(titles: Sequence[str], spacing: float, **options: Any) -> go.Figure:
    """Panels side by side, as many as there are titles."""
    return panels(1, len(titles), subplot_titles=titles, horizontal_spacing=spacing, **options)


def _grid(titles: Sequence[str]) -> go.Figure:
    """Panels in rows of three, as many as there are titles, on one vertical scale."""
    rows = math.ceil(len(titles) / 3)
    spacing = {"vertical_spacing": 0.34 / rows, "horizontal_spacing": 0.04}
    figure = panels(rows, min(3, len(titles)), subplot_titles=titles, shared_yaxes="all", **spacing)
    return figure.update_layout(height=120 + 230 * rows, legend_y=1 + 0.12 / rows)


def _label_grid(figure: go.Figure, x: str, y: str) -> go.Figure:
    return style.legend_once(figure.update_xaxes(title_text=x).update_yaxes(title_text=y, col=1))
