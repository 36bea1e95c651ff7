"""The plane of X_a in cells: where integrals against f_a are taken, and proposals drawn from.

Severity: one number an hour that decides the peaks of all loads.

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


Probabilities of failure, down to 1e-8 and below, with their errors.

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

from flowcal.challenge import INPUTS, LOADS, OUTPUTS, THRESHOLDS
from flowcal.errors import FlowcalError, InputError
from flowcal.infer.families import FamilyDistribution, make_copula
from flowcal.infer.models import AleatoryDistribution
from flowcal.problem import SEED_MAX
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator

__all__ = [
    "AleatoryPlane",
    "FAILURES",
    "FailureCurve",
    "ResolutionError",
    "Severity",
    "SeverityError",
    "check_severity",
    "crude_pof",
    "failure_curves",
    "failure_levels",
    "measure_severity",
    "sampled_pof",
]

Array = NDArray[np.float64]

CELLS = (300, 200)  # along X_a1 and X_a2
COUNTED = 2_000_000  # draws of an f_a that has no tail of its own


class AleatoryPlane:
    """The plane of X_a in cells, with the share of f_a in each.

    Parameters
    ----------
    f_a : AleatoryDistribution

    Attributes
    ----------
    x_a : ndarray, shape (n, 2)
        Midpoints of the cells.
    mass : ndarray, shape (n,)
        The share of each: by the marginals' distribution functions, so that mass at a bound counts in full; by counting
        where f_a comes from a heap of draws; else by the density at its midpoint. They add up to 1.

    Raises
    ------
    InputError
        If f_a has no density within the bounds, or an infinite one.
    """

    def __init__(self, f_a: AleatoryDistribution) -> None:
        self.f_a = f_a
        axes = [(np.arange(count) + 0.5) / count for count in CELLS]
        self.x_a = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(CELLS))
        if isinstance(f_a, FamilyDistribution):
            share = _shares(f_a)
        else:
            share = self._drawn() if f_a.resolution > 0 else np.exp(f_a.log_prob(self.x_a))
        if not 0 < share.sum() < np.inf:
            raise InputError("f_a has no density within the bounds, or an infinite one; expected one in between.")
        self.mass = share / share.sum()

    def sample(self, weight: Array, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draws with cells drawn by their weight, and what each counts for under f_a.

        Of a heap of draws the density is what its cells say.

        Parameters
        ----------
        weight : ndarray, shape (cells,)
            From 0 up, in any unit.
        n : int
        rng : Generator

        Returns
        -------
        x_a : ndarray, shape (n, 2)
        factor : ndarray, shape (n,)
            f_a's density at the draws over that which they were drawn with.
        """
        share = weight / weight.sum()
        cell = rng.choice(len(share), n, p=share)
        x_a = np.clip(self.x_a[cell] + (rng.random((n, 2)) - 0.5) / CELLS, 0, 1)
        counted = self.f_a.resolution > 0
        density = self.mass[cell] * np.prod(CELLS) if counted else np.exp(self.f_a.log_prob(x_a))
        return x_a, density / (share[cell] * np.prod(CELLS))

    def _drawn(self) -> Array:
        """Counts of draws in the cells: enough for a heap of draws, whose density would cost a kernel for each."""
        drawn = self.f_a.sample(COUNTED, np.random.default_rng(1))
        counts: Array = np.histogram2d(drawn[:, 0], drawn[:, 1], CELLS, [(0, 1), (0, 1)])[0].ravel()
        return counts


def _shares(f_a: FamilyDistribution) -> Array:
    """Shares of the cells (n,): exact where inputs are independent, else by the copula's density at the middle."""
    total = np.zeros(CELLS)
    for cluster in f_a.clusters:
        falls = [part.cdf(np.linspace(0, 1, count + 1)) for part, count in zip(cluster.marginals, CELLS, strict=True)]
        share = cluster.weight * np.outer(*map(np.diff, falls))
        if cluster.copula != "independent":
            middles = [(fall[1:] + fall[:-1]) / 2 for fall in falls]
            places = np.stack(np.meshgrid(*middles, indexing="ij"), -1).reshape(-1, len(CELLS))
            share *= make_copula(cluster.copula, cluster.tau).pdf(places).reshape(CELLS)
        total += share
    return total.ravel()


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
            raise InputError(f"noise has shape {noise.shape}; expected at least {FEWEST} finite numbers.")
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
        raise InputError(f"runs is {runs}; expected more than {FEWEST}.")
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
            f"roots of peaks are predicted within {error:.2g} only; expected {tolerance:g}. The peaks of this black "
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
        raise InputError(f"thresholds are {limits.tolist()}; expected {len(LOADS)} numbers above 0.")
    with np.errstate(divide="ignore"):
        levels: Array = np.sqrt(limits) / _scales(simulator, np.hstack([x_e, x_c]), runner)
        return levels


def _noise(simulator: Simulator, fixed: Array, seeds: NDArray[np.int64], runner: Runner | None) -> Array:
    """Z of seeds, at given X_e and X_c (6,)."""
    scale = _scales(simulator, fixed[None], runner)[0]
    if not scale.max() > 0:
        raise SeverityError(f"at X_a = {GENTLE} all loads are 0; expected one above.")
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


FAILURES = (*LOADS, "system")
"""What can fail: each load, and the system if any load does."""

DEFENSIVE = 0.1  # share of the draws that come from f_a as it is
LEVELS = np.linspace(0, 1.6, 321)  # of severity, between which probabilities are interpolated
RULE_OF_THREE = 3.0  # over the number of hours that went well, bounds the probability of failure with 95 % [3]_


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
            raise InputError(f"the probability is {probability}; expected one between 0 and 1.")
        if probability < self.bound:
            raise ResolutionError(
                f"a probability of {probability:g} is asked for, but f_a comes from {1 / self.resolution:,.0f} hours, "
                f"which bound none below {self.bound:g}; expected a larger one, or an f_a with a tail."
            )
        most = float(self(LEVELS[-1]))
        if probability < most:
            raise ResolutionError(
                f"a probability of {probability:g} is asked for, but even a severity of {LEVELS[-1]:g} is exceeded "
                f"with one of {most:.2g}; expected a larger one."
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
        raise InputError(f"calls is {calls}; expected more than the {pilots} pilots.")
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
        raise InputError(f"calls is {calls}; expected a whole number from 1 up.")
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
