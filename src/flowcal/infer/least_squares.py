"""X_e by least squares on contrasts between limited outputs: what an engineer tries first, and the baseline of UM2.

With c(p) the mean contrasts of the observed hours at control point p, and c(x_e, p) those of simulated hours, the
estimate minimises

    sum over p of d(p)' S(p)^-1 d(p),  d(p) = c(p) - c(x_e, p),  S(p) = (1 / n(p) + 1 / m) S

where S is the covariance of an hour's contrasts about the mean of their point, n(p) observed hours stand against m
simulated ones, and S is the unit matrix where the hours agree to rounding. Gauss-Newton steps in a trust region find
the minimum from several starts [1]_. The curvature there gives the Fisher ellipsoid, the classical counterpart of E.

References
----------
.. [1] M. A. Branch, T. F. Coleman and Y. Li, "A Subspace, Interior, and Conjugate Gradient Method for Large-Scale
   Bound-Constrained Minimization Problems", SIAM Journal on Scientific Computing 21(1), 1999,
   doi:10.1137/S1064827595289108; as implemented by `scipy.optimize.least_squares`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, least_squares
from scipy.special import gammaln
from scipy.stats import chi2

from flowcal.errors import InputError
from flowcal.infer.contrasts import hours_by_point, output_contrasts
from flowcal.problem import BOUNDS, Problem, check_counts, rng_of
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator, fresh_seeds, problem_of

__all__ = ["LeastSquares", "fit_contrasts"]

Array = NDArray[np.float64]

EXACT = 1e-9  # hours whose contrasts differ by less agree to rounding


@dataclass(frozen=True)
class LeastSquares:
    """The estimate x_e (e,), its covariance (e, e), and the simulated hours it took.

    The covariance is 0 where the hours of each point agree to rounding, and NaN where no point has two to compare.
    """

    x_e: Array
    covariance: Array
    simulations: int

    def ellipsoid_volume(self, share: float) -> float:
        """Volume of the Fisher ellipsoid of a credibility, the unit cube being 1."""
        size = len(self.x_e)
        unit = np.exp(size / 2 * np.log(np.pi) - gammaln(size / 2 + 1))
        known = np.isfinite(self.covariance).all()
        axes = np.sqrt(np.clip(np.linalg.eigvalsh(self.covariance), 0, None)) if known else np.nan
        return float(unit * chi2.ppf(share, size) ** (size / 2) * np.prod(axes))


def fit_contrasts(
    simulator: Simulator,
    observed: xr.Dataset,
    hours: int = 1,
    starts: int = 3,
    random_seed: int = 1,
    runner: Runner | None = None,
) -> LeastSquares:
    """Fit X_e to the contrasts of observed hours (y by sample, with their x_c); calm hours are left out.

    Parameters
    ----------
    hours : int
        Simulated at each control point for each X_e that is tried, always with the same X_a and seeds.
    starts : int
        Random X_e from which the search starts.

    Raises
    ------
    InputError
        If the problem limits fewer than two outputs, or all hours are calm.
    """
    check_counts(hours=hours, starts=starts)
    problem, rng = problem_of(simulator), rng_of(random_seed)
    if len(problem.limited) < 2:
        raise InputError(f"the problem limits {problem.limited}; contrasts need at least two limited outputs.")
    each_by_point = {x_c: _contrasts_of_hours(y, problem) for x_c, y in hours_by_point(observed).items()}
    points = [x_c for x_c, rows in each_by_point.items() if len(rows)]
    if not points:
        raise InputError("all observed hours are calm; expected some with limited outputs above 0.")
    each = [each_by_point[x_c] for x_c in points]
    target = np.array([rows.mean(axis=0) for rows in each])
    whitening, exact = _whitening(each, hours)
    x_a = rng.uniform(0.25, 0.75, (hours * len(points), len(problem.aleatory)))
    x_c, seeds = np.repeat(points, hours, axis=0), fresh_seeds(len(x_a), rng)
    simulations = 0

    def residuals(x_e: Array) -> Array:
        nonlocal simulations
        simulations += len(x_a)
        x = np.column_stack([x_a, np.tile(x_e, (len(x_a), 1)), x_c])
        y = run_campaign(simulator, x, seeds, runner).y.values
        found = output_contrasts(y.reshape(len(points), hours, *y.shape[1:]), problem)
        differences: Array = np.einsum("pij,pj->pi", whitening, found - target)
        return differences.ravel()

    best = min(
        (_descend(residuals, start) for start in rng.random((starts, len(problem.epistemic)))),
        key=lambda result: float(result.cost),
    )
    covariance = np.linalg.pinv(best.jac.T @ best.jac)
    if exact:
        covariance = np.full_like(covariance, 0.0 if max(map(len, each)) > 1 else np.nan)
    return LeastSquares(best.x, covariance, simulations)


def _contrasts_of_hours(y: Array, problem: Problem) -> Array:
    """Contrasts (hours, k - 1) of each hour that has some."""
    rows = output_contrasts(y[:, None], problem)
    return rows[np.isfinite(rows).all(axis=1)]


def _whitening(each: list[Array], simulated: int) -> tuple[Array, bool]:
    """By point, the matrix that gives differences of contrasts unit covariance; whether contrasts are exact."""
    about_mean = np.concatenate([rows - rows.mean(axis=0) for rows in each])
    size = about_mean.shape[1]
    if np.abs(about_mean).max() < EXACT:
        return np.tile(np.eye(size), (len(each), 1, 1)), True
    covariance = about_mean.T @ about_mean / (len(about_mean) - len(each))
    inverse_root = np.linalg.inv(np.linalg.cholesky(covariance))
    return np.array([inverse_root / np.sqrt(1 / len(rows) + 1 / simulated) for rows in each]), False


def _descend(residuals: Callable[[Array], Array], start: Array) -> OptimizeResult:
    tight = dict.fromkeys(("xtol", "ftol", "gtol"), 1e-15)
    return least_squares(residuals, start, bounds=BOUNDS, **tight)
