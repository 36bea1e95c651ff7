"""How wrong the simulator is: relative errors of its outputs, estimated from what no X_e explains.

The mean features t of all control points, less what is expected at some X_e, have the covariance

    C(d, d') = S / n + L + G G' + F F' + d^2 D + d'^2 D'

where L is what polynomials leave out, G G' what is not known of X_a, and F F' what X_e may change (see `point_model`).
D gives each feature and each output at each control point an error of its own, of the size that a relative error of the
output makes, and D' one that all control points share. Each output has its own scales d and d', which maximise the
likelihood [1]_. An error that looks like another X_e is not seen in this way [2]_: a scale that is known otherwise has
to be stated.

References
----------
.. [1] M. C. Kennedy and A. O'Hagan, "Bayesian calibration of computer models", JRSS B 63(3), 2001,
   doi:10.1111/1467-9868.00294.
.. [2] J. Brynjarsdottir and A. O'Hagan, "Learning about physical parameters: the importance of model discrepancy",
   Inverse Problems 30(11), 2014, doi:10.1088/0266-5611/30/11/114007.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import chi2

from flowcal.infer.point_model import PointModel

__all__ = ["Whitening", "estimate_misfit", "plausibility"]

Array = NDArray[np.float64]

SMALLEST, LARGEST, TRIED = 1e-14, 3.0, 15  # scales that are tried
SWEEPS = 1  # over the scales, before all are refined together
DROP = 1.92  # of the log likelihood; half the 0.95 quantile of chi-square with one degree of freedom
FURTHER, MOST_FURTHER = 0.1, 5.0  # steps of a logarithm of scales, and the longest way


class Whitening:
    """Brings the features of all control points, joined (q,), to unit covariance under a `misfit` (2, outputs).

    It has scales of errors that each control point has of its own, and of those that all share.

    `free` (r, q), if given, are directions along which nothing is known.
    """

    def __init__(self, models: Sequence[PointModel], misfit: Array, free: Array | None = None) -> None:
        own, shared = misfit
        roots = [np.linalg.qr(np.vstack([model.root, model.wrong(own)]), mode="r") for model in models]
        self._inverses = [np.linalg.inv(root) for root in roots]
        self._ends = np.cumsum([len(root) for root in roots])[:-1]
        common = [np.hstack([model.shared for model in models]), np.hstack([model.wrong(shared) for model in models])]
        common += [] if free is None else [free]
        self._axes, size, _ = np.linalg.svd(self._by_point(np.vstack(common)).T, full_matrices=False)
        self._shrink = 1 - 1 / np.sqrt(1 + size**2)
        self.log_volume = float(
            sum(np.log(np.abs(np.diag(root))).sum() for root in roots) + np.log1p(size**2).sum() / 2
        )
        """Half the log determinant of the covariance."""

    def __call__(self, features: Array) -> Array:
        """Whitened features (..., q)."""
        by_point = self._by_point(features)
        white: Array = by_point - (by_point @ self._axes * self._shrink) @ self._axes.T
        return white

    def weights(self, slopes: Array) -> Array:
        """Weights (q, e) of features that tell most of the parameters whose slopes (e, q) are given: C^-1 slopes'."""
        white = self(slopes)
        white = white - (white @ self._axes * self._shrink) @ self._axes.T
        parts = np.split(white, self._ends, axis=1)
        return np.vstack([inverse @ part.T for inverse, part in zip(self._inverses, parts, strict=True)])

    def _by_point(self, features: Array) -> Array:
        parts = np.split(features, self._ends, axis=-1)
        return np.concatenate([part @ inverse for part, inverse in zip(parts, self._inverses, strict=True)], axis=-1)


def plausibility(models: Sequence[PointModel], u: Array, misfit: Array) -> float:
    """Probability that simulated features lie as far from what u (e,) lets expect as the observed ones do."""
    squared, _, size = _distance(models, u, misfit)
    return float(chi2.sf(squared, size - len(u)))


def estimate_misfit(models: Sequence[PointModel], u: Array, least: Array) -> tuple[Array, Array]:
    """The scales (2, outputs) that make the observed features most likely, and the largest that hardly do worse.

    Scales are at least `least` (2, outputs). The largest ones are the most likely times a factor at which the log
    likelihood is `DROP` lower: few control points tell a scale badly.
    """

    def loss(log_scales: Array) -> float:
        scales = np.maximum(np.exp(log_scales).reshape(least.shape), least)
        squared, log_volume, _ = _distance(models, u, scales)
        return squared / 2 + log_volume

    ends = np.log(SMALLEST), np.log(LARGEST)
    grid = np.linspace(*ends, TRIED)
    best = min((np.full(least.size, value) for value in grid), key=loss)
    for _ in range(SWEEPS):
        for place in range(least.size):
            best = min(
                (np.where(np.arange(least.size) == place, value, best) for value in (*grid, best[place])), key=loss
            )
    best = minimize(loss, best, method="L-BFGS-B", bounds=[ends] * least.size, options={"maxiter": 30}).x
    lowest, further = loss(best), 0.0
    while loss(best + further + FURTHER) < lowest + DROP and further < MOST_FURTHER:
        further += FURTHER
    likely, largest = (np.maximum(np.exp(value).reshape(least.shape), least) for value in (best, best + further))
    return likely, np.where(likely > 10 * SMALLEST, largest, least)


def _distance(models: Sequence[PointModel], u: Array, misfit: Array) -> tuple[float, float, int]:
    """Squared distance of the observed features from what u lets expect, X_e being free to change; see `Whitening`."""
    slopes = np.hstack([model.slope(u) for model in models])
    whitening = Whitening(models, misfit, slopes)
    white = whitening(np.concatenate([model.residual(u) for model in models]))
    return float(white @ white), whitening.log_volume, len(white)
