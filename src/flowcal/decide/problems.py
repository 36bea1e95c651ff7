"""The challenge's design problems, all of them for one uncertainty model: searched, refined, verified.

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

from flowcal.decide.aleatory_plane import AleatoryPlane
from flowcal.decide.design import Design, DesignError, Effort, find_design
from flowcal.decide.performance import Performance, tabulate_performance
from flowcal.decide.power_emulator import PowerEmulator, power_runs
from flowcal.decide.reliability import FAILURES, FailureCurve, ResolutionError, failure_curves, sampled_pof
from flowcal.decide.severity import Severity, failure_levels
from flowcal.decide.verification import verified_performance
from flowcal.infer.training import Trainer, Training
from flowcal.infer.uncertainty import AleatoryDistribution, EpistemicSet, UncertaintyModel
from flowcal.simulate.campaign import Runner
from flowcal.simulate.simulator import Simulator
from flowcal.weights import Weights

__all__ = ["PROBLEMS", "FailureLevels", "Problem", "optimal_designs", "refine_emulator", "required_level"]

Array = NDArray[np.float64]

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
