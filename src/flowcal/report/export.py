"""The two uncertainty models that a study's chapters stored, in a few numbers and curves, and in the organisers' form.

The keys are spelled as in the organisers' template [1]_. Of its optional parts we fill in the second uncertainty model;
this study makes no risk-based design.

References
----------
.. [1] C. Agrell, L. G. Crespo, V. Flovik, E. Vanem and S. Kenny, "The NASA and DNV Challenge on Optimization Under
   Uncertainty", 2025, https://github.com/dnv-opensource/UQ-Challenge-2025, template of the results.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from pydantic import AfterValidator, Field, create_model

from flowcal.challenge import OUTPUTS
from flowcal.decide.failure import RULE_OF_THREE
from flowcal.decide.problems import SolvedDesigns
from flowcal.errors import FlowcalError, InputError
from flowcal.files import Record, as_record, read_json
from flowcal.infer.families import FamilyDistribution
from flowcal.infer.models import AleatoryDistribution, EpistemicBox, PooledDraws, UncertaintyModel
from flowcal.infer.um2 import UM2
from flowcal.study import Study

__all__ = [
    "SubmissionError",
    "Tail",
    "check_results",
    "export_submission",
    "inferred_models",
    "inferred_replicates",
    "moments",
    "read_results",
    "tail_of",
]

Array = NDArray[np.float64]

DRAWS = 20_000
RIVALS = 3
BAND = (0.05, 0.95)

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


def inferred_models(study: Study) -> dict[str, UncertaintyModel]:
    """The uncertainty models 'UM1', the rebuilt paper method, and 'UM2', ours."""
    um_1, pooled = study.read("epistemic", "um_1"), PooledDraws.from_dataset(study.read("aleatory", "f_a_fixed"))
    um_2 = UM2.from_weights(study.read("population", "um_2")).model
    return {"UM1": UncertaintyModel(pooled, EpistemicBox(um_1["low"], um_1["high"])), "UM2": um_2}


def inferred_replicates(study: Study, most: int, random_seed: int) -> dict[str, list[AleatoryDistribution]]:
    """What other hours might have made of each model's f_a, at most so many per model.

    UM1's hours are resampled with the seed; UM2's replicates were stored with its f_a.
    """
    f_a, rng = PooledDraws.from_dataset(study.read("aleatory", "f_a_fixed")), np.random.default_rng(random_seed)
    stored = UM2.from_weights(study.read("population", "um_2")).replicates
    if most < 1:
        raise InputError(f"most is {most}; expected a whole number from 1 up.")
    every = max(1, len(stored) // most)
    return {"UM1": [f_a.resample(rng) for _ in range(most)], "UM2": [*stored[::every][:most]]}


@dataclass(frozen=True)
class Tail:
    """Probabilities (k,) that an input exceeds each of k values.

    They are by the best form, between which the middle 90 % of the replicates lie, and by the next best forms.
    """

    best: Array
    band: tuple[Array, Array]
    rivals: dict[str, Array]


def tail_of(inferred: Mapping[str, Any], number: int, values: ArrayLike) -> Tail:
    """Tail of X_a1 (number 0) or X_a2 (number 1) beyond some values, from what `infer_population` returned."""

    def exceedance(stored: Mapping[str, Any]) -> Array:
        return FamilyDistribution.from_dict(stored).exceedance(number, values)

    low, high = np.quantile([exceedance(stored) for stored in inferred["replicates"]], BAND, axis=0)
    rivals = {row["name"]: exceedance(row["distribution"]) for row in inferred["candidates"][1 : RIVALS + 1]}
    return Tail(exceedance(inferred["distribution"]), (low, high), rivals)


def moments(f_a: AleatoryDistribution, random_seed: int) -> Array:
    """The two means, then the two standard deviations of X_a1 and X_a2, from samples."""
    sample = f_a.sample(DRAWS, np.random.default_rng(random_seed))
    return np.concatenate([sample.mean(axis=0), sample.std(axis=0)])


def _in_order(interval: tuple[float, float]) -> tuple[float, float]:
    low, high = interval
    if low > high:
        raise ValueError(f"[{low}, {high}] is not an interval")
    return interval


def _form(name: str, parts: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> type[Record]:
    """A record with these keys, which need not be Python names."""
    fields: dict[str, Any] = {key: (kind, ...) for key, kind in parts.items()}
    fields |= {key: (kind, None) for key, kind in (optional or {}).items()}
    return create_model(name, __base__=Record, **fields)


Share = Annotated[float, Field(ge=0, le=1)]
Point = tuple[Share, Share, Share]
NotNegative = Annotated[float, Field(ge=0)]
Interval = Annotated[tuple[NotNegative, NotNegative], AfterValidator(_in_order)]
ShareInterval = Annotated[tuple[Share, Share], AfterValidator(_in_order)]

_Files = _form("Files", dict.fromkeys((f"{kind}_samples" for kind in SAMPLES), str))
_Intervals = _form("Intervals", dict.fromkeys((f"{output}_interval" for output in OUTPUTS), Interval))
_Alphas = _form("Alphas", dict.fromkeys((f"alpha_{alpha}" for alpha in ALPHAS), _Intervals))
_Model = _form("Model", {"file_references": _Files, "prediction_intervals": _Alphas})
_Design = _form("Design", {"X_c": Point, "J_interval": Interval, "pof_interval": ShareInterval})
_Designs = _form("Designs", dict.fromkeys(DESIGNS.values(), _Design), {"o_risk_based_design": _Design})
_Problem1 = _form("Problem1", {"best_guess_X_e": Point} | dict.fromkeys(KEYS.values(), _Model))
_Problem2 = _form("Problem2", dict.fromkeys(KEYS.values(), _Designs))
_Results = _form("Results", {"info": str, "team_id": str, "problem_1": _Problem1, "problem_2": _Problem2})


def export_submission(study: Study, folder: Path) -> list[Path]:
    """Write results.json and four files of samples from what the chapters up to 'designs' stored; returns their paths.

    Fails with a `SubmissionError` if a problem has no design.
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
    for name, text in contents.items():
        (folder / name).write_text(text)
    return [folder / name for name in contents]


def read_results(path: Path) -> dict[str, Any]:
    """A results.json, perhaps completed by hand after the export, or a `SubmissionError` that says what is wrong."""
    try:
        results: dict[str, Any] = read_json(path)
    except InputError as error:
        raise SubmissionError(str(error)) from error
    check_results(results)
    return results


def check_results(results: Mapping[str, Any]) -> None:
    """A `SubmissionError` that names the place if results do not have the organisers' form."""
    try:
        as_record(_Results, results, "results.json")
    except InputError as error:
        raise SubmissionError(str(error)) from error


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
