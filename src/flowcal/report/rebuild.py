"""The paper's method rebuilt from end to end with another seed for everything that is trained, judged by the truth."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flowcal.challenge import BASELINE, LOADS
from flowcal.decide.design import DESIGN_PROBLEMS, DesignProblem
from flowcal.decide.intervals import flattened_intervals
from flowcal.decide.paper import TimeStepSurrogate, determination, published_design, surrogate_runs, train_surrogate
from flowcal.infer.hour_posterior import HourPosterior, train_posterior
from flowcal.infer.models import EpistemicBox, PooledDraws, UncertaintyModel
from flowcal.infer.train import Trainer, Training
from flowcal.infer.um1 import (
    TRAINING,
    Seeds,
    UM1Settings,
    aleatory_flow,
    aleatory_runs,
    infer_aleatory,
    infer_um1,
    update_points,
)
from flowcal.report.truth import REBUILT, judge_by_truth, score_aleatory, score_set
from flowcal.simulate.simulator import Simulator, problem_of

__all__ = ["JUDGED_HOURS", "fit_surrogate", "rebuild", "swarm_design", "two_steps"]

Array = NDArray[np.float64]

ALPHAS = [0.999, 0.95]
HOURS = 50_000  # for Table 3, as published
JUDGED_HOURS = 6000
X_A, X_E = 100, 10  # that a swarm takes at each control point
PARTICLES = 20


def rebuild(
    number: int, simulator: Simulator, observed: xr.Dataset, best: Sequence[float], budget: Mapping[str, int]
) -> dict[str, Any]:
    """UM1 and its designs from one seed, with the budget of the chapters that build them.

    The result has f_a, E and its best guess against the truth, the upper bounds of Table 3 by alpha and load, the R² of
    the surrogate by output, and the designs by where X_a come from and by problem: J less that of the control point
    `best` [MW] and the probability of failure, both under the truth.
    """
    start, seed, iterations = time.perf_counter(), number + 1, budget["published_iterations"]
    f_a, updates, _ = two_steps(simulator, observed, budget, seed)
    um_1 = infer_um1(updates)
    e = EpistemicBox(um_1["low"], um_1["high"])
    model = UncertaintyModel(f_a, e)
    bound = flattened_intervals(model, simulator, BASELINE, ALPHAS, HOURS, seed).bound
    r_squared, designs = {}, {}
    for x_a_from in REBUILT:
        surrogate, x_a, r_squared[x_a_from] = fit_surrogate(simulator, model, x_a_from, budget, seed)
        for name, goal in DESIGN_PROBLEMS.items():
            if goal.epsilon != 1e-6:  # the paper has none
                x_c = swarm_design(simulator, surrogate, model, goal, x_a, iterations, seed)
                designs[f"{REBUILT[x_a_from]}, {name}"] = x_c
    judged = judge_by_truth(designs, best, simulator, JUDGED_HOURS, JUDGED_HOURS, 1)
    return {
        "number": number,
        **um_1,
        **score_set(e, um_1["best_guess"]),
        "f_a": score_aleatory(f_a, seed),
        "bounds": bound.sel(side="upper", output=list(LOADS)).values.round(1).tolist(),
        "r_squared": r_squared,
        "designs": {name: {"x_c": designs[name]} | judged[name] for name in designs},
        "seconds": round(time.perf_counter() - start),
    }


def two_steps(
    simulator: Simulator,
    observed: xr.Dataset,
    budget: Mapping[str, int],
    seed: int,
    seeds: Seeds = "fixed",
    longer: int = 1,
) -> tuple[PooledDraws, xr.Dataset, float]:
    """The paper's two steps: f_a, what `update_points` finds, and the held-out loss of step 1.

    Networks may be trained `longer`: that many times the epochs.
    """
    cpu = Trainer("cpu")
    training = replace(TRAINING, epochs=longer * budget["flow_epochs"], random_seed=seed)
    runs = aleatory_runs(simulator, budget["flow_runs"], seeds, seed)
    step_1 = HourPosterior.from_weights(
        train_posterior(runs, aleatory_flow(problem_of(simulator)), training, cpu), "cpu"
    )
    f_a = PooledDraws.from_dataset(infer_aleatory(step_1, observed, 10, seed))
    training = replace(TRAINING, epochs=longer * budget["epistemic_epochs"])
    settings = UM1Settings(budget["epistemic_runs"], training, budget["validation_hours"], trial_draws=1, seeds=seeds)
    updates = update_points(simulator, observed, f_a, settings, random_seed=100 * seed, trainer=cpu)
    return f_a, updates, min(step_1.history.held_out_loss)


def fit_surrogate(
    simulator: Simulator, model: UncertaintyModel, x_a_from: str, budget: Mapping[str, int], seed: int
) -> tuple[TimeStepSurrogate, Array, list[float]]:
    """The paper's sixty networks, X_a (n, a) for a swarm on them, and their R² by output on hours of the same kind.

    All X_a are 'uniform' or from 'f_a'.
    """
    uniform = x_a_from == "uniform"
    training = Training(budget["surrogate_epochs"], batch_size=256, learning_rate=3e-3, random_seed=seed)
    runs = surrogate_runs(simulator, model, budget["surrogate_size"], seed, uniform)
    weights = train_surrogate(runs, budget["surrogate_width"], training, Trainer("cpu"))
    surrogate = TimeStepSurrogate.from_weights(weights, "cpu")
    held_out = surrogate_runs(simulator, model, JUDGED_HOURS, 1000 + seed, uniform)
    x_a = held_out.x.sel(input=list(problem_of(simulator).aleatory)).values[:X_A]
    return surrogate, x_a, determination(surrogate, held_out, held_out).r_squared.values.round(4).tolist()


def swarm_design(
    simulator: Simulator,
    surrogate: TimeStepSurrogate,
    model: UncertaintyModel,
    goal: DesignProblem,
    x_a: Array,
    iterations: int,
    seed: int,
) -> list[float]:
    """The control point that the paper's swarm finds on a surrogate."""
    problem = problem_of(simulator)
    swarm = published_design(surrogate, model.e, goal, problem, x_a, X_E, PARTICLES, iterations, random_seed=seed)
    x_c: list[float] = swarm["x_c"].tolist()
    return x_c
