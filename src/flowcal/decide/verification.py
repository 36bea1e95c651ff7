"""Designs verified: performance and probability of failure from fresh hours of the simulator, at the worst X_e.

References
----------
.. [1] A. B. Owen, "Monte Carlo theory, methods and examples", 2013, https://artowen.su.domains/mc, section 8.9 (control
   variates).
.. [2] T. M. Ragonneau, "Model-Based Derivative-Free Optimization Methods and Software", PhD thesis, Hong Kong
   Polytechnic University, 2022, arXiv:2210.12018 (COBYQA).
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import Bounds, NonlinearConstraint, minimize

from flowcal.challenge import BOUNDS, CONTROL, SEED_MAX
from flowcal.decide.aleatory_plane import AleatoryPlane
from flowcal.decide.performance import Performance
from flowcal.decide.power_emulator import PowerEmulator
from flowcal.decide.severity import failure_levels
from flowcal.errors import InputError
from flowcal.infer.uncertainty import AleatoryDistribution
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.hours import total_power
from flowcal.simulate.simulator import Simulator

__all__ = ["compare_performance", "polish_design", "verified_performance"]

Array = NDArray[np.float64]

CLIMB, MOST_STEPS = 0.05, 80  # first radius of the trust region, and most control points tried


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

    Returns
    -------
    j : float
        [MW].
    standard_error : float
        [MW].

    Raises
    ------
    InputError
        If there are fewer than two hours.
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

    Parameters
    ----------
    f_a : AleatoryDistribution
    simulator : Simulator
    x_e : sequence of float, shape (3,)
    designs : sequence of control points
    hours : int
    random_seed : int
    runner : Runner, optional

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


def polish_design(
    f_a: AleatoryDistribution,
    simulator: Simulator,
    x_e: Sequence[float],
    x_c: Sequence[float],
    hours: int,
    random_seed: int,
    level: float | None = None,
    runner: Runner | None = None,
) -> Array:
    """The control point with the largest J about a design, climbed on the simulator itself [2]_.

    No emulator has a part in it, so it tells what the search has left unfound. Every control point is tried in the
    same hours, which serve for nothing else: what it gains has to be seen in fresh ones.

    Parameters
    ----------
    f_a : AleatoryDistribution
    simulator : Simulator
    x_e, x_c : sequence of float, shape (3,)
    hours : int
    random_seed : int
    level : float, optional
        The smallest failure level that is allowed.
    runner : Runner, optional

    Returns
    -------
    ndarray, shape (3,)
    """
    rng = np.random.default_rng([random_seed, 14])
    x, seeds = _hours_at(f_a, x_e, x_c, hours, rng)

    def loss(point: Array) -> float:
        x[:, -len(CONTROL) :] = np.clip(point, *BOUNDS)
        return -float(total_power(run_campaign(simulator, x, seeds, runner)).mean())

    def lowest(point: Array) -> float:
        return float(failure_levels(simulator, [x_e], [np.clip(point, *BOUNDS)], runner=runner).min())

    constraints = () if level is None else NonlinearConstraint(lowest, level, np.inf)
    options = {"initial_tr_radius": CLIMB, "final_tr_radius": CLIMB / 100, "maxfev": MOST_STEPS}
    cube = Bounds(*np.transpose([BOUNDS] * len(CONTROL)))
    result = minimize(loss, x_c, method="COBYQA", bounds=cube, constraints=constraints, options=options)
    best: Array = np.clip(result.x, *BOUNDS)
    return best


def _hours_at(
    f_a: AleatoryDistribution, x_e: Sequence[float], x_c: Sequence[float], hours: int, rng: np.random.Generator
) -> tuple[Array, NDArray[np.int64]]:
    """Inputs (n, 8) with X_a from f_a, and seeds (n,)."""
    x = np.column_stack([f_a.sample(hours, rng), np.tile(np.concatenate([x_e, x_c]), (hours, 1))])
    return x, rng.integers(1, SEED_MAX, hours, endpoint=True)
