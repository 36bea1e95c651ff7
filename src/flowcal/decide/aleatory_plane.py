"""The plane of X_a in cells: where integrals against f_a are taken, and proposals drawn from."""

import numpy as np
from numpy.typing import NDArray

from flowcal.errors import InputError
from flowcal.infer.families import FamilyDistribution, make_copula
from flowcal.infer.uncertainty import AleatoryDistribution

__all__ = ["AleatoryPlane"]

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
            raise InputError("f_a has no density within the bounds, or an infinite one; needed is one in between.")
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
