"""The likelihood of X_e given all hours: as many numbers as X_e has, each a weighted sum of all features.

The weights W = C^-1 F' (see `misfit`) tell most of X_e among linear ones [1]_. Their sum over the control points is
regressed on u, on simulations that took no part in choosing the weights, so that a poor choice costs precision and not
truth [2]_:

    s = sum over p of W_p' t_p,  s = mu(u) + e,  e ~ N(0, C_s)

References
----------
.. [1] P. Fearnhead and D. Prangle, "Constructing summary statistics for approximate Bayesian computation:
   semi-automatic ABC", JRSS B 74(3), 2012, doi:10.1111/j.1467-9868.2011.01010.x.
.. [2] S. N. Wood, "Statistical inference for noisy nonlinear ecological dynamic systems", Nature 466, 2010,
   doi:10.1038/nature09319.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowcal.infer.misfit import Whitening
from flowcal.infer.point_model import FINER, KNOWN_MOMENTS, LEFT_OUT, RUNS_A_TERM, PointModel, Runs, regress
from flowcal.infer.polynomials import basis, count_terms

__all__ = ["SummaryLikelihood", "fit_summary"]

Array = NDArray[np.float64]

MOST_DEGREE = 5
DATA_SETS = 1000  # synthetic ones that set the threshold
FLOOR = 1e-12  # relative, added to a covariance


@dataclass(frozen=True)
class SummaryLikelihood:
    """Observed summary (e,), coefficients (terms, e) of its mean, both scaled so that its covariance is one.

    The `threshold` is the squared distance that synthetic data sets keep with the stated credibility; `shares` says
    what makes up the covariance.
    """

    observed: Array
    coefficients: Array
    degree: int
    threshold: float
    shares: dict[str, float]


def fit_summary(
    models: Sequence[PointModel],
    at: Array,
    misfit: Array,
    runs: Runs,
    credibility: float,
    rng: np.random.Generator,
) -> SummaryLikelihood:
    """The likelihood whose weights are best at `at` (e,), under a misfit by output, from held-out simulations."""
    weights = _weights(models, at, misfit, runs)
    parts = _parts(models, weights, runs)
    effects = [regress(_fine(runs.u), runs.nuisances(place), part)[1] for place, part in enumerate(parts)]
    clean = np.stack(
        [part - runs.nuisances(p) @ effect for p, (part, effect) in enumerate(zip(parts, effects, strict=True))]
    )
    degree = _choose_degree(runs.u, clean.sum(axis=0))
    coefficients, of_fit = _fit_mean(runs.u, clean.sum(axis=0), degree)
    hours, of_points = _fit_errors(models, runs, clean, effects, degree)
    covariances = of_points | of_fit | _other_errors(models, weights, misfit)
    total = _sum(covariances.values())
    total = total + FLOOR * np.diag(np.diag(total))
    whiten = np.linalg.inv(np.linalg.cholesky(total)).T
    errors = _draw_errors(models, hours, total - covariances["hours"], rng) @ whiten
    observed = _sum(model.scaled(model.point.mean) @ weight for model, weight in zip(models, weights, strict=True))
    return SummaryLikelihood(
        observed @ whiten,
        coefficients @ whiten,
        degree,
        float(np.quantile(np.square(errors).sum(axis=1), credibility, method="higher")),
        {name: float(np.trace(whiten.T @ one @ whiten) / len(total)) for name, one in covariances.items()},
    )


def _weights(models: Sequence[PointModel], at: Array, misfit: Array, runs: Runs) -> list[Array]:
    """Weights (k, e) by control point; the summaries of the runs have unit variance."""
    weights = Whitening(models, misfit).weights(np.hstack([model.slope(at) for model in models]))
    by_point = np.split(weights, np.cumsum([len(model.scale) for model in models])[:-1])
    spread = _parts(models, by_point, runs).sum(axis=0).std(axis=0)
    return [weight / spread for weight in by_point]


def _parts(models: Sequence[PointModel], weights: Sequence[Array], runs: Runs) -> Array:
    """What each control point adds to the summaries, shape (points, n, e)."""
    both = zip(models, runs.features, weights, strict=True)
    return np.stack([model.scaled(features) @ weight for model, features, weight in both])


def _fine(u: Array) -> Array:
    """Polynomials that are fine enough to tell what else than X_e moves a summary."""
    return basis(u, max(degree for degree in range(4) if _affordable(u, degree)))


def _affordable(u: Array, degree: int) -> bool:
    return degree < 2 or count_terms(u.shape[1], degree) * RUNS_A_TERM <= len(u) / 2


def _choose_degree(u: Array, summary: Array) -> int:
    """The degree whose fit to every other simulation predicts the rest best."""
    parity, losses = np.arange(len(u)) % 2 == 0, {}
    for degree in (degree for degree in range(1, MOST_DEGREE + 1) if _affordable(u, degree)):
        terms = basis(u, degree)
        left = [summary[~some] - terms[~some] @ _solve(terms[some], summary[some]) for some in (parity, ~parity)]
        losses[degree] = np.linalg.slogdet(_sum(each.T @ each for each in left))[1]
    return min(losses, key=lambda degree: losses[degree])


def _fit_mean(u: Array, summary: Array, degree: int) -> tuple[Array, dict[str, Array]]:
    """Coefficients of mu, and the covariances of what it leaves out and of its own error."""
    low, high = basis(u, degree), basis(u, degree + FINER)
    coefficients, finer = (_solve(terms, summary) for terms in (low, high))
    left, missed = summary - high @ finer, high @ finer - low @ coefficients
    of_run = left.T @ left / max(1, len(u) - high.shape[1])
    by_chance = of_run * (high.shape[1] - low.shape[1]) / len(u)
    return coefficients, {
        "polynomials": LEFT_OUT**2 * _positive(missed.T @ missed / len(u) - by_chance),
        "simulations": of_run * low.shape[1] / len(u),
    }


def _fit_errors(
    models: Sequence[PointModel], runs: Runs, clean: Array, effects: Sequence[Array], degree: int
) -> tuple[list[Array], dict[str, Array]]:
    """By control point, how single hours (n, e) differ from their mean; covariances of what hours and points add."""
    terms, hours, of_moments, of_control = basis(runs.u, degree + 1), [], [], []
    for place, (part, effect) in enumerate(zip(clean, effects, strict=True)):
        moments, control = np.split(effect, [runs.x_a.shape[2]])
        hour = part - terms @ _solve(terms, part) + runs.x_a[:, place] @ moments
        hours.append(hour - hour.mean(axis=0))
        of_moments.append(KNOWN_MOMENTS * moments)
        of_control.append(control.T @ control / 3)
    counts = [model.point.hours for model in models]
    return hours, {
        "hours": _sum(hour.T @ hour / len(hour) / count for hour, count in zip(hours, counts, strict=True)),
        "moments of X_a": _sum(of_moments).T @ _sum(of_moments),
        "control points": _sum(of_control),
    }


def _other_errors(models: Sequence[PointModel], weights: Sequence[Array], misfit: Array) -> dict[str, Array]:
    """Covariances of a misfit (2, outputs), as of `misfit.Whitening`, and of rounding."""
    own, shared = (
        [model.wrong(scales) @ weight for model, weight in zip(models, weights, strict=True)] for scales in misfit
    )
    rounding = [model.rounding[:, None] * weight for model, weight in zip(models, weights, strict=True)]
    return {
        "misfit": _sum(error.T @ error for error in (*own, _sum(shared))),
        "rounding": _sum(error.T @ error for error in rounding),
    }


def _draw_errors(models: Sequence[PointModel], hours: Sequence[Array], rest: Array, rng: np.random.Generator) -> Array:
    """Errors (data sets, e) of summaries: means of so many hours as were observed, and a normal error for the rest."""
    drawn = _sum(
        np.array([hour[rng.integers(len(hour), size=model.point.hours)].mean(axis=0) for _ in range(DATA_SETS)])
        for model, hour in zip(models, hours, strict=True)
    )
    floor = FLOOR * np.diag(np.diag(rest) + np.square(drawn).mean(axis=0))
    root = np.linalg.cholesky(_positive(rest) + floor)
    errors: Array = drawn + rng.standard_normal(drawn.shape) @ root.T
    return errors


def _solve(terms: Array, values: Array) -> Array:
    """Least-squares coefficients of terms (n, t) for values (n, e)."""
    return regress(terms, terms[:, :0], values)[0]


def _sum(arrays: Iterable[Array]) -> Array:
    total: Array = np.sum(list(arrays), axis=0)
    return total


def _positive(matrix: Array) -> Array:
    """The nearest positive semidefinite matrix."""
    size, axes = np.linalg.eigh((matrix + matrix.T) / 2)
    positive: Array = axes * np.maximum(size, 0) @ axes.T
    return positive
