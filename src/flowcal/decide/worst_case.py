"""Worst cases over E: the largest value that each of several quantities takes anywhere in the set.

References
----------
.. [1] T. M. Ragonneau, "Model-Based Derivative-Free Optimization Methods and Software", PhD thesis, Hong Kong
   Polytechnic University, 2022, arXiv:2210.12018 (COBYQA, as `scipy.optimize.minimize` has it).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

from flowcal.errors import InputError
from flowcal.infer.models import EpistemicSet
from flowcal.problem import as_numbers, check_counts, check_range

__all__ = ["Search", "WorstCase", "find_worst_cases"]

Array = NDArray[np.float64]
Quantities = Callable[[Array], Array]

FIRST_RADIUS, MOST_STEPS = 0.25, 200
STEPS, REFINEMENTS = 33, 4  # in which the edge of E is looked for


@dataclass(frozen=True)
class Search:
    """How E is searched.

    All quantities are first tried at so many points drawn from E (`screened`), besides those at its edge. For each
    quantity, climbs begin at the best of them (`starts`), and end where the radius of the trust region reaches the
    `tolerance`, a share of the width of E's turned box.
    """

    screened: int = 56
    starts: int = 2
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        check_counts(screened=self.screened, starts=self.starts)
        check_range(0, FIRST_RADIUS, "(]", tolerance=self.tolerance)


@dataclass(frozen=True)
class WorstCase:
    """Where in E each of k quantities is largest: x_e (k, inputs), and its value there (k,).

    `gap` (k,) is how far each quantity's climbs ended apart, largest less smallest, and `evaluations` how often the
    quantities were asked for. It has converged if every climb ended by its tolerance, none by the number of its steps.
    """

    x_e: Array
    value: Array
    gap: Array
    evaluations: int
    converged: bool


def find_worst_cases(quantities: Quantities, e: EpistemicSet, search: Search, rng: np.random.Generator) -> WorstCase:
    """Maximise several quantities over E, by climbs [1]_ from the best of many points.

    The quantities, k numbers for one x_e, are computed together, so every point tried for one counts for all. They have
    to be a fixed function of X_e: from simulations, use common random numbers.

    Examples
    --------
    >>> from flowcal.infer.models import EpistemicBox
    >>> box = EpistemicBox([0.26, 0.5, 0.0], [0.41, 0.6, 0.5])
    >>> worst = find_worst_cases(lambda x_e: np.array([x_e.sum()]), box, Search(), np.random.default_rng(1))
    >>> worst.x_e.round(2).tolist()
    [[0.41, 0.6, 0.5]]
    """
    tried = _Tried(quantities)
    for x_e in _screened_points(e, search.screened, rng):
        tried.at(x_e)
    screen = np.array(tried.values)
    gap, converged = np.zeros(screen.shape[1]), True
    for quantity in np.flatnonzero(np.ptp(screen, axis=0)).tolist():  # what is the same everywhere needs no climb
        starts = np.argsort(-screen[:, quantity])[: search.starts].tolist()
        climbs = [_climb(tried, screen, quantity, start, e, search.tolerance) for start in starts]
        gap[quantity] = np.ptp([reached for reached, _ in climbs])
        converged &= all(success for _, success in climbs)
    values = np.array(tried.values)
    places = values.argmax(axis=0)
    return WorstCase(np.array(tried.points)[places], values.max(axis=0), gap, len(values), bool(converged))


class _Tried:
    """The quantities, and every point at which they have been computed."""

    def __init__(self, quantities: Quantities) -> None:
        self._quantities = quantities
        self.points: list[Array] = []
        self.values: list[Array] = []

    def at(self, x_e: Array) -> Array:
        """The quantities (k,) at a point."""
        values = as_numbers(self._quantities(x_e), "the quantities")
        if not np.isfinite(values).all():
            raise InputError(f"the quantities are {values.tolist()} at X_e = {x_e.tolist()}; expected finite numbers.")
        self.points.append(x_e)
        self.values.append(values)
        return values


def _climb(
    tried: _Tried, screen: Array, quantity: int, start: int, e: EpistemicSet, tolerance: float
) -> tuple[float, bool]:
    """The best that COBYQA [1]_ reaches from a point of the screen, and whether it ended by its tolerance."""
    unit, inside, box = np.ptp(screen[:, quantity]), tried.points[start], e.turned_box

    def loss(u: Array) -> float:
        x_e = _pull_back(e, inside, box.to_x_e(np.clip(u, 0, 1)))
        return -float(tried.at(x_e)[quantity] / unit)

    options = {"initial_tr_radius": FIRST_RADIUS, "final_tr_radius": tolerance, "maxfev": MOST_STEPS}
    first, size = box.to_u(inside[None])[0], len(inside)
    result = minimize(loss, first, method="COBYQA", bounds=Bounds(np.zeros(size), np.ones(size)), options=options)
    return -result.fun * unit, bool(result.success)


def _pull_back(e: EpistemicSet, inside: Array, x_e: Array) -> Array:
    """The point itself if it lies in E, else about the last one that does on the way to it from a point inside."""
    for _ in range(REFINEMENTS):
        way = np.linspace(inside, x_e, STEPS)
        within = e.contains(way)
        if within.all():
            return x_e
        left = max(int(within.argmin()), 1)
        inside, x_e = way[left - 1], way[left]
    return inside


def _screened_points(e: EpistemicSet, count: int, rng: np.random.Generator) -> Array:
    """Points drawn from E, and from the first of them as far as E goes towards each corner of its turned box."""
    drawn = e.sample(count, rng)
    corners = e.turned_box.to_x_e(np.array(list(product([0.0, 1.0], repeat=drawn.shape[1]))))
    return np.unique([*drawn, *(_pull_back(e, drawn[0], corner) for corner in corners)], axis=0)
