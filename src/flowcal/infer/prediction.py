"""What an uncertainty model says hours will look like, and whether observed hours do.

References
----------
.. [1] A. Gelman, X.-L. Meng and H. Stern, "Posterior predictive assessment of model fitness via realized
   discrepancies", Statistica Sinica 6, 1996.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from flowcal.challenge import SEED_MAX
from flowcal.errors import InputError
from flowcal.infer.uncertainty import UncertaintyModel
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.hours import peaks
from flowcal.simulate.simulator import Simulator

__all__ = ["predict_hours", "predictive_levels"]


DIGITS = 6  # decimals that are compared, for files round what they print


def predict_hours(
    model: UncertaintyModel,
    simulator: Simulator,
    x_c: Sequence[float],
    hours: int,
    random_seed: int,
    runner: Runner | None = None,
) -> xr.Dataset:
    """Hours at a control point with X_a from f_a, X_e uniform in E and a seed of its own each.

    Parameters
    ----------
    model : UncertaintyModel
    simulator : Simulator
    x_c : sequence of float, shape (3,)
    hours : int
    random_seed : int
    runner : Runner, optional

    Returns
    -------
    Dataset
        x, seed and y by sample.

    Raises
    ------
    InputError
        If hours is below 1.

    Examples
    --------
    >>> from flowcal.infer.uncertainty import EpistemicBox, PooledDraws
    >>> from flowcal.simulate.windfarm import WindFarm
    >>> f_a = PooledDraws(np.random.default_rng(1).random((100, 2)), hours=100)
    >>> model = UncertaintyModel(f_a, EpistemicBox([0.26, 0.5, 0.0], [0.41, 0.6, 0.5]))
    >>> hours = predict_hours(model, WindFarm(), [0.533, 0.666, 0.5], hours=10, random_seed=1)
    >>> dict(hours.y.sizes)
    {'sample': 10, 'time': 60, 'output': 6}
    """
    if hours < 1:
        raise InputError(f"hours is {hours}; needed is a whole number from 1 up.")
    rng = np.random.default_rng(random_seed)
    x = np.column_stack([model.f_a.sample(hours, rng), model.e.sample(hours, rng), np.tile(x_c, (hours, 1))])
    return run_campaign(simulator, x, rng.integers(1, SEED_MAX, hours, endpoint=True), runner)


def predictive_levels(observed: xr.Dataset, predicted: xr.Dataset, rng: np.random.Generator) -> xr.DataArray:
    """Where the mean and the peak of every observed hour lie among the predicted ones [1]_.

    Parameters
    ----------
    observed, predicted : Dataset
        y by sample, of one control point.
    rng : Generator
        Splits ties.

    Returns
    -------
    DataArray
        By quantity ('mean', 'peak'), sample and output, the share of predicted hours below; ties, as at a power's upper
        limit, are split at random, whatever stands beyond six decimals. Uniform where the prediction is right.
    """
    levels = []
    for quantity in (lambda hours: hours.y.mean("time"), peaks):
        seen, expected = (quantity(hours).round(DIGITS) for hours in (observed, predicted))
        expected = np.sort(expected.values, axis=0)
        below, upto = (
            np.column_stack([np.searchsorted(expected[:, i], seen.values[:, i], side) for i in range(seen.shape[1])])
            for side in ("left", "right")
        )
        levels.append(seen.copy(data=(below + rng.random(below.shape) * (upto - below)) / len(expected)))
    return xr.concat(levels, xr.Variable("quantity", ["mean", "peak"])).rename("level")
