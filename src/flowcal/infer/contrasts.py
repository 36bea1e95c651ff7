"""Contrasts between the outputs of the hours of one control point, which anybody would try first.

They show how one limited output compares with another, and how a maximised one responds to a limited one; the meaning
of the outputs plays no part. They are medians over steps and hours, which calm steps do not disturb as they do means.
"""

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from flowcal.errors import InputError
from flowcal.problem import Problem
from flowcal.simulate.simulator import SERIES, check_series, hours_of

__all__ = [
    "RESPONSE_SHARES",
    "hours_by_point",
    "median_of",
    "output_contrasts",
    "response_lags",
    "response_loads",
    "responses",
]

Array = NDArray[np.float64]

RESPONSE_SHARES = (0.15, 0.45, 0.75)
"""Shares of the ceiling at which a response is read off."""

RESPONSIVE = (0.02, 0.98)  # shares of the ceiling between which an output can follow a load
FEWEST_RESPONSIVE = 10  # steps
LARGEST_LAG = 0.99


def hours_by_point(hours: xr.Dataset, problem: Problem | None = None) -> dict[tuple[float, ...], Array]:
    """Series (hours, steps, outputs) by control point, in the order in which the points come.

    Outputs and controls are in the order of the problem, or without one in that of the hours.
    """
    if problem is None:
        y, x_c = hours.y.transpose(*SERIES).values, hours.x_c.transpose("sample", "control").values
    else:
        y, x_c = hours_of(hours, problem)
    points = dict.fromkeys(map(tuple, x_c.tolist()))
    return {point: y[(x_c == point).all(axis=1)] for point in points}


def output_contrasts(y: Array, problem: Problem) -> Array:
    """Median over hours and steps of the log ratios of all limited outputs to the first of them, shape (..., k - 1).

    y (..., hours, steps, outputs) are the hours of one control point. NaN where no step has both outputs above 0.

    Examples
    --------
    >>> from flowcal.simulate.windfarm import WindFarm
    >>> from flowcal.simulate.simulator import problem_of
    >>> y = np.ones((100, 60, 6)) * [1, 1, 1, 4, 8, 2]
    >>> output_contrasts(y, problem_of(WindFarm())).round(2)
    array([ 0.69, -0.69])
    """
    limited = check_series(y, problem)[..., problem.columns(problem.limited)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log(limited[..., 1:] / limited[..., :1])
    ratios = np.where(np.isfinite(ratios), ratios, np.nan)
    return median_of(ratios.reshape(*ratios.shape[:-3], ratios.shape[-3] * ratios.shape[-2], ratios.shape[-1]))


def response_lags(y: Array, problem: Problem) -> Array:
    """Share of its last value that each maximised output keeps from step to step, in [0, 0.99].

    An output y that follows a load (the first limited output) with a first-order lag a has
    (y(t) - a y(t - 1)) / (1 - a) = g(load(t)). At the right a the left side, sorted by the load, is smooth, and its
    total variation is smallest. y (hours, steps, outputs) are hours of one control point. NaN where an output is
    constant, or between its limits in fewer than 10 steps, as in calm hours.
    """
    load, outputs, ceiling = _response_columns(problem)
    return np.array([_lag(y[..., output], y[..., load], ceiling) for output in outputs])


def responses(y: Array, lags: Array, problem: Problem) -> tuple[Array, Array]:
    """Log load (..., hours, steps - 1), and the value (..., hours, steps - 1, m) that each output then tends to."""
    load, outputs, _ = _response_columns(problem)
    maximised = check_series(y, problem)[..., outputs]
    targets = (maximised[..., 1:, :] - lags * maximised[..., :-1, :]) / (1 - lags)
    with np.errstate(divide="ignore"):
        return np.log(y[..., 1:, load]), targets


def response_loads(y: Array, lags: Array, problem: Problem) -> Array:
    """Log loads at which each output tends to each of `RESPONSE_SHARES` of the ceiling, shape (n, outputs * shares).

    y (n, hours, steps, outputs) are the hours of one control point, n times. NaN where no steps lie on both sides.
    """
    load, targets = responses(y, lags, problem)
    load, targets = load.reshape(len(y), -1), targets.reshape(len(y), -1, targets.shape[-1])
    order = np.argsort(targets, axis=1, kind="stable")
    values = _response_columns(problem)[2] * np.array(RESPONSE_SHARES)
    rows = [
        [
            np.interp(values, target[places], one[places], left=np.nan, right=np.nan)
            for target, places in zip(each.T, at.T, strict=True)
        ]
        for each, one, at in zip(targets, load, order, strict=True)
    ]
    found = np.reshape(rows, (len(y), -1))
    return np.where(np.isfinite(found), found, np.nan)


def _response_columns(problem: Problem) -> tuple[int, list[int], float]:
    """Positions of the load and of the maximised outputs, and these outputs' ceiling."""
    if not (problem.limited and problem.maximised) or problem.ceiling is None:
        raise InputError(
            f"the problem limits {problem.limited} and maximises {problem.maximised} with ceiling {problem.ceiling}; "
            "responses need at least one output of each kind, and a ceiling."
        )
    return problem.outputs.index(problem.limited[0]), problem.columns(problem.maximised), problem.ceiling


def _lag(output: Array, load: Array, ceiling: float) -> float:
    responsive = (output > RESPONSIVE[0] * ceiling) & (output < RESPONSIVE[1] * ceiling)
    both = responsive[:, 1:] & responsive[:, :-1]
    if both.sum() < FEWEST_RESPONSIVE or not np.ptp(output[responsive]):
        return np.nan
    now, last = output[:, 1:][both], output[:, :-1][both]
    order = np.argsort(load[:, 1:][both])

    def variation(lag: float) -> float:
        targets = (now - lag * last)[order] / (1 - lag)
        return float(np.abs(np.diff(targets)).sum() / np.ptp(targets))

    coarse = np.linspace(0, LARGEST_LAG, 100)
    start = coarse[np.argmin([variation(lag) for lag in coarse])]
    bounds = (max(0.0, start - 0.01), min(LARGEST_LAG, start + 0.01))
    return float(minimize_scalar(variation, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x)


def median_of(values: Array) -> Array:
    """Median over the last axis but one of what is not NaN; NaN without a warning where nothing is."""
    empty: NDArray[np.bool_] = np.all(np.isnan(values), axis=-2, keepdims=True)
    return np.where(empty[..., 0, :], np.nan, np.nanmedian(np.where(empty, 0.0, values), axis=-2))
