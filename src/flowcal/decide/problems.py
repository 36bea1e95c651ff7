"""The challenge's design problems, all of them for one uncertainty model: `designs_for` searches, refines and verifies.

The search asks an emulator for J and an integral for the probability of failure, neither of which has noise. Wherever a
constraint has to hold, it has to hold at an upper credible bound over the replicates of f_a. What is reported is taken
from fresh hours of the simulator, at the X_e in E that the search found worst.

References
----------
.. [1] A. B. Owen, "Monte Carlo theory, methods and examples", 2013, https://artowen.su.domains/mc, section 8.9 (control
   variates).
.. [2] T. M. Ragonneau, "Model-Based Derivative-Free Optimization Methods and Software", PhD thesis, Hong Kong
   Polytechnic University, 2022, arXiv:2210.12018 (COBYQA).
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import Bounds, NonlinearConstraint, minimize

from flowcal.decide.design import DESIGN_PROBLEMS, Design, DesignError, Effort, find_design
from flowcal.decide.failure import (
    FailureCurve,
    ResolutionError,
    Severity,
    failure_curves,
    failure_names,
    failure_severities,
    inputs_at,
    measure_severity,
    sampled_pof,
    simulate_hours,
)
from flowcal.decide.plane import AleatoryPlane
from flowcal.decide.power import Performance, PowerEmulator, power_runs, tabulate_performance, train_power_emulator
from flowcal.errors import InputError
from flowcal.files import Weights, WeightsError
from flowcal.infer.models import AleatoryDistribution, EpistemicSet, UncertaintyModel
from flowcal.infer.train import Trainer, Training
from flowcal.problem import BOUNDS, Problem, check_counts, check_points, rng_of
from flowcal.simulate.campaign import Runner
from flowcal.simulate.simulator import Simulator, fresh_seeds, labelled_hours, objective, problem_of

__all__ = [
    "DesignSettings",
    "FailureSeverities",
    "SolvedDesigns",
    "compare_performance",
    "designs_for",
    "optimal_designs",
    "polish_design",
    "refine_emulator",
    "required_severity",
    "verified_performance",
]

Array = NDArray[np.float64]

CREDIBILITY = 0.95  # with which a constraint is met, over the replicates of f_a
REACH = 0.1  # of the control inputs, about designs, within which the emulator is refined
CLIMB, MOST_STEPS = 0.05, 80  # first radius of the trust region, and most control points tried


@dataclass(frozen=True)
class DesignSettings:
    """What `designs_for` spends.

    The emulator of power is trained on `emulator_runs` simulations all over the cube of X_c, and trained on with
    `refinement_runs` near designs. The share of the seeds in the peaks is measured from `severity_runs`. Each verified
    J rests on so many hours, and each verified probability of failure on `pof_calls`.
    """

    emulator_runs: int
    emulator_training: Training
    refinement_runs: int
    refinement_training: Training
    severity_runs: int
    effort: Effort = field(default_factory=Effort)
    hours: int = 6000
    pof_calls: int = 20_000
    severity_seed: int = 2

    def __post_init__(self) -> None:
        check_counts(emulator_runs=self.emulator_runs, pof_calls=self.pof_calls)
        check_counts(2, refinement_runs=self.refinement_runs, severity_runs=self.severity_runs, hours=self.hours)
        check_counts(0, severity_seed=self.severity_seed)


@dataclass(frozen=True)
class SolvedDesigns:
    """What `designs_for` found: a refined emulator of power, the severity, and the result of `optimal_designs`."""

    emulator: PowerEmulator
    severity: Severity
    result: dict[str, Any]

    @property
    def designs(self) -> dict[str, dict[str, Any]]:
        """By design problem, what `Design` has and what was verified, or 'refused' with the reason."""
        designs: dict[str, dict[str, Any]] = self.result["designs"]
        return designs

    def to_weights(self) -> Weights:
        """Everything it consists of."""
        emulator = self.emulator.to_weights()
        header = {"kind": type(self).__name__, "emulator": emulator.header, "result": self.result}
        return Weights(header, {**emulator.tensors, "severity.noise": self.severity.noise})

    @classmethod
    def from_weights(cls, weights: Weights, device: str = "auto") -> "SolvedDesigns":
        """What `to_weights` described; a `WeightsError` if these are other weights."""
        if (kind := weights.header.get("kind")) != cls.__name__:
            raise WeightsError(f"the weights are of kind {kind!r}; expected {cls.__name__!r}.")
        tensors = dict(weights.tensors)
        try:
            noise, header = tensors.pop("severity.noise"), weights.header
            emulator = PowerEmulator.from_weights(Weights(header["emulator"], tensors), device)
            return cls(emulator, Severity(noise), header["result"])
        except (KeyError, AttributeError, InputError) as error:
            raise WeightsError(f"the weights do not fit their header: {error}") from error


def designs_for(
    simulator: Simulator,
    model: UncertaintyModel,
    replicates: Sequence[AleatoryDistribution],
    settings: DesignSettings,
    random_seed: int,
    emulator: Weights | None = None,
    runner: Runner | None = None,
    trainer: Trainer | None = None,
) -> Weights:
    """Solve all design problems for one uncertainty model, as weights for `SolvedDesigns.from_weights`.

    The replicates are those of the model's f_a, none where it is known. The emulator is from `train_power_emulator`,
    which is called where none is given.
    """
    problem, rng = problem_of(simulator), rng_of(settings.severity_seed)
    x_e, x_c = [0.5] * len(problem.epistemic), [0.5] * len(problem.control)
    severity = measure_severity(simulator, x_e, x_c, settings.severity_runs, rng, runner)
    refined = refine_emulator(simulator, model, emulator, severity, settings, runner, trainer)
    result = optimal_designs(simulator, model, replicates, refined, severity, settings, random_seed, runner)
    return SolvedDesigns(PowerEmulator.from_weights(refined), severity, result).to_weights()


def refine_emulator(
    simulator: Simulator,
    model: UncertaintyModel,
    emulator: Weights | None,
    severity: Severity,
    settings: DesignSettings,
    runner: Runner | None = None,
    trainer: Trainer | None = None,
) -> Weights:
    """Train a `PowerEmulator`, the given one if any, on where the search goes with it.

    Half of the simulations have control points near the local optima of all problems, half all over the cube.
    """
    if emulator is None:
        size, training = settings.emulator_runs, settings.emulator_training
        emulator = train_power_emulator(simulator, model, size, training, runner, trainer)
    network = PowerEmulator.from_weights(emulator)
    (performance,) = tabulate_performance(network, [model.f_a], model.e)
    curves, severities = failure_curves([model.f_a], severity), FailureSeverities(simulator, runner)
    found = _solve(performance, severities, curves, model.e, settings.effort, problem_of(simulator))
    near = [basin.x_c for design in found.values() if isinstance(design, Design) for basin in design.basins]
    size, training = settings.refinement_runs // 2, settings.refinement_training
    runs = [
        power_runs(simulator, model, size, training.random_seed, np.unique(near, axis=0), REACH, runner),
        power_runs(simulator, model, size, training.random_seed + 1, runner=runner),
    ]
    return network.fit(xr.concat(runs, "sample"), training, trainer).to_weights()


def optimal_designs(
    simulator: Simulator,
    model: UncertaintyModel,
    replicates: Sequence[AleatoryDistribution],
    emulator: Weights,
    severity: Severity,
    settings: DesignSettings,
    random_seed: int,
    runner: Runner | None = None,
) -> dict[str, Any]:
    """Solve all problems for one uncertainty model with an emulator of power, and verify the designs on the simulator.

    The result has JSON values. 'designs' has for every problem what `Design` has and what was verified, or 'refused'
    with the reason; 'calls' counts runs of the simulator, 'seconds' the time.
    """
    start = time.perf_counter()
    network, f_as, problem = PowerEmulator.from_weights(emulator), [model.f_a, *replicates], problem_of(simulator)
    performances = tabulate_performance(network, f_as, model.e)
    curves, severities = failure_curves(f_as, severity), FailureSeverities(simulator, runner)
    plane = AleatoryPlane(model.f_a)
    box: dict[str, Any] = {"simulator": simulator, "runner": runner, "random_seed": random_seed}
    rows: dict[str, dict[str, Any]] = {}
    verified = 0
    for name, design in _solve(performances[0], severities, curves, model.e, settings.effort, problem).items():
        if isinstance(design, str):
            rows[name] = {"refused": design}
            continue
        box["x_c"], x_e = design.x_c, (design.worst_for_performance, design.worst_for_severity)
        j = verified_performance(network, performances[0], model.f_a, x_e=x_e[0], hours=settings.hours, **box)
        pof = sampled_pof(plane, x_e=x_e[1], calls=settings.pof_calls, **box)
        verified += settings.hours + settings.pof_calls
        rows[name] = asdict(design) | _uncertain(design, performances, curves, severities)
        rows[name] |= {
            "j": list(j),
            "pof": {key: pof[key].values.tolist() for key in ("pof", "standard_error", "upper")},
        }
    calls = {"search": severities.calls, "verification": verified}
    seconds = time.perf_counter() - start
    return {"designs": rows, "failures": list(failure_names(problem)), "calls": calls, "seconds": seconds}


@dataclass
class FailureSeverities:
    """Failure severities (n, loads) from the simulator, at n rows of X_e and X_c, with a count of its calls so far."""

    simulator: Simulator
    runner: Runner | None = None
    calls: int = field(default=0, init=False)

    def __call__(self, x_e: ArrayLike, x_c: ArrayLike) -> Array:
        """Severities at which each load reaches its threshold."""
        self.calls += len(np.asarray(x_c))
        return failure_severities(self.simulator, x_e, x_c, runner=self.runner)


def required_severity(curves: Sequence[FailureCurve], epsilon: float) -> float:
    """The failure severity that keeps a probability of failure, at the upper credible bound over several f_a.

    The curves are those of the f_a, which counts only if it is alone, and of its replicates.
    """
    check_counts(**{"the number of curves": len(curves)})
    return float(np.quantile([curve.severity_of(epsilon) for curve in curves[1:] or curves], CREDIBILITY))


def _solve(
    performance: Performance,
    severities: FailureSeverities,
    curves: Sequence[FailureCurve],
    e: EpistemicSet,
    effort: Effort,
    problem: Problem,
) -> dict[str, Design | str]:
    """The design of each problem, or why there is none."""
    found: dict[str, Design | str] = {}
    for name, goal in DESIGN_PROBLEMS.items():
        try:
            required = None if goal.epsilon is None else required_severity(curves, goal.epsilon)
            found[name] = find_design(performance, severities, e, effort, problem, required, goal.reliability)
        except (DesignError, ResolutionError) as error:
            found[name] = str(error)
    return found


def _uncertain(
    design: Design, performances: Sequence[Performance], curves: Sequence[FailureCurve], severities: FailureSeverities
) -> dict[str, Any]:
    """Probabilities of failure by integration, over E and over the replicates, and J over the replicates."""
    least, largest = design.failure_severity
    worst = severities([design.worst_for_severity], [design.x_c])
    by_replicate = np.array([curve(least) for curve in curves[1:] or curves])
    j_by_replicate = [
        performance([design.worst_for_performance], [design.x_c])[0] for performance in performances[1:] or performances
    ]
    middle = [(1 - CREDIBILITY), CREDIBILITY]
    bound = curves[0].upper_bound
    return {
        "pof_integral": bound(curves[0].pof(worst)[0]).tolist(),
        "pof_over_e": bound(curves[0]([largest, least])).tolist(),
        "pof_over_f_a": bound(np.quantile(by_replicate, middle)).tolist(),
        "j_over_f_a": np.quantile(j_by_replicate, middle).tolist(),
    }


def verified_performance(
    emulator: PowerEmulator,
    performance: Performance,
    f_a: AleatoryDistribution,
    simulator: Simulator,
    x_e: Sequence[float],
    x_c: Sequence[float],
    hours: int,
    random_seed: int,
    runner: Runner | None = None,
) -> tuple[float, float]:
    """J of a design from fresh hours, with its standard error; `performance` is tabulated from the emulator under f_a.

    The emulator serves as control variate [1]_: simulated is only what it misses, so that the error is a tenth of
    what the hours alone would give. A wrong emulator makes the error larger, not the value wrong.
    """
    x, seeds = _hours_at(problem_of(simulator), f_a, x_e, x_c, hours, rng_of(random_seed, 12))
    missed = _objectives(simulator, x, seeds, runner) - emulator.expected(x).sum(axis=1)
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
    """J of several designs at one X_e, in hours with the same X_a and seeds.

    The dataset has by design: 'j'; its 'difference' from that of the first one, with the 'standard_error' of that
    difference.
    """
    problem = problem_of(simulator)
    points = check_points(designs, problem.control, "designs", within=True)
    x, seeds = _hours_at(problem, f_a, x_e, points[0], hours, rng_of(random_seed, 13))
    totals = []
    for x_c in points:
        x[:, -len(x_c) :] = x_c
        totals.append(_objectives(simulator, x, seeds, runner))
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
    required_severity: float | None = None,
    runner: Runner | None = None,
) -> Array:
    """The control point with the largest J about a design, climbed on the simulator itself [2]_.

    No emulator has a part in it, so it tells what the search has left unfound. Every control point is tried in the
    same hours, which serve for nothing else: what it gains has to be seen in fresh ones. Failure severities stay at or
    above the required one, if any.
    """
    x, seeds = _hours_at(problem_of(simulator), f_a, x_e, x_c, hours, rng_of(random_seed, 14))

    def loss(point: Array) -> float:
        x[:, -len(point) :] = np.clip(point, *BOUNDS)
        return -float(_objectives(simulator, x, seeds, runner).mean())

    def least(point: Array) -> float:
        return float(failure_severities(simulator, [x_e], [np.clip(point, *BOUNDS)], runner=runner).min())

    constraints = () if required_severity is None else NonlinearConstraint(least, required_severity, np.inf)
    options = {"initial_tr_radius": CLIMB, "final_tr_radius": CLIMB / 100, "maxfev": MOST_STEPS}
    cube = Bounds(*np.transpose([BOUNDS] * len(x_c)))
    result = minimize(loss, x_c, method="COBYQA", bounds=cube, constraints=constraints, options=options)
    best: Array = np.clip(result.x, *BOUNDS)
    return best


def _hours_at(
    problem: Problem,
    f_a: AleatoryDistribution,
    x_e: ArrayLike,
    x_c: ArrayLike,
    hours: int,
    rng: np.random.Generator,
) -> tuple[Array, NDArray[np.int64]]:
    """Inputs (n, inputs) with X_a from f_a, and seeds (n,), of two hours or more."""
    check_counts(2, hours=hours)
    return inputs_at(problem, f_a.sample(hours, rng), x_e, x_c), fresh_seeds(hours, rng)


def _objectives(simulator: Simulator, x: Array, seeds: NDArray[np.int64], runner: Runner | None) -> Array:
    """The sum of all powers, averaged over each hour (n,)."""
    problem = problem_of(simulator)
    values: Array = objective(labelled_hours(simulate_hours(simulator, x, seeds, runner), problem), problem).values
    return values
