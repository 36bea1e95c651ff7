"""The search for designs beside SciPy's differential evolution and multistart, on the study's own problems.

The peers minimise one cost: minus the guaranteed performance, or minus the smallest failure severity, with a penalty
for what falls short of a constraint. What all spend is the number of control points that they ask for.
"""

from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.optimize import differential_evolution, minimize
from scipy.stats import qmc

from flowcal.challenge import CONTROL
from flowcal.decide.design import DESIGN_PROBLEMS, LARGEST_SEVERITY, SLACK, _basins, _Programme
from flowcal.decide.failure import failure_curves, measure_severity
from flowcal.decide.paper import fly
from flowcal.decide.power import PowerEmulator, tabulate_performance, train_power_emulator
from flowcal.decide.problems import FailureSeverities, required_severity
from flowcal.infer.models import EpistemicBox, UncertaintyModel
from flowcal.infer.train import Training
from flowcal.problem import BOUNDS
from flowcal.report.truth import true_uncertainty_model
from flowcal.simulate.windfarm import WindFarm
from flowcal.study import PROFILES

SEEDS, SCENARIOS, QUARTILES = 20, 4, (0.25, 0.5, 0.75)
EFFORT = PROFILES["full"].effort
PARTICLES = 32
PENALTY = 100.0  # for a unit of severity short of what is required
REACH = 0.05  # of the box about the true X_e that stands for what observations leave
BOX = [BOUNDS] * len(CONTROL)


def costs(programme, scenarios, x_c):
    """Minus what is to be maximised, with a penalty for what falls short; (n,) at x_c (n, 3)."""
    x_e, each = np.tile(scenarios, (len(x_c), 1)), np.repeat(x_c, len(scenarios), axis=0)
    if programme.reliability:
        return -programme.limits(x_e, each).min(axis=1).reshape(len(x_c), -1).min(axis=1)
    value = programme.performance(x_e, each).reshape(len(x_c), -1).min(axis=1)
    if programme.required_severity is None:
        return -value
    limits = programme.limits(x_e, each).min(axis=1).reshape(len(x_c), -1).min(axis=1)
    return -value + PENALTY * np.maximum(0, programme.required_severity - limits)


class SpentError(Exception):
    """All control points that a method may ask for have been."""


class Cost:
    """A cost over the cube that counts the control points it is asked for, and keeps to a budget."""

    def __init__(self, programme, scenarios, budget):
        self.of, self.budget, self.asked, self.least = partial(costs, programme, scenarios), budget, 0, np.inf

    def __call__(self, x_c):
        """Costs (n,) at x_c (n, 3)."""
        if self.asked + len(x_c) > self.budget:
            raise SpentError
        self.asked += len(x_c)
        values = self.of(np.clip(x_c, *BOUNDS))
        self.least = min(self.least, values.min())
        return values


def swarm(cost, random_seed):
    """Thirty-two particles, for as many iterations as the budget allows."""
    fly(cost, len(CONTROL), PARTICLES, cost.budget // PARTICLES, random_seed)


def evolution(cost, random_seed):
    """SciPy's defaults, with a tolerance that does not end it early; a tenth of the budget is left to its polish."""
    generations = int(0.9 * cost.budget / (15 * len(CONTROL))) - 1
    settings = {"maxiter": generations, "tol": 1e-9, "vectorized": True, "updating": "deferred"}
    differential_evolution(lambda x_c: cost(x_c.T), BOX, rng=random_seed, **settings)


def multistart(cost, random_seed):
    """SciPy's L-BFGS-B with its defaults, from one start after another that a Sobol sequence spreads."""
    for start in qmc.Sobol(len(CONTROL), rng=np.random.default_rng(random_seed)).random(256):
        minimize(lambda x_c: cost(x_c[None])[0], start, method="L-BFGS-B", bounds=BOX)


PEERS = {"swarm": swarm, "differential evolution": evolution, "multistart of L-BFGS-B": multistart}


@pytest.fixture(scope="module")
def setting():
    """What the programmes are made of: performance, failure severities and curves under the true f_a, a few X_e."""
    truth = true_uncertainty_model()
    x_e = np.array(truth.e.bounding_box[0])
    e = EpistemicBox(x_e - REACH, x_e + REACH)
    training = Training(epochs=8, batch_size=256, learning_rate=6e-3)
    weights = train_power_emulator(WindFarm(), UncertaintyModel(truth.f_a, e), 15_000, training)
    performance = tabulate_performance(PowerEmulator.from_weights(weights), [truth.f_a], e)[0]
    noise = measure_severity(WindFarm(), x_e, [0.5] * 3, 3000, np.random.default_rng(1))
    curves = failure_curves([truth.f_a], noise)
    return performance, FailureSeverities(WindFarm()), curves, e.sample(SCENARIOS, np.random.default_rng(1))


class Counted:
    """A quantity that counts the rows it is asked for."""

    def __init__(self, of):
        self.of, self.rows = of, 0

    def __call__(self, x_e, x_c):
        self.rows += len(x_c)
        return self.of(x_e, x_c)


def counting(programme):
    """The same programme, and a function that tells for how many control points it has been asked."""
    counted = replace(programme, performance=Counted(programme.performance), limits=Counted(programme.limits))
    return counted, lambda: max(counted.performance.rows, counted.limits.rows) / SCENARIOS


def study_search(programme, scenarios, effort):
    """The least cost that the study's search finds, and for how many control points it asks."""
    counted, asked = counting(programme)
    best = _basins(counted, scenarios, effort, len(CONTROL))[0]
    return costs(programme, scenarios, np.array([best.x_c]))[0], asked()


@pytest.mark.parametrize("name", DESIGN_PROBLEMS)
def test_searches_at_equal_numbers_of_control_points(name, setting, record):
    performance, severities, curves, scenarios = setting
    problem = DESIGN_PROBLEMS[name]
    required = None if problem.epsilon is None else required_severity(curves, problem.epsilon)
    programme = _Programme(
        performance, lambda *x: np.minimum(severities(*x), LARGEST_SEVERITY), required, problem.reliability
    )
    found = {}
    for starts in (EFFORT.starts, 2 * EFFORT.starts):
        efforts = [replace(EFFORT, starts=starts, random_seed=seed) for seed in range(SEEDS)]
        ours, asked = np.transpose([study_search(programme, scenarios, effort) for effort in efforts])
        budget = round(asked.mean())
        found["the study's search", budget] = ours
        for label, method in PEERS.items():
            found[label, budget] = [least(method, Cost(programme, scenarios, budget), seed) for seed in range(SEEDS)]
    best = min(map(min, found.values()))
    methods = {
        f"{label} ({budget})": summary(np.array(values) - best) | {"method": label, "budget": budget}
        for (label, budget), values in found.items()
    }
    record(f"design_search: {name}", unit="" if problem.reliability else "MW", methods=methods)
    assert all(np.median(values) - best < 1e-3 for (label, _), values in found.items() if label not in PEERS)


def summary(short):
    """Of what seeds fall short of the best by: quartiles, and the number of seeds that do not for all that matters."""
    quartiles = np.quantile(short, QUARTILES).round(6).tolist()
    return {"quartiles": quartiles, "seeds": len(short), "reached": int((short < SLACK).sum())}


def least(method, cost, random_seed):
    """The least cost that a method comes across within its budget."""
    with suppress(SpentError):
        method(cost, random_seed)
    return cost.least
