"""Where to observe the real system: levels of each control input by the rule of the paper's section 3.2, then paired.

References
----------
.. [1] T. Wang et al., "Data-driven Model Updating Solution for the NASA and DNV Challenge 2025", ESREL SRA-E 2025,
   doi:10.3850/978-981-94-3281-3_ESREL-SRA-E2025-P5658-cd, section 3.2.
.. [2] M. D. McKay, R. J. Beckman and W. J. Conover, "A comparison of three methods for selecting values of input
   variables in the analysis of output from a computer code", Technometrics 21(2), 1979,
   doi:10.1080/00401706.1979.10489755.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats.qmc import LatinHypercube

from flowcal.errors import InputError
from flowcal.problem import BOUNDS, as_numbers, check_counts, check_points

__all__ = ["choose_levels", "pair_levels", "turning_point"]

Array = NDArray[np.float64]

GRID = np.linspace(0, 1, 1001)
LEAST_RATE = 0.1  # share of the mean variation rate that every level has at least, so that flat stretches are seen too


def turning_point(levels: ArrayLike, response: ArrayLike) -> float | None:
    """Where most of the responses (k, m) at rising levels (k,) turn, from falling to rising or back; else None.

    It is the median of their turns, each by the parabola through the extremum and its neighbours.

    Examples
    --------
    >>> levels = np.linspace(0, 1, 11)
    >>> round(turning_point(levels, np.square(levels - 0.4)[:, None]), 3)
    0.4
    """
    levels, response = _sweep(levels, response)
    moving = response[:, np.ptp(response, axis=0) > 1e-9 * (1 + np.abs(response).max(axis=0))]
    turns = [turn for column in moving.T if (turn := _extremum(levels, column)) is not None]
    return float(np.median(turns)) if 2 * len(turns) > moving.shape[1] else None


def choose_levels(levels: ArrayLike, response: ArrayLike, count: int) -> Array:
    """Levels (count,) in (0, 1) of an input: symmetric about the turning point, denser where responses vary [1]_.

    `levels` (k,) of the sweep rise from 0 to 1, with m responses (k, m). Without a turning point the result is spread
    evenly, as [1]_ does for X_c3.
    """
    check_counts(count=count)
    levels, response = _sweep(levels, response)
    if (levels[0], levels[-1]) != BOUNDS:
        raise InputError(f"levels run from {levels[0]} to {levels[-1]}; expected levels from 0 to 1.")
    turn = turning_point(levels, response)
    if turn is None:
        return (np.arange(count) + 0.5) / count
    rate = _variation_rate(levels, response)
    reach = min(turn, 1 - turn)
    offsets = GRID[reach >= GRID]
    paired = np.interp(turn + offsets, GRID, rate) + np.interp(turn - offsets, GRID, rate)
    outside = np.where(np.abs(GRID - turn) > reach, rate, 0)
    in_pairs = count * _mass(offsets, paired) / _mass(GRID, rate)
    pairs = int((in_pairs + 0.1) / 2)  # less than a tenth of a level is not worth a level outside
    mirrored = _quantiles(offsets, paired, pairs)
    single = _quantiles(GRID, outside, count - 2 * pairs)
    return np.sort(np.concatenate([turn - mirrored, turn + mirrored, single]))


def pair_levels(levels: list[ArrayLike], rng: np.random.Generator) -> Array:
    """Points (n, inputs) that use each of n levels per input once, by a Latin hypercube [2]_ of low discrepancy."""
    if not levels or len({np.shape(values) for values in levels}) > 1:
        raise InputError(f"levels have shapes {[np.shape(values) for values in levels]}; expected n levels per input.")
    table = check_points(np.column_stack(levels), len(levels), "levels", within=True)
    hypercube = LatinHypercube(d=table.shape[1], scramble=False, optimization="random-cd", rng=rng)
    rank = np.floor(hypercube.random(len(table)) * len(table)).astype(int)
    return np.take_along_axis(np.sort(table, axis=0), rank, axis=0)


def _sweep(levels: ArrayLike, response: ArrayLike) -> tuple[Array, Array]:
    levels, response = as_numbers(levels, "levels"), as_numbers(response, "response")
    if levels.ndim != 1 or not len(levels) or not (np.diff(levels) > 0).all() or not np.isfinite(levels).all():
        raise InputError(f"levels are {levels.tolist()}; expected rising numbers.")
    if response.ndim != 2 or len(response) != len(levels) or not np.isfinite(response).all():
        raise InputError(
            f"response has shape {response.shape} and {(~np.isfinite(response)).sum()} values that are not finite; "
            f"expected a row of finite numbers for each of {len(levels)} levels."
        )
    return levels, response


def _extremum(levels: Array, values: Array) -> float | None:
    """The interior extremum of a curve that turns by more than a tenth of its range, else None."""
    for curve in (values, -values):
        k = int(np.argmax(curve))
        if 0 < k < len(curve) - 1 and min(curve[k] - curve[0], curve[k] - curve[-1]) > 0.1 * np.ptp(curve):
            a, b, _ = np.polyfit(levels[k - 1 : k + 2], curve[k - 1 : k + 2], 2)
            return float(-b / (2 * a))
    return None


def _variation_rate(levels: Array, response: Array) -> Array:
    """Mean over the responses of |slope| / range on `GRID`, with a floor."""
    spread = np.ptp(response, axis=0)
    slopes = np.abs(np.gradient(response[:, spread > 0] / spread[spread > 0], levels, axis=0)).mean(axis=1)
    rate = np.interp(GRID, levels, slopes)
    raised: Array = np.maximum(rate, LEAST_RATE * rate.mean())
    return raised


def _mass(at: Array, density: Array) -> float:
    return float(np.trapezoid(density, at))


def _quantiles(at: Array, density: Array, count: int) -> Array:
    """Points that cut the density into parts of equal mass, in the middle of each part."""
    mass = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(at))])
    middles: Array = np.interp((np.arange(count) + 0.5) / max(count, 1) * mass[-1], mass, at)
    return middles
