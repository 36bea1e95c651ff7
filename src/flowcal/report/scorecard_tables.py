"""The scorecard as tables, for its chapter and the landing page."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flowcal.challenge import EPISTEMIC, LOADS
from flowcal.report.scorecard import READINGS
from flowcal.report.tables import markdown_table

__all__ = ["aleatory_table", "bounds_table", "designs_table", "epistemic_table", "summary_table"]

Card = Mapping[str, Any]

TITLES = {"UM1": "the paper's way, rebuilt (UM1)", "UM2": "this book (UM2)"}


def epistemic_table(card: Card) -> str:
    """Table 2: E and the best guess of X_e by source, with their distances from the truth.

    Parameters
    ----------
    card : mapping
        A scorecard.

    Returns
    -------
    str
        Markdown.
    """
    inputs = [f"$X_{{{name.removeprefix('X_')}}}$" for name in EPISTEMIC]
    return markdown_table(
        ["", *inputs, "volume", "$X_e^*$ is", "best guess off by"],
        [
            (
                source,
                *(_span(low, high) for low, high in zip(row["low"], row["high"], strict=True)),
                _optional(row["volume"], ".1e"),
                "inside" if row["contains"] else f"outside by {row['least_distance']:.3f}",
                _optional(row["best_guess_distance"], ".1e"),
            )
            for source, row in card["epistemic"].items()
        ],
    )


def aleatory_table(card: Card) -> str:
    """f_a by source: moments and energy distance from the truth.

    Parameters
    ----------
    card : mapping
        A scorecard.

    Returns
    -------
    str
        Markdown.
    """
    return markdown_table(
        ["", "mean of $X_{a1}$, $X_{a2}$", "standard deviation", "correlation", "energy distance from the truth"],
        [
            (
                source,
                _pair(row["mean"]),
                _pair(row["standard_deviation"]),
                f"{row['correlation']:+z.2f}",
                _energy(row),
            )
            for source, row in card["aleatory"].items()
        ],
    )


def bounds_table(card: Card, outputs: Sequence[str], reading: str) -> str:
    """Table 3: bounds of some outputs in one reading, a column a source, with their distance from the truth's.

    Parameters
    ----------
    card : mapping
        A scorecard.
    outputs : sequence of str
    reading : str
        One of `READINGS`' values.

    Returns
    -------
    str
        Markdown.
    """
    rows = [row for row in card["bounds"] if row["reading"] == reading and row["output"] in outputs]
    sources = list(dict.fromkeys(row["source"] for row in rows))
    found = {(row["alpha"], row["output"], row["side"], row["source"]): row for row in rows}
    places = sorted({place[:3] for place in found}, key=lambda place: (place[0], outputs.index(place[1]), place[2]))
    return markdown_table(
        ["alpha", "output", "bound", *sources],
        [
            (
                alpha,
                f"$y_{output[1]}$",
                side,
                *(_bound_cell(found.get((alpha, output, side, source))) for source in sources),
            )
            for alpha, output, side in places
        ],
    )


def designs_table(card: Card) -> str:
    """Table 4, and the designs for performance and reliability: what was claimed and what is true.

    Parameters
    ----------
    card : mapping
        A scorecard.

    Returns
    -------
    str
        Markdown.
    """
    order = list(dict.fromkeys(row["problem"] for row in card["designs"]))
    return markdown_table(
        [
            "problem",
            "by",
            "$X_c$",
            "$J$ claimed [MW]",
            "below the best [%]",
            "pof claimed",
            "true pof",
        ],
        [
            (
                row["problem"],
                row["source"],
                *((_point(row["x_c"]), _optional(row["claimed_j"], ".3f")) if row["x_c"] else ("refused", "")),
                _below(row, card["best_j"]),
                _optional(row["claimed_pof"], ".1e"),
                _pof(row),
            )
            for row in sorted(card["designs"], key=lambda row: order.index(row["problem"]))
        ],
    )


def summary_table(card: Card) -> str:
    """The whole in one table, a column a source.

    Parameters
    ----------
    card : mapping
        A scorecard.

    Returns
    -------
    str
        Markdown.
    """
    teams = [source for source in card["epistemic"] if source.endswith("et al.")]
    sources = [*teams, "UM1", "UM2", "truth"]
    bounds = {(row["source"], row["reading"]): row for row in card["bounds"] if _is_summarised(row)}
    designs = {(row["source"], row["problem"]): row for row in card["designs"]}
    rows: list[tuple[str, list[str]]] = [
        ("volume of $E$", [_volume(card["epistemic"][source]) for source in sources]),
        (
            "best guess of $X_e$ off by",
            [_optional(card["epistemic"][source]["best_guess_distance"], ".1e") for source in sources],
        ),
        ("$f_a$ off by, energy distance", [_energy(card["aleatory"].get(source)) for source in sources]),
        *(
            (
                f"$y_4$ stays below, {what} with probability 0.999",
                [_plain_bound(bounds.get((source, reading))) for source in sources],
            )
            for what, reading in zip(("minutes", "whole hours"), READINGS.values(), strict=True)
        ),
        (
            "most power: below the best [%]",
            [_below(designs.get((source, "performance")), card["best_j"]) for source in sources],
        ),
        *(
            (f"{name}: true pof", [_verdict(designs.get((source, problem))) for source in sources])
            for name, problem in (
                ("most reliable", "reliability"),
                ("$\\epsilon = 10^{-3}$", "epsilon 1e-3"),
                ("$\\epsilon = 10^{-4}$", "epsilon 1e-4"),
            )
        ),
    ]
    header = ["", *teams, *(TITLES.get(source, source) for source in sources[len(teams) :])]
    return markdown_table(header, [(name, *cells) for name, cells in rows])


def _is_summarised(row: Mapping[str, Any]) -> bool:
    return (row["output"], row["alpha"], row["side"]) == (LOADS[0], 0.999, "upper")


def _span(low: float, high: float) -> str:
    """An interval with two digits more than its ends have in common."""
    if low == high:
        return f"{low:.4f}"
    digits = 2 + min(10, max(0, math.floor(-math.log10(abs(high - low)))))
    return f"[{low:.{digits}f}, {high:.{digits}f}]"


def _pair(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _point(x_c: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.3f}" for value in x_c) + "]"


def _optional(value: float | None, form: str) -> str:
    if value is None:
        return ""
    return f"{value:{form}}" if value else "0"


def _with_error(value: float, error: float, form: str) -> str:
    return f"{value:{form}} ± {2 * error:{form}}"


def _bound_cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    form = ",.2f" if abs(row["bound"]) < 100 else ",.0f"
    text = f"{row['bound']:{form}}"
    if row["error"] is not None:
        text += f" ± {row['error']:{form}}"
    return text if row["source"] == "truth" else f"{text} ({row['distance']:+z{form}})"


def _plain_bound(row: Mapping[str, Any] | None) -> str:
    return "" if row is None else f"{row['bound']:,.0f}"


def _volume(row: Mapping[str, Any]) -> str:
    if row["volume"] == 0:
        return "a point"
    return f"{row['volume']:.0e}" + ("" if row["contains"] else ", misses $X_e^*$")


def _energy(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    return _with_error(row["energy_distance"], row["energy_distance_error"], ".5f") if row["energy_distance"] else "0"


def _below(row: Mapping[str, Any] | None, best_j: float) -> str:
    """How much less J than the best a design has, with two standard errors."""
    if row is None or row["judged"] is None:
        return ""
    less, error = (100 * value / best_j for value in (-row["judged"]["difference"], row["judged"]["difference_error"]))
    return f"{less:z.3f} ± {2 * error:.3f}" if error > 0 else "0"


def _pof(row: Mapping[str, Any]) -> str:
    judged = row["judged"]
    if judged is None:
        return ""
    if judged["pof"] == 0:
        return f"below {judged['pof_upper']:.0e}"
    return f"{judged['pof']:.1e} ± {2 * judged['pof_error']:.0e}"


def _verdict(row: Mapping[str, Any] | None) -> str:
    """True probability of failure, or that the problem was refused."""
    if row is None:
        return ""
    if row["judged"] is None:
        return "refused"
    return f"{row['judged']['pof']:.0e}" if row["judged"]["pof"] > 0 else f"below {row['judged']['pof_upper']:.0e}"
