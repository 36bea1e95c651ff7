"""Designs verified: performance and probability of failure from fresh hours of the simulator, at the worst X_e.

References
----------
.. [1] A. B. Owen, "Monte Carlo theory, methods and examples", 2013, section 8.9 (control variates).
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flowcal.challenge import SEED_MAX
from flowcal.decide.aleatory_plane import AleatoryPlane
from flowcal.decide.performance import Performance
from flowcal.decide.power_emulator import PowerEmulator
from flowcal.errors import InputError
from flowcal.infer.uncertainty import AleatoryDistribution
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.hours import total_power
from flowcal.simulate.simulator import Simulator

__all__ = ["compare_performance", "verified_performance"]

Array = NDArray[np.float64]


def verified_performance(
    emulator: PowerEmulator,
    performance: Performance,
    plane: AleatoryPlane,
    simulator: Simulator,
    x_e: Sequence[float],
    x_c: Sequence[float],
    hours: int,
    random_seed: int,
    runner: Runner | None = None,
) -> tuple[float, float]:
    """J [MW] of a design from fresh hours, with its standard error.

    The emulator serves as control variate [1]_: simulated is only what it misses, so that the error is a tenth of
    what the hours alone would give; a wrong emulator makes the error larger, not the value wrong.

    Parameters
    ----------
    emulator : PowerEmulator
    performance : Performance
        Tabulated from it under `plane`'s f_a.
    plane : AleatoryPlane
    simulator : Simulator
    x_e, x_c : sequence of float, shape (3,)
    hours : int
    random_seed : int
    runner : Runner, optional
    """
    if hours < 2:
        raise InputError(f"hours is {hours}; needed is a whole number from 2 up.")
    rng = np.random.default_rng([random_seed, 12])
    x, seeds = _hours_at(plane.f_a, x_e, x_c, hours, rng)
    missed = total_power(run_campaign(simulator, x, seeds, runner)).values - emulator.expected(x).sum(axis=1)
    value = performance([x_e], [x_c])[0] + missed.mean()
    return float(value), float(missed.std(ddof=1) / np.sqrt(hours))


def compare_performance(
    f_a: AleatoryDistribution,
    simulator: Simulator,
    x_e: Sequence[float],
    designs: Sequence[Sequence[float]],
    hours: int,
    random_seed: int,
    runner: Runner | None = None,
) -> xr.Dataset:
    """J [MW] of several designs at one X_e, in hours with the same X_a and seeds.

    Returns
    -------
    Dataset
        By design: 'j'; its 'difference' from that of the first one, with the 'standard_error' of that difference.
    """
    rng = np.random.default_rng([random_seed, 13])
    x, seeds = _hours_at(f_a, x_e, designs[0], hours, rng)
    totals = []
    for x_c in designs:
        x[:, -len(x_c) :] = x_c
        totals.append(total_power(run_campaign(simulator, x, seeds, runner)).values)
    differences = np.array(totals) - totals[0]
    return xr.Dataset(
        {
            "j": ("design", np.mean(totals, axis=1)),
            "difference": ("design", differences.mean(axis=1)),
            "standard_error": ("design", differences.std(axis=1, ddof=1) / np.sqrt(hours)),
        }
    )


def _hours_at(
    f_a: AleatoryDistribution, x_e: Sequence[float], x_c: Sequence[float], hours: int, rng: np.random.Generator
) -> tuple[Array, NDArray[np.int64]]:
    """Inputs (n, 8) with X_a from f_a, and seeds (n,)."""
    x = np.column_stack([f_a.sample(hours, rng), np.tile(np.concatenate([x_e, x_c]), (hours, 1))])
    return x, rng.integers(1, SEED_MAX, hours, endpoint=True)
