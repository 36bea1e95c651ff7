"""The scorecard: what was published beside both uncertainty models, each quantity with its distance from the truth.

It is made from artifacts of the chapters alone and kept as JSON, whose keys `SCHEMA` documents.
"""

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flowcal import __version__
from flowcal.challenge import EPISTEMIC, OUTPUTS, PUBLISHED
from flowcal.decide.problems import PROBLEMS
from flowcal.infer.diagnostics import coverage
from flowcal.infer.level_set import EpistemicLevelSet
from flowcal.infer.uncertainty import EpistemicBox, EpistemicSet
from flowcal.json_schema import check_schema
from flowcal.json_text import read_json
from flowcal.report.design_verdicts import REBUILT
from flowcal.report.scoring import true_uncertainty_model
from flowcal.study import Study

__all__ = ["READINGS", "SCHEMA", "make_scorecard", "read_scorecard", "write_scorecard"]

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
    for source, name in (("UM2, control points known to 0.001", "e_tolerant"), ("UM2", "e")):
        e = EpistemicLevelSet.from_weights(study.read("shared", name))
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
