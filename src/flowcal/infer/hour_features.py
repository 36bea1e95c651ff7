"""What is read off an hour: four features of each output, whatever the black box, and their means by control point."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flowcal.errors import InputError
from flowcal.infer.contrasts import hours_by_point
from flowcal.problem import Problem
from flowcal.simulate.simulator import check_series

__all__ = ["FEATURES", "MEMORY", "PooledFeatures", "hour_features", "pool_features"]

Array = NDArray[np.float64]

MEMORY = "lag-1 correlation of the root"
FEATURES = ("mean log", "mean root", "spread of the root", MEMORY)
FEWEST_HOURS = 0.8  # share of a control point's hours in which a feature must be finite to be used there
CONSTANT = 1e-12  # variance of a root below which it has no correlation


def hour_features(y: Array, problem: Problem) -> Array:
    """Features (n, outputs * 4) of hours y (n, steps, outputs), those of the first output first.

    They are the mean logarithm over the steps above 0 (NaN where there is none), and mean, standard deviation and lag-1
    correlation of the root. A factor common to two outputs leaves the difference of their mean logarithms, so that
    linear combinations of features can hold what ratios of outputs say.

    Examples
    --------
    >>> from flowcal.challenge import PROBLEM
    >>> y = np.full((2, 60, 6), 4.0) * [0.5, 0.5, 0.5, 1, 1, 1]
    >>> hour_features(y, PROBLEM).reshape(2, 6, 4)[0, 3].round(2).tolist()
    [1.39, 2.0, 0.0, 0.0]
    """
    y = check_series(y, problem)
    above = y > 0
    with np.errstate(invalid="ignore"):
        mean_log = np.log(np.where(above, y, 1)).sum(axis=1) / above.sum(axis=1)
    root = np.sqrt(y)
    mean = root.mean(axis=1)
    centred = root - mean[:, None]
    variance = np.square(centred).mean(axis=1)
    products = (centred[:, 1:] * centred[:, :-1]).mean(axis=1)
    correlation = products / np.maximum(variance, CONSTANT)
    return np.stack([mean_log, mean, np.sqrt(variance), correlation], axis=-1).reshape(len(y), -1)


@dataclass(frozen=True)
class PooledFeatures:
    """Observed hours of one control point: how many `hours` were used, which features are `kept`, and their mean."""

    x_c: tuple[float, ...]
    hours: int
    kept: NDArray[np.int64]
    mean: Array

    @property
    def output(self) -> NDArray[np.int64]:
        """Position of the output that each kept feature is of."""
        return self.kept // len(FEATURES)

    @property
    def relative(self) -> Array:
        """By how much each feature changes, per relative error of its output: the derivative by the output's log.

        A correlation does not depend on the scale of its output. It gets its own size, for an output that is wrong by
        one per cent may be as wrong in its memory.
        """
        kind = self.kept % len(FEATURES)
        change: Array = np.abs(self.mean) * np.array([0, 0.5, 0.5, 1])[kind] + (kind == 0)
        return change


def pool_features(observed: xr.Dataset, problem: Problem) -> list[PooledFeatures]:
    """Mean features of the observed hours by control point, of the hours that have them.

    Raises `InputError` if no hour at any point has a feature.
    """
    pooled = []
    for x_c, y in hours_by_point(observed, problem).items():
        features = hour_features(y, problem)
        kept = np.flatnonzero(np.isfinite(features).mean(axis=0) >= FEWEST_HOURS)
        whole = np.isfinite(features[:, kept]).all(axis=1)
        pooled.append(PooledFeatures(x_c, int(whole.sum()), kept, features[whole][:, kept].mean(axis=0)))
    if not any(point.mean.any() for point in pooled) or not problem.epistemic:
        raise InputError(
            f"the observed hours are calm, or there are no epistemic inputs ({problem.epistemic}); expected at least "
            "one of each: outputs above 0, and inputs to infer."
        )
    return pooled
