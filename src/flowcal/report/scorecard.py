"""The scorecard: what everybody answers, UM1 and UM2 included, beside the truth, and what the paper's choices cost.

Made from what the chapters have kept, and kept as `scorecard.json`:

`answers`, a list, an entry for each quantity and whoever answers it
    `table`: of the paper, '2', '3' or '4', or 'none' where it has no such table; `quantity`; `by`; `answer` and
    `truth`, numbers or lists of numbers; `distance` between the two, and `distance_is`, what that is; `holds`, whether
    the answer keeps what it promises, None where it promises nothing. Who does not answer has no entry.

`choices`, a list, an entry for each choice of the paper and quantity
    `choice`; `quantity`; `as_published`; `instead`; `aim`, what a right answer would have, None where less is better.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from flowcal.challenge import EPISTEMIC, OUTPUTS, PUBLISHED
from flowcal.decide.problems import PROBLEMS
from flowcal.infer.diagnostics import coverage
from flowcal.infer.uncertainty import UncertaintyModel
from flowcal.report import scoring
from flowcal.report.inferred_models import inferred_models
from flowcal.study import Study

__all__ = ["COUNTED", "SCORECARD", "counting_error", "make_scorecard", "write_scorecard"]

SCORECARD = "scorecard.json"
COUNTED = 1000  # simulations that a published entry counts failures in, for each design

Answer = dict[str, Any]


def make_scorecard(study: Study, beyond: xr.DataArray) -> dict[str, list[dict[str, Any]]]:
    """All answers, and all that the paper's choices cost.

    Parameters
    ----------
    study : Study
        Whose chapters have been run.
    beyond : DataArray
        Share of true hours beyond the true upper bounds, by 'reading' ('time flattened', 'per trajectory'), 'alpha' and
        'output' (see `flowcal.report.scoring.score_bounds`).

    Raises
    ------
    ArtifactError
        If a chapter has to be run first.
    """
    models = inferred_models(study)
    readings = {
        reading: {name: study.read("intervals", f"{reading.split()[-1]}_{name.lower()}") for name in (*models, "truth")}
        for reading in ("time flattened", "per trajectory")
    }
    return {
        "answers": [
            *_of_sets(study, models),
            *_of_distributions(study),
            *_of_intervals(readings),
            *_of_designs(
                {name: study.read("designs", f"designs_{name.lower()}") for name in (*models, "truth")}, study
            ),
        ],
        "choices": [*_of_the_seed(study), *_of_pooling(study, models), *_of_flattening(beyond)],
    }


def write_scorecard(path: Path, scorecard: Mapping[str, Sequence[Mapping[str, Any]]], **of: str) -> None:
    """Keep a scorecard as JSON, with what it is of, such as the profile."""
    path.write_text(json.dumps(of | dict(scorecard), indent=1, allow_nan=False) + "\n")


def counting_error(pof: float, simulations: float) -> float:
    """Standard error of a probability of failure, as a share of it, from counting failures in so many simulations."""
    return math.sqrt((1 - pof) / (pof * simulations))


def _entry(table: str, quantity: str, by: str, answer: Any, truth: Any, **judged: Any) -> Answer:
    return {"table": table, "quantity": quantity, "by": by, "answer": answer, "truth": truth} | judged


def _of_sets(study: Study, models: Mapping[str, UncertaintyModel]) -> Iterator[Answer]:
    """Table 2: an interval for each input, and a best guess; and of E as a whole what it leaves."""
    truth = scoring.true_uncertainty_model().e.bounding_box[0].tolist()
    boxes = {team: np.transpose(list(entry.x_e_intervals.values())) for team, entry in PUBLISHED.items()}
    boxes |= {name: model.e.bounding_box for name, model in models.items()}
    for by, (lows, highs) in boxes.items():
        for name, low, high, true in zip(EPISTEMIC, lows.tolist(), highs.tolist(), truth, strict=True):
            missed = max(low - true, 0.0, true - high)
            yield _entry(
                *("2", name, by, [low, high], true),
                distance=missed,
                distance_is="of the truth from the interval",
                holds=missed == 0,
            )
    for by, score in {
        **{team: scoring.score_box(entry) for team, entry in PUBLISHED.items()},
        **{name: scoring.score_set(model.e) for name, model in models.items()},
    }.items():
        yield _entry(
            *("2", "volume of E", by, score["volume"], 0.0),
            distance=score["volume"],
            distance_is="volume, the unit cube being 1",
            holds=score["contains"],
        )
    guesses = {team: entry.x_e_best for team, entry in PUBLISHED.items() if entry.x_e_best}
    guesses |= {
        "UM1": study.read("epistemic", "um_1")["best_guess"],
        "UM2": models["UM2"].e.sample(1000, np.random.default_rng(1)).mean(axis=0).tolist(),
    }
    for by, guess in guesses.items():
        yield _entry(
            *("2", "best guess of X_e", by, list(guess), truth),
            distance=math.dist(guess, truth),
            distance_is="Euclidean",
            holds=None,
        )


def _of_distributions(study: Study) -> Iterator[Answer]:
    for by, score in {
        "UM1": study.read("aleatory", "score_as_published"),
        "UM2": study.read("shared", "score"),
    }.items():
        yield _entry(
            *("none", "means of f_a", by, score["mean"]["estimate"], score["mean"]["truth"]),
            distance=score["energy_distance"],
            distance_is="energy distance of f_a",
            holds=None,
        )


def _of_intervals(readings: Mapping[str, Mapping[str, xr.Dataset]]) -> Iterator[Answer]:
    """Table 3: bounds at the baseline, each beside the truth's in the same reading."""
    for reading, results in readings.items():
        true = results["truth"].bound
        bounds: dict[str, dict[tuple[float, str, str], float]] = {
            team: {
                (alpha, output, side): pair[side == "upper"]
                for alpha, by_output in entry.prediction.items()
                if entry.prediction_reading[alpha] == reading
                for output, pair in by_output.items()
                for side in ("lower", "upper")
            }
            for team, entry in PUBLISHED.items()
        }
        places = [(alpha, output, side) for alpha in (0.999, 0.95) for output in OUTPUTS for side in ("lower", "upper")]
        bounds |= {
            name: {place: _bound(result.bound, place) for place in places}
            for name, result in results.items()
            if name != "truth"
        }
        for by, own in bounds.items():
            for place, bound in own.items():
                if math.isnan(bound):
                    continue
                alpha, output, side = place
                truth = _bound(true, place)
                yield _entry(
                    *("3", f"{side} bound of {output}, alpha {alpha}, {reading}", by, bound, truth),
                    distance=bound / truth - 1 if truth else bound,
                    distance_is="of the bound from the truth's, as a share of it" if truth else "of the two bounds",
                    holds=bound >= truth if side == "upper" else bound <= truth,
                )


def _bound(bounds: xr.DataArray, place: tuple[float, str, str]) -> float:
    alpha, output, side = place
    return bounds.sel(alpha=alpha, output=output, side=side).item()


def _of_designs(found: Mapping[str, Mapping[str, Any]], judged: xr.Dataset) -> Iterator[Answer]:
    """Table 4: designs under the truth, and what was promised of them."""
    best_j = found["truth"]["designs"]["performance"]["j"][0]
    for problem, definition in PROBLEMS.items():
        own = judged.sel(design=f"truth, {problem}")
        designs = {team: entry.designs.get(problem) for team, entry in PUBLISHED.items()}
        promises = {team: (design.j, design.pof) for team, design in designs.items() if design}
        answers = {team: design.x_c for team, design in designs.items() if design}
        for name in ("UM1", "UM2"):
            design = found[name]["designs"][problem]
            if "refused" not in design:
                answers[name] = design["x_c"]
                promises[name] = (design["j"][0], design["pof_over_f_a"][1])
        for by, x_c in answers.items():
            here = judged.sel(design=f"{by}, {problem}")
            pof = here.pof.item()
            loss = (here.shortfall - own.shortfall).item()
            if problem == "reliability":
                distance, said = pof / own.pof.item(), "probability of failure, over the smallest there is"
            else:
                distance, said = loss, "power given up against the truth's own design [MW]"
            yield _entry(
                *("4", f"{problem}: X_c", by, list(x_c), own.x_c.values.tolist()),
                distance=distance,
                distance_is=said,
                holds=None if definition.epsilon is None else pof <= definition.epsilon,
            )
            j, promised = promises[by]
            if j is not None:
                true_j = best_j - here.shortfall.item()
                yield _entry(
                    *("4", f"{problem}: J [MW]", by, j, true_j),
                    distance=j - true_j,
                    distance_is="of the promise from what the design has [MW]",
                    holds=None,
                )
            if promised is not None:
                yield _entry(
                    *("4", f"{problem}: pof", by, promised, pof),
                    distance=promised - pof,
                    distance_is="of the promise from what the design has",
                    holds=promised >= pof,
                )


def _choice(choice: str, quantity: str, as_published: float, instead: float, aim: float | None) -> Answer:
    return {"choice": choice, "quantity": quantity, "as_published": as_published, "instead": instead, "aim": aim}


def _of_the_seed(study: Study) -> Iterator[Answer]:
    """One random seed for all simulations, or one for each: what step 1 makes of hours with seeds of their own."""
    fixed, fresh = (coverage(study.read("aleatory", f"calibration_{number}")["rank"], 0.9) for number in (2, 3))
    for name, published, instead in zip(("X_a1", "X_a2"), fixed.tolist(), fresh.tolist(), strict=True):
        yield _choice("one seed for all", f"coverage of 90 % intervals of {name}", published, instead, 0.9)


def _of_pooling(study: Study, models: Mapping[str, UncertaintyModel]) -> Iterator[Answer]:
    """Posterior draws of single hours heaped up, or one posterior for all hours."""
    heap, shared = study.read("aleatory", "score_fresh_seeds"), study.read("shared", "score")
    yield _choice("pooling", "energy distance of f_a", heap["energy_distance"], shared["energy_distance"], None)
    yield _choice("pooling", "volume of E", models["UM1"].e.volume, models["UM2"].e.volume, None)


def _of_flattening(beyond: xr.DataArray) -> Iterator[Answer]:
    """Bounds for minutes or for hours: the share of hours beyond the true bound."""
    for alpha in beyond.alpha.values.tolist():
        for output in beyond.output.values.tolist():
            flat, whole = (
                beyond.sel(reading=reading, alpha=alpha, output=output).item()
                for reading in ("time flattened", "per trajectory")
            )
            quantity = f"hours beyond the bound of {output}, alpha {alpha}"
            yield _choice("time flattened", quantity, flat, whole, round(1 - alpha, 6))
