"""A multiverse of readings: the paper's method under the choices that the paper leaves open, each judged by the truth.

Trainings of step 1, of step 2 and of the surrogate differ in all their choices at once [1]_, by Latin hypercubes. A
training of step 2 is read in many ways (which control points, which rule for the intervals), a surrogate is searched in
many. Step 2 and the designs take their X_a from a training of step 1.

References
----------
.. [1] S. Steegen, F. Tuerlinckx, A. Gelman and W. Vanpaemel, "Increasing Transparency Through a Multiverse Analysis",
   Perspectives on Psychological Science 11(5), 2016, doi:10.1177/1745691616658637.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import qmc

from flowcal.challenge import BASELINE, LOADS, PUBLISHED, TABLE_1
from flowcal.decide.design import DESIGN_PROBLEMS
from flowcal.decide.failure import failure_curves, measure_severity
from flowcal.decide.intervals import flattened_intervals
from flowcal.decide.paper import TimeStepSurrogate, published_design
from flowcal.decide.problems import FailureSeverities, compare_performance
from flowcal.infer.hour_posterior import HourPosterior
from flowcal.infer.models import EpistemicBox, PooledDraws, UncertaintyModel
from flowcal.infer.train import Trainer, Training
from flowcal.infer.um1 import (
    FIXED_SEED,
    Seeds,
    UM1Settings,
    aleatory_flow,
    aleatory_runs,
    epistemic_flow,
    highest_density_box,
    infer_aleatory,
    joint_mode,
    mode_box,
    point_draws,
    score_point,
    update_points,
)
from flowcal.problem import Problem
from flowcal.report.truth import score_aleatory, score_set, true_uncertainty_model
from flowcal.simulate.campaign import run_campaign
from flowcal.simulate.simulator import Simulator, fresh_seeds, labelled_hours, problem_of

__all__ = [
    "ALEATORY",
    "DESIGN",
    "EPISTEMIC",
    "SEARCH",
    "choices_of",
    "read_aleatory",
    "read_design",
    "read_epistemic",
    "rules",
]

Array = NDArray[np.float64]
Choices = dict[str, Sequence[Any]]

NETWORK: Choices = {
    "seeds": ("fixed", "fresh"),
    "scaling": ("linear", "root", "logarithm"),
    "pooling": ("mean", "last"),
    "positions": (True, False),
    "batch_size": (64, 256),
    "learning_rate": (1e-3, 5e-3),
}
ALEATORY: Choices = NETWORK | {"condition": (*["hour and control point"] * 2, "hour", "all groups"), "epochs": (5, 15)}
"""Choices of step 1, beside the paper's 30,000 runs; 'all groups' is ten hours, one of each control point, at once."""

EPISTEMIC: Choices = NETWORK | {"runs": (1000, 3000, 10_000), "epochs": (8, 25)}
"""Choices of step 2, beside the training of step 1 that X_a come from; the runs are those of each control point."""

DESIGN: Choices = {
    "runs": (1000, 5000, 20_000, 60_000, 200_000),
    "width": (32, 64, 128),
    "epochs": (10, 30),
    "seeds": ("fixed", "fresh"),
    "x_a": ("uniform", "f_a"),
    "x_e": ("uniform", "E"),
    "x_a goes in": (True, True, True, False),
}
"""Choices of the surrogate: its size, where its runs lie, and whether it reads X_a."""

SEARCH: Choices = {
    "x_a": ("uniform", "f_a"),
    "samples": ((50, 10), (100, 10)),
    "particles": (10, 20),
    "iterations": (20, 40),
    "restarts": (1, 2),
    "penalty": (1e2, 1e4),
}
"""Choices of a swarm; 'samples' are of X_a for each X_e, and of X_e."""

BLOCK = 16  # trainings or searches that one Latin hypercube has
FIRST_SEED = 17  # of Latin hypercubes in which no two choices go together (Cramér's V below 0.5)
RUNS = 30_000  # of step 1, as published
PATIENCE = 5  # epochs without a better held-out loss
TRIALS, TRIAL_DRAWS = 200, 1
HELD_OUT = 4001  # hours that a surrogate is tried on
KEPT = 500  # draws of X_a of a training of step 1 that later readings take theirs from
HOURS = 4000  # for the bounds of Table 3
SEARCHES = 8  # of a surrogate
TRIED_HOURS = 6000  # with the same X_a and seeds, in which designs are compared
SEVERITY_RUNS = 3000
SHARES = (0.9, 0.8, 0.7, 0.6, 0.5)
GRID = np.linspace(0, 1, 501)
PROBLEMS = ("performance", "reliability", "epsilon 1e-3")


def choices_of(number: int, choices: Choices) -> dict[str, Any]:
    """What a training or search with this number, from 0 up, chooses; each block of 16 is a Latin hypercube.

    Examples
    --------
    >>> chosen = [choices_of(number, {"width": (32, 64), "epochs": (10, 30)}) for number in range(16)]
    >>> sum(row["width"] == 32 for row in chosen)
    8
    """
    block, row = divmod(number, BLOCK)
    point = qmc.LatinHypercube(len(choices), optimization="random-cd", seed=FIRST_SEED + block).random(BLOCK)[row]
    places = zip(choices.items(), point, strict=True)
    return {name: levels[int(place * len(levels))] for (name, levels), place in places}


def read_aleatory(number: int, simulator: Simulator, observed: xr.Dataset) -> dict[str, Any]:
    """One training of step 1: its choices, held-out loss, f_a against the truth, and 500 draws of it."""
    start, chosen = time.perf_counter(), choices_of(number, ALEATORY)
    runs, hours = aleatory_runs(simulator, RUNS, chosen["seeds"], number + 1), observed
    flow = replace(aleatory_flow(problem_of(simulator)), **_of_network(chosen))
    if chosen["condition"] != "hour and control point":
        flow = replace(flow, controls=())
    if chosen["condition"] == "all groups":
        flow = replace(
            flow, outputs=tuple(f"{name} of {group}" for group in range(len(TABLE_1)) for name in flow.outputs)
        )
        runs = _grouped_runs(simulator, flow.problem, chosen["seeds"], number + 1)
        y = observed.y.transpose("sample", "time", "output").values
        hours = labelled_hours(_grouped(y.reshape(len(TABLE_1), -1, *y.shape[1:])), flow.problem)
    posterior = HourPosterior(flow, number).fit(runs, _training(chosen, number), Trainer("cpu"))
    draws = infer_aleatory(posterior, hours, 10 * observed.sizes["sample"] // hours.sizes["sample"], number)
    f_a = PooledDraws.from_dataset(draws)
    kept = np.random.default_rng(number).permutation(f_a.density.draws)[:KEPT]
    return {
        "number": number,
        "choices": chosen,
        "held_out_loss": min(posterior.history.held_out_loss),
        **score_aleatory(f_a, random_seed=number),
        "draws": kept.round(4).tolist(),
        "seconds": round(time.perf_counter() - start),
    }


def _grouped_runs(simulator: Simulator, problem: Problem, seeds: Seeds, random_seed: int) -> xr.Dataset:
    """Step 1's runs in the reading that all groups are one condition: X_a with one hour of each control point."""
    rng, truth = np.random.default_rng([random_seed, 3]), problem_of(simulator)
    x = rng.random((RUNS, len(truth.aleatory) + len(truth.epistemic)))
    by_group = []
    for x_c in TABLE_1:
        numbers = np.full(RUNS, FIXED_SEED) if seeds == "fixed" else fresh_seeds(RUNS, rng)
        by_group.append(simulator.simulate(np.column_stack([x, np.tile(x_c, (RUNS, 1))]), numbers).astype(np.float32))
    return labelled_hours(_grouped(np.stack(by_group)), problem, x=(("sample", "input"), x[:, : len(truth.aleatory)]))


def _grouped(y: Array) -> Array:
    """Series (groups, n, steps, outputs) as (n, steps, groups * outputs)."""
    groups, n, steps, outputs = y.shape
    grouped: Array = y.transpose(1, 2, 0, 3).reshape(n, steps, groups * outputs)
    return grouped


def _of_network(chosen: Mapping[str, Any]) -> dict[str, Any]:
    return {name: chosen[name] for name in ("scaling", "pooling", "positions")}


def _training(chosen: Mapping[str, Any], random_seed: int) -> Training:
    names = ("epochs", "batch_size", "learning_rate")
    return Training(**{name: chosen[name] for name in names}, patience=PATIENCE, random_seed=random_seed)


def read_epistemic(
    number: int, simulator: Simulator, observed: xr.Dataset, f_a: Sequence[Sequence[Sequence[float]]]
) -> dict[str, Any]:
    """One training of step 2 at all control points, read by every rule; `f_a` holds the draws of each step 1.

    A reading has the control points and the rule, E and its best guess against the truth, and the upper bounds of
    Table 3 by alpha and load.
    """
    start, chosen = time.perf_counter(), choices_of(number, {**EPISTEMIC, "f_a": range(len(f_a))})
    step_1 = PooledDraws(np.array(f_a[chosen["f_a"]]), KEPT)
    flow = replace(epistemic_flow(problem_of(simulator)), **_of_network(chosen))
    settings = UM1Settings(
        chosen["runs"], _training(chosen, number), TRIALS, TRIAL_DRAWS, chosen["seeds"], draws=100, flow=flow
    )
    updates = update_points(simulator, observed, step_1, settings, random_seed=100 * number, trainer=Trainer("cpu"))
    scores = {int(point): float(score_point(updates, point, chosen["seeds"])[0]) for point in updates.point.values}
    best = sorted(scores, key=lambda point: -scores[point])[:3]
    readings = []
    for points, (rule, box_of) in itertools.product(([2, 7, 9], best, list(scores)), rules().items()):
        draws = point_draws(updates, points)
        e = box_of(draws)
        within = draws[e.contains(draws)]
        guess = joint_mode(within if len(within) else draws)
        model = UncertaintyModel(step_1, e)
        bound = flattened_intervals(model, simulator, BASELINE, [0.999, 0.95], HOURS, number).bound
        readings.append(
            {
                "points": "all" if len(points) > 3 else "2, 7, 9" if points == [2, 7, 9] else "best",
                "rule": rule,
                "low": e.bounding_box[0].round(4).tolist(),
                "high": e.bounding_box[1].round(4).tolist(),
                **score_set(e, guess.tolist()),
                "bounds": bound.sel(side="upper", output=list(LOADS)).values.round(1).tolist(),
            }
        )
    seconds = round(time.perf_counter() - start)
    return {"number": number, "choices": chosen, "scores": scores, "readings": readings, "seconds": seconds}


def rules() -> dict[str, Callable[[Array], EpistemicBox]]:
    """Ways to read intervals off pooled draws (n, e), by name."""
    widths = np.ptp(list(PUBLISHED["Wang et al."].x_e_intervals.values()), axis=1)
    shortest = {f"shortest with {100 * share:.0f} %": partial(highest_density_box, share=share) for share in SHARES}
    return shortest | {
        "above half of the peak": partial(mode_box, level=0.5),
        "half of the draws around the joint mode": _box_around_mode,
        "the published widths": partial(_box_of_widths, widths=widths),
    }


def _box_around_mode(draws: Array) -> EpistemicBox:
    """The symmetric interval about the joint mode that holds half of the draws of each input."""
    mode = joint_mode(draws)
    reach = np.median(np.abs(draws - mode), axis=0)
    return EpistemicBox(np.maximum(0, mode - reach), np.minimum(1, mode + reach))


def _box_of_widths(draws: Array, widths: Array) -> EpistemicBox:
    """The interval of a given width that holds most draws of each input."""
    ends = []
    for column, width in zip(draws.T, widths, strict=True):
        starts = GRID[1 - width >= GRID]
        held = [np.mean((column >= start) & (column <= start + width)) for start in starts]
        low = starts[int(np.argmax(held))]
        ends.append((low, low + width))
    return EpistemicBox(*np.transpose(ends))


def read_design(
    number: int,
    simulator: Simulator,
    f_a: Sequence[Sequence[Sequence[float]]],
    best: Sequence[float],
    choices: Mapping[str, Any] | None = None,
    searches: int = SEARCHES,
) -> dict[str, Any]:
    """One surrogate, searched in several ways with Table 2's box as E.

    A search has for each problem the design, how much less J it has under the truth than the control point `best`
    [%], and its true probability of failure. Given choices replace the number's own.
    """
    start, chosen = time.perf_counter(), choices_of(number, {**DESIGN, "f_a": range(len(f_a))}) | dict(choices or {})
    e = EpistemicBox(*np.transpose(list(PUBLISHED["Wang et al."].x_e_intervals.values())))
    model = UncertaintyModel(PooledDraws(np.array(f_a[chosen["f_a"]]), KEPT), e)
    runs, held_out = (
        _surrogate_runs(simulator, model, chosen, size, [number, size]) for size in (chosen["runs"], 4000)
    )
    training = Training(epochs=chosen["epochs"], batch_size=256, learning_rate=3e-3, random_seed=number)
    surrogate = _Surrogate(problem_of(simulator), chosen, number)
    surrogate.network.fit(runs.isel(input=slice(surrogate.first, None)), training, Trainer("cpu"))
    left = np.square(held_out.y.values - surrogate.predict(held_out.x.values)).mean(axis=(0, 1))
    total = np.square(held_out.y.values - held_out.y.values.mean(axis=(0, 1))).mean(axis=(0, 1))
    found = [
        _search(surrogate, model, problem_of(simulator), choices_of(searches * number + place, SEARCH), number)
        for place in range(searches)
    ]
    return {
        "number": number,
        "choices": chosen,
        "r_squared": (1 - left / total).round(4).tolist(),
        "searches": _judged(simulator, found, best),
        "seconds": round(time.perf_counter() - start),
    }


class _Surrogate:
    """Sixty networks that read all inputs, or all but X_a."""

    def __init__(self, problem: Problem, chosen: Mapping[str, Any], random_seed: int) -> None:
        self.first = 0 if chosen["x_a goes in"] else len(problem.aleatory)
        self.network = TimeStepSurrogate(
            len(problem.inputs) - self.first, *problem.series, chosen["width"], random_seed
        )

    def predict(self, x: Array) -> Array:
        return self.network.predict(x[:, self.first :])


def _surrogate_runs(
    simulator: Simulator, model: UncertaintyModel, chosen: Mapping[str, Any], size: int, random_seed: Sequence[int]
) -> xr.Dataset:
    """Simulations where the surrogate is to be accurate."""
    rng, problem = np.random.default_rng(random_seed), problem_of(simulator)
    x = rng.random((size, len(problem.inputs)))
    first, second = len(problem.aleatory), len(problem.aleatory) + len(problem.epistemic)
    if chosen["x_a"] == "f_a":
        x[:, :first] = model.f_a.sample(size, rng)
    if chosen["x_e"] == "E":
        x[:, first:second] = model.e.sample(size, rng)
    seeds = np.full(size, FIXED_SEED) if chosen["seeds"] == "fixed" else fresh_seeds(size, rng)
    return run_campaign(simulator, x, seeds)


def _search(
    surrogate: Any, model: UncertaintyModel, problem: Problem, chosen: dict[str, Any], random_seed: int
) -> dict[str, Any]:
    """Designs of a swarm by problem, with its choices."""
    rng, (hours, points) = np.random.default_rng([random_seed, 4]), chosen["samples"]
    x_a = model.f_a.sample(hours, rng) if chosen["x_a"] == "f_a" else rng.random((hours, len(problem.aleatory)))
    spent = {name: chosen[name] for name in ("particles", "iterations", "restarts", "penalty")}
    designs = {}
    for name in PROBLEMS:
        goal = DESIGN_PROBLEMS[name]
        swarm = published_design(surrogate, model.e, goal, problem, x_a, points, random_seed=random_seed, **spent)
        designs[name] = swarm["x_c"].tolist()
    return {"choices": chosen, "designs": designs}


def _judged(simulator: Simulator, found: Sequence[dict[str, Any]], best: Sequence[float]) -> list[dict[str, Any]]:
    """The searches with what their designs are worth under the truth."""
    truth = true_uncertainty_model()
    x_e = truth.e.bounding_box[0]
    tried = [list(best), *(x_c for search in found for x_c in search["designs"].values())]
    compared = compare_performance(truth.f_a, simulator, x_e.tolist(), tried, TRIED_HOURS, 1)
    below = (-100 * compared.difference / compared.j[0]).values[1:].tolist()
    severity = measure_severity(simulator, [0.5] * 3, [0.5] * 3, SEVERITY_RUNS, np.random.default_rng(1))
    (curve,) = failure_curves([truth.f_a], severity)
    severities = FailureSeverities(simulator)(np.tile(x_e, (len(tried) - 1, 1)), tried[1:])
    pof = [float(curve(level)) for level in severities.min(axis=-1).ravel()]
    rows = iter(zip(tried[1:], below, pof, strict=True))
    return [
        {"choices": search["choices"]}
        | {
            name: {"x_c": np.round(x_c, 4).tolist(), "below": round(less, 4), "pof": chance}
            for name, (x_c, less, chance) in zip(search["designs"], rows, strict=False)
        }
        for search in found
    ]
