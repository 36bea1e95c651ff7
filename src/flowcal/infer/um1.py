"""The paper's two-step model updating: X_a from all hours first, then X_e at each control point.

Step 1 trains one conditional flow for X_a on simulations with every input uniform and the seed fixed, and pools its
posterior draws over all observed hours: they are f_a. Step 2 trains a flow for X_e at each control point, with X_a
drawn from step 1, and pools its draws over the hours of that point. Three points are chosen and an interval is read off
for each X_e: together they are E. Where the paper chose by hand, rules stand here.

References
----------
.. [1] T. Wang et al., "Data-driven Model Updating Solution for the NASA and DNV Challenge 2025", ESREL SRA-E 2025,
   doi:10.3850/978-981-94-3281-3_ESREL-SRA-E2025-P5658-cd, sections 2, 3.2 and 3.3.
"""

from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import ALEATORY, EPISTEMIC, INPUTS, SWEEP_SEED
from flowcal.errors import InputError
from flowcal.infer.models import BoundedKernelDensity, EpistemicBox, PooledDraws
from flowcal.infer.posteriors import Architecture, HourPosterior
from flowcal.infer.train import Training
from flowcal.problem import SEED_MAX
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator

__all__ = [
    "ALEATORY_FLOW",
    "EPISTEMIC_FLOW",
    "TRAINING",
    "aleatory_runs",
    "epistemic_runs",
    "highest_density_box",
    "infer_aleatory",
    "infer_epistemic",
    "infer_set",
    "joint_mode",
]

Seeds = Literal["fixed", "fresh"]
"""The random seed of training simulations: one for all, as the paper has it, or another for each run."""

ALEATORY_FLOW = Architecture(ALEATORY, reads_control=True, scaling="logarithm")
"""Step 1: the condition is the hour and its control point; all else is the paper's."""

EPISTEMIC_FLOW = Architecture(EPISTEMIC, reads_control=False, scaling="logarithm")
"""Step 2: each control point has a flow of its own, so that there is no control point to read."""

TRAINING = Training(epochs=15, batch_size=64, learning_rate=5e-3)
"""How both are trained; a profile sets the epochs."""


def aleatory_runs(
    simulator: Simulator, size: int, seeds: Seeds, random_seed: int, runner: Runner | None = None
) -> xr.Dataset:
    """Simulations of step 1: every input uniform on [0, 1] [1]_.

    Parameters
    ----------
    simulator : Simulator
    size : int
        Number of runs; the paper has 30,000.
    seeds : {'fixed', 'fresh'}
        The simulator's seed: the same for all runs, or another for each.
    random_seed : int
    runner : Runner, optional

    Returns
    -------
    Dataset
        x, seed and y by sample.

    Raises
    ------
    InputError
        If size is below 1, or seeds is another word.
    """
    rng = np.random.default_rng([random_seed, 1])
    x = rng.random((_check_size(size), len(INPUTS)))
    return run_campaign(simulator, x, _seeds(seeds, size, rng), runner, all_needed=False)


def epistemic_runs(
    simulator: Simulator,
    x_a: ArrayLike,
    x_c: ArrayLike,
    size: int,
    seeds: Seeds,
    random_seed: int,
    runner: Runner | None = None,
) -> xr.Dataset:
    """Simulations of step 2 at one control point: X_a from step 1, X_e uniform, X_c as observed [1]_.

    Parameters
    ----------
    simulator : Simulator
    x_a : array_like, shape (n, 2)
        Draws of X_a from step 1; they are gone through in random order, again and again if `size` exceeds them.
    x_c : array_like, shape (3,)
    size, seeds, random_seed, runner
        As for `aleatory_runs`; the paper has 10,000 runs for ten control points together.

    Returns
    -------
    Dataset
        x, seed and y by sample.

    Raises
    ------
    InputError
        If there is no draw of X_a, size is below 1, or seeds is another word.
    """
    rng = np.random.default_rng([random_seed, 2])
    x_a = np.asarray(x_a, np.float64)
    if x_a.ndim != 2 or len(x_a) < 1 or x_a.shape[1] != len(ALEATORY):
        raise InputError(f"x_a has shape {x_a.shape}; expected (n, {len(ALEATORY)}) with at least one draw.")
    rounds = -(-_check_size(size) // len(x_a))
    picked = np.concatenate([rng.permutation(len(x_a)) for _ in range(rounds)])[:size]
    x = np.column_stack([x_a[picked], rng.random((size, len(EPISTEMIC))), np.tile(x_c, (size, 1))])
    return run_campaign(simulator, x, _seeds(seeds, size, rng), runner, all_needed=False)


def infer_aleatory(posterior: HourPosterior, hours: xr.Dataset, draws: int, random_seed: int) -> xr.Dataset:
    """The end of step 1: draws for every hour, in one heap [1]_; `PooledDraws.from_dataset` makes f_a of them.

    Parameters
    ----------
    posterior : HourPosterior
        Of X_a.
    hours : Dataset
        Observed hours.
    draws : int
        For each hour; the paper has 10.
    random_seed : int

    Returns
    -------
    Dataset
        x_a by draw and parameter, and the attribute hours.

    Raises
    ------
    InputError
        If the hours cannot be used.
    """
    drawn = posterior.sample((draws,), hours, np.random.default_rng(random_seed))
    return PooledDraws(drawn.reshape(-1, len(ALEATORY)), hours.sizes["sample"]).to_dataset()


def infer_epistemic(posterior: HourPosterior, hours: xr.Dataset, draws: int, random_seed: int) -> xr.Dataset:
    """The end of step 2: draws for every hour of one control point, in one heap [1]_.

    Parameters
    ----------
    posterior : HourPosterior
        Of X_e, trained at this control point.
    hours : Dataset
        Observed hours of the control point.
    draws : int
        For each hour.
    random_seed : int

    Returns
    -------
    Dataset
        x_e by draw (hours * draws) and parameter (3).

    Raises
    ------
    InputError
        If the hours cannot be used.
    """
    drawn = posterior.sample((draws,), hours, np.random.default_rng(random_seed))
    heap = drawn.reshape(-1, len(EPISTEMIC))
    return xr.Dataset({"x_e": (("draw", "parameter"), heap)}, {"parameter": list(EPISTEMIC)})


def infer_set(draws: ArrayLike, level: float) -> dict[str, list[float]]:
    """E, and the best guess within it, from pooled draws of X_e.

    Parameters
    ----------
    draws : array_like, shape (n, 3)
    level : float
        Share of the draws in each interval of E.

    Returns
    -------
    dict
        'low', 'high' and 'best_guess', three numbers each.

    Raises
    ------
    InputError
        If there is no draw, the level leaves (0, 1], or the box holds no draw, which takes a level of less than 2/3.
    """
    draws = np.asarray(draws, np.float64)
    box = highest_density_box(draws, level)
    within = draws[box.contains(draws)]
    if not len(within):
        raise InputError(f"level is {level}, and no draw lies in all three of its intervals; expected a larger one.")
    low, high = box.bounding_box
    return {"low": low.tolist(), "high": high.tolist(), "best_guess": joint_mode(within).tolist()}


def highest_density_box(draws: ArrayLike, level: float) -> EpistemicBox:
    """E as the box of the shortest intervals that each hold a share `level` of the draws of one input.

    Parameters
    ----------
    draws : array_like, shape (n, 3)
        Pooled posterior draws of X_e.
    level : float
        Share of the draws in each interval, above 0 and at most 1.

    Returns
    -------
    EpistemicBox

    Raises
    ------
    InputError
        If there is no draw, or the level leaves (0, 1].

    Examples
    --------
    >>> draws = np.column_stack([np.linspace(0, 1, 101) ** 2] * 3)
    >>> highest_density_box(draws, level=0.5).bounding_box.round(2).tolist()
    [[0.0, 0.0, 0.0], [0.24, 0.24, 0.24]]
    """
    if not 0 < level <= 1:
        raise InputError(f"level is {level}; expected a share above 0 and at most 1.")
    ordered = np.sort(np.asarray(draws, np.float64), axis=0)
    if ordered.ndim != 2 or len(ordered) < 1:
        raise InputError(f"draws have shape {ordered.shape}; expected (n, {len(EPISTEMIC)}) with at least one draw.")
    held = max(1, round(level * len(ordered)))
    widths = ordered[held - 1 :] - ordered[: len(ordered) - held + 1]
    first, columns = widths.argmin(axis=0), np.arange(ordered.shape[1])
    return EpistemicBox(ordered[first, columns], ordered[first + held - 1, columns])


def joint_mode(draws: ArrayLike, candidates: int = 1000) -> NDArray[np.float64]:
    """The best guess: where the kernel density of draws is largest, among randomly picked ones of them.

    Parameters
    ----------
    draws : array_like, shape (n, d)
    candidates : int
        How many are tried at most.

    Returns
    -------
    ndarray, shape (d,)
    """
    draws = np.asarray(draws, np.float64)
    tried = draws[np.random.default_rng(1).permutation(len(draws))[:candidates]]
    densest: NDArray[np.float64] = tried[BoundedKernelDensity(draws).log_prob(tried).argmax()]
    return densest


def _seeds(seeds: Seeds, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if seeds not in ("fixed", "fresh"):
        raise InputError(f"seeds is {seeds!r}; expected 'fixed' or 'fresh'.")
    return np.full(size, SWEEP_SEED) if seeds == "fixed" else rng.integers(1, SEED_MAX, size, endpoint=True)


def _check_size(size: int) -> int:
    if size < 1:
        raise InputError(f"size is {size}; expected a whole number of runs from 1 up.")
    return size
