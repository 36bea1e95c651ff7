"""The picture of the landing page and the README, drawn from published chapters so that it cannot fall behind."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flowcal.challenge import PUBLISHED
from flowcal.report.figures.style import BLUE, GREEN, GREY, ORANGE, RED
from flowcal.study import find_root

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


def draw_answer(path: Path) -> None:
    """Write the picture as SVG: how small each E is and whether it holds the truth; power against reliability.

    Parameters
    ----------
    path : Path
        Where to.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.8, 3.3), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        _draw_sets(left)
        _draw_designs(right)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_sets(axes: Axes) -> None:
    """A row for every E: its volume, filled where it holds the truth."""
    published = json.loads((find_root() / "book" / "published" / "scores.json").read_text(encoding="utf-8"))
    rebuilt, found = dict(_glued("05_epistemic")), dict(_glued("06_shared"))
    rows = [
        ("the paper's way, rebuilt", float(rebuilt["volume"]), rebuilt["holds"] == "holds", GREY),
        *((f"{team}, published", published[team]["volume"], published[team]["contains"], RED) for team in PUBLISHED),
        ("this book, control points\nknown to 0.001", float(found["tolerant_volume"]), True, BLUE),
        ("this book", float(found["volume"]), found["holds"] == "holds", BLUE),
    ]
    names, volumes, holds, colors = zip(*rows, strict=True)
    places = range(len(rows))
    axes.hlines(places, volumes, 1, colors, linewidth=1.5)
    faces = [color if inside else "white" for inside, color in zip(holds, colors, strict=True)]
    axes.scatter(volumes, places, s=60, c=faces, edgecolors=colors, linewidths=1.5, zorder=3)
    axes.set(xscale="log", xlim=(1e-16, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="volume of E, share of the unit cube")
    axes.set_yticks(places, names)
    axes.set_title("How small E is (open: misses the truth)", loc="left", fontsize=9.5)


def _draw_designs(axes: Axes) -> None:
    """Power against the probability of failure of every design, all judged by the truth."""
    judged = list(_judged("09_designs"))
    for source, label, color, symbol in (
        ("truth", "best, the truth being known", ORANGE, "s"),
        ("UM2", "this book", BLUE, "o"),
        ("Wang et al.", "Wang et al., published", RED, "D"),
        ("Roy Sarkar et al.", "Roy Sarkar et al., published", GREEN, "^"),
        ("baseline", "baseline", GREY, "X"),
    ):
        j, pof = zip(*((j, pof) for name, j, pof in judged if name.startswith(source)), strict=True)
        size = 130 if source == "truth" else 50
        axes.scatter(pof, j, s=size, c=color, marker=symbol, label=label, edgecolors="white", linewidths=0.7)
    axes.set(xscale="log", xlabel="probability of failure in an hour", ylabel="expected power J [MW]")
    axes.margins(y=0.08)
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    axes.set_title("What designs give and risk", loc="left", fontsize=9.5)


def _outputs(chapter: str) -> Iterator[dict[str, Any]]:
    """Outputs of all cells of a published chapter."""
    path = find_root() / "book" / "published" / f"{chapter}.ipynb"
    for cell in nbformat.read(path, as_version=4).cells:
        yield from cell.get("outputs", [])


def _glued(chapter: str) -> Iterator[tuple[str, str]]:
    """Names and texts of what a published chapter has glued."""
    for output in _outputs(chapter):
        scrap = output.get("metadata", {}).get("scrapbook")
        if scrap:
            text = next(iter(output["data"].values()))
            yield scrap["name"], text.strip("'")


def _judged(chapter: str) -> Iterator[tuple[str, float, float]]:
    """Name, J [MW] and probability of failure of every design in the published chapter's table by the truth."""
    for output in _outputs(chapter):
        header, *rows = output.get("data", {}).get("text/markdown", "").splitlines() or [""]
        if "below the truth's best" in header:
            for _, name, _, j, _, pof, _ in (row.split("|") for row in rows[1:]):
                yield name.strip(), float(j), float(pof.split("±")[0])
