"""Probabilities of failure, down to 1e-8 and below, with their errors.

An hour fails in a load whose peak exceeds its threshold, and as a whole if any load does [1]_. The probability is
integrated over the plane of X_a against the density of f_a, with what seeds make of it from `Severity`; and it is
verified on the simulator itself by importance sampling of X_a, which owes to the integral nothing but its choice of
where to look.

References
----------
.. [1] T. Wang et al., "Data-driven Model Updating Solution for the NASA and DNV Challenge 2025", ESREL SRA-E 2025,
   doi:10.3850/978-981-94-3281-3_ESREL-SRA-E2025-P5658-cd, section 4.2.
.. [2] A. B. Owen, "Monte Carlo theory, methods and examples", 2013, https://artowen.su.domains/mc, chapter 9
   (importance sampling, defensive mixtures).
.. [3] J. A. Hanley and A. Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249(13), 1983,
   doi:10.1001/jama.1983.03330370053031.
.. [4] M. P. Fay and E. J. Feuer, "Confidence intervals for directly standardized rates: a method based on the gamma
   distribution", Statistics in Medicine 16(7), 1997.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from flowcal.challenge import LOADS, OUTPUTS, SEED_MAX, THRESHOLDS
from flowcal.decide.aleatory_plane import AleatoryPlane
from flowcal.decide.severity import Severity, failure_levels, measure_severity
from flowcal.errors import FlowcalError, InputError
from flowcal.infer.uncertainty import AleatoryDistribution
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator

__all__ = ["FAILURES", "FailureCurve", "ResolutionError", "crude_pof", "failure_curves", "sampled_pof"]

Array = NDArray[np.float64]

FAILURES = (*LOADS, "system")
"""What can fail: each load, and the system if any load does."""

DEFENSIVE = 0.1  # share of the draws that come from f_a as it is
LEVELS = np.linspace(0, 1.6, 321)  # of severity, between which probabilities are interpolated
RULE_OF_THREE = 3.0  # over the number of hours that went well, bounds the probability of failure with 95 % [3]_
LOAD_COLUMNS = [OUTPUTS.index(load) for load in LOADS]


class ResolutionError(FlowcalError):
    """A probability is smaller than what f_a can tell."""


class FailureCurve:
    """The probability, over X_a and the seed, that an hour's severity exceeds a level.

    Parameters
    ----------
    probabilities : array_like, shape (321,)
        At the levels 0, 0.005 .. 1.6, for `failure_curves` to compute.
    resolution : float
        What one of the hours behind f_a weighs; 0 for an f_a with a tail of its own.

    Attributes
    ----------
    bound : float
        The smallest upper bound (95 %) on a probability that those hours allow [3]_.

    Examples
    --------
    >>> curve = FailureCurve(np.exp(-10 * np.linspace(0, 1.6, 321)), resolution=0.0)
    >>> curve.pof([0.2, 0.3, 0.4]).round(3)  # in y4, y5, y6 and of the system
    array([0.135, 0.05 , 0.018, 0.135])
    >>> round(curve.level_of(1e-4), 3)
    0.921
    """

    def __init__(self, probabilities: ArrayLike, resolution: float) -> None:
        self.resolution, self.bound = resolution, RULE_OF_THREE * resolution
        falling = np.minimum.accumulate(np.clip(probabilities, np.finfo(np.float64).tiny, 1.0))
        self._log = np.log(falling)

    def __call__(self, level: ArrayLike) -> Array:
        """Probability that the severity exceeds a level.

        Parameters
        ----------
        level : array_like

        Returns
        -------
        ndarray
            Of the same shape.
        """
        level = np.asarray(level, np.float64)
        return np.where(level > LEVELS[-1], 0.0, np.exp(np.interp(level, LEVELS, self._log)))

    def level_of(self, probability: float) -> float:
        """The level that is exceeded with a given probability.

        Parameters
        ----------
        probability : float
            In (0, 1).

        Returns
        -------
        float

        Raises
        ------
        InputError
            If the probability leaves (0, 1).
        ResolutionError
            If it is below what f_a resolves.
        """
        if not 0 < probability < 1:
            raise InputError(f"the probability is {probability}; needed is one between 0 and 1.")
        if probability < self.bound:
            raise ResolutionError(
                f"a probability of {probability:g} is asked for, but f_a comes from {1 / self.resolution:,.0f} hours, "
                f"which bound none below {self.bound:g}; needed is a larger one, or an f_a with a tail."
            )
        most = float(self(LEVELS[-1]))
        if probability < most:
            raise ResolutionError(
                f"a probability of {probability:g} is asked for, but even a severity of {LEVELS[-1]:g} is exceeded "
                f"with one of {most:.2g}; needed is a larger one."
            )
        return float(np.interp(-np.log(probability), -self._log, LEVELS))

    def pof(self, levels: ArrayLike) -> Array:
        """Probabilities of failure in y4, y5, y6 and of the system.

        Parameters
        ----------
        levels : array_like, shape (..., 3)
            From `failure_levels`.

        Returns
        -------
        ndarray, shape (..., 4)
        """
        levels = np.asarray(levels, np.float64)
        return self(np.concatenate([levels, levels.min(axis=-1, keepdims=True)], axis=-1))

    def upper_bound(self, pof: ArrayLike) -> Array:
        """The same, but nowhere below what the hours behind f_a can bound [3]_.

        Parameters
        ----------
        pof : array_like
            Probabilities.

        Returns
        -------
        ndarray
            Of the same shape.
        """
        return np.maximum(pof, self.bound)


def failure_curves(f_as: Sequence[AleatoryDistribution], severity: Severity) -> list[FailureCurve]:
    """The curve of each of several f_a, such as an inferred one and its replicates.

    Parameters
    ----------
    f_as : sequence of AleatoryDistribution
    severity : Severity

    Returns
    -------
    list of FailureCurve
        One for each f_a.

    """
    planes = [AleatoryPlane(f_a) for f_a in f_as]
    x_a, mass = planes[0].x_a, np.array([plane.mass for plane in planes])
    probabilities = np.array([mass @ severity.exceedance(x_a, level) for level in LEVELS])
    return [FailureCurve(column, f_a.resolution) for column, f_a in zip(probabilities.T, f_as, strict=True)]


def sampled_pof(
    plane: AleatoryPlane,
    simulator: Simulator,
    x_e: Sequence[float],
    x_c: Sequence[float],
    calls: int,
    random_seed: int,
    pilots: int = 1000,
    thresholds: Sequence[float] = tuple(THRESHOLDS.values()),
    runner: Runner | None = None,
) -> xr.Dataset:
    """Probabilities of failure by importance sampling on the simulator [2]_.

    X_a is drawn where f_a times the root of its probability of failure is large, which a few pilot runs tell, and one
    in ten from f_a itself. Every failure counts by its weight, so a bad guess costs precision, not truth.

    Parameters
    ----------
    plane : AleatoryPlane
    simulator : Simulator
    x_e, x_c : sequence of float, shape (3,)
    calls : int
        Of the simulator, pilots included.
    random_seed : int
    pilots : int
    thresholds : sequence of float, shape (3,)
    runner : Runner, optional

    Returns
    -------
    Dataset
        By failure ('y4', 'y5', 'y6', 'system'): 'pof', its 'standard_error' and its 'upper' bound (95 %) [4]_. Where
        no failure was seen the bound is what says something.

    Raises
    ------
    InputError
        If calls are no more than the pilots, or these are too few to measure a severity from.
    """
    if not pilots + 1 < calls:
        raise InputError(f"calls is {calls}; needed are more than the {pilots} pilots.")
    rng = np.random.default_rng([random_seed, 6])
    severity = measure_severity(simulator, x_e, x_c, pilots - 1, rng, runner)
    level = failure_levels(simulator, [x_e], [x_c], thresholds, runner).min()
    aimed = plane.mass * np.sqrt(severity.exceedance(plane.x_a, level))
    aimed /= max(aimed.sum(), np.finfo(np.float64).tiny)
    weight = (1 - DEFENSIVE) * aimed + DEFENSIVE * plane.mass
    x_a, factor = plane.sample(weight, calls - pilots, rng)
    failed = _failures(simulator, x_a, x_e, x_c, thresholds, rng, runner)
    return _summarise(failed, factor, calls)


def crude_pof(
    f_a: AleatoryDistribution,
    simulator: Simulator,
    x_e: Sequence[float],
    x_c: Sequence[float],
    calls: int,
    random_seed: int,
    thresholds: Sequence[float] = tuple(THRESHOLDS.values()),
    runner: Runner | None = None,
) -> xr.Dataset:
    """Probabilities of failure by crude Monte Carlo.

    Parameters
    ----------
    f_a : AleatoryDistribution
    simulator : Simulator
    x_e : sequence of float, shape (3,)
    x_c : sequence of float, shape (3,)
    calls : int
        Of the simulator.
    random_seed : int
    thresholds : sequence of float, shape (3,)
    runner : Runner, optional

    Returns
    -------
    Dataset
        As `sampled_pof` has it.

    Raises
    ------
    InputError
        If calls is below 1.
    """
    if calls < 1:
        raise InputError(f"calls is {calls}; needed is a whole number from 1 up.")
    rng = np.random.default_rng([random_seed, 7])
    failed = _failures(simulator, f_a.sample(calls, rng), x_e, x_c, thresholds, rng, runner)
    return _summarise(failed, np.ones(calls), calls)


def _failures(
    simulator: Simulator,
    x_a: Array,
    x_e: Sequence[float],
    x_c: Sequence[float],
    thresholds: Sequence[float],
    rng: np.random.Generator,
    runner: Runner | None,
) -> NDArray[np.bool_]:
    """Which of the failures each hour has, (n, 4)."""
    x = np.column_stack([x_a, np.tile(np.concatenate([x_e, x_c]), (len(x_a), 1))])
    seeds = rng.integers(1, SEED_MAX, len(x), endpoint=True)
    y = run_campaign(simulator, x, seeds, runner).y.values
    failed = y.max(axis=1)[:, LOAD_COLUMNS] > np.asarray(thresholds)
    return np.column_stack([failed, failed.any(axis=1)])


def _summarise(failed: NDArray[np.bool_], factor: Array, calls: int) -> xr.Dataset:
    """Weighted shares of failures with their errors."""
    counted = failed * factor[:, None]
    pof = counted.mean(axis=0)
    error = counted.std(axis=0, ddof=1) / np.sqrt(len(counted)) if len(counted) > 1 else np.full_like(pof, np.inf)
    upper = np.array([_upper_bound(factor[column], factor.max()) for column in failed.T]) / len(counted)
    upper = np.minimum(upper, min(upper[-1], 1.0))  # a load that fails fails the system
    variables = {"pof": ("failure", pof), "standard_error": ("failure", error), "upper": ("failure", upper)}
    return xr.Dataset(variables, {"failure": list(FAILURES)}, {"calls": calls})


def _upper_bound(weights: Array, largest: float) -> float:
    """The bound of 95 % on a sum of Poisson counts that were seen with these weights [4]_.

    Failures that were not seen may weigh as much as the heaviest seen, or as any draw where none was.
    """
    total, square = weights.sum(), np.square(weights).sum()
    heaviest = weights.max() if len(weights) else largest
    variance = square + heaviest**2
    return float(variance / (2 * (total + heaviest)) * chi2.ppf(0.95, 2 * (total + heaviest) ** 2 / variance))
