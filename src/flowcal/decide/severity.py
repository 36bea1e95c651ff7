"""Severity: one number an hour that decides the peaks of all loads.

Three regularities of the black box, found by simulation and tested in `check_severity` for whatever box is used:

- the quotient of two loads' peaks depends on neither X_a nor the seed;
- for a given seed the root of a peak is linear in X_a;
- at X_a2 = 0 the seed is without effect.

So the root of every peak is a scale, which (X_e, X_c) decide, times the hour's severity X_a1 + X_a2 Z, where Z is all
that a seed contributes. A load reaches its threshold where the severity reaches a level, and one run tells that level.

References
----------
.. [1] S. Coles, "An Introduction to Statistical Modeling of Extreme Values", Springer, 2001,
   doi:10.1007/978-1-4471-3675-0, chapter 4.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import INPUTS, LOADS, OUTPUTS, SEED_MAX, THRESHOLDS
from flowcal.errors import FlowcalError, InputError
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator

__all__ = ["Severity", "SeverityError", "check_severity", "failure_levels", "measure_severity"]

Array = NDArray[np.float64]

FEWEST = 200  # seeds from which a tail can be told
TAIL = 0.1  # share of the seeds that the tail is fitted to
SHORTEST = 1e-9  # mean excess over the start of the tail
GENTLE = (1.0, 0.0)  # X_a without noise
NOISY = (0.5, 1.0)  # X_a with as much noise as there can be
LOAD_COLUMNS = [OUTPUTS.index(load) for load in LOADS]


class SeverityError(FlowcalError):
    """The peaks of this black box are not decided by one number an hour."""


class Severity:
    """The distribution of an hour's severity X_a1 + X_a2 Z given X_a.

    Parameters
    ----------
    noise : array_like, shape (m,)
        Z of m seeds, at least 200. Beyond nine tenths of them an exponential tail goes on [1]_, which is on the safe
        side of the lighter one that a largest value of so few terms has.

    Raises
    ------
    InputError
        If there are fewer than 200 numbers, or one is not finite.

    Examples
    --------
    >>> severity = Severity(np.random.default_rng(1).gumbel(0.17, 0.03, 2000))
    >>> severity.exceedance([[0.5, 0.5], [0.5, 0.0]], 0.6).round(2)
    array([0.3, 0. ])
    """

    def __init__(self, noise: ArrayLike) -> None:
        noise = np.sort(np.asarray(noise, np.float64))
        if noise.ndim != 1 or len(noise) < FEWEST or not np.isfinite(noise).all():
            raise InputError(f"noise has shape {noise.shape}; needed are at least {FEWEST} finite numbers.")
        self.noise = noise
        self._shares = 1 - (np.arange(len(noise)) + 0.5) / len(noise)
        self._start = np.quantile(noise, 1 - TAIL)
        self._excess = max(np.maximum(noise - self._start, 0).mean() / TAIL, SHORTEST)

    @property
    def identity(self) -> dict[str, list[float]]:
        """What decides it."""
        return {"noise": self.noise.tolist()}

    def survival(self, z: ArrayLike) -> Array:
        """Probability that Z exceeds a value.

        Parameters
        ----------
        z : array_like

        Returns
        -------
        ndarray
            Of the same shape.
        """
        z = np.asarray(z, np.float64)
        beyond = TAIL * np.exp(-np.maximum(z - self._start, 0) / self._excess)
        shares: Array = np.where(z > self._start, beyond, np.interp(z, self.noise, self._shares, left=1.0))
        return shares

    def exceedance(self, x_a: ArrayLike, level: ArrayLike) -> Array:
        """Probability that the severity of an hour exceeds a level.

        Parameters
        ----------
        x_a : array_like, shape (n, 2)
        level : float or array_like, shape (n,)
            One for all, or one each.

        Returns
        -------
        ndarray, shape (n,)
        """
        first, second = np.asarray(x_a, np.float64).T
        margin = level - first
        z = np.divide(margin, second, out=np.zeros_like(margin), where=second > 0)
        return np.where(second > 0, self.survival(z), margin < 0)


def measure_severity(
    simulator: Simulator,
    x_e: Sequence[float],
    x_c: Sequence[float],
    runs: int,
    rng: np.random.Generator,
    runner: Runner | None = None,
) -> Severity:
    """Z of as many seeds, from hours simulated at one X_e and X_c.

    Parameters
    ----------
    simulator : Simulator
    x_e, x_c : sequence of float, shape (3,)
    runs : int
        One of them without noise, a seed each.
    rng : Generator
    runner : Runner, optional

    Returns
    -------
    Severity

    Raises
    ------
    InputError
        If runs are no more than 200.
    SeverityError
        If all loads are 0 without noise.
    """
    if runs <= FEWEST:
        raise InputError(f"runs is {runs}; needed are more than {FEWEST}.")
    seeds = rng.integers(1, SEED_MAX, runs - 1, endpoint=True)
    return Severity(_noise(simulator, np.concatenate([x_e, x_c]), seeds, runner))


def check_severity(
    simulator: Simulator, runs: int, tolerance: float, rng: np.random.Generator, runner: Runner | None = None
) -> float:
    """Hold the regularities against simulations with random X_a, X_e and X_c.

    Parameters
    ----------
    simulator : Simulator
    runs : int
        Whose roots of peaks are predicted from their seed's Z, which is measured at X_e and X_c of 0.5.
    tolerance : float
        Largest error that is let pass, as a share of the root of the peak.
    rng : Generator
    runner : Runner, optional

    Returns
    -------
    float
        The largest error.

    Raises
    ------
    SeverityError
        If it exceeds the tolerance: reliability has to be had from simulations alone then.
    """
    seeds = rng.integers(1, SEED_MAX, runs, endpoint=True)
    noise = _noise(simulator, np.full(6, 0.5), seeds, runner)
    x = rng.random((runs, len(INPUTS)))
    severity = np.maximum(x[:, 0] + x[:, 1] * noise, 0)[:, None]
    roots = _root_peaks(simulator, x, seeds, runner)
    predicted = severity * _scales(simulator, x[:, 2:], runner)
    error = float(np.max(np.abs(predicted - roots) / np.maximum(roots, np.finfo(np.float64).tiny)))
    if not error <= tolerance:
        raise SeverityError(
            f"roots of peaks are predicted within {error:.2g} only; needed is {tolerance:g}. The peaks of this black "
            "box are not decided by one number an hour."
        )
    return error


def failure_levels(
    simulator: Simulator,
    x_e: ArrayLike,
    x_c: ArrayLike,
    thresholds: Sequence[float] = tuple(THRESHOLDS.values()),
    runner: Runner | None = None,
) -> Array:
    """Severity at which each load reaches its threshold; infinite for a load that is always 0.

    Parameters
    ----------
    simulator : Simulator
        Run once for each of the n.
    x_e, x_c : array_like, shape (n, 3)
    thresholds : sequence of float, shape (3,)
        Of y4, y5 and y6; above 0.
    runner : Runner, optional

    Returns
    -------
    ndarray, shape (n, 3)

    Raises
    ------
    InputError
        If the thresholds are not three numbers above 0.
    """
    limits = np.asarray(thresholds, np.float64)
    if limits.shape != (len(LOADS),) or not (limits > 0).all():
        raise InputError(f"thresholds are {limits.tolist()}; needed are {len(LOADS)} numbers above 0.")
    with np.errstate(divide="ignore"):
        levels: Array = np.sqrt(limits) / _scales(simulator, np.hstack([x_e, x_c]), runner)
        return levels


def _noise(simulator: Simulator, fixed: Array, seeds: NDArray[np.int64], runner: Runner | None) -> Array:
    """Z of seeds, at given X_e and X_c (6,)."""
    scale = _scales(simulator, fixed[None], runner)[0]
    if not scale.max() > 0:
        raise SeverityError(f"at X_a = {GENTLE} all loads are 0; needed is one above.")
    x = np.tile(np.concatenate([NOISY, fixed]), (len(seeds), 1))
    largest = scale.argmax()
    first, second = NOISY
    z: Array = (_root_peaks(simulator, x, seeds, runner)[:, largest] / scale[largest] - first) / second
    return z


def _scales(simulator: Simulator, fixed: Array, runner: Runner | None) -> Array:
    """Roots of the peaks (n, 3) at severity 1, at X_e and X_c (n, 6)."""
    x = np.column_stack([np.tile(GENTLE, (len(fixed), 1)), fixed])
    return _root_peaks(simulator, x, np.ones(len(x), np.int64), runner) / GENTLE[0]


def _root_peaks(simulator: Simulator, x: Array, seeds: NDArray[np.int64], runner: Runner | None) -> Array:
    roots: Array = np.sqrt(run_campaign(simulator, x, seeds, runner).y.values.max(axis=1)[:, LOAD_COLUMNS])
    return roots
