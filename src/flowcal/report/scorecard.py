"""The scorecard: what was published beside both uncertainty models, each quantity with its distance from the truth.

It is made from artifacts of the chapters alone and kept as JSON, whose keys `SCHEMA` documents.


The scorecard as tables, for its chapter and the landing page.

The picture of the landing page and the README, drawn from published chapters so that it cannot fall behind.
"""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flowcal import __version__
from flowcal.challenge import EPISTEMIC, LOADS, OUTPUTS, PUBLISHED
from flowcal.decide.problems import PROBLEMS
from flowcal.files import check_schema, read_json
from flowcal.infer.checks import coverage
from flowcal.infer.models import EpistemicBox, EpistemicSet
from flowcal.infer.um2_epistemic import CredibleSet
from flowcal.report.figures.style import BLUE, GREEN, GREY, ORANGE, RED
from flowcal.report.tables import markdown_table
from flowcal.report.truth import REBUILT, true_uncertainty_model
from flowcal.study import Study, find_root

__all__ = [
    "READINGS",
    "SCHEMA",
    "aleatory_table",
    "bounds_table",
    "designs_table",
    "draw_answer",
    "epistemic_table",
    "make_scorecard",
    "read_scorecard",
    "summary_table",
    "write_scorecard",
]

READINGS = {"flattened": "time flattened", "trajectory": "per trajectory"}
"""The two readings of a prediction interval, by the beginning of their artifacts' names."""

MODELS = ("UM1", "UM2", "truth")
DRAWS = 4000

TEXT = {"type": "string", "pattern": r"^[^|\n<>]{1,80}\Z"}
NUMBER = {"type": "number", "minimum": -1e9, "maximum": 1e9}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
NOT_NEGATIVE = {"type": "number", "minimum": 0, "maximum": 1e9}


def _or_null(kind: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [kind, {"type": "null"}]}


def _vector(kind: dict[str, Any], length: int) -> dict[str, Any]:
    return {"type": "array", "items": kind, "minItems": length, "maxItems": length}


def _record(description: str, **properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _by_name(description: str, kind: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "propertyNames": TEXT,
        "additionalProperties": kind,
        "required": list(required),
        "maxProperties": 100,
    }


def _many(description: str, kind: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "description": description, "items": kind, "minItems": 1, "maxItems": 1000}


SCHEMA = _record(
    "What was published, UM1, UM2 and the truth.",
    version={"type": "string", "pattern": r"^[0-9A-Za-z.+-]{1,40}\Z"},
    profile={"type": "string", "pattern": r"^[a-z]{1,20}\Z"},
    epistemic=_by_name(
        "Table 2 by source: E, and the best guess of X_e.",
        _record(
            "Ends of the box around E; its volume, the unit cube being 1; whether it holds X_e*, and how far its "
            "nearest point is from X_e*; the best guess, and how far that is.",
            low=_vector(SHARE, 3),
            high=_vector(SHARE, 3),
            volume=SHARE,
            contains={"type": "boolean"},
            least_distance=NOT_NEGATIVE,
            best_guess=_or_null(_vector(SHARE, 3)),
            best_guess_distance=_or_null(NOT_NEGATIVE),
        ),
        *MODELS,
    ),
    aleatory=_by_name(
        "f_a by source.",
        _record(
            "Means and standard deviations of X_a1 and X_a2, their correlation, and the energy distance from the "
            "truth with one standard error.",
            mean=_vector(NUMBER, 2),
            standard_deviation=_vector(NOT_NEGATIVE, 2),
            correlation={"type": "number", "minimum": -1, "maximum": 1},
            energy_distance=NUMBER,
            energy_distance_error=NOT_NEGATIVE,
        ),
    ),
    bounds=_many(
        "Table 3: prediction intervals at the baseline.",
        _record(
            "A bound of an output, its error (two standard errors, or the larger side of a 95 % interval; null where "
            "not published), and how far it is from the truth's in the same reading.",
            source=TEXT,
            reading={"enum": list(READINGS.values())},
            alpha=SHARE,
            output={"enum": list(OUTPUTS)},
            side={"enum": ["lower", "upper"]},
            bound=NUMBER,
            error=_or_null(NOT_NEGATIVE),
            distance=NUMBER,
        ),
    ),
    designs=_many(
        "Table 4, and problems 2.1 and 2.2: designs as their makers see them and as the truth judges them.",
        _record(
            "A design; x_c is null where a model refuses the problem.",
            source=TEXT,
            problem={"enum": list(PROBLEMS)},
            x_c=_or_null(_vector(SHARE, 3)),
            claimed_j=_or_null(NUMBER),
            claimed_pof=_or_null(SHARE),
            judged=_or_null(
                _record(
                    "J less that of the best design for performance [MW]; the probability of failure; errors are one "
                    "standard error, 'pof_upper' is a bound of 95 %.",
                    difference=NUMBER,
                    difference_error=NOT_NEGATIVE,
                    pof=SHARE,
                    pof_error=NOT_NEGATIVE,
                    pof_upper=NOT_NEGATIVE,
                )
            ),
        ),
    ),
    best_j={
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1e9,
        "description": "The largest J that was found [MW].",
    },
    coverage=_by_name(
        "Share of true X_a1 and X_a2 within their 90 % intervals, by training and trial.", _vector(SHARE, 2)
    ),
)
"""JSON schema of a scorecard; its descriptions say what every key holds.

:meta hide-value:
"""


def make_scorecard(study: Study) -> dict[str, Any]:
    """Gather the scorecard from what chapters have kept.

    Parameters
    ----------
    study : Study
        Whose chapters 'aleatory' to 'designs' have been run.

    Returns
    -------
    dict
        As `SCHEMA` describes it.

    Raises
    ------
    ArtifactError
        If a chapter has to be run first.
    """
    return {
        "version": __version__,
        "profile": study.folder.name.partition("-")[0],
        "epistemic": {source: _set_scored(e, best) for source, e, best in _sets(study)},
        "aleatory": dict(_distributions(study)),
        "bounds": _bounds(study),
        "designs": list(_designs(study)),
        "best_j": study.read("designs", "designs_truth")["designs"]["performance"]["j"][0],
        "coverage": {
            label: coverage(study.read("aleatory", f"calibration_{number}")["rank"], 0.9).tolist()
            for number, label in enumerate(
                ("fixed seed, tried on it", "fixed seed, tried on others", "fresh seeds, tried on others"), 1
            )
        },
    }


def write_scorecard(path: Path, card: dict[str, Any]) -> None:
    """Keep a scorecard as JSON.

    Parameters
    ----------
    path : Path
    card : dict
        From `make_scorecard`.

    Raises
    ------
    InputError
        If it is not as `SCHEMA` has it.
    """
    check_schema(card, SCHEMA, path.name)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(card, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    draft.replace(path)


def read_scorecard(path: Path) -> dict[str, Any]:
    """Read a scorecard.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict
        As `SCHEMA` describes it.

    Raises
    ------
    InputError
        If it cannot be read, or is not as `SCHEMA` has it.
    """
    card: dict[str, Any] = read_json(path)
    check_schema(card, SCHEMA, path.name)
    return card


def _sets(study: Study) -> Iterator[tuple[str, EpistemicSet, Any]]:
    """Every E with its best guess, by source."""
    for team, entry in PUBLISHED.items():
        low, high = np.transpose([entry.x_e_intervals[name] for name in EPISTEMIC])
        yield team, EpistemicBox(low, high), entry.x_e_best
    um_1 = study.read("epistemic", "um_1")
    yield "UM1", EpistemicBox(um_1["low"], um_1["high"]), um_1["best_guess"]
    for source, name in (("UM2, control points known to 0.001", "e_tolerant"), ("UM2", "um_2")):
        e = CredibleSet.from_weights(study.read("shared", name))
        yield source, e, e.posterior_sample(DRAWS, np.random.default_rng(1)).mean(axis=0)
    truth = true_uncertainty_model().e
    yield "truth", truth, truth.bounding_box[0]


def _set_scored(e: EpistemicSet, best: Any) -> dict[str, Any]:
    truth = true_uncertainty_model().e.bounding_box[0]
    low, high = e.bounding_box
    return {
        "low": low.tolist(),
        "high": high.tolist(),
        "volume": float(e.volume),
        "contains": bool(e.contains([truth])[0]),
        "least_distance": _least_distance(e, truth),
        "best_guess": None if best is None else list(map(float, best)),
        "best_guess_distance": None if best is None else math.dist(best, truth),
    }


def _least_distance(e: EpistemicSet, x_e: Any) -> float:
    """From a point to the nearest of the set: exactly for a box, else among draws."""
    if e.contains([x_e])[0]:
        return 0.0
    if isinstance(e, EpistemicBox):
        return math.dist(np.clip(x_e, *e.bounding_box), x_e)
    return float(np.linalg.norm(e.sample(DRAWS, np.random.default_rng(1)) - x_e, axis=1).min())


def _distributions(study: Study) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every f_a as it was scored, by source."""
    scores = {
        "UM1": study.read("aleatory", "score_as_published"),
        "UM1, fresh seeds": study.read("aleatory", "score_fresh_seeds"),
        "UM2": study.read("shared", "score"),
    }
    moments = ("mean", "standard_deviation", "correlation")
    for source, score in scores.items():
        distances = {key: score[key] for key in ("energy_distance", "energy_distance_error")}
        yield source, {key: score[key]["estimate"] for key in moments} | distances
    yield "truth", {key: scores["UM2"][key]["truth"] for key in moments} | dict.fromkeys(distances, 0.0)


def _bounds(study: Study) -> list[dict[str, Any]]:
    """Every bound, published ones first."""
    rows = list(_published_bounds())
    for model in MODELS:
        for key, reading in READINGS.items():
            result = study.read("intervals", f"{key}_{model.lower()}")
            for alpha, output, side in itertools.product(result.alpha.values, OUTPUTS, ("lower", "upper")):
                at = result.sel(alpha=alpha, output=output, side=side)
                if "standard_error" in result:
                    error = 2 * at.standard_error.item()
                else:
                    error = max(at.high.item() - at.bound.item(), at.bound.item() - at.low.item())
                rows.append(_bound(model, reading, alpha, output, side, at.bound.item(), error))
    truth = {_which(row): row["bound"] for row in rows if row["source"] == "truth"}
    return [row | {"distance": row["bound"] - truth[_which(row)]} for row in rows]


def _published_bounds() -> Iterator[dict[str, Any]]:
    for team, entry in PUBLISHED.items():
        for alpha, by_output in entry.prediction.items():
            for output, bounds in by_output.items():
                for side, bound in zip(("lower", "upper"), bounds, strict=True):
                    if not math.isnan(bound):
                        yield _bound(team, entry.prediction_reading[alpha], alpha, output, side, bound, None)


def _bound(
    source: str, reading: str, alpha: float, output: str, side: str, bound: float, error: float | None
) -> dict[str, Any]:
    return {
        "source": source,
        "reading": reading,
        "alpha": float(alpha),
        "output": output,
        "side": side,
        "bound": bound,
        "error": error,
    }


def _which(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("reading", "alpha", "output", "side"))


def _designs(study: Study) -> Iterator[dict[str, Any]]:
    """Every design with the truth's verdict, by source and problem."""
    judged = study.read("designs", "judged")

    def row(source: str, problem: str, x_c: Any, claimed_j: Any = None, claimed_pof: Any = None) -> dict[str, Any]:
        return {
            "source": source,
            "problem": problem,
            "x_c": x_c and list(x_c),
            "claimed_j": claimed_j,
            "claimed_pof": claimed_pof,
            "judged": judged[f"{source}, {problem}"] if x_c else None,
        }

    for team, entry in PUBLISHED.items():
        for name, published in entry.designs.items():
            yield row(team, name, published.x_c, published.j, published.pof)
    for how, source in REBUILT.items():
        for number, (name, problem) in enumerate(PROBLEMS.items()):
            if problem.epsilon == 1e-6:  # the paper has none
                continue
            swarm = study.read("designs", f"published_{number}_{how}")
            if problem.reliability:
                yield row(source, name, swarm["x_c"], claimed_pof=swarm["cost"])
            else:  # a positive cost is a penalty: none tried keeps epsilon
                yield row(source, name, swarm["x_c"], claimed_j=-swarm["cost"] if swarm["cost"] < 0 else None)
    for model in MODELS:
        for name, design in study.read("designs", f"designs_{model.lower()}")["designs"].items():
            if "refused" in design:
                yield row(model, name, None)
            else:
                pof = None if model == "UM1" else min(1.0, design["pof"]["pof"][-1])  # a heap of draws only bounds it
                yield row(model, name, design["x_c"], design["j"][0], pof)


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
