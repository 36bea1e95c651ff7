"""What the hours of one control point say about each other: contrasts between channels that anybody would try first.

How one load compares with another, and how a power answers to a load: neither needs to know what the channels mean.
Medians over minutes and hours stand the calm minutes that means do not.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from flowcal.challenge import LOADS, OUTPUTS, POWERS, RATED_POWER
from flowcal.errors import InputError

__all__ = ["load_contrasts", "response_lags", "response_levels", "responses"]

LEVELS = (0.15, 0.45, 0.75)
"""Where a response is read off, as shares of the rated power."""

RESPONSIVE = (0.02, 0.98)
"""Between these shares of the rated power a power can follow a load."""

_LOADS = [OUTPUTS.index(name) for name in LOADS]
_POWERS = [OUTPUTS.index(name) for name in POWERS]


def load_contrasts(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over hours and minutes of the logarithm of each load's ratio to the first.

    Parameters
    ----------
    y : ndarray, shape (..., hours, 60, 6)
        Hours of one control point.

    Returns
    -------
    ndarray, shape (..., 2)
        NaN where no minute has both loads above 0.

    Examples
    --------
    >>> y = np.ones((100, 60, 6)) * [1, 1, 1, 4, 8, 2]
    >>> load_contrasts(y).round(2)
    array([ 0.69, -0.69])
    """
    loads = y[..., _LOADS]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log(loads[..., 1:] / loads[..., :1])
    ratios = np.where(np.isfinite(ratios), ratios, np.nan)
    flat = ratios.reshape(*ratios.shape[:-3], -1, ratios.shape[-1])
    return _median(flat)


def response_lags(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of its last value each power keeps: the share at which what is new in it becomes a curve over the load.

    A power that follows a load with a first-order lag a has y(t) - a y(t - 1) = (1 - a) g(load(t)). At the right a the
    left side, sorted by the load, is smooth; at any other it is not. The total variation of it tells.

    Parameters
    ----------
    y : ndarray, shape (hours, 60, 6)
        Observed hours of one control point.

    Returns
    -------
    ndarray, shape (3,)
        A value in [0, 0.99] for each power.

    Raises
    ------
    InputError
        If hardly any minutes have a power between none and the rated one.
    """
    return np.array([_lag(y[..., power], y[..., _LOADS[0]]) for power in _POWERS])


def responses(y: NDArray[np.float64], lags: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each power strives for against the first load, minute by minute.

    Parameters
    ----------
    y : ndarray, shape (..., hours, 60, 6)
    lags : ndarray, shape (3,)
        See `response_lags`.

    Returns
    -------
    log_load : ndarray, shape (..., hours, 59)
        Logarithm of the first load.
    strives : ndarray, shape (..., hours, 59, 3)
        What the powers strive for then [MW].
    """
    powers = y[..., _POWERS]
    strives = (powers[..., 1:, :] - lags * powers[..., :-1, :]) / (1 - lags)
    with np.errstate(divide="ignore"):
        return np.log(y[..., 1:, _LOADS[0]]), strives


def response_levels(y: NDArray[np.float64], lags: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of the first load at which each power strives for `LEVELS` of the rated power.

    Parameters
    ----------
    y : ndarray, shape (n, hours, 60, 6)
        Hours of one control point, n times.
    lags : ndarray, shape (3,)
        See `response_lags`.

    Returns
    -------
    ndarray, shape (n, 9)
        NaN where no minutes lie on both sides of a level.
    """
    load, strives = responses(y, lags)
    load = load.reshape(len(y), -1)
    strives = strives.reshape(len(y), -1, len(_POWERS))
    order = np.argsort(strives, axis=1, kind="stable")
    levels = RATED_POWER * np.array(LEVELS)
    rows = [
        [
            np.interp(levels, power[places], one[places], left=np.nan, right=np.nan)
            for power, places in zip(each.T, at.T, strict=True)
        ]
        for each, one, at in zip(strives, load, order, strict=True)
    ]
    found = np.reshape(rows, (len(y), -1))
    return np.where(np.isfinite(found), found, np.nan)


def _lag(power: NDArray[np.float64], load: NDArray[np.float64]) -> float:
    responsive = (power > RESPONSIVE[0] * RATED_POWER) & (power < RESPONSIVE[1] * RATED_POWER)
    both = responsive[:, 1:] & responsive[:, :-1]
    if both.sum() < 10:
        raise InputError(
            f"{both.sum()} minutes have a power between {RESPONSIVE} of the rated one; needed are at least 10 to tell "
            "how power follows load."
        )
    now, last = power[:, 1:][both], power[:, :-1][both]
    order = np.argsort(load[:, 1:][both])

    def variation(lag: float) -> float:
        strives = (now - lag * last)[order] / (1 - lag)
        return float(np.abs(np.diff(strives)).sum() / np.ptp(strives))

    coarse = np.linspace(0, 0.99, 100)
    start = coarse[np.argmin([variation(lag) for lag in coarse])]
    bounds = (max(0.0, start - 0.01), min(0.99, start + 0.01))
    return float(minimize_scalar(variation, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x)


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over the last axis but one of what is not NaN; NaN without a warning where nothing is."""
    empty: NDArray[np.bool_] = np.all(np.isnan(values), axis=-2, keepdims=True)
    return np.where(empty[..., 0, :], np.nan, np.nanmedian(np.where(empty, 0.0, values), axis=-2))
