"""Failure: which hours fail, and with what probability, down to 1e-8 and below.

An hour fails in a limited output, a load, whose peak exceeds its threshold, and as a whole if any load does [1]_.
`crude_pof` counts failures in hours with X_a from f_a, whatever the black box. Far smaller probabilities can be had by
three regularities, found by simulation and tested by `check_severity`:

- the quotient of two loads' peaks depends on neither X_a nor the seed;
- for a given seed the root of a peak is linear in X_a;
- at X_a2 = 0 the seed is without effect.

So the root of every peak is a scale, which X_e and X_c decide, times the hour's severity X_a1 + X_a2 Z, where Z is all
that a seed contributes. A load reaches its threshold at its failure severity, which one run tells, and the probability
of failure is an integral over the plane of X_a. `sampled_pof` verifies it on the simulator by importance sampling [2]_,
which owes the regularities only its choice of where to look.

References
----------
.. [1] T. Wang et al., "Data-driven Model Updating Solution for the NASA and DNV Challenge 2025", ESREL SRA-E 2025,
   doi:10.3850/978-981-94-3281-3_ESREL-SRA-E2025-P5658-cd, section 4.2.
.. [2] A. B. Owen, "Monte Carlo theory, methods and examples", 2013, https://artowen.su.domains/mc, chapter 9
   (importance sampling, defensive mixtures).
.. [3] J. A. Hanley and A. Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249(13), 1983,
   doi:10.1001/jama.1983.03330370053031.
.. [4] M. P. Fay and E. J. Feuer, "Confidence intervals for directly standardized rates", Stat. Med. 16(7), 1997.
.. [5] S. Coles, "An Introduction to Statistical Modeling of Extreme Values", 2001, doi:10.1007/978-1-4471-3675-0.
"""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from flowcal.decide.plane import AleatoryPlane
from flowcal.errors import FlowcalError, InputError
from flowcal.infer.models import AleatoryDistribution
from flowcal.problem import Problem, as_numbers, check_counts, check_point, check_points, check_range, rng_of
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import SimulationError, Simulator, check_runs, fresh_seeds, problem_of, simulate_checked

__all__ = [
    "FailureCurve",
    "ResolutionError",
    "Severity",
    "SeverityError",
    "check_severity",
    "crude_pof",
    "failure_curves",
    "failure_names",
    "failure_severities",
    "fixed_inputs",
    "inputs_at",
    "measure_severity",
    "sampled_pof",
    "simulate_hours",
]

Array = NDArray[np.float64]

FEWEST = 200  # seeds from which a tail can be told
TAIL = 0.1  # share of the seeds that the tail is fitted to
SHORTEST = 1e-9  # mean excess over the start of the tail
GENTLE = (1.0, 0.0)  # X_a without noise
NOISY = (0.5, 1.0)  # X_a with as much noise as there can be
SEVERITIES = np.linspace(0, 1.6, 321)  # between which probabilities are interpolated
DEFENSIVE = 0.1  # share of the samples that come from f_a as it is
RULE_OF_THREE = 3.0  # over the number of hours that went well, bounds the probability of failure with 95 % [3]_
ROUNDING = 1e-6  # by which sums of shares may exceed 1
FEW = 5_000  # hours that are simulated without the bookkeeping of a campaign


class SeverityError(FlowcalError):
    """The peaks of this black box are not decided by one number an hour."""


class ResolutionError(FlowcalError):
    """A probability is smaller than what f_a can tell."""


def simulate_hours(simulator: Simulator, x: ArrayLike, seed: ArrayLike, runner: Runner | None = None) -> Array:
    """Hours y (n, steps, outputs), of which none has a value that cannot be."""
    problem, runner = problem_of(simulator), runner or Runner()
    x, seed = check_runs(x, seed, problem)
    here = runner.workers == 1 and runner.scheduler is None and runner.folder is None
    if here and len(x) <= FEW:
        with suppress(SimulationError):  # a campaign tries again, and says which runs fail
            return simulate_checked(simulator, x, seed)
    y: Array = run_campaign(simulator, x, seed, runner).y.values
    return y


def failure_names(problem: Problem) -> tuple[str, ...]:
    """What can fail: each limited output, and the 'system' if any of them does."""
    return (*problem.limited, "system")


def check_thresholds(thresholds: Sequence[float] | None, problem: Problem) -> Array:
    """Thresholds as an array, those of the problem where None are given."""
    limits = as_numbers(problem.thresholds if thresholds is None else thresholds, "thresholds", problem.limited)
    if not problem.limited or limits.shape != (len(problem.limited),) or not ((limits > 0) & (limits < np.inf)).all():
        raise InputError(
            f"thresholds are {limits.tolist()}; expected a finite number above 0 for each limited output, "
            f"{', '.join(problem.limited) or 'of which the problem has none'}."
        )
    return limits


class Severity:
    """The distribution of an hour's severity X_a1 + X_a2 Z given X_a, from Z (m,) of at least 200 seeds.

    Beyond nine tenths of them an exponential tail goes on [5]_. It is conservative: a largest value of so few terms has
    a lighter one.

    Examples
    --------
    >>> severity = Severity(np.random.default_rng(1).gumbel(0.17, 0.03, 2000))
    >>> severity.exceedance([[0.5, 0.5], [0.5, 0.0]], 0.6).round(2)
    array([0.3, 0. ])
    """

    def __init__(self, noise: ArrayLike) -> None:
        noise = np.sort(as_numbers(noise, "noise"))
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
        """Probability that Z exceeds each value."""
        z = np.asarray(z, np.float64)
        beyond = TAIL * np.exp(-np.maximum(z - self._start, 0) / self._excess)
        shares: Array = np.where(z > self._start, beyond, np.interp(z, self.noise, self._shares, left=1.0))
        return shares

    def exceedance(self, x_a: ArrayLike, severity: ArrayLike) -> Array:
        """Probability (n,) that hours with X_a (n, 2) exceed a severity, one for all or one each."""
        first, second = check_points(x_a, 2, "x_a", within=True).T
        margin = severity - first
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
    """Severity from hours with as many seeds at one X_e and X_c, of which one run, without noise, gives the scale."""
    check_counts(FEWEST + 1, runs=runs)
    fixed = fixed_inputs(problem_of(simulator), x_e, x_c)
    return Severity(_noise(simulator, fixed, fresh_seeds(runs - 1, rng), runner))


def check_severity(
    simulator: Simulator, runs: int, tolerance: float, rng: np.random.Generator, runner: Runner | None = None
) -> float:
    """Largest error, as a share, of roots of peaks of random hours that are predicted from their seed's Z.

    Raises `SeverityError` if it exceeds the tolerance: the probability of failure has to come from simulations alone
    then.
    """
    check_counts(runs=runs)
    check_range(0, np.inf, tolerance=tolerance)
    problem = problem_of(simulator)
    aleatory = len(problem.aleatory)
    seeds = fresh_seeds(runs, rng)
    noise = _noise(simulator, np.full(len(problem.inputs) - aleatory, 0.5), seeds, runner)
    x = rng.random((runs, len(problem.inputs)))
    severity = np.maximum(x[:, 0] + x[:, 1] * noise, 0)[:, None]
    roots = np.sqrt(_peaks(simulator, x, seeds, runner))
    predicted = severity * _scales(simulator, x[:, aleatory:], runner)
    error = float(np.max(np.abs(predicted - roots) / np.maximum(roots, np.finfo(np.float64).tiny)))
    if not error <= tolerance:
        raise SeverityError(
            f"roots of peaks are predicted within {error:.2g} only; expected {tolerance:g}. The peaks of this black "
            "box are not decided by one number an hour."
        )
    return error


def failure_severities(
    simulator: Simulator,
    x_e: ArrayLike,
    x_c: ArrayLike,
    thresholds: Sequence[float] | None = None,
    runner: Runner | None = None,
) -> Array:
    """Severity (n, loads) at which each load reaches its threshold, by one run for each of n X_e and X_c.

    It is infinite for a load that is always 0. Thresholds are those of the simulator's problem unless given.
    """
    problem = problem_of(simulator)
    limits = check_thresholds(thresholds, problem)
    x_e, x_c = check_points(x_e, problem.epistemic, "x_e"), check_points(x_c, problem.control, "x_c")
    if len(x_e) != len(x_c):
        raise InputError(f"x_e has {len(x_e)} rows; expected {len(x_c)}, as x_c has.")
    with np.errstate(divide="ignore"):
        fixed = np.hstack([x_e, x_c])
        severities: Array = np.sqrt(limits) / _scales(simulator, fixed, runner)
        return severities


def _noise(simulator: Simulator, fixed: Array, seeds: NDArray[np.int64], runner: Runner | None) -> Array:
    """Z of seeds, at given X_e and X_c."""
    scale = _scales(simulator, fixed[None], runner)[0]
    if not scale.max() > 0:
        raise SeverityError(f"at X_a = {GENTLE} all loads are 0; expected one above.")
    x = np.tile(np.concatenate([NOISY, fixed]), (len(seeds), 1))
    largest = scale.argmax()
    first, second = NOISY
    z: Array = (np.sqrt(_peaks(simulator, x, seeds, runner))[:, largest] / scale[largest] - first) / second
    return z


def _scales(simulator: Simulator, fixed: Array, runner: Runner | None) -> Array:
    """Roots of the peaks (n, loads) at severity 1, at n rows of X_e and X_c."""
    problem = problem_of(simulator)
    if len(problem.aleatory) != len(GENTLE) or not problem.limited:
        raise InputError(
            f"the simulator has {len(problem.aleatory)} aleatory inputs and {len(problem.limited)} limited outputs; "
            "expected two, for severity is X_a1 + X_a2 Z, and at least one. `crude_pof` takes any number of inputs."
        )
    x = np.column_stack([np.tile(GENTLE, (len(fixed), 1)), fixed])
    return np.sqrt(_peaks(simulator, x, np.ones(len(x), np.int64), runner)) / GENTLE[0]


def _peaks(simulator: Simulator, x: Array, seeds: NDArray[np.int64], runner: Runner | None) -> Array:
    """Peaks of the loads (n, loads)."""
    problem = problem_of(simulator)
    peaks: Array = simulate_hours(simulator, x, seeds, runner)[..., problem.columns(problem.limited)].max(axis=1)
    return peaks


class FailureCurve:
    """The probability, over X_a and the seed, that an hour exceeds a severity.

    It interpolates probabilities at the severities 0, 0.005 .. 1.6. The resolution is what one of the hours behind f_a
    weighs, 0 for an f_a with a tail of its own; `bound` is the least upper bound (95 %) that those hours allow [3]_.

    Examples
    --------
    >>> curve = FailureCurve(np.exp(-10 * np.linspace(0, 1.6, 321)), resolution=0.0)
    >>> curve.pof([0.2, 0.3, 0.4]).round(3)  # of three loads and of the system
    array([0.135, 0.05 , 0.018, 0.135])
    >>> round(curve.severity_of(1e-4), 3)
    0.921
    """

    def __init__(self, probabilities: ArrayLike, resolution: float) -> None:
        check_range(0, 1, "[]", resolution=resolution)
        probabilities = as_numbers(probabilities, "probabilities")
        if probabilities.shape != SEVERITIES.shape or not (np.abs(probabilities - 0.5) < 0.5 + ROUNDING).all():
            shape = SEVERITIES.shape
            raise InputError(f"probabilities have shape {probabilities.shape}; expected {shape}, all in [0, 1].")
        self.resolution, self.bound = resolution, RULE_OF_THREE * resolution
        falling = np.minimum.accumulate(np.clip(probabilities, np.finfo(np.float64).tiny, 1.0))
        self._log = np.log(falling)

    def __call__(self, severity: ArrayLike) -> Array:
        """Probability that an hour exceeds each severity."""
        severity = as_numbers(severity, "severity")
        if np.isnan(severity).any():
            raise InputError("severity has NaN; expected numbers.")
        return np.where(severity > SEVERITIES[-1], 0.0, np.exp(np.interp(severity, SEVERITIES, self._log)))

    def severity_of(self, probability: float) -> float:
        """The severity that is exceeded with a probability in (0, 1).

        Raises `ResolutionError` if the probability is below what f_a resolves.
        """
        check_range(0, 1, probability=probability)
        if probability < self.bound:
            raise ResolutionError(
                f"a probability of {probability:g} is asked for, but f_a comes from {1 / self.resolution:,.0f} hours, "
                f"which bound none below {self.bound:g}; expected a larger one, or an f_a with a tail."
            )
        most = float(self(SEVERITIES[-1]))
        if probability < most:
            raise ResolutionError(
                f"a probability of {probability:g} is asked for, but even a severity of {SEVERITIES[-1]:g} is exceeded "
                f"with one of {most:.2g}; expected a larger one."
            )
        return float(np.interp(-np.log(probability), -self._log, SEVERITIES))

    def pof(self, severities: ArrayLike) -> Array:
        """Probabilities of failure of each load and of the system, at failure severities (..., loads)."""
        severities = as_numbers(severities, "severities")
        check_counts(**{"the number of severities": severities.shape[-1] if severities.ndim else 0})
        return self(np.concatenate([severities, severities.min(axis=-1, keepdims=True)], axis=-1))

    def upper_bound(self, pof: ArrayLike) -> Array:
        """Probabilities, but nowhere below what the hours behind f_a can bound [3]_."""
        return np.maximum(pof, self.bound)


def failure_curves(f_as: Sequence[AleatoryDistribution], severity: Severity) -> list[FailureCurve]:
    """The curve of each of several f_a, such as an inferred one and its replicates."""
    check_counts(**{"the number of f_as": len(f_as)})
    planes = [AleatoryPlane(f_a) for f_a in f_as]
    x_a, mass = planes[0].x_a, np.array([plane.mass for plane in planes])
    probabilities = np.array([mass @ severity.exceedance(x_a, value) for value in SEVERITIES])
    return [FailureCurve(column, f_a.resolution) for column, f_a in zip(probabilities.T, f_as, strict=True)]


def sampled_pof(
    plane: AleatoryPlane,
    simulator: Simulator,
    x_e: Sequence[float],
    x_c: Sequence[float],
    calls: int,
    random_seed: int,
    pilots: int = 1000,
    thresholds: Sequence[float] | None = None,
    runner: Runner | None = None,
) -> xr.Dataset:
    """Probabilities of failure by importance sampling on the simulator [2]_, in as many calls, pilots included.

    X_a is sampled where f_a times the root of its probability of failure is large, which the pilot runs tell, and one
    in ten from f_a itself. Every failure counts by its weight, so a bad guess costs precision, not truth. By failure,
    each load's and the 'system': 'pof', 'standard_error' and 'upper' bound (95 %) [4]_, which alone says something
    where no failure was seen.
    """
    problem = problem_of(simulator)
    limits = check_thresholds(thresholds, problem)
    check_counts(FEWEST + 2, pilots=pilots)
    check_counts(pilots + 2, calls=calls)
    rng = rng_of(random_seed, 6)
    severity = measure_severity(simulator, x_e, x_c, pilots - 1, rng, runner)
    least = failure_severities(simulator, [x_e], [x_c], thresholds, runner).min()
    aimed = plane.mass * np.sqrt(severity.exceedance(plane.x_a, least))
    aimed /= max(aimed.sum(), np.finfo(np.float64).tiny)
    x_a, factor = plane.sample((1 - DEFENSIVE) * aimed + DEFENSIVE * plane.mass, calls - pilots, rng)
    failed = _peaks(simulator, inputs_at(problem, x_a, x_e, x_c), fresh_seeds(len(x_a), rng), runner) > limits
    return _summarise(failed, factor, calls, problem)


def crude_pof(
    f_a: AleatoryDistribution,
    simulator: Simulator,
    x_e: Sequence[float],
    x_c: Sequence[float],
    calls: int,
    random_seed: int,
    thresholds: Sequence[float] | None = None,
    runner: Runner | None = None,
) -> xr.Dataset:
    """Probabilities of failure by crude Monte Carlo in as many calls, in the form of `sampled_pof`."""
    problem = problem_of(simulator)
    limits = check_thresholds(thresholds, problem)
    check_counts(calls=calls)
    rng = rng_of(random_seed, 7)
    x = inputs_at(problem, f_a.sample(calls, rng), x_e, x_c)
    failed = _peaks(simulator, x, fresh_seeds(calls, rng), runner) > limits
    return _summarise(failed, np.ones(calls), calls, problem)


def inputs_at(problem: Problem, x_a: Array, x_e: ArrayLike, x_c: ArrayLike) -> Array:
    """Inputs (n, inputs) with each X_a (n, aleatory) at one X_e and X_c."""
    x_a = check_points(x_a, problem.aleatory, "x_a")
    return np.column_stack([x_a, np.tile(fixed_inputs(problem, x_e, x_c), (len(x_a), 1))])


def fixed_inputs(problem: Problem, x_e: ArrayLike, x_c: ArrayLike) -> Array:
    """One X_e and X_c side by side."""
    return np.concatenate([check_point(x_e, problem.epistemic, "x_e"), check_point(x_c, problem.control, "x_c")])


def _summarise(failed: NDArray[np.bool_], factor: Array, calls: int, problem: Problem) -> xr.Dataset:
    """Weighted shares of hours (n, loads) that failed, with their errors."""
    failed = np.column_stack([failed, failed.any(axis=1)])
    counted = failed * factor[:, None]
    pof = counted.mean(axis=0)
    error = counted.std(axis=0, ddof=1) / np.sqrt(len(counted)) if len(counted) > 1 else np.full_like(pof, np.inf)
    upper = np.array([_upper_bound(factor[column], factor.max()) for column in failed.T]) / len(counted)
    upper = np.minimum(upper, min(upper[-1], 1.0))  # a load that fails fails the system
    variables = {"pof": ("failure", pof), "standard_error": ("failure", error), "upper": ("failure", upper)}
    return xr.Dataset(variables, {"failure": list(failure_names(problem))}, {"calls": calls})


def _upper_bound(weights: Array, largest: float) -> float:
    """The bound of 95 % on a sum of Poisson counts that were seen with these weights [4]_.

    Failures that were not seen may weigh as much as the heaviest seen, or as any sample where none was.
    """
    total, square = weights.sum(), np.square(weights).sum()
    heaviest = weights.max() if len(weights) else largest
    variance = square + heaviest**2
    return float(variance / (2 * (total + heaviest)) * chi2.ppf(0.95, 2 * (total + heaviest) ** 2 / variance))
