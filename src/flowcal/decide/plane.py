"""The plane of X_a in cells: where integrals against f_a are taken, and where samples are aimed."""

import numpy as np
from numpy.typing import NDArray

from flowcal.errors import InputError
from flowcal.infer.families import FamilyDistribution, make_copula
from flowcal.infer.models import AleatoryDistribution

__all__ = ["AleatoryPlane"]

Array = NDArray[np.float64]

CELLS = (300, 200)  # along X_a1 and X_a2
COUNTED = 2_000_000  # samples of an f_a that has no tail of its own


class AleatoryPlane:
    """The plane of two aleatory inputs in cells, with the share of f_a in each.

    `x_a` (n, 2) are the midpoints of the cells. `mass` (n,) are the shares, which add up to 1: by the distribution
    functions of named families, so that mass at a bound counts in full; by counting where f_a comes from pooled
    samples; else by the density at the midpoint.
    """

    def __init__(self, f_a: AleatoryDistribution) -> None:
        if (inputs := f_a.sample(1, np.random.default_rng(1)).shape[1]) != len(CELLS):
            raise InputError(f"f_a has {inputs} aleatory inputs; expected two, for its cells lie in a plane.")
        self.f_a = f_a
        axes = [(np.arange(count) + 0.5) / count for count in CELLS]
        self.x_a = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(CELLS))
        if isinstance(f_a, FamilyDistribution):
            share = _shares(f_a)
        else:
            share = self._counted() if f_a.resolution > 0 else np.exp(f_a.log_prob(self.x_a))
        if not 0 < share.sum() < np.inf:
            raise InputError(f"the density of f_a adds up to {share.sum()} over the plane; expected a positive number.")
        self.mass = share / share.sum()

    def sample(self, weight: Array, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """X_a (n, 2) from cells that are drawn by a weight (cells,), and what each counts for under f_a (n,)."""
        share = weight / weight.sum()
        cell = rng.choice(len(share), n, p=share)
        x_a = np.clip(self.x_a[cell] + (rng.random((n, 2)) - 0.5) / CELLS, 0, 1)
        counted = self.f_a.resolution > 0
        density = self.mass[cell] * np.prod(CELLS) if counted else np.exp(self.f_a.log_prob(x_a))
        return x_a, density / (share[cell] * np.prod(CELLS))

    def _counted(self) -> Array:
        """Counts of samples in the cells: the density of pooled samples would cost a kernel for each."""
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
