"""Figures of the scorecard: what each choice of the paper costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from flowcal.report.figures.style import BLUE, GREY, ORANGE, PALETTE, panels, small

__all__ = ["choice_costs", "counting_errors"]


def choice_costs(choices: Sequence[Mapping[str, Any]], title: str, logarithmic: bool = False) -> go.Figure:
    """Quantities as published and instead, a row each, joined by a line, with what is aimed at where there is an aim.

    Parameters
    ----------
    choices : sequence of mapping
        Entries of the scorecard's `choices` that share an axis.
    title : str
        Of that axis, with its unit.
    logarithmic : bool
    """
    figure = panels(1, 1)
    rows = [choice["quantity"] for choice in choices]
    for choice in choices:
        figure.add_scatter(
            x=small([choice["as_published"], choice["instead"]]),
            y=[choice["quantity"]] * 2,
            mode="lines",
            line={"color": GREY, "width": 2},
            showlegend=False,
            hoverinfo="skip",
        )
    aims = [choice for choice in choices if choice["aim"] is not None]
    if aims:
        marker = {"symbol": "line-ns", "size": 22, "line": {"color": GREY, "width": 3}}
        x = small([choice["aim"] for choice in aims])
        figure.add_scatter(x=x, y=[choice["quantity"] for choice in aims], mode="markers", marker=marker, name="aim")
    for key, name, color, symbol in (
        ("as_published", "as published", ORANGE, "circle"),
        ("instead", "instead", BLUE, "diamond"),
    ):
        marker = {"color": color, "symbol": symbol, "size": 12}
        figure.add_scatter(
            x=small([choice[key] for choice in choices]), y=rows, mode="markers", marker=marker, name=name
        )
    figure.update_xaxes(title_text=title, exponentformat="power")
    figure.update_xaxes(**({"type": "log"} if logarithmic else {"rangemode": "tozero"}))
    figure.update_yaxes(autorange="reversed", type="category")
    return figure.update_layout(height=140 + 42 * len(rows))


def counting_errors(
    simulations: ArrayLike, counted: Mapping[float, ArrayLike], sampled: Mapping[str, tuple[float, float, float]]
) -> go.Figure:
    """Relative standard error of a probability of failure against the simulations that it took.

    Parameters
    ----------
    simulations : array_like, shape (n,)
    counted : mapping of float to array_like, shape (n,)
        By probability, the error from counting failures.
    sampled : mapping of str to (float, float, float)
        By design, its probability, the simulations behind it and its error, by importance sampling.
    """
    figure = panels(1, 1)
    for (pof, error), color, dash in zip(counted.items(), PALETTE, ("solid", "dash", "dot", "dashdot"), strict=False):
        line = {"color": color, "width": 2, "dash": dash}
        name = f"counted, pof 1e{np.log10(pof):.0f}"
        figure.add_scatter(x=small(simulations), y=small(error), mode="lines", line=line, name=name)
    figure.add_scatter(
        x=small([calls for _, calls, _ in sampled.values()]),
        y=small([error for _, _, error in sampled.values()]),
        text=[f"{design}: pof {pof:.1e}" for design, (pof, _, _) in sampled.items()],
        mode="markers",
        marker={"color": GREY, "symbol": "diamond", "size": 10},
        name="importance sampling, designs of the table",
    )
    figure.add_hline(1, line={"color": GREY, "dash": "dot"})
    figure.update_xaxes(type="log", title_text="simulations", exponentformat="power")
    figure.update_yaxes(type="log", title_text="standard error, as a share of pof", exponentformat="power")
    return figure.update_layout(height=420, legend_y=1.04)
