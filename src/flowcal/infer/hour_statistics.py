"""Statistics of an hour: what an analyst would write down of the sixty minutes of its first load.

The other outputs tell nothing more of X_a: all loads of an hour are in proportion (`flowcal.infer.contrasts`), and
powers follow them.
"""

import numpy as np
from numpy.typing import NDArray

from flowcal.challenge import LOADS, OUTPUTS, TIME_STEPS

__all__ = ["hour_statistics"]

LAGS = (1, 2, 4, 8)
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
FLOOR = 1e-3  # so that what does not vary has a logarithm


def hour_statistics(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Level, spread, memory and quantiles of the first load's root, which evens out that loads grow with a square.

    Parameters
    ----------
    y : ndarray, shape (n, 60, 6)

    Returns
    -------
    ndarray, shape (n, 14)
        Mean and its logarithm; logarithms of the standard deviation, of that over the mean and of the typical step from
        minute to minute; autocorrelations at lags 1, 2, 4 and 8; smallest value, quartiles, largest value.
    """
    root = np.sqrt(y[..., OUTPUTS.index(LOADS[0])])
    mean = root.mean(axis=1)
    centred = root - mean[:, None]
    variance = np.square(centred).mean(axis=1)
    step = np.sqrt(np.square(np.diff(root, axis=1)).mean(axis=1))
    log_mean, log_spread, log_step = (np.log(part + FLOOR) for part in (mean, np.sqrt(variance), step))
    memory = [(centred[:, lag:] * centred[:, :-lag]).sum(axis=1) / TIME_STEPS / (variance + FLOOR**2) for lag in LAGS]
    quantiles = np.quantile(root, QUANTILES, axis=1)
    return np.column_stack([mean, log_mean, log_spread, log_spread - log_mean, log_step, *memory, *quantiles])
