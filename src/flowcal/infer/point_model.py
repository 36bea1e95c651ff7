"""How the mean features of one control point's hours depend on X_e, learned from simulations.

With t the mean features of n observed hours and u coordinates of X_e in a box,

    t = B(u) K + l + m G + v C + e,  e ~ N(0, S / n)

B(u) are polynomials and l is what they leave out, m is what is not known of the moments of X_a, and v what is not known
of the control point. S is the covariance of the features of one hour. All control points share m, and the u of l.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowcal.infer.hour_features import FEATURES, MEMORY, PooledFeatures
from flowcal.infer.polynomials import basis, count_terms

__all__ = [
    "FINER",
    "KNOWN_MOMENTS",
    "LEFT_OUT",
    "RUNS_A_TERM",
    "PointModel",
    "Runs",
    "fewest_runs",
    "fit_point",
    "moments",
    "regress",
]

Array = NDArray[np.float64]

KNOWN_MOMENTS = 0.2
"""Standard deviation of what is not known of the moments of X_a, that of single hours being 1."""

RUNS_A_TERM = 5
"""Fewest simulations for each term of a polynomial."""

ROUNDING = 1e-11  # relative error of a feature, and of what is fitted to it
MOMENTS = 4  # degree up to which the distribution of X_a may differ from the assumed one
FLATTEST = 1e-6  # relative size of a function below which it counts as 0
DEGREE, FINER = 2, 2  # of the polynomials, and how many degrees a finer fit has more
LEFT_OUT = 2.0  # what a fit leaves out, over how much a finer one changes it
STEP = 1e-4  # of differences that give slopes


@dataclass(frozen=True)
class Runs:
    """Simulated data sets, an hour for each control point.

    u (n, e) are coordinates of X_e, x_a (n, points, m) `moments` of X_a, x_c (n, points, c) offsets of the control
    points over their tolerance, or (n, points, 0) where they are exact; `features` has (n, k) for each control point.
    """

    u: Array
    x_a: Array
    x_c: Array
    features: list[Array]

    def __getitem__(self, some: slice) -> "Runs":
        return Runs(self.u[some], self.x_a[some], self.x_c[some], [each[some] for each in self.features])

    def nuisances(self, place: int) -> Array:
        """What else than X_e moves the features of a control point, (n, m + c)."""
        return np.hstack([self.x_a[:, place], self.x_c[:, place]])


@dataclass(frozen=True)
class PointModel:
    """The fit at one control point, in features (k,) scaled by the `mean` and `scale` of the simulated ones.

    `root` (k, k) has root' root = S / n with what a rounded control point adds. `shared` (r, k) are errors that all
    control points have together, in the same order: G times what is not known of the moments, and what B(u) K leaves
    out.
    """

    point: PooledFeatures
    mean: Array
    scale: Array
    coefficients: Array
    root: Array
    shared: Array
    rounding: Array

    def scaled(self, features: Array) -> Array:
        """Features (..., k) on the scale of the model."""
        standard: Array = (features - self.mean) / self.scale
        return standard

    def residual(self, u: Array) -> Array:
        """Observed less expected features (k,) at u (e,)."""
        difference: Array = self.scaled(self.point.mean) - basis(u, DEGREE) @ self.coefficients
        return difference

    def slope(self, u: Array) -> Array:
        """Derivative (e, k) of the expected features at u (e,)."""
        step = STEP * np.eye(len(u))
        change = basis(u + step, DEGREE) - basis(u - step, DEGREE)
        slope: Array = change @ self.coefficients / (2 * STEP)
        return slope

    def wrong(self, misfit: Array) -> Array:
        """Errors (r, k) that relative errors `misfit` (outputs,) make: of each feature alone, then of whole outputs.

        Each row has a coefficient of its own with unit variance. Rows are in the same order at all control points.
        """
        error = misfit[self.point.output] * self.point.relative / self.scale
        kind, columns = self.point.kept % len(FEATURES), np.arange(len(error))
        alone, whole = (np.zeros((rows, len(error))) for rows in (len(misfit) * len(FEATURES), len(misfit)))
        alone[self.point.kept, columns] = error
        whole[self.point.output, columns] = error * (kind != FEATURES.index(MEMORY))
        return np.vstack([alone, whole])


def moments(x_a: Array) -> Array:
    """Orthonormal functions (..., m) of X_a (..., a): polynomials up to the fourth degree, with mean 0 over all.

    If the density of X_a is 1 + m q times the assumed one, m is by how much the mean of such a function q differs.
    """
    values = basis(x_a, MOMENTS)[..., 1:]
    flat = values.reshape(-1, values.shape[-1])
    flat = flat - flat.mean(axis=0)
    axes, size, _ = np.linalg.svd(flat, full_matrices=False)
    kept = size > FLATTEST * max(size.max(), np.sqrt(len(flat)) * FLATTEST)
    orthonormal: Array = np.sqrt(len(flat)) * axes[:, kept]
    return orthonormal.reshape(*values.shape[:-1], -1)


def fewest_runs(inputs: int) -> int:
    """How many simulations `fit_point` needs for so many epistemic inputs."""
    return RUNS_A_TERM * count_terms(inputs, DEGREE + FINER)


def fit_point(point: PooledFeatures, runs: Runs, place: int) -> PointModel:
    """The model of the control point at a place among those of the runs."""
    features = runs.features[place]
    mean, spread = features.mean(axis=0), features.std(axis=0)
    size = np.maximum(np.abs(mean), np.abs(point.mean))
    scale = np.where(spread > ROUNDING * size, spread, np.where(size > 0, size, 1))
    scaled, nuisances = (features - mean) / scale, runs.nuisances(place)
    low, high = basis(runs.u, DEGREE), basis(runs.u, DEGREE + FINER)
    coefficients, _ = regress(low, nuisances, scaled)
    finer, effects = regress(high, nuisances, scaled)
    of_moments, of_control = np.split(effects, [runs.x_a.shape[2]])
    left = scaled - high @ finer - nuisances @ effects
    hour = left + (runs.x_a[:, place] - runs.x_a[:, place].mean(axis=0)) @ of_moments
    rounding = ROUNDING * (1 + size / scale)
    change = finer - np.pad(coefficients, ((0, len(finer) - len(coefficients)), (0, 0)))
    missed = LEFT_OUT * np.sqrt(np.square(high).mean(axis=0))[:, None] * _beyond_chance(change, left, rounding)
    errors = [
        hour / np.sqrt(len(hour) * point.hours),
        left * np.sqrt(low.shape[1]) / len(hour),
        of_control / np.sqrt(3),  # a uniform error has a third of the variance of its largest value
        np.diag(rounding),
    ]
    root, shared = (
        np.asarray(np.linalg.qr(np.vstack(errors), mode="r")),
        np.vstack([KNOWN_MOMENTS * of_moments, missed]),
    )
    return PointModel(point, mean, scale, coefficients, root, shared, rounding)


def _beyond_chance(change: Array, left: Array, rounding: Array) -> Array:
    """Change (t, k) of coefficients by a finer fit, each term shrunk by what chance alone would make of it."""
    root = np.linalg.qr(np.vstack([left / np.sqrt(len(left)), np.diag(rounding)]), mode="r")
    size = len(left) * np.square(change @ np.linalg.inv(root)).sum(axis=1, keepdims=True)
    shrunk: Array = change * np.sqrt(np.maximum(0, 1 - change.shape[1] / np.maximum(size, 1e-300)))
    return shrunk


def regress(terms: Array, nuisances: Array, values: Array) -> tuple[Array, Array]:
    """Least-squares coefficients of terms (n, t) and of nuisances (n, m) for values (n, k)."""
    found: NDArray[np.float64] = np.asarray(np.linalg.lstsq(np.hstack([terms, nuisances]), values, rcond=None)[0])
    return found[: terms.shape[1]], found[terms.shape[1] :]
