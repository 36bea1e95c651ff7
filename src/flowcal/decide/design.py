"""Optimal designs: control points that do best at the worst X_e in E.

Three problems [1]_: the largest guaranteed performance J; the smallest probability that the system fails; the largest
performance among designs whose probability of failure stays below epsilon. All are solved as programmes over a few
values of X_e, to which the worst one in E is added until none is worse [2]_. Starts spread over the cube, polished by
SLSQP [3]_, find the basins. Failure enters by the failure severities of a design: the larger the least of them, the
smaller its probability.

References
----------
.. [1] C. Agrell, L. G. Crespo, V. Flovik, E. Vanem and S. Kenny, "The NASA and DNV Challenge on Optimization Under
   Uncertainty", 2025, https://github.com/dnv-opensource/UQ-Challenge-2025.
.. [2] J. W. Blankenship and J. E. Falk, "Infinitely constrained optimization problems", Journal of Optimization Theory
   and Applications 19(2), 1976, doi:10.1007/BF00934096.
.. [3] D. Kraft, "A software package for sequential quadratic programming", DFVLR-FB 88-28, 1988 (SLSQP).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import qmc

from flowcal.decide.worst_case import Search, WorstCase, find_worst_cases
from flowcal.errors import FlowcalError, InputError
from flowcal.infer.models import EpistemicSet
from flowcal.problem import BOUNDS, Problem, check_counts, check_range, rng_of

__all__ = ["Basin", "DESIGN_PROBLEMS", "Design", "DesignError", "DesignProblem", "Effort", "find_design"]

Array = NDArray[np.float64]
Quantity = Callable[[Array, Array], Array]

ROUNDS = 6  # most values of X_e that are added
SLACK = 1e-4  # by which a worst case may be worse than what the programme knew
SAME_BASIN = 0.03  # distance below which two polished designs are one
INFEASIBLE = 1e-5  # shortfall of a failure severity that still counts as reached
STEP = 1e-6  # of differences that stand for derivatives
LARGEST_SEVERITY = 10.0  # replaces a failure severity that is never reached


class DesignError(FlowcalError):
    """No design meets what was required."""


@dataclass(frozen=True)
class DesignProblem:
    """What is optimised: J, at a probability of failure of at most epsilon if any, or that probability."""

    epsilon: float | None = None
    reliability: bool = False

    def __post_init__(self) -> None:
        if self.epsilon is not None:
            check_range(0, 1, epsilon=self.epsilon)
            if self.reliability:
                raise InputError(f"epsilon is {self.epsilon}; expected none where reliability is the goal.")


DESIGN_PROBLEMS: Mapping[str, DesignProblem] = MappingProxyType(
    {
        "performance": DesignProblem(),
        "reliability": DesignProblem(reliability=True),
        "epsilon 1e-3": DesignProblem(epsilon=1e-3),
        "epsilon 1e-4": DesignProblem(epsilon=1e-4),
        "epsilon 1e-6": DesignProblem(epsilon=1e-6),
    }
)
"""Problems 2.1, 2.2 and 2.3 [1]_, the last with the epsilons of the paper and of the organisers' template."""


@dataclass(frozen=True)
class Effort:
    """What the search spends: starts spread over the cube, a power of two, and the search for the worst X_e of each."""

    starts: int = 16
    search: Search = field(default_factory=lambda: Search(screened=24, starts=1, tolerance=1e-2))
    random_seed: int = 1

    def __post_init__(self) -> None:
        check_counts(starts=self.starts)
        check_counts(0, random_seed=self.random_seed)
        if self.starts.bit_count() != 1:
            raise InputError(f"starts is {self.starts!r}; expected a power of two, such as 16.")


@dataclass(frozen=True)
class Basin:
    """A local optimum: its control point, and the J or least failure severity there, at the worst X_e considered."""

    x_c: tuple[float, ...]
    value: float


@dataclass(frozen=True)
class Design:
    """An optimal design.

    Its performance and failure severity are the least and the largest over E: of J, and of the smallest failure
    severity of any load. Then come the X_e of the least ones, all local optima that were found, best first, and the
    names of the control inputs that lie at 0 or 1.
    """

    x_c: tuple[float, ...]
    performance: tuple[float, float]
    failure_severity: tuple[float, float]
    worst_for_performance: tuple[float, ...]
    worst_for_severity: tuple[float, ...]
    basins: tuple[Basin, ...]
    at_bounds: tuple[str, ...]


def find_design(
    performance: Quantity,
    failure_severities: Quantity,
    e: EpistemicSet,
    effort: Effort,
    problem: Problem,
    required_severity: float | None = None,
    reliability: bool = False,
) -> Design:
    """Maximise J, or where `reliability` the least failure severity, at the worst X_e in E.

    `performance` and `failure_severities` lead from x_e and x_c, n rows each, to J (n,), and to margins (n, k) of which
    larger is safer, without noise. `required_severity` is the least one that is allowed, where J is maximised.
    Raises `DesignError` if no design reaches it.

    Examples
    --------
    >>> from flowcal.infer.models import EpistemicBox
    >>> from flowcal.simulate.simulator import problem_of
    >>> from flowcal.simulate.windfarm import WindFarm
    >>> def performance(x_e, x_c):  # in place of a simulator's
    ...     return 8 - np.square(x_c - 0.4).sum(axis=1) - x_e[:, 0] * x_c[:, 0]
    >>> def failure_severities(x_e, x_c):
    ...     return 1 - 0.5 * x_c
    >>> e, effort = EpistemicBox([0.2, 0, 0], [0.4, 1, 1]), Effort(starts=2)
    >>> design = find_design(performance, failure_severities, e, effort, problem_of(WindFarm()))
    >>> np.round(design.x_c, 2).tolist()
    [0.2, 0.4, 0.4]
    """
    if reliability and required_severity is not None:
        raise InputError("a severity is required and reliability is the goal; expected one of them.")
    check_range(0, np.inf, "[)", required_severity=1.0 if required_severity is None else required_severity)

    def limits(x_e: Array, x_c: Array) -> Array:
        return np.minimum(failure_severities(x_e, x_c), LARGEST_SEVERITY)

    programme = _Programme(performance, limits, required_severity, reliability)
    rng = rng_of(effort.random_seed, 10)
    scenarios = e.sample(1, rng)
    for _ in range(ROUNDS):
        basins = _basins(programme, scenarios, effort, len(problem.control))
        best = np.array(basins[0].x_c)
        worst = _worst_cases(performance, limits, e, best, effort.search, rng)
        known = programme.value(scenarios, best), programme.least_severity(scenarios, best)
        added = [
            x_e
            for x_e, value, at_most, counts in (
                (worst.x_e[0], -worst.value[0], known[0], not reliability),
                (worst.x_e[1], -worst.value[1], known[1], reliability or required_severity is not None),
            )
            if counts and value < at_most - SLACK
        ]
        if not added:
            break
        scenarios = np.vstack([scenarios, *added])
    else:
        if required_severity is not None and -worst.value[1] < required_severity - SLACK:
            raise DesignError(
                f"after {ROUNDS} rounds the best design still falls to a failure severity of {-worst.value[1]:.4g} at "
                f"the worst X_e, below the {required_severity:.4g} required; expected a larger epsilon or a smaller E."
            )
    at_bounds = [name for name, value in zip(problem.control, best, strict=True) if min(value, 1 - value) < 1e-6]
    return Design(
        tuple(best.tolist()),
        (float(-worst.value[0]), float(worst.value[2])),
        (float(-worst.value[1]), float(worst.value[3])),
        tuple(worst.x_e[0].tolist()),
        tuple(worst.x_e[1].tolist()),
        tuple(basins),
        tuple(at_bounds),
    )


@dataclass(frozen=True)
class _Programme:
    """One of the three problems over a few values of X_e."""

    performance: Quantity
    limits: Quantity
    required_severity: float | None
    reliability: bool

    def value(self, scenarios: Array, x_c: Array) -> float:
        """What is to be maximised, at the worst of the scenarios."""
        if self.reliability:
            return self.least_severity(scenarios, x_c)
        return float(self.performance(scenarios, np.tile(x_c, (len(scenarios), 1))).min())

    def least_severity(self, scenarios: Array, x_c: Array) -> float:
        """The least failure severity at the worst of the scenarios."""
        return float(self.limits(scenarios, np.tile(x_c, (len(scenarios), 1))).min())

    def shortfall(self, scenarios: Array, x_c: Array) -> float:
        """By how much the least failure severity falls short of what is required."""
        if self.required_severity is None:
            return 0.0
        return max(0.0, self.required_severity - self.least_severity(scenarios, x_c))

    def polish(self, scenarios: Array, start: Array) -> Array:
        """The local optimum that SLSQP [3]_ reaches from a start, by lifting a floor under all scenarios."""

        def margins(points: Array) -> Array:
            """What each of n points, control inputs and floor, leaves of its constraints, (n, k)."""
            x_c, floor = np.clip(points[:, :-1], *BOUNDS), points[:, -1:]
            x_e, each = np.tile(scenarios, (len(x_c), 1)), np.repeat(x_c, len(scenarios), axis=0)
            performance = limits = np.empty((len(x_c), 0))
            least = floor if self.reliability else self.required_severity
            if least is not None:
                limits = self.limits(x_e, each).reshape(len(x_c), -1) - least
            if not self.reliability:
                performance = self.performance(x_e, each).reshape(len(x_c), -1) - floor
            return np.hstack([performance, limits])

        def slopes(point: Array) -> Array:
            """Their derivatives at a point, by differences that are computed together."""
            steps = np.diag(np.where(point + STEP > BOUNDS[1], -STEP, STEP))
            values = margins(np.vstack([point, point + steps]))
            derivatives: Array = (values[1:] - values[0]) / steps.diagonal()[:, None]
            return derivatives.T

        result = minimize(
            lambda point: -point[-1],
            [*start, self.value(scenarios, start)],
            jac=lambda point: np.append(np.zeros(len(start)), -1.0),
            method="SLSQP",
            bounds=[*[BOUNDS] * len(start), (None, None)],
            constraints={"type": "ineq", "fun": lambda point: margins(point[None])[0], "jac": slopes},
            options={"maxiter": 100, "ftol": 1e-9},
        )
        x_c: Array = np.clip(result.x[:-1], *BOUNDS)
        return x_c


def _basins(programme: _Programme, scenarios: Array, effort: Effort, controls: int) -> list[Basin]:
    """Local optima from starts spread over the cube, best first, without repetition."""
    spread = qmc.Sobol(controls, rng=np.random.default_rng(effort.random_seed)).random(effort.starts)
    polished = [programme.polish(scenarios, start) for start in spread]
    reached = [x_c for x_c in polished if programme.shortfall(scenarios, x_c) <= INFEASIBLE]
    if not reached:
        least = min(programme.shortfall(scenarios, x_c) for x_c in polished)
        raise DesignError(
            f"no design reaches the required failure severity of {programme.required_severity:.4g}: the best falls "
            f"short of it by {least:.2g}. Expected a larger epsilon, or more knowledge of X_e and f_a."
        )
    found: list[Basin] = []
    for x_c in sorted(reached, key=lambda x_c: -programme.value(scenarios, x_c)):
        if all(np.linalg.norm(x_c - other.x_c) > SAME_BASIN for other in found):
            found.append(Basin(tuple(x_c.tolist()), programme.value(scenarios, x_c)))
    return found


def _worst_cases(
    performance: Quantity, limits: Quantity, e: EpistemicSet, x_c: Array, search: Search, rng: np.random.Generator
) -> WorstCase:
    """Where over E a design's performance and its least severity are least, minus these, and where they are largest."""

    def quantities(x_e: Array) -> Array:
        row, design = x_e[None], x_c[None]
        values = np.array([performance(row, design)[0], limits(row, design).min()])
        return np.concatenate([-values, values])

    return find_worst_cases(quantities, e, search, rng)
