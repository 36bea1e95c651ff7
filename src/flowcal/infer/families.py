"""Named families of distributions on the unit square: truncated marginals, joined by copulas, in clusters.

References
----------
.. [1] H. Joe, "Dependence Modeling with Copulas", Chapman and Hall, 2014, doi:10.1201/b17116.
.. [2] T. Nagler and T. Vatter, "pyvinecopulib", doi:10.5281/zenodo.10435751.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import pyvinecopulib
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from flowcal.challenge import ALEATORY
from flowcal.errors import InputError
from flowcal.problem import BOUNDS

__all__ = ["COPULAS", "FAMILIES", "Cluster", "Family", "FamilyDistribution", "Marginal", "make_copula"]

Array = NDArray[np.float64]
LOW, HIGH = BOUNDS


@dataclass(frozen=True)
class Family:
    """A family of marginals with two free numbers, which may take any value.

    Attributes
    ----------
    distribution : rv_continuous
        Of scipy, not yet truncated.
    arguments : callable
        From the two numbers to the distribution's shapes, location and scale.
    from_moments : callable
        From mean and standard deviation to the two numbers, about.
    """

    distribution: stats.rv_continuous
    arguments: Callable[[Sequence[float]], tuple[float, ...]]
    from_moments: Callable[[float, float], tuple[float, float]]


def _beta_numbers(mean: float, spread: float) -> tuple[float, float]:
    total = max(mean * (1 - mean) / spread**2 - 1, 0.1)
    return np.log(mean * total), np.log((1 - mean) * total)


def _log_normal_numbers(mean: float, spread: float) -> tuple[float, float]:
    variance = np.log1p((spread / mean) ** 2)
    return np.log(variance) / 2, np.log(mean) - variance / 2


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "Weibull": Family(
            stats.weibull_min,
            lambda p: (np.exp(p[0]), 0, np.exp(p[1])),
            lambda mean, spread: (1.086 * np.log(mean / spread), np.log(1.12 * mean)),
        ),
        "beta": Family(stats.beta, lambda p: (np.exp(p[0]), np.exp(p[1]), 0, 1), _beta_numbers),
        "gamma": Family(
            stats.gamma,
            lambda p: (np.exp(p[0]), 0, np.exp(p[1])),
            lambda mean, spread: (2 * np.log(mean / spread), np.log(spread**2 / mean)),
        ),
        "log-normal": Family(stats.lognorm, lambda p: (np.exp(p[0]), 0, np.exp(p[1])), _log_normal_numbers),
        "normal": Family(stats.norm, lambda p: (p[0], np.exp(p[1])), lambda mean, spread: (mean, np.log(spread))),
    }
)
"""Families of marginals, all truncated to [0, 1].

:meta hide-value:
"""

COPULAS = ("independent", "Gaussian", "Frank", "Clayton", "Gumbel")
"""Copulas that are tried."""

LEANING = ("Clayton", "Gumbel")
"""Those that lean to one corner: they are turned by a right angle where the dependence is negative."""


def make_copula(name: str, tau: float) -> pyvinecopulib.Bicop:
    """The copula with a given Kendall's tau [1]_ [2]_.

    Parameters
    ----------
    name : str
        One of `COPULAS`.
    tau : float
        In (-1, 1).

    Returns
    -------
    Bicop
        Of pyvinecopulib.

    Raises
    ------
    InputError
        If there is no such copula, or tau leaves (-1, 1).

    Examples
    --------
    >>> round(make_copula("Gumbel", 0.5).tau, 6)
    0.5
    """
    if name not in COPULAS or not -1 < tau < 1:
        raise InputError(
            f"the copula is {name!r} with tau {tau}; expected one of {', '.join(COPULAS)}, tau in (-1, 1)."
        )
    family = getattr(pyvinecopulib.families, "indep" if name == "independent" else name.lower())
    if name == "independent":
        return pyvinecopulib.Bicop(family=family)
    size = np.clip(abs(tau), 1e-4, 0.95)  # what the library can invert
    turned = name in LEANING and tau < 0
    strength = pyvinecopulib.Bicop(family=family).tau_to_parameters(size if turned else np.copysign(size, tau))
    return pyvinecopulib.Bicop(family=family, rotation=90 if turned else 0, parameters=strength)


@dataclass(frozen=True)
class Marginal:
    """One input's distribution: a family, with its two numbers, truncated to [0, 1].

    Attributes
    ----------
    family : str
        One of `FAMILIES`.
    numbers : tuple of two float
        As `Family.arguments` takes them.
    """

    family: str
    numbers: tuple[float, float]

    def pdf(self, x: ArrayLike) -> Array:
        """Density at x in [0, 1].

        Parameters
        ----------
        x : array_like
            In [0, 1].

        Returns
        -------
        ndarray
            Of the same shape.
        """
        return self._of("pdf", x) / self._mass

    def cdf(self, x: ArrayLike) -> Array:
        """Probability below x in [0, 1].

        Parameters
        ----------
        x : array_like
            In [0, 1].

        Returns
        -------
        ndarray
            Of the same shape.
        """
        return (self._of("cdf", x) - self._of("cdf", LOW)) / self._mass

    def sf(self, x: ArrayLike) -> Array:
        """Probability above x in [0, 1], precise where it is small.

        Parameters
        ----------
        x : array_like
            In [0, 1].

        Returns
        -------
        ndarray
            Of the same shape.
        """
        return (self._of("sf", x) - self._of("sf", HIGH)) / self._mass

    def ppf(self, share: ArrayLike) -> Array:
        """Quantiles.

        Parameters
        ----------
        share : array_like
            Probabilities in [0, 1].

        Returns
        -------
        ndarray
            Of the same shape, in [0, 1].
        """
        return np.clip(self._of("ppf", self._of("cdf", LOW) + np.asarray(share) * self._mass), LOW, HIGH)

    def _of(self, method: str, values: ArrayLike) -> Array:
        """A method of the distribution before truncation."""
        family = FAMILIES[self.family]
        found: Array = getattr(family.distribution, method)(values, *family.arguments(self.numbers))
        return found

    @cached_property
    def _mass(self) -> float:
        return float(self._of("cdf", HIGH) - self._of("cdf", LOW))


@dataclass(frozen=True)
class Cluster:
    """A part of a distribution of X_a: two marginals and how they hang together.

    Attributes
    ----------
    weight : float
        Its share of the whole.
    marginals : tuple of two Marginal
    copula : str
        One of `COPULAS`.
    tau : float
        Kendall's tau.
    """

    weight: float
    marginals: tuple[Marginal, Marginal]
    copula: str = "independent"
    tau: float = 0.0

    def pdf(self, x_a: Array) -> Array:
        """Density in the unit square.

        Parameters
        ----------
        x_a : ndarray, shape (n, 2)

        Returns
        -------
        ndarray, shape (n,)
        """
        density: Array = np.prod([part.pdf(x) for part, x in zip(self.marginals, x_a.T, strict=True)], axis=0)
        if self.copula == "independent":
            return density
        shares = np.column_stack([part.cdf(x) for part, x in zip(self.marginals, x_a.T, strict=True)])
        together: Array = make_copula(self.copula, self.tau).pdf(shares)
        return density * together

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Independent draws.

        Parameters
        ----------
        n : int
        rng : Generator

        Returns
        -------
        ndarray, shape (n, 2)
        """
        shares = rng.random((n, len(ALEATORY)))
        if self.copula != "independent" and n:
            shares[:, 1] = make_copula(self.copula, self.tau).hinv1(shares)
        return np.column_stack([part.ppf(share) for part, share in zip(self.marginals, shares.T, strict=True)])


@dataclass(frozen=True)
class FamilyDistribution:
    """f_a from named families, with a density everywhere and so with tails.

    Attributes
    ----------
    clusters : tuple of Cluster
        Their weights add up to 1.
    resolution : float
        0: the families say something of every probability, right or wrong.

    Examples
    --------
    >>> marginals = Marginal("Weibull", (0.9, -1.3)), Marginal("beta", (0.8, 2.2))
    >>> f_a = FamilyDistribution((Cluster(1.0, marginals, "Frank", tau=0.2),))
    >>> f_a.sample(3, np.random.default_rng(1)).shape
    (3, 2)
    >>> f_a.log_prob([[0.2, 0.2], [0.2, 1.2]]).round(2)
    array([2.46, -inf])
    """

    clusters: tuple[Cluster, ...]
    resolution: float = 0.0

    @property
    def identity(self) -> dict[str, list[dict[str, Any]]]:
        """What decides it: its clusters."""
        return self.to_dict()

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Independent draws.

        Parameters
        ----------
        n : int
        rng : Generator

        Returns
        -------
        ndarray, shape (n, 2)
        """
        counts = rng.multinomial(n, [cluster.weight for cluster in self.clusters])
        parts = [cluster.sample(count, rng) for cluster, count in zip(self.clusters, counts, strict=True)]
        return rng.permutation(np.concatenate(parts))

    def log_prob(self, x_a: ArrayLike) -> Array:
        """Log density; minus infinity outside [0, 1].

        Parameters
        ----------
        x_a : array_like, shape (n, 2)

        Returns
        -------
        ndarray, shape (n,)

        Raises
        ------
        InputError
            If x_a has another shape.
        """
        x_a = np.asarray(x_a, np.float64)
        if x_a.ndim != 2 or x_a.shape[1] != len(ALEATORY):
            raise InputError(f"x_a has shape {x_a.shape}; expected (n, {len(ALEATORY)}).")
        inside = ((x_a >= LOW) & (x_a <= HIGH)).all(axis=1)
        density = np.zeros(len(x_a))
        density[inside] = sum(cluster.weight * cluster.pdf(x_a[inside]) for cluster in self.clusters)
        with np.errstate(divide="ignore"):
            return np.log(density)

    def exceedance(self, number: int, x: ArrayLike) -> Array:
        """Probability that one input lies above a value.

        Parameters
        ----------
        number : int
            0 for X_a1, 1 for X_a2.
        x : array_like
            In [0, 1].

        Returns
        -------
        ndarray
            Of the shape of x.
        """
        return sum((cluster.weight * cluster.marginals[number].sf(x) for cluster in self.clusters), np.zeros(()))

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """As JSON values.

        Returns
        -------
        dict of str to list
        """
        return {
            "clusters": [
                {
                    "weight": float(cluster.weight),
                    "marginals": [[part.family, *map(float, part.numbers)] for part in cluster.marginals],
                    "copula": cluster.copula,
                    "tau": float(cluster.tau),
                }
                for cluster in self.clusters
            ]
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, list[dict[str, Any]]]) -> "FamilyDistribution":
        """The distribution that `to_dict` described.

        Parameters
        ----------
        kept : mapping of str to list

        Returns
        -------
        FamilyDistribution

        Raises
        ------
        InputError
            If it described none.
        """
        try:
            return cls(tuple(_cluster(row) for row in kept["clusters"]))._checked()
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"a distribution of families cannot be read: {type(error).__name__}, {error}") from error

    def _checked(self) -> "FamilyDistribution":
        total = sum(cluster.weight for cluster in self.clusters)
        if not (abs(total - 1) < 1e-12 and all(cluster.weight >= 0 for cluster in self.clusters)):
            raise InputError(f"the weights add up to {total}; expected shares of 1.")
        return self


def _cluster(row: Mapping[str, Any]) -> Cluster:
    """The cluster that a row of `FamilyDistribution.to_dict` described."""
    first, second = (_marginal(*part) for part in row["marginals"])
    make_copula(row["copula"], row["tau"])  # refuses what is none
    return Cluster(float(row["weight"]), (first, second), row["copula"], float(row["tau"]))


def _marginal(family: str, first: float, second: float) -> Marginal:
    """The marginal, unless it has no density or no quantiles between the bounds."""
    marginal, inside = Marginal(family, (float(first), float(second))), np.linspace(LOW, HIGH, 11)[1:-1]
    with np.errstate(all="ignore"):
        values = np.concatenate([marginal.pdf(inside), marginal.ppf(inside), [marginal._mass]])
    if not (np.isfinite(values).all() and marginal._mass > 0):
        raise InputError(f"{family} with {first} and {second} is no distribution within [{LOW}, {HIGH}].")
    return marginal
