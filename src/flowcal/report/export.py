"""The organisers' form: results.json and samples of both uncertainty models, as they ask for them.

The keys are spelled as in the organisers' template [1]_. Of its optional parts the second uncertainty model is filled
in, and the risk-based design, which this study does not make, left out.

References
----------
.. [1] C. Agrell, L. G. Crespo, V. Flovik, E. Vanem and S. Kenny, "The NASA and DNV Challenge on Optimization Under
   Uncertainty", 2025, https://github.com/dnv-opensource/UQ-Challenge-2025, template of the results.
"""

import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jsonschema import Draft202012Validator
from numpy.typing import NDArray

from flowcal.challenge import OUTPUTS
from flowcal.decide.failure import RULE_OF_THREE
from flowcal.decide.problems import SolvedDesigns
from flowcal.errors import FlowcalError, InputError
from flowcal.files import read_json
from flowcal.infer.models import UncertaintyModel
from flowcal.report.inferred import inferred_models
from flowcal.study import Study

__all__ = [
    "SCHEMA",
    "SubmissionError",
    "check_results",
    "export_submission",
    "read_results",
]

Array = NDArray[np.float64]

SAMPLES = {"fa": (10_000, "X_a_1,X_a_2"), "E": (1_000, "X_e_1,X_e_2,X_e_3")}
KEYS = {"UM1": "UM1", "UM2": "o_UM2"}
DESIGNS = {
    "performance": "performance_based_design",
    "reliability": "realiability_based_design",
    "epsilon 1e-3": "eps_constrained_design_10^-3",
    "epsilon 1e-6": "eps_constrained_design_10^-6",
}
"""Problems by the template's keys, its spelling of 'reliability' included."""
ALPHAS = ("0.999", "0.95")


class SubmissionError(FlowcalError):
    """What is to be submitted does not have the form that the organisers ask for."""


def _exactly(properties: dict[str, Any]) -> dict[str, Any]:
    """Schema of an object with these properties, all of them and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _numbers(count: int, most: float | None = None) -> dict[str, Any]:
    """Schema of so many numbers from 0 up."""
    number = {"type": "number", "minimum": 0} | ({} if most is None else {"maximum": most})
    return {"type": "array", "items": number, "minItems": count, "maxItems": count}


_MODEL = _exactly(
    {
        "file_references": _exactly({"fa_samples": {"type": "string"}, "E_samples": {"type": "string"}}),
        "prediction_intervals": _exactly(
            {f"alpha_{alpha}": _exactly({f"{output}_interval": _numbers(2) for output in OUTPUTS}) for alpha in ALPHAS}
        ),
    }
)
_DESIGN = _exactly({"X_c": _numbers(3, 1), "J_interval": _numbers(2), "pof_interval": _numbers(2, 1)})
SCHEMA = _exactly(
    {
        "info": {"type": "string"},
        "team_id": {"type": "string"},
        "problem_1": _exactly({"best_guess_X_e": _numbers(3, 1)} | dict.fromkeys(KEYS.values(), _MODEL)),
        "problem_2": _exactly(dict.fromkeys(KEYS.values(), _exactly(dict.fromkeys(DESIGNS.values(), _DESIGN)))),
    }
)
"""JSON schema of results.json, for the parts that this study fills in.

:meta hide-value:
"""


def export_submission(study: Study, folder: Path) -> list[Path]:
    """Write results.json and four files of samples, from what the chapters have kept.

    Parameters
    ----------
    study : Study
        Whose chapters up to 'designs' have been run.
    folder : Path
        Made where it does not exist; files of these names in it are replaced.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    ArtifactError
        If a chapter has to be run first.
    SubmissionError
        If a problem has no design, or the results do not fit the organisers' form.
    """
    models = inferred_models(study)
    results: dict[str, Any] = {
        "info": "Results of the study flowcal. Where an uncertainty model cannot tell whether any design keeps an "
        "epsilon, its most reliable design stands, with a pof_interval that says what is known.",
        "team_id": "To be filled in by the organizers.",
        "problem_1": {"best_guess_X_e": _best_guess(models["UM2"])},
        "problem_2": {},
    }
    for name, key in KEYS.items():
        bounds = study.read("intervals", f"trajectory_{name.lower()}")
        results["problem_1"][key] = {
            "file_references": {f"{kind}_samples": f"{name}_{kind}_samples.csv" for kind in SAMPLES},
            "prediction_intervals": _prediction_intervals(bounds),
        }
        designs = SolvedDesigns.from_weights(study.read("designs", f"designs_{name.lower()}")).designs
        results["problem_2"][key] = _design_rows(designs, models[name].f_a.resolution)
    check_results(results)
    contents = {"results.json": json.dumps(results, indent=4) + "\n"}
    for name, model in models.items():
        contents |= {f"{name}_{kind}_samples.csv": text for kind, text in _samples(model).items()}
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / name for name in contents]
    for path, text in zip(written, contents.values(), strict=True):
        path.write_text(text)
    return written


def read_results(path: Path) -> dict[str, Any]:
    """A results.json, such as one that was filled in by hand after the export, held against the organisers' form.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict

    Raises
    ------
    SubmissionError
        If it cannot be read or does not fit; the message says where.
    """
    try:
        results: dict[str, Any] = read_json(path)
    except InputError as error:
        raise SubmissionError(str(error)) from error
    check_results(results)
    return results


def check_results(results: Mapping[str, Any]) -> None:
    """Hold results against the schema and their intervals against order.

    Parameters
    ----------
    results : mapping
        What results.json holds.

    Raises
    ------
    SubmissionError
        If they do not fit; the message says where.
    """
    for error in Draft202012Validator(SCHEMA).iter_errors(results):
        raise SubmissionError(f"results.json, at {error.json_path}: {error.message}.")
    if path := _not_finite(results, "$"):
        raise SubmissionError(f"results.json, at {path}: not a finite number.")
    for path, low, high in _intervals(results, "$"):
        if not low <= high:
            raise SubmissionError(f"results.json, at {path}: [{low}, {high}] is not an interval.")


def _intervals(node: Any, path: str) -> list[tuple[str, float, float]]:
    """Every interval in the results, with its place."""
    if not isinstance(node, Mapping):
        return []
    found: list[tuple[str, float, float]] = []
    for key, value in node.items():
        place = f"{path}.{key}"
        found += [(place, *value)] if key.endswith("_interval") else _intervals(value, place)
    return found


def _not_finite(node: Any, path: str) -> str | None:
    """Where the results hold NaN, infinity or what reads as such, which the schema lets pass, or None."""
    if isinstance(node, int | float):
        return None if abs(node) <= sys.float_info.max else path
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    return next((found for key, value in items if (found := _not_finite(value, f"{path}.{key}"))), None)


def _best_guess(model: UncertaintyModel) -> list[float]:
    """The mean of E."""
    guess: list[float] = model.e.sample(1000, np.random.default_rng(1)).mean(axis=0).round(5).tolist()
    return guess


def _prediction_intervals(bounds: xr.Dataset) -> dict[str, Any]:
    """Bounds of all outputs that whole hours keep."""
    return {
        f"alpha_{alpha}": {
            f"{output}_interval": bounds.bound.sel(alpha=float(alpha), output=output, side=["lower", "upper"])
            .values.round(5)
            .tolist()
            for output in OUTPUTS
        }
        for alpha in ALPHAS
    }


def _design_rows(designs: Mapping[str, Any], resolution: float) -> dict[str, Any]:
    """Each problem's control point with the ranges of J and pof over E."""
    rows = {}
    for name, key in DESIGNS.items():
        design = designs[name] if "refused" not in designs[name] else designs["reliability"]
        if "refused" in design:
            raise SubmissionError(f"problem {name!r} has no design: {design['refused']}")
        low, high = design["pof_over_e"]
        pof = [0.0 if low <= RULE_OF_THREE * resolution else low, high]
        rows[key] = {
            "X_c": [round(value, 5) for value in design["x_c"]],
            "J_interval": _verified_range(design),
            "pof_interval": pof,
        }
    return rows


def _verified_range(design: Mapping[str, Any]) -> list[float]:
    """The emulated range of J over E, moved by what the simulator says of its lower end, with two standard errors."""
    (low, high), (value, error) = design["performance"], design["j"]
    return [round(value - 2 * error, 5), round(value + high - low + 2 * error, 5)]


def _samples(model: UncertaintyModel) -> dict[str, str]:
    """The two tables of samples, as text."""
    rng = np.random.default_rng(1)
    draws = {"fa": model.f_a.sample(SAMPLES["fa"][0], rng), "E": model.e.sample(SAMPLES["E"][0], rng)}
    return {kind: _table(SAMPLES[kind][1], values) for kind, values in draws.items()}


def _table(header: str, values: Array) -> str:
    text = io.StringIO()
    np.savetxt(text, values, fmt="%.5f", delimiter=",", header=header, comments="")
    return text.getvalue()
