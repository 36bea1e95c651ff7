"""Which inputs matter: sweeps of one input at a time, and Sobol' indices with the seed as a ninth input.

References
----------
.. [1] T. Wang et al., "Data-driven Model Updating Solution for the NASA and DNV Challenge 2025", ESREL SRA-E 2025,
   section 3.1.
.. [2] A. Saltelli et al., "Variance based sensitivity analysis of model output. Design and estimator for the total
   sensitivity index", Computer Physics Communications 181(2), 2010.
"""

import warnings
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, sobol_indices, uniform

from flowcal.challenge import INPUTS, LOADS, SEED_MAX, SWEEP_BASE, SWEEP_SEED
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.hours import peaks, total_power
from flowcal.simulate.simulator import Simulator

__all__ = ["QUANTITIES", "seed_sweep", "sobol", "sweep_inputs"]

LEVELS = np.round(np.arange(11) / 10, 1)
SEEDS = np.arange(1, 11)

QUANTITIES = ("mean power", *(f"peak of {name}" for name in LOADS))
"""What the designs are judged by, hour by hour: the mean of y1 + y2 + y3, and the largest y4, y5, y6."""


def sweep_inputs(simulator: Simulator, runner: Runner | None = None) -> xr.Dataset:
    """Vary each input from 0 to 1 in steps of 0.1, all others at the paper's base point and seed [1]_.

    Returns
    -------
    Dataset
        y by input (8), level (11), time (60) and output (6).
    """
    x = np.tile(SWEEP_BASE, (len(INPUTS), len(LEVELS), 1))
    for position in range(len(INPUTS)):
        x[position, :, position] = LEVELS
    hours = run_campaign(simulator, x.reshape(-1, len(INPUTS)), np.full(x[..., 0].size, SWEEP_SEED), runner)
    y = hours.y.values.reshape(len(INPUTS), len(LEVELS), *hours.y.shape[1:])
    return _like(hours, y, input=list(INPUTS), level=LEVELS)


def seed_sweep(simulator: Simulator, runner: Runner | None = None) -> xr.Dataset:
    """Seeds 1 to 10 at the paper's base point [1]_.

    Returns
    -------
    Dataset
        y by seed (10), time (60) and output (6).
    """
    hours = run_campaign(simulator, np.tile(SWEEP_BASE, (len(SEEDS), 1)), SEEDS, runner)
    return _like(hours, hours.y.values, seed=SEEDS)


def sobol(
    simulator: Simulator, base_samples: int, resamples: int, random_seed: int, runner: Runner | None = None
) -> xr.Dataset:
    """First-order and total Sobol' indices [2]_ of the `QUANTITIES`, with 95 % bootstrap intervals.

    All inputs are uniform on [0, 1], and the seed is uniform over its range and counts as a ninth input.

    Parameters
    ----------
    simulator : Simulator
    base_samples : int
        Power of two; the simulator is run 11 times as often.
    resamples : int
        Bootstrap resamples.
    random_seed : int
    runner : Runner, optional

    Returns
    -------
    Dataset
        first_order and total by quantity (4), source (9: the inputs and 'seed') and bound ('estimate', 'low', 'high').
    """

    def quantities(unit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Columns of the nine-dimensional unit cube, (9, n) or (9, k, n), to quantities (4, ...)."""
        runs = np.moveaxis(unit, 0, -1)
        seed = 1 + np.floor(runs[..., 8] * SEED_MAX).clip(max=SEED_MAX - 1).astype(np.int64)
        hours = run_campaign(simulator, runs[..., :8].reshape(-1, 8), seed.ravel(), runner)
        values = np.vstack([total_power(hours), peaks(hours).sel(output=list(LOADS)).T])
        return values.reshape(len(QUANTITIES), *seed.shape)

    rng = np.random.default_rng(random_seed)
    indices = sobol_indices(func=quantities, n=base_samples, dists=[uniform()] * 9, rng=rng)
    with warnings.catch_warnings():  # an input without any effect has a constant bootstrap distribution
        warnings.simplefilter("ignore", DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        bootstrap = indices.bootstrap(confidence_level=0.95, n_resamples=resamples)
    dims = ("bound", "quantity", "source")
    return xr.Dataset(
        {
            "first_order": (dims, _with_interval(indices.first_order, bootstrap.first_order)),
            "total": (dims, _with_interval(indices.total_order, bootstrap.total_order)),
        },
        coords={"bound": ["estimate", "low", "high"], "quantity": list(QUANTITIES), "source": [*INPUTS, "seed"]},
        attrs={"runs": base_samples * 11},
    )


def _with_interval(estimate: NDArray[np.float64], bootstrap: Any) -> NDArray[np.float64]:
    """Estimate and interval; where the bootstrap never moved from the estimate, the interval is that point."""
    interval = bootstrap.confidence_interval
    return np.stack([estimate, *(np.where(np.isnan(end), estimate, end) for end in (interval.low, interval.high))])


def _like(hours: xr.Dataset, y: NDArray[np.float64], **axes) -> xr.Dataset:
    """The outputs on other axes than samples, with the same labels and attributes."""
    coordinates = {name: hours.coords[name] for name in ("time", "output", "unit")}
    return xr.Dataset({"y": ((*axes, "time", "output"), y)}, coords={**axes, **coordinates}, attrs=hours.attrs)
