"""Worst cases over E: the largest value that each of several quantities takes anywhere in the set.

References
----------
.. [1] T. M. Ragonneau, "Model-Based Derivative-Free Optimization Methods and Software", PhD thesis, Hong Kong
   Polytechnic University, 2022 (COBYQA, as `scipy.optimize.minimize` has it).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

from flowcal.challenge import EPISTEMIC
from flowcal.errors import InputError
from flowcal.infer.uncertainty import EpistemicSet

__all__ = ["Search", "WorstCase", "find_worst_cases"]

FIRST_RADIUS, MOST_STEPS = 0.25, 200

Quantities = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Search:
    """How E is searched.

    Attributes
    ----------
    screened : int
        Points drawn from E, besides the corners of its bounding box, that all quantities are first tried at.
    starts : int
        Best of them, for each quantity, from which it is then climbed.
    tolerance : float
        Radius of the trust region at which a climb ends, as a share of the bounding box's width.
    """

    screened: int = 56
    starts: int = 2
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("screened", "starts"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)!r}; needed is a whole number from 1 up.")
        if not 0 < self.tolerance <= FIRST_RADIUS:
            raise InputError(f"tolerance is {self.tolerance}; needed is a share above 0, at most {FIRST_RADIUS}.")


@dataclass(frozen=True)
class WorstCase:
    """Where the quantities are largest.

    Attributes
    ----------
    x_e : ndarray, shape (k, 3)
        The point of E at which each of the k quantities is largest.
    value : ndarray, shape (k,)
    gap : ndarray, shape (k,)
        How far each quantity's climbs ended apart: largest less smallest.
    evaluations : int
        How often the quantities have been computed.
    converged : bool
        Whether every climb ended by its tolerance, and none by the number of its steps.
    """

    x_e: NDArray[np.float64]
    value: NDArray[np.float64]
    gap: NDArray[np.float64]
    evaluations: int
    converged: bool


def find_worst_cases(quantities: Quantities, e: EpistemicSet, search: Search, rng: np.random.Generator) -> WorstCase:
    """Maximise several quantities over E.

    The quantities are computed together, so every point tried for one counts for all. They have to be a fixed function
    of X_e: from simulations, use common random numbers.

    Parameters
    ----------
    quantities : callable
        From one x_e (3,) to the k quantities (k,).
    e : EpistemicSet
    search : Search
    rng : Generator
    """
    low, high = e.bounding_box
    tried = list(_screened_points(e, search.screened, rng))
    values = [quantities(x_e) for x_e in tried]
    screen = np.array(values)
    gap = np.zeros(screen.shape[1])
    ended = []

    def climb(quantity: int, start: NDArray[np.float64]) -> float:
        """The best that a climb from a start reaches; a place outside E counts as the worst of the screen."""

        def loss(share: NDArray[np.float64]) -> float:
            x_e = low + np.clip(share, 0, 1) * (high - low)
            if not e.contains(x_e[None])[0]:
                return -screen[:, quantity].min() / unit
            tried.append(x_e)
            values.append(quantities(x_e))
            return -values[-1][quantity] / unit

        unit = np.ptp(screen[:, quantity])
        share = (start - low) / np.where(high > low, high - low, 1)
        options = {"initial_tr_radius": FIRST_RADIUS, "final_tr_radius": search.tolerance, "maxfev": MOST_STEPS}
        result = minimize(loss, share, method="COBYQA", bounds=Bounds(np.zeros(3), np.ones(3)), options=options)
        ended.append(bool(result.success))
        return -result.fun * unit

    for quantity in np.flatnonzero(np.ptp(screen, axis=0)):  # what is the same everywhere needs no climb
        best = np.argsort(-screen[:, quantity])[: search.starts]
        reached = [climb(quantity, tried[place]) for place in best]
        gap[quantity] = np.ptp(reached)
    all_values = np.array(values)
    places = all_values.argmax(axis=0)
    return WorstCase(np.array(tried)[places], all_values.max(axis=0), gap, len(tried), all(ended))


def _screened_points(e: EpistemicSet, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """The corners of the bounding box that lie in E and points drawn from E, each once."""
    corners = np.array(np.meshgrid(*e.bounding_box.T, indexing="ij")).reshape(len(EPISTEMIC), -1).T
    return np.unique(np.vstack([corners[e.contains(corners)], e.sample(count, rng)]), axis=0)
