"""Contrasts between the limited outputs of the hours of one control point, which anybody would try first.

They are medians over steps and hours, which calm steps do not disturb as they do means.
"""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flowcal.problem import Problem
from flowcal.simulate.simulator import SERIES, check_series, hours_of

__all__ = ["hours_by_point", "output_contrasts"]

Array = NDArray[np.float64]


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
    return _median_of(ratios.reshape(*ratios.shape[:-3], ratios.shape[-3] * ratios.shape[-2], ratios.shape[-1]))


def _median_of(values: Array) -> Array:
    """Median over the last axis but one of what is not NaN; NaN without a warning where nothing is."""
    empty: NDArray[np.bool_] = np.all(np.isnan(values), axis=-2, keepdims=True)
    return np.where(empty[..., 0, :], np.nan, np.nanmedian(np.where(empty, 0.0, values), axis=-2))
