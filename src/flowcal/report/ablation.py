"""What each difference between the paper's way and ours is worth: one change at a time, each on top of those before.

Rows of one stage share their trainings. The path starts from the paper's way itself, which is `rebuild`.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import logsumexp

from flowcal.decide.design import DESIGN_PROBLEMS, Effort
from flowcal.decide.paper import fly
from flowcal.decide.power import PowerEmulator, emulator_training, refinement_training, tabulate_performance
from flowcal.decide.problems import DesignSettings, FailureSeverities, SolvedDesigns, designs_for
from flowcal.files import Weights
from flowcal.infer.credible_set import CredibleSet
from flowcal.infer.families import FamilyDistribution
from flowcal.infer.least_squares import fit_contrasts
from flowcal.infer.models import BoundedKernelDensity, EpistemicBox, PooledDraws, UncertaintyModel
from flowcal.infer.train import Trainer
from flowcal.infer.um1 import infer_set, infer_um1, point_draws
from flowcal.infer.um2 import UM2Settings, infer_um2_f_a
from flowcal.infer.um2_aleatory import AleatoryEstimator
from flowcal.infer.um2_epistemic import Rounds, infer_epistemic_set
from flowcal.report.rebuild import JUDGED_HOURS, PARTICLES, X_E, fit_surrogate, swarm_design, two_steps
from flowcal.report.truth import judge_by_truth, score_aleatory, score_set
from flowcal.simulate.simulator import Simulator, problem_of

__all__ = ["STAGES", "ablate"]

Array = NDArray[np.float64]
Row = dict[str, Any]
Designs = dict[str, list[float]]

LONGER = 2  # times the published epochs, or fewer where the held-out loss stops falling before
SEED = 1  # that of the first rebuild
GOALS = ("performance", "reliability")
STAGES = 3


def ablate(
    number: int,
    simulator: Simulator,
    observed: xr.Dataset,
    best: Sequence[float],
    budget: Mapping[str, int],
    weights: Weights,
) -> dict[str, Any]:
    """The rows of one of the `STAGES`: least squares, the path from the paper's way to ours, or longer training.

    A row has the 'change', E and f_a against the truth, and by problem the design, J less that of the control point
    `best` [MW], and the probability of failure, both under the truth; 'simulations' are those behind E and f_a. The
    weights are those of an `AleatoryEstimator`, which `budget["estimator_runs"]` simulations trained.
    """
    start = time.perf_counter()
    stage = (_least_squares, _path, _longer)[number]
    judge = _Judge(simulator, best, budget)
    rows = list(stage(judge, observed, AleatoryEstimator.from_weights(weights, "cpu")))
    return {"number": number, "rows": rows, "seconds": round(time.perf_counter() - start)}


class _Judge:
    """Makes rows of the table."""

    def __init__(self, simulator: Simulator, best: Sequence[float], budget: Mapping[str, int]) -> None:
        self.simulator, self.best, self.budget = simulator, best, budget

    def row(self, change: str, model: UncertaintyModel, simulations: int, designs: Designs, **more: Any) -> Row:
        """A row for a model and its designs by problem."""
        judged = judge_by_truth(designs, self.best, self.simulator, JUDGED_HOURS, JUDGED_HOURS, SEED)
        distance = score_aleatory(model.f_a, SEED)["energy_distance"]
        by_problem = {name: {"x_c": x_c, **judged[name]} for name, x_c in designs.items()}
        scored = score_set(model.e) | {"energy_distance": distance, "simulations": simulations}
        return {"change": change, **scored, **more, "designs": by_problem}

    def by_swarm(self, model: UncertaintyModel, x_a_from: str) -> Designs:
        """The paper's designs for a model: a swarm on sixty networks."""
        surrogate, x_a, _ = fit_surrogate(self.simulator, model, x_a_from, self.budget, SEED)
        return {
            goal: swarm_design(
                self.simulator,
                surrogate,
                model,
                DESIGN_PROBLEMS[goal],
                x_a,
                self.budget["published_iterations"],
                SEED,
            )
            for goal in GOALS
        }


def _least_squares(judge: _Judge, observed: xr.Dataset, estimator: AleatoryEstimator) -> Iterator[Row]:
    """What an engineer tries first; it has no f_a and no design."""
    fit = fit_contrasts(judge.simulator, observed)
    scored = score_set(EpistemicBox(fit.x_e, fit.x_e), fit.x_e.tolist())
    yield {"change": "least squares on load ratios", **scored, "simulations": fit.simulations}


def _longer(judge: _Judge, observed: xr.Dataset, estimator: AleatoryEstimator) -> Iterator[Row]:
    """The first row of the path with networks that are trained longer: it is not on the path."""
    f_a, updates, loss = two_steps(judge.simulator, observed, judge.budget, SEED, "fresh", LONGER)
    model, simulated = _pooled(f_a, updates, _chosen(updates)), _simulations(judge.budget, updates)
    yield judge.row(
        "fresh seeds, trained twice as long", model, simulated, judge.by_swarm(model, "uniform"), held_out_loss=loss
    )


def _path(judge: _Judge, observed: xr.Dataset, estimator: AleatoryEstimator) -> Iterator[Row]:
    """From the paper's networks, trained with fresh seeds, to ours."""
    simulator, budget = judge.simulator, judge.budget
    f_a, updates, loss = two_steps(simulator, observed, budget, SEED, "fresh")
    simulated, numbers = _simulations(budget, updates), updates.point.values.tolist()
    three, ten = _pooled(f_a, updates, _chosen(updates)), _pooled(f_a, updates, numbers)
    multiplied = UncertaintyModel(f_a, _box(_multiplied(updates, numbers, np.random.default_rng(SEED))))
    yield judge.row("fresh seeds", three, simulated, judge.by_swarm(three, "uniform"), held_out_loss=loss)
    for change, model, x_a_from in (
        ("all ten control points pooled", ten, "uniform"),
        ("posteriors of the points multiplied", multiplied, "uniform"),
        ("$X_a$ of surrogate and swarm from $f_a$", multiplied, "f_a"),
    ):
        yield judge.row(change, model, simulated, judge.by_swarm(model, x_a_from))
    simulated = budget["flow_runs"] + budget["estimator_runs"]
    for change, most in (("all hours as one data set, one round", 1), ("more rounds", 10)):
        rounds = Rounds(budget["shared_data_sets"], most=most)
        found = infer_epistemic_set(simulator, observed, estimator, rounds, SEED)
        e = CredibleSet.from_weights(found)
        model = UncertaintyModel(f_a, e)
        spent = sum(row["simulations"] for row in found.header["found"]["rounds"])
        yield judge.row(change, model, simulated + spent, judge.by_swarm(model, "f_a"))
    settings = UM2Settings(rounds, budget["population_draws"], budget["population_replicates"])
    inferred = infer_um2_f_a(estimator, observed, e, settings, (SEED, SEED))
    best, *replicates = map(FamilyDistribution.from_dict, (inferred["distribution"], *inferred["replicates"]))
    simulated, model = budget["estimator_runs"] + spent, UncertaintyModel(best, e)
    yield judge.row("$f_a$ from all hours, with a tail", model, simulated, judge.by_swarm(model, "f_a"))
    yield from _our_designs(judge, model, replicates, simulated)


def _our_designs(
    judge: _Judge, model: UncertaintyModel, replicates: Sequence[FamilyDistribution], simulated: int
) -> Iterator[Row]:
    """The paper's swarm on our emulator, then our search."""
    simulator, budget = judge.simulator, judge.budget
    settings = DesignSettings(
        emulator_runs=budget["emulator_runs"],
        emulator_training=emulator_training(budget["emulator_epochs"]),
        refinement_runs=budget["refinement_runs"],
        refinement_training=refinement_training(budget["refinement_epochs"]),
        severity_runs=budget["severity_runs"],
        effort=Effort(budget["design_starts"]),
        hours=budget["design_hours"],
        pof_calls=budget["pof_calls"],
    )
    solved = SolvedDesigns.from_weights(
        designs_for(simulator, model, replicates, settings, SEED, trainer=Trainer("cpu")), "cpu"
    )
    swarm = _swarm_on_emulator(judge, model, solved.emulator)
    yield judge.row("emulator of power, and severity", model, simulated, swarm)
    ours = {goal: list(solved.designs[goal]["x_c"]) for goal in GOALS}
    yield judge.row("search by gradients", model, simulated, ours)


def _swarm_on_emulator(judge: _Judge, model: UncertaintyModel, emulator: PowerEmulator) -> Designs:
    (performance,) = tabulate_performance(emulator, [model.f_a], model.e)
    x_e, severities = model.e.sample(X_E, np.random.default_rng(SEED)), FailureSeverities(judge.simulator)

    def worst(quantity: Callable[[Array, Array], Array]) -> Callable[[Array], Array]:
        """Minus the least of a quantity over X_e and outputs, at control points (n, c)."""

        def cost(x_c: Array) -> Array:
            values = quantity(np.tile(x_e, (len(x_c), 1)), np.repeat(x_c, len(x_e), axis=0))
            least: Array = -values.reshape(len(x_c), -1).min(axis=1)
            return least

        return cost

    costs = dict(zip(GOALS, (worst(performance), worst(severities)), strict=True))
    controls, iterations = len(problem_of(judge.simulator).control), judge.budget["published_iterations"]
    return {name: fly(cost, controls, PARTICLES, iterations, SEED).x_c.tolist() for name, cost in costs.items()}


def _pooled(f_a: PooledDraws, updates: xr.Dataset, numbers: Sequence[int]) -> UncertaintyModel:
    """UM1 with E from the pooled draws of some control points."""
    return UncertaintyModel(f_a, _box(point_draws(updates, numbers)))


def _box(draws: Array) -> EpistemicBox:
    found = infer_set(draws)
    return EpistemicBox(found["low"], found["high"])


def _multiplied(updates: xr.Dataset, numbers: Sequence[int], rng: np.random.Generator) -> Array:
    """Draws from the product of the points' densities, each of the point's pooled draws."""
    draws = {number: point_draws(updates, [number]) for number in numbers}
    tried = np.concatenate(list(draws.values()))[:: len(numbers)]
    log_density = np.array([BoundedKernelDensity(each).log_prob(tried) for each in draws.values()])
    log_weight = log_density.sum(axis=0) - logsumexp(log_density, axis=0)
    weight = np.exp(log_weight - logsumexp(log_weight))
    return tried[rng.choice(len(tried), len(tried), p=weight)]


def _chosen(updates: xr.Dataset) -> list[int]:
    """The three control points that UM1 takes."""
    return [int(number) for number in infer_um1(updates)["points"]]


def _simulations(budget: Mapping[str, int], updates: xr.Dataset) -> int:
    """Those of the paper's two steps."""
    return budget["flow_runs"] + updates.sizes["point"] * budget["epistemic_runs"]
