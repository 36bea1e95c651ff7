"""Which inputs matter: sweeps of one input at a time, and Sobol' indices with the seed as one more input.

References
----------
.. [1] T. Wang et al., "Data-driven Model Updating Solution for the NASA and DNV Challenge 2025", ESREL SRA-E 2025,
   doi:10.3850/978-981-94-3281-3_ESREL-SRA-E2025-P5658-cd, section 3.1.
.. [2] A. Saltelli et al., "Variance based sensitivity analysis of model output. Design and estimator for the total
   sensitivity index", Computer Physics Communications 181(2), 2010, doi:10.1016/j.cpc.2009.09.018.
"""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import sobol_indices
from scipy.stats.qmc import Sobol

from flowcal.challenge import INPUTS, SWEEP_BASE, SWEEP_SEED
from flowcal.errors import InputError
from flowcal.problem import SEED_MAX, check_counts, rng_of
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator, objective, peaks, problem_of

__all__ = ["seed_sweep", "sobol", "sweep_inputs"]

Array = NDArray[np.float64]

LEVELS = np.round(np.arange(11) / 10, 1)
SEEDS = np.arange(1, 11)


def sweep_inputs(simulator: Simulator, runner: Runner | None = None) -> xr.Dataset:
    """Series y by input, level, time and output: each input from 0 to 1 in steps of 0.1, others at the base point [1]_.

    Examples
    --------
    >>> from flowcal.simulate.windfarm import WindFarm
    >>> sweeps = sweep_inputs(WindFarm())
    >>> dict(sweeps.y.sizes)
    {'input': 8, 'level': 11, 'time': 60, 'output': 6}
    """
    x = np.tile(SWEEP_BASE, (len(INPUTS), len(LEVELS), 1))
    for position in range(len(INPUTS)):
        x[position, :, position] = LEVELS
    hours = run_campaign(simulator, x.reshape(-1, len(INPUTS)), np.full(x[..., 0].size, SWEEP_SEED), runner)
    y = hours.y.values.reshape(len(INPUTS), len(LEVELS), *hours.y.shape[1:])
    return _like(hours, y, input=list(INPUTS), level=LEVELS)


def seed_sweep(simulator: Simulator, runner: Runner | None = None) -> xr.Dataset:
    """Series y by seed, time and output: seeds 1 to 10 at the paper's base point [1]_."""
    hours = run_campaign(simulator, np.tile(SWEEP_BASE, (len(SEEDS), 1)), SEEDS, runner)
    return _like(hours, hours.y.values, seed=SEEDS)


def sobol(
    simulator: Simulator, base_samples: int, resamples: int, random_seed: int, runner: Runner | None = None
) -> xr.Dataset:
    """First-order and total Sobol' indices [2]_ of what designs are judged by, with 95 % bootstrap intervals.

    These are the mean of all maximised outputs together and the peak of each limited output. All inputs are uniform on
    [0, 1]; the seed is uniform over its range and counts as one more input.

    The simulator is run `base_samples` times, a power of two, for each input, for the seed, and twice more. The
    dataset has first_order and total by quantity, source (the inputs and 'seed') and bound ('estimate', 'low',
    'high').
    """
    check_counts(base_samples=base_samples, resamples=resamples)
    if base_samples.bit_count() != 1:
        raise InputError(f"base_samples is {base_samples}; expected a power of two, such as 1024.")
    problem, rng = problem_of(simulator), rng_of(random_seed)
    sources = [*problem.inputs, "seed"]
    unit = Sobol(2 * len(sources), rng=rng).random(base_samples)
    f = _quantities_of(_saltelli_design(*np.split(unit, 2, axis=1)), simulator, runner)
    estimate = _indices(f)
    picked = rng.integers(0, base_samples, (resamples, base_samples))
    interval = np.quantile([_indices(f[..., rows]) for rows in picked], [0.025, 0.975], axis=0)
    first_order, total = np.moveaxis(np.stack([estimate, *interval]), 1, 0)
    dims = ("bound", "quantity", "source")
    quantities = ["mean power", *(f"peak of {name}" for name in problem.limited)]
    return xr.Dataset(
        {"first_order": (dims, first_order), "total": (dims, total)},
        coords={"bound": ["estimate", "low", "high"], "quantity": quantities, "source": sources},
        attrs={"runs": f[0].size},
    )


def _saltelli_design(a: Array, b: Array) -> Array:
    """Points A, B, and A with one column at a time from B: (2 + columns, n, columns) from two samples (n, columns)."""
    mixed = np.repeat(a[None], a.shape[1], axis=0)
    for column in range(a.shape[1]):
        mixed[column, :, column] = b[:, column]
    return np.concatenate([a[None], b[None], mixed])


def _quantities_of(unit: Array, simulator: Simulator, runner: Runner | None) -> Array:
    """Quantities (quantities, blocks, n) at points (blocks, n, inputs + 1), whose last coordinate is for the seed."""
    problem, points = problem_of(simulator), unit.reshape(-1, unit.shape[2])
    seed = 1 + np.floor(points[:, -1] * SEED_MAX).astype(np.int64)
    hours = run_campaign(simulator, points[:, :-1], seed, runner)
    values = np.vstack([objective(hours, problem), peaks(hours).sel(output=list(problem.limited)).T])
    return values.reshape(len(values), *unit.shape[:2])


def _indices(f: Array) -> Array:
    """First-order and total indices (2, quantities, columns) from quantities (quantities, 2 + columns, n)."""
    evaluated = {"f_A": f[:, 0], "f_B": f[:, 1], "f_AB": np.moveaxis(f[:, 2:], 1, 0)}
    indices = sobol_indices(func=evaluated, n=f.shape[2])
    return np.stack([indices.first_order, indices.total_order])


def _like(hours: xr.Dataset, y: Array, **axes: ArrayLike) -> xr.Dataset:
    """The outputs on other axes than samples, with the same labels and attributes."""
    coordinates = {name: hours.coords[name] for name in ("time", "output", "unit")}
    return xr.Dataset({"y": ((*axes, "time", "output"), y)}, coords={**axes, **coordinates}, attrs=hours.attrs)
