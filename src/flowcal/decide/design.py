"""Optimal designs: control points that do best at the worst X_e in E.

Three problems [1]_: the largest guaranteed performance J; the smallest probability that the system fails; the largest
performance among designs whose probability of failure stays below epsilon. All are solved as programmes over a few
values of X_e, to which the worst one in E is added until none is worse [2]_. Starts spread over the cube, polished by
SLSQP [3]_, find the basins.

References
----------
.. [1] C. Agrell, L. G. Crespo, V. Flovik, E. Vanem and S. Kenny, "The NASA and DNV Challenge on Optimization Under
   Uncertainty", 2025, https://github.com/dnv-opensource/UQ-Challenge-2025.
.. [2] J. W. Blankenship and J. E. Falk, "Infinitely constrained optimization problems", Journal of Optimization Theory
   and Applications 19(2), 1976, doi:10.1007/BF00934096.
.. [3] D. Kraft, "A software package for sequential quadratic programming", DFVLR-FB 88-28, 1988 (SLSQP).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import qmc

from flowcal.challenge import CONTROL
from flowcal.decide.worst_case import Search, WorstCase, find_worst_cases
from flowcal.errors import FlowcalError, InputError
from flowcal.infer.models import EpistemicSet
from flowcal.problem import BOUNDS

__all__ = [
    "Basin",
    "Design",
    "DesignError",
    "Effort",
    "find_design",
]

Array = NDArray[np.float64]
Quantity = Callable[[Array, Array], Array]

ROUNDS = 6  # most values of X_e that are added
SLACK = 1e-4  # by which a worst case may be worse than what the programme knew
SAME_BASIN = 0.03  # distance below which two polished designs are one
INFEASIBLE = 1e-5  # shortfall of a level that still counts as reached
STEP = 1e-6  # of differences that stand for derivatives
LARGEST_LEVEL = 10.0  # stands for a level that is never reached


class DesignError(FlowcalError):
    """No design meets what was required."""


@dataclass(frozen=True)
class Effort:
    """What the search spends.

    Attributes
    ----------
    starts : int
        Designs spread over the cube that are polished, a power of two.
    search : Search
        For the worst X_e of a design.
    random_seed : int

    Raises
    ------
    InputError
        If starts is no power of two.
    """

    starts: int = 16
    search: Search = field(default_factory=lambda: Search(screened=24, starts=1, tolerance=1e-2))
    random_seed: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.starts, int) or self.starts < 1 or self.starts.bit_count() != 1:
            raise InputError(f"starts is {self.starts!r}; expected a power of two, such as 16.")


@dataclass(frozen=True)
class Basin:
    """A local optimum: its control point, and its value there at the worst X_e that the search guards against.

    Attributes
    ----------
    x_c : tuple of float
        The control point.
    value : float
        J [MW], or the smallest failure level where reliability is the goal.
    """

    x_c: tuple[float, ...]
    value: float


@dataclass(frozen=True)
class Design:
    """An optimal design.

    Attributes
    ----------
    x_c : tuple of float
        The control point.
    performance : tuple of two float
        Least and largest J [MW] over E.
    level : tuple of two float
        Least and largest value over E of the smallest failure level of any load.
    worst_for_performance, worst_for_level : tuple of float
        The X_e of the least ones.
    basins : tuple of Basin
        All local optima that were found, best first: of J, or of the level where reliability is the goal.
    at_bounds : tuple of str
        Control inputs that lie at 0 or 1.
    """

    x_c: tuple[float, ...]
    performance: tuple[float, float]
    level: tuple[float, float]
    worst_for_performance: tuple[float, ...]
    worst_for_level: tuple[float, ...]
    basins: tuple[Basin, ...]
    at_bounds: tuple[str, ...]


def find_design(
    performance: Quantity,
    levels: Quantity,
    e: EpistemicSet,
    effort: Effort,
    required_level: float | None = None,
    reliability: bool = False,
) -> Design:
    """Solve one of the three problems.

    Parameters
    ----------
    performance : callable
        From x_e and x_c, (n, 3) each, to J (n,).
    levels : callable
        The same to the severities (n, 3) at which the loads reach their thresholds.
    e : EpistemicSet
    effort : Effort
    required_level : float, optional
        The smallest failure level that is allowed, for the problem with a constraint.
    reliability : bool
        Whether to maximise the smallest failure level, which minimises the probability of failure, in place of J.

    Returns
    -------
    Design

    Raises
    ------
    InputError
        If a level is required and reliability is the goal.
    DesignError
        If no design reaches the required level.

    Examples
    --------
    >>> from flowcal.infer.models import EpistemicBox
    >>> def performance(x_e, x_c):  # in place of a simulator's
    ...     return 8 - np.square(x_c - 0.4).sum(axis=1) - x_e[:, 0] * x_c[:, 0]
    >>> def levels(x_e, x_c):
    ...     return 1 - 0.5 * x_c
    >>> e, effort = EpistemicBox([0.2, 0, 0], [0.4, 1, 1]), Effort(starts=2)
    >>> design = find_design(performance, levels, e, effort)
    >>> np.round(design.x_c, 2).tolist()
    [0.2, 0.4, 0.4]
    """
    if reliability and required_level is not None:
        raise InputError("a required level is given and reliability is the goal; expected one of them.")

    def limits(x_e: Array, x_c: Array) -> Array:
        return np.minimum(levels(x_e, x_c), LARGEST_LEVEL)

    programme = _Programme(performance, limits, required_level, reliability)
    rng = np.random.default_rng([effort.random_seed, 10])
    scenarios = e.sample(1, rng)
    for _ in range(ROUNDS):
        basins = _basins(programme, scenarios, effort)
        best = np.array(basins[0].x_c)
        ranges = _ranges(performance, limits, e, best, effort.search, rng)
        known = programme.value(scenarios, best), limits(scenarios, np.tile(best, (len(scenarios), 1))).min()
        added = [
            x_e
            for x_e, value, at_most, counts in (
                (ranges.x_e[0], -ranges.value[0], known[0], not reliability),
                (ranges.x_e[1], -ranges.value[1], known[1], reliability or required_level is not None),
            )
            if counts and value < at_most - SLACK
        ]
        if not added:
            break
        scenarios = np.vstack([scenarios, *added])
    else:
        if required_level is not None and -ranges.value[1] < required_level - SLACK:
            raise DesignError(
                f"after {ROUNDS} rounds the best design still falls to a level of {-ranges.value[1]:.4g} at the worst "
                f"X_e, below the {required_level:.4g} required; expected a larger epsilon or a smaller E."
            )
    at_bounds = [name for name, value in zip(CONTROL, best, strict=True) if min(value, 1 - value) < 1e-6]
    return Design(
        tuple(best.tolist()),
        (float(-ranges.value[0]), float(ranges.value[2])),
        (float(-ranges.value[1]), float(ranges.value[3])),
        tuple(ranges.x_e[0].tolist()),
        tuple(ranges.x_e[1].tolist()),
        tuple(basins),
        tuple(at_bounds),
    )


@dataclass(frozen=True)
class _Programme:
    """One of the three problems over a few values of X_e."""

    performance: Quantity
    limits: Quantity
    required_level: float | None
    reliability: bool

    def value(self, scenarios: Array, x_c: Array) -> float:
        """What is to be maximised, at the worst of the scenarios."""
        each = np.tile(x_c, (len(scenarios), 1))
        return float((self.limits if self.reliability else self.performance)(scenarios, each).min())

    def shortfall(self, scenarios: Array, x_c: Array) -> float:
        """By how much the smallest level falls short of what is required."""
        if self.required_level is None:
            return 0.0
        return max(0.0, self.required_level - float(self.limits(scenarios, np.tile(x_c, (len(scenarios), 1))).min()))

    def polish(self, scenarios: Array, start: Array) -> Array:
        """The local optimum that SLSQP [3]_ reaches from a start, by lifting a floor under all scenarios."""

        def margins(points: Array) -> Array:
            """What each of (n, 4) points, control inputs and floor, leaves of its constraints, (n, k)."""
            x_c, floor = np.clip(points[:, :-1], *BOUNDS), points[:, -1:]
            x_e, each = np.tile(scenarios, (len(x_c), 1)), np.repeat(x_c, len(scenarios), axis=0)
            performance = limits = np.empty((len(x_c), 0))
            least = floor if self.reliability else self.required_level
            if least is not None:
                limits = self.limits(x_e, each).reshape(len(x_c), -1) - least
            if not self.reliability:
                performance = self.performance(x_e, each).reshape(len(x_c), -1) - floor
            return np.hstack([performance, limits])

        def slopes(point: Array) -> Array:
            """Their derivatives (k, 4) at a point, by differences that are computed together."""
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


def _basins(programme: _Programme, scenarios: Array, effort: Effort) -> list[Basin]:
    """Local optima from starts spread over the cube, best first, without repetition."""
    spread = qmc.Sobol(len(CONTROL), rng=np.random.default_rng(effort.random_seed)).random(effort.starts)
    polished = [programme.polish(scenarios, start) for start in spread]
    reached = [x_c for x_c in polished if programme.shortfall(scenarios, x_c) <= INFEASIBLE]
    if not reached:
        least = min(programme.shortfall(scenarios, x_c) for x_c in polished)
        raise DesignError(
            f"no design reaches the required failure level of {programme.required_level:.4g}: the best falls short of "
            f"it by {least:.2g}. Expected a larger epsilon, or more knowledge of X_e and f_a."
        )
    found: list[Basin] = []
    for x_c in sorted(reached, key=lambda x_c: -programme.value(scenarios, x_c)):
        if all(np.linalg.norm(x_c - other.x_c) > SAME_BASIN for other in found):
            found.append(Basin(tuple(x_c.tolist()), programme.value(scenarios, x_c)))
    return found


def _ranges(
    performance: Quantity, limits: Quantity, e: EpistemicSet, x_c: Array, search: Search, rng: np.random.Generator
) -> WorstCase:
    """Where over E a design's performance and its smallest level are least, minus these, and where they are largest."""

    def quantities(x_e: Array) -> Array:
        row, design = x_e[None], x_c[None]
        values = np.array([performance(row, design)[0], limits(row, design).min()])
        return np.concatenate([-values, values])

    return find_worst_cases(quantities, e, search, rng)
