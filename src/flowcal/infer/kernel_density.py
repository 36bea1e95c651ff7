"""Kernel density estimates on the unit cube.

References
----------
.. [1] B. W. Silverman, "Density Estimation for Statistics and Data Analysis", 1986, doi:10.1201/9781315140919, section
   2.10 (reflection).
.. [2] D. W. Scott, "Multivariate Density Estimation", 1992, doi:10.1002/9780470316849, section 6.3 (bandwidth).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import BOUNDS
from flowcal.errors import InputError

__all__ = ["BoundedKernelDensity"]

BLOCK = 2_000_000  # pairs of points and kernels that are worked on at a time
SMALLEST_BANDWIDTH = 1e-4


class BoundedKernelDensity:
    """A density from draws: a Gaussian kernel about each, reflected at the bounds so that no mass is lost [1]_.

    Parameters
    ----------
    draws : array_like, shape (n, d)
        At least two, in [0, 1].

    Attributes
    ----------
    draws : ndarray, shape (n, d)
    bandwidth : ndarray, shape (d,)
        Standard deviations of the kernels, by Scott's rule [2]_.

    Raises
    ------
    InputError
        If there are fewer than two draws, or one leaves [0, 1].

    Examples
    --------
    >>> density = BoundedKernelDensity(np.random.default_rng(1).random((1000, 2)))
    >>> bool(abs(density.log_prob([[0.0, 0.0]])[0]) < 0.5)  # the uniform density, up to its corner
    True
    """

    def __init__(self, draws: ArrayLike) -> None:
        draws = np.asarray(draws, np.float64)
        if draws.ndim != 2 or len(draws) < 2 or not _inside(draws).all():
            raise InputError(f"draws have shape {draws.shape}; needed is (n, d) with n of 2 or more, all in [0, 1].")
        self.draws = draws
        scott = len(draws) ** (-1 / (draws.shape[1] + 4))
        self.bandwidth = np.maximum(scott * draws.std(axis=0, ddof=1), SMALLEST_BANDWIDTH)

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draws: a kernel at random, a Gaussian step from its centre, reflected into [0, 1].

        Parameters
        ----------
        n : int
        rng : Generator

        Returns
        -------
        ndarray, shape (n, d)
        """
        centres = self.draws[rng.integers(len(self.draws), size=n)]
        return _reflect(centres + self.bandwidth * rng.standard_normal(centres.shape))

    def log_prob(self, x: ArrayLike) -> NDArray[np.float64]:
        """Log density; minus infinity outside [0, 1].

        Parameters
        ----------
        x : array_like, shape (m, d)

        Returns
        -------
        ndarray, shape (m,)

        Raises
        ------
        InputError
            If x has another shape.
        """
        x = np.asarray(x, np.float64)
        if x.ndim != 2 or x.shape[1] != self.draws.shape[1]:
            raise InputError(f"x has shape {x.shape}; needed is (m, {self.draws.shape[1]}).")
        rows = max(1, BLOCK // len(self.draws))
        density = np.concatenate([self._density(part) for part in np.split(x, range(rows, len(x), rows))])
        with np.errstate(divide="ignore"):
            return np.where(_inside(x).all(axis=1), np.log(density), -np.inf)

    def marginal(self, column: int, x: ArrayLike) -> NDArray[np.float64]:
        """Density of one of its dimensions, by the same kernels.

        Parameters
        ----------
        column : int
        x : array_like, shape (m,)

        Returns
        -------
        ndarray, shape (m,)
        """
        marginal = BoundedKernelDensity(self.draws[:, [column]])
        marginal.bandwidth = self.bandwidth[[column]]
        return np.exp(marginal.log_prob(np.asarray(x, np.float64)[:, None]))

    def _density(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        product = np.ones((len(x), len(self.draws)))
        for points, centres, width in zip(x.T, self.draws.T, self.bandwidth, strict=True):
            images = (centres, -centres, 2 - centres, centres - 2, centres + 2)  # more are out of a kernel's reach
            product *= sum(np.exp(-0.5 * ((points[:, None] - image) / width) ** 2) for image in images)
            product /= width * np.sqrt(2 * np.pi)
        density: NDArray[np.float64] = product.mean(axis=1)
        return density


def _inside(x: NDArray[np.float64]) -> NDArray[np.bool_]:
    low, high = BOUNDS
    return (x >= low) & (x <= high)


def _reflect(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values folded back at 0 and 1 as often as it takes."""
    folded: NDArray[np.float64] = 1 - np.abs(1 - np.mod(x, 2))
    return folded
