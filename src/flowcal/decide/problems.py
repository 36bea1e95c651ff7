"""Designs verified: performance and probability of failure from fresh hours of the simulator, at the worst X_e.

References
----------
.. [1] A. B. Owen, "Monte Carlo theory, methods and examples", 2013, https://artowen.su.domains/mc, section 8.9 (control
   variates).
.. [2] T. M. Ragonneau, "Model-Based Derivative-Free Optimization Methods and Software", PhD thesis, Hong Kong
   Polytechnic University, 2022, arXiv:2210.12018 (COBYQA).


The challenge's design problems, all of them for one uncertainty model: searched, refined, verified.

The search asks an emulator for J and an integral for the probability of failure, neither of which has noise. Wherever a
constraint has to hold, it has to hold at an upper credible bound over the replicates of f_a. What is reported in the
end comes from fresh hours of the simulator, at the X_e in E that the emulator holds worst.

References
----------
.. [1] C. Agrell, L. G. Crespo, V. Flovik, E. Vanem and S. Kenny, "The NASA and DNV Challenge on Optimization Under
   Uncertainty", 2025, https://github.com/dnv-opensource/UQ-Challenge-2025, problem 2.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import Bounds, NonlinearConstraint, minimize

from flowcal.challenge import CONTROL
from flowcal.decide.design import Design, DesignError, Effort, find_design
from flowcal.decide.failure import (
    FAILURES,
    AleatoryPlane,
    FailureCurve,
    ResolutionError,
    Severity,
    failure_curves,
    failure_levels,
    sampled_pof,
)
from flowcal.decide.power import Performance, PowerEmulator, power_runs, tabulate_performance
from flowcal.errors import InputError
from flowcal.files import Weights
from flowcal.infer.models import AleatoryDistribution, EpistemicSet, UncertaintyModel
from flowcal.infer.train import Trainer, Training
from flowcal.problem import BOUNDS, SEED_MAX
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator, objective

__all__ = [
    "FailureLevels",
    "PROBLEMS",
    "Problem",
    "compare_performance",
    "optimal_designs",
    "polish_design",
    "refine_emulator",
    "required_level",
    "verified_performance",
]

Array = NDArray[np.float64]

CLIMB, MOST_STEPS = 0.05, 80  # first radius of the trust region, and most control points tried


def verified_performance(
    emulator: PowerEmulator,
    performance: Performance,
    plane: AleatoryPlane,
    simulator: Simulator,
    x_e: Sequence[float],
    x_c: Sequence[float],
    hours: int,
    random_seed: int,
    runner: Runner | None = None,
) -> tuple[float, float]:
    """J [MW] of a design from fresh hours, with its standard error.

    The emulator serves as control variate [1]_: simulated is only what it misses, so that the error is a tenth of
    what the hours alone would give; a wrong emulator makes the error larger, not the value wrong.

    Parameters
    ----------
    emulator : PowerEmulator
    performance : Performance
        Tabulated from it under `plane`'s f_a.
    plane : AleatoryPlane
    simulator : Simulator
    x_e, x_c : sequence of float, shape (3,)
    hours : int
    random_seed : int
    runner : Runner, optional

    Returns
    -------
    j : float
        [MW].
    standard_error : float
        [MW].

    Raises
    ------
    InputError
        If there are fewer than two hours.
    """
    if hours < 2:
        raise InputError(f"hours is {hours}; expected a whole number from 2 up.")
    rng = np.random.default_rng([random_seed, 12])
    x, seeds = _hours_at(plane.f_a, x_e, x_c, hours, rng)
    missed = objective(run_campaign(simulator, x, seeds, runner)).values - emulator.expected(x).sum(axis=1)
    value = performance([x_e], [x_c])[0] + missed.mean()
    return float(value), float(missed.std(ddof=1) / np.sqrt(hours))


def compare_performance(
    f_a: AleatoryDistribution,
    simulator: Simulator,
    x_e: Sequence[float],
    designs: Sequence[Sequence[float]],
    hours: int,
    random_seed: int,
    runner: Runner | None = None,
) -> xr.Dataset:
    """J [MW] of several designs at one X_e, in hours with the same X_a and seeds.

    Parameters
    ----------
    f_a : AleatoryDistribution
    simulator : Simulator
    x_e : sequence of float, shape (3,)
    designs : sequence of control points
    hours : int
    random_seed : int
    runner : Runner, optional

    Returns
    -------
    Dataset
        By design: 'j'; its 'difference' from that of the first one, with the 'standard_error' of that difference.
    """
    rng = np.random.default_rng([random_seed, 13])
    x, seeds = _hours_at(f_a, x_e, designs[0], hours, rng)
    totals = []
    for x_c in designs:
        x[:, -len(x_c) :] = x_c
        totals.append(objective(run_campaign(simulator, x, seeds, runner)).values)
    differences = np.array(totals) - totals[0]
    return xr.Dataset(
        {
            "j": ("design", np.mean(totals, axis=1)),
            "difference": ("design", differences.mean(axis=1)),
            "standard_error": ("design", differences.std(axis=1, ddof=1) / np.sqrt(hours)),
        }
    )


def polish_design(
    f_a: AleatoryDistribution,
    simulator: Simulator,
    x_e: Sequence[float],
    x_c: Sequence[float],
    hours: int,
    random_seed: int,
    level: float | None = None,
    runner: Runner | None = None,
) -> Array:
    """The control point with the largest J about a design, climbed on the simulator itself [2]_.

    No emulator has a part in it, so it tells what the search has left unfound. Every control point is tried in the
    same hours, which serve for nothing else: what it gains has to be seen in fresh ones.

    Parameters
    ----------
    f_a : AleatoryDistribution
    simulator : Simulator
    x_e, x_c : sequence of float, shape (3,)
    hours : int
    random_seed : int
    level : float, optional
        The smallest failure level that is allowed.
    runner : Runner, optional

    Returns
    -------
    ndarray, shape (3,)
    """
    rng = np.random.default_rng([random_seed, 14])
    x, seeds = _hours_at(f_a, x_e, x_c, hours, rng)

    def loss(point: Array) -> float:
        x[:, -len(CONTROL) :] = np.clip(point, *BOUNDS)
        return -float(objective(run_campaign(simulator, x, seeds, runner)).mean())

    def lowest(point: Array) -> float:
        return float(failure_levels(simulator, [x_e], [np.clip(point, *BOUNDS)], runner=runner).min())

    constraints = () if level is None else NonlinearConstraint(lowest, level, np.inf)
    options = {"initial_tr_radius": CLIMB, "final_tr_radius": CLIMB / 100, "maxfev": MOST_STEPS}
    cube = Bounds(*np.transpose([BOUNDS] * len(CONTROL)))
    result = minimize(loss, x_c, method="COBYQA", bounds=cube, constraints=constraints, options=options)
    best: Array = np.clip(result.x, *BOUNDS)
    return best


def _hours_at(
    f_a: AleatoryDistribution, x_e: Sequence[float], x_c: Sequence[float], hours: int, rng: np.random.Generator
) -> tuple[Array, NDArray[np.int64]]:
    """Inputs (n, 8) with X_a from f_a, and seeds (n,)."""
    x = np.column_stack([f_a.sample(hours, rng), np.tile(np.concatenate([x_e, x_c]), (hours, 1))])
    return x, rng.integers(1, SEED_MAX, hours, endpoint=True)


CREDIBILITY = 0.95  # with which a constraint is met, over the replicates of f_a
REACH = 0.1  # of the control inputs, about designs, within which the emulator is refined


@dataclass(frozen=True)
class Problem:
    """What is to be optimised.

    Attributes
    ----------
    epsilon : float or None
        Largest probability of failure that is allowed.
    reliability : bool
        Whether the probability of failure is to be minimised, in place of J to be maximised.
    """

    epsilon: float | None = None
    reliability: bool = False


PROBLEMS: Mapping[str, Problem] = MappingProxyType(
    {
        "performance": Problem(),
        "reliability": Problem(reliability=True),
        "epsilon 1e-3": Problem(epsilon=1e-3),
        "epsilon 1e-4": Problem(epsilon=1e-4),
        "epsilon 1e-6": Problem(epsilon=1e-6),
    }
)
"""Problems 2.1, 2.2 and 2.3 [1]_, the last with the epsilons of the paper and of the organisers' template."""


@dataclass
class FailureLevels:
    """Failure levels from the simulator, with a count of what they cost.

    Attributes
    ----------
    simulator : Simulator
    runner : Runner or None
    calls : int
        Of the simulator, so far.
    """

    simulator: Simulator
    runner: Runner | None = None
    calls: int = field(default=0, init=False)

    def __call__(self, x_e: ArrayLike, x_c: ArrayLike) -> Array:
        """Severities at which y4, y5 and y6 reach their thresholds.

        Parameters
        ----------
        x_e : array_like, shape (n, 3)
        x_c : array_like, shape (n, 3)

        Returns
        -------
        ndarray, shape (n, 3)
        """
        self.calls += len(np.asarray(x_c))
        return failure_levels(self.simulator, x_e, x_c, runner=self.runner)


def required_level(curves: Sequence[FailureCurve], epsilon: float) -> float:
    """The failure level that keeps a probability of failure, at the upper credible bound over several f_a.

    Parameters
    ----------
    curves : sequence of FailureCurve
        Of the f_a, which counts only if it is alone, and of its replicates.
    epsilon : float

    Returns
    -------
    float

    Raises
    ------
    ResolutionError
        If f_a resolves no such probability.
    """
    return float(np.quantile([curve.level_of(epsilon) for curve in curves[1:] or curves], CREDIBILITY))


def refine_emulator(
    simulator: Simulator,
    model: UncertaintyModel,
    emulator: Weights,
    severity: Severity,
    effort: Effort,
    size: int,
    training: Training,
    runner: Runner | None = None,
    trainer: Trainer | None = None,
) -> Weights:
    """Train an emulator of power on where the search goes with it.

    Parameters
    ----------
    simulator : Simulator
    model : UncertaintyModel
    emulator : Weights
        As `train_power_emulator` returns them.
    severity : Severity
    effort : Effort
    size : int
        Simulations, half of them about the local optima of all problems, half all over the cube of X_c.
    training : Training
    runner : Runner, optional
    trainer : Trainer, optional

    Returns
    -------
    Weights
        Of a `PowerEmulator`.
    """
    network = PowerEmulator.from_weights(emulator)
    (performance,) = tabulate_performance(network, [model.f_a], model.e)
    curves = failure_curves([model.f_a], severity)
    found = _solve(performance, FailureLevels(simulator, runner), curves, model.e, effort)
    near = [basin.x_c for design in found.values() if isinstance(design, Design) for basin in design.basins]
    seeds = training.random_seed, training.random_seed + 1
    runs = [
        power_runs(simulator, model, size // 2, seed, about, REACH, runner)
        for seed, about in zip(seeds, (np.unique(near, axis=0), None), strict=True)
    ]
    return network.fit(xr.concat(runs, "sample"), training, trainer).to_weights()


def optimal_designs(
    simulator: Simulator,
    model: UncertaintyModel,
    replicates: Sequence[AleatoryDistribution],
    emulator: Weights,
    severity: Severity,
    effort: Effort,
    hours: int,
    pof_calls: int,
    random_seed: int,
    runner: Runner | None = None,
) -> dict[str, Any]:
    """Solve all problems for one uncertainty model, and verify the designs on the simulator.

    Parameters
    ----------
    simulator : Simulator
    model : UncertaintyModel
    replicates : sequence of AleatoryDistribution
        Of the model's f_a, none where it is known.
    emulator : Weights
        Of a `PowerEmulator`.
    severity : Severity
    effort : Effort
    hours, pof_calls : int
        Simulations behind each verified J and each verified probability of failure.
    random_seed : int
    runner : Runner, optional

    Returns
    -------
    dict
        JSON values. 'designs' has for every problem what `Design` has and what was verified, or 'refused' with the
        reason; 'calls' counts runs of the simulator, 'seconds' the time.
    """
    start = time.perf_counter()
    network, f_as = PowerEmulator.from_weights(emulator), [model.f_a, *replicates]
    performances = tabulate_performance(network, f_as, model.e)
    curves, levels = failure_curves(f_as, severity), FailureLevels(simulator, runner)
    plane = AleatoryPlane(model.f_a)
    box: dict[str, Any] = {"simulator": simulator, "runner": runner, "random_seed": random_seed}
    rows: dict[str, dict[str, Any]] = {}
    verified = 0
    for name, design in _solve(performances[0], levels, curves, model.e, effort).items():
        if isinstance(design, str):
            rows[name] = {"refused": design}
            continue
        j = verified_performance(
            network, performances[0], plane, x_e=design.worst_for_performance, x_c=design.x_c, hours=hours, **box
        )
        pof = sampled_pof(plane, x_e=design.worst_for_level, x_c=design.x_c, calls=pof_calls, **box)
        verified += hours + pof_calls
        rows[name] = asdict(design) | _uncertain(design, performances, curves, levels)
        rows[name] |= {
            "j": list(j),
            "pof": {key: pof[key].values.tolist() for key in ("pof", "standard_error", "upper")},
        }
    calls = {"search": levels.calls, "verification": verified}
    return {"designs": rows, "failures": list(FAILURES), "calls": calls, "seconds": time.perf_counter() - start}


def _solve(
    performance: Performance, levels: FailureLevels, curves: Sequence[FailureCurve], e: EpistemicSet, effort: Effort
) -> dict[str, Design | str]:
    """The design of each problem, or why there is none."""
    found: dict[str, Design | str] = {}
    for name, problem in PROBLEMS.items():
        try:
            required = None if problem.epsilon is None else required_level(curves, problem.epsilon)
            found[name] = find_design(performance, levels, e, effort, required, problem.reliability)
        except (DesignError, ResolutionError) as error:
            found[name] = str(error)
    return found


def _uncertain(
    design: Design, performances: Sequence[Performance], curves: Sequence[FailureCurve], levels: FailureLevels
) -> dict[str, Any]:
    """Probabilities of failure by integration, over E and over the replicates, and J over the replicates."""
    least, largest = design.level
    worst = levels([design.worst_for_level], [design.x_c])
    by_replicate = np.array([curve(least) for curve in curves[1:] or curves])
    j_by_replicate = [
        performance([design.worst_for_performance], [design.x_c])[0] for performance in performances[1:] or performances
    ]
    middle = [(1 - CREDIBILITY), CREDIBILITY]
    return {
        "pof_integral": curves[0].upper_bound(curves[0].pof(worst)[0]).tolist(),
        "pof_over_e": curves[0].upper_bound(curves[0]([largest, least])).tolist(),
        "pof_over_f_a": curves[0].upper_bound(np.quantile(by_replicate, middle)).tolist(),
        "j_over_f_a": np.quantile(j_by_replicate, middle).tolist(),
    }
