"""The picture of the landing page and the README, drawn from the scorecard."""

from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flowcal.challenge import PUBLISHED
from flowcal.report.figures.style import BLUE, GREEN, GREY, ORANGE, RED
from flowcal.report.scorecard import TOLERANT, Scorecard

__all__ = ["draw_answer"]

STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "flowcal",  # the same file each time
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
}


def draw_answer(card: Scorecard, path: Path) -> None:
    """Write the picture of the landing page as SVG: volumes of sets E, and power against reliability of designs."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.8, 3.3), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        _draw_sets(left, card)
        _draw_designs(right, card)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_sets(axes: Axes, card: Scorecard) -> None:
    """A row for every E: its volume, filled where it contains the truth."""
    rows = [
        ("the paper's way, rebuilt", "UM1", GREY),
        *((f"{team}, published", team, RED) for team in PUBLISHED),
        ("this book, control points\nknown to 0.001", TOLERANT, BLUE),
        ("this book", "UM2", BLUE),
    ]
    names, sources, colors = zip(*rows, strict=True)
    volumes, places = [card.epistemic[source].volume for source in sources], range(len(rows))
    axes.hlines(places, volumes, 1, colors, linewidth=1.5)
    faces = [color if card.epistemic[name].contains else "white" for name, color in zip(sources, colors, strict=True)]
    axes.scatter(volumes, places, s=60, c=faces, edgecolors=colors, linewidths=1.5, zorder=3)
    axes.set(xscale="log", xlim=(1e-16, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="volume of E, share of the unit cube")
    axes.set_yticks(places, names)
    axes.set_title("How small E is (open: misses the truth)", loc="left", fontsize=9.5)


def _draw_designs(axes: Axes, card: Scorecard) -> None:
    """Power against the probability of failure of every design, all judged by the truth."""
    verdicts = [(row.source, row.judged) for row in card.designs if row.judged] + [("baseline", card.baseline)]
    for source, label, color, symbol in (
        ("truth", "best, the truth being known", ORANGE, "s"),
        ("UM2", "this book", BLUE, "o"),
        ("Wang et al.", "Wang et al., published", RED, "D"),
        ("Roy Sarkar et al.", "Roy Sarkar et al., published", GREEN, "^"),
        ("baseline", "baseline", GREY, "X"),
    ):
        chosen = [verdict for by, verdict in verdicts if by == source]
        j = [card.best_j + verdict.difference for verdict in chosen]
        pof = [verdict.pof or verdict.upper for verdict in chosen]
        size = 130 if source == "truth" else 50
        axes.scatter(pof, j, s=size, c=color, marker=symbol, label=label, edgecolors="white", linewidths=0.7)
    axes.set(xscale="log", xlabel="probability of failure in an hour", ylabel="expected power J [MW]")
    axes.margins(y=0.08)
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    axes.set_title("What designs give and risk", loc="left", fontsize=9.5)
