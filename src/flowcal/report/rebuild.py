"""The paper's method rebuilt from end to end with another seed for everything that is trained, judged by the truth."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from flowcal.challenge import BASELINE, LOADS
from flowcal.decide.design import DESIGN_PROBLEMS
from flowcal.decide.intervals import flattened_intervals
from flowcal.decide.paper import TimeStepSurrogate, determination, published_design, surrogate_runs, train_surrogate
from flowcal.infer.hour_posterior import HourPosterior, train_posterior
from flowcal.infer.models import EpistemicBox, PooledDraws, UncertaintyModel
from flowcal.infer.train import Trainer, Training
from flowcal.infer.um1 import (
    TRAINING,
    UM1Settings,
    aleatory_flow,
    aleatory_runs,
    infer_aleatory,
    infer_um1,
    update_points,
)
from flowcal.report.truth import REBUILT, judge_by_truth, score_aleatory, score_set
from flowcal.simulate.simulator import Simulator, problem_of

__all__ = ["rebuild"]

ALPHAS = [0.999, 0.95]
HOURS = 50_000  # for Table 3, as published
JUDGED_HOURS = 6000
SAMPLES = (100, 10)  # of X_a for each X_e, and of X_e


def rebuild(
    number: int, simulator: Simulator, observed: xr.Dataset, best: Sequence[float], budget: Mapping[str, int]
) -> dict[str, Any]:
    """UM1 and its designs from one seed, with the budget of the chapters that build them.

    The result has f_a, E and its best guess against the truth, the upper bounds of Table 3 by alpha and load, the R² of
    the surrogate by output, and the designs by where X_a come from and by problem: J less than that of the control
    point `best` [MW] and the probability of failure, both under the truth.
    """
    start, seed, cpu = time.perf_counter(), number + 1, Trainer("cpu")
    step_1 = train_posterior(
        aleatory_runs(simulator, budget["flow_runs"], "fixed", seed),
        aleatory_flow(problem_of(simulator)),
        replace(TRAINING, epochs=budget["flow_epochs"], random_seed=seed),
        cpu,
    )
    f_a = PooledDraws.from_dataset(infer_aleatory(HourPosterior.from_weights(step_1, "cpu"), observed, 10, seed))
    training = replace(TRAINING, epochs=budget["epistemic_epochs"])
    settings = UM1Settings(budget["epistemic_runs"], training, budget["validation_hours"], trial_draws=1)
    um_1 = infer_um1(update_points(simulator, observed, f_a, settings, random_seed=100 * seed, trainer=cpu))
    e = EpistemicBox(um_1["low"], um_1["high"])
    model = UncertaintyModel(f_a, e)
    bound = flattened_intervals(model, simulator, BASELINE, ALPHAS, HOURS, seed).bound
    r_squared, designs = _designs(simulator, model, budget, seed)
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


def _designs(
    simulator: Simulator, model: UncertaintyModel, budget: Mapping[str, int], seed: int
) -> tuple[list[float], dict[str, list[float]]]:
    """R² of the surrogate on its own kind of hours, and a swarm's designs by their name."""
    problem, (hours, points) = problem_of(simulator), SAMPLES
    training = Training(budget["surrogate_epochs"], batch_size=256, learning_rate=3e-3, random_seed=seed)
    runs = surrogate_runs(simulator, model, budget["surrogate_size"], seed)
    weights = train_surrogate(runs, budget["surrogate_width"], training, Trainer("cpu"))
    surrogate = TimeStepSurrogate.from_weights(weights, "cpu")
    held_out = surrogate_runs(simulator, model, JUDGED_HOURS, 1000 + seed)
    rng, iterations = np.random.default_rng(seed), budget["published_iterations"]
    drawn = {"uniform": rng.random((hours, len(problem.aleatory))), "f_a": model.f_a.sample(hours, rng)}
    designs = {
        f"{REBUILT[how]}, {name}": published_design(
            surrogate, model.e, goal, problem, x_a, points, particles=20, iterations=iterations, random_seed=seed
        )["x_c"].tolist()
        for how, x_a in drawn.items()
        for name, goal in DESIGN_PROBLEMS.items()
        if goal.epsilon != 1e-6  # the paper has none
    }
    return determination(surrogate, held_out, held_out).r_squared.values.round(4).tolist(), designs
