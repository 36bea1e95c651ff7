"""Named families of distributions on the unit cube: truncated marginals, joined by copulas, in clusters.

With two inputs a copula joins them. Three to five are joined by a D-vine [1]_ in the order of the inputs: a copula of
one family for each pair of neighbours, with its own Kendall's tau, and nothing beyond, so that inputs that are not
neighbours are independent given those between them. A single input has no copula.

References
----------
.. [1] H. Joe, "Dependence Modeling with Copulas", Chapman and Hall, 2014, doi:10.1201/b17116.
.. [2] T. Nagler and T. Vatter, "pyvinecopulib", doi:10.5281/zenodo.10435751.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import pyvinecopulib
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.cluster.vq import kmeans2
from scipy.special import softmax

from flowcal.errors import InputError
from flowcal.problem import BOUNDS, as_numbers, check_counts, check_points, check_range

__all__ = [
    "COPULAS",
    "FAMILIES",
    "MOST_INPUTS",
    "Cluster",
    "Copula",
    "Family",
    "FamilyDistribution",
    "Form",
    "Marginal",
    "Tau",
    "make_copula",
]

Array = NDArray[np.float64]
LOW, HIGH = BOUNDS
MOST_INPUTS = 5
PRIOR_MEAN, PRIOR_SPREAD = 0.35, 0.2  # moments at which the prior of a marginal's numbers is centred
PRIOR_WIDTH = 0.75  # its standard deviation, for numbers most of which are logarithms
LARGEST_TAU = 0.99
WEIGHTS_OFF = 1e-12  # by which weights may miss 1


@dataclass(frozen=True)
class Family:
    """A family of marginals with two free numbers, which may take any value.

    The distribution is scipy's, not yet truncated. `arguments` leads from the two numbers to its shapes, location and
    scale, and `from_moments` from mean and standard deviation to the two numbers, approximately.
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

TURNED = ("Clayton", "Gumbel")  # these lean to one corner; for a negative tau they are turned by a right angle

Copula = pyvinecopulib.Bicop | pyvinecopulib.Vinecop
Tau = float | tuple[float, ...]
"""Kendall's tau of two inputs, or of each pair of neighbours of more."""


def make_copula(name: str, tau: float | Sequence[float]) -> Copula:
    """The copula of two inputs with Kendall's tau in (-1, 1), or the D-vine of more with a tau for each pair [1]_ [2]_.

    Examples
    --------
    >>> round(make_copula("Gumbel", 0.5).tau, 6)
    0.5
    >>> make_copula("Gumbel", [0.5, -0.2]).dim
    3
    """
    taus = np.atleast_1d(as_numbers(tau, "tau"))
    if name not in COPULAS or not taus.size or not ((taus > -1) & (taus < 1)).all():
        raise InputError(
            f"the copula is {name!r} with tau {tau}; expected one of {', '.join(COPULAS)}, tau in (-1, 1)."
        )
    if isinstance(tau, Sequence):
        order = pyvinecopulib.DVineStructure(list(range(1, len(tau) + 2)), trunc_lvl=1)
        pairs = [_pair_copula(name, value) for value in tau]
        return pyvinecopulib.Vinecop.from_structure(structure=order, pair_copulas=[pairs])
    return _pair_copula(name, tau)


def _pair_copula(name: str, tau: float) -> pyvinecopulib.Bicop:
    family = getattr(pyvinecopulib.families, "indep" if name == "independent" else name.lower())
    if name == "independent":
        return pyvinecopulib.Bicop(family=family)
    size = np.clip(abs(tau), 1e-4, 0.95)  # what the library can invert
    turned = name in TURNED and tau < 0
    strength = pyvinecopulib.Bicop(family=family).tau_to_parameters(size if turned else np.copysign(size, tau))
    return pyvinecopulib.Bicop(family=family, rotation=90 if turned else 0, parameters=strength)


@dataclass(frozen=True)
class Marginal:
    """One input's distribution: one of `FAMILIES` with its two numbers, truncated to [0, 1]."""

    family: str
    numbers: tuple[float, float]

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise InputError(f"family is {self.family!r}; expected one of {', '.join(FAMILIES)}.")

    def pdf(self, x: ArrayLike) -> Array:
        """Density at x in [0, 1]."""
        return self._of("pdf", x) / self._mass

    def cdf(self, x: ArrayLike) -> Array:
        """Probability below x in [0, 1]."""
        return (self._of("cdf", x) - self._of("cdf", LOW)) / self._mass

    def sf(self, x: ArrayLike) -> Array:
        """Probability above x in [0, 1], precise where it is small."""
        return (self._of("sf", x) - self._of("sf", HIGH)) / self._mass

    def ppf(self, share: ArrayLike) -> Array:
        """Quantiles at probabilities in [0, 1]."""
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
    """A part of a distribution of X_a: its share of the whole, a marginal for each input, and their copula."""

    weight: float
    marginals: tuple[Marginal, ...]
    copula: str = "independent"
    tau: Tau = 0.0

    def pdf(self, x_a: Array) -> Array:
        """Density (n,) at points (n, d) in the unit cube."""
        density: Array = np.prod([part.pdf(x) for part, x in zip(self.marginals, x_a.T, strict=True)], axis=0)
        if self.copula == "independent":
            return density
        shares = np.column_stack([part.cdf(x) for part, x in zip(self.marginals, x_a.T, strict=True)])
        together: Array = make_copula(self.copula, self.tau).pdf(shares)
        return density * together

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Independent draws (n, d)."""
        shares = rng.random((n, len(self.marginals)))
        if self.copula != "independent" and n:
            copula = make_copula(self.copula, self.tau)
            if isinstance(copula, pyvinecopulib.Bicop):
                shares[:, 1] = copula.hinv1(shares)
            else:
                shares = copula.inverse_rosenblatt(shares)
        return np.column_stack([part.ppf(share) for part, share in zip(self.marginals, shares.T, strict=True)])


@dataclass(frozen=True)
class FamilyDistribution:
    """f_a from named families, in clusters whose weights add up to 1; it has a density everywhere and so tails.

    Its resolution is 0: the families give every probability, right or wrong.

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

    def __post_init__(self) -> None:
        weights = as_numbers([cluster.weight for cluster in self.clusters], "weight")
        sizes = {len(cluster.marginals) for cluster in self.clusters}
        if not (abs(weights.sum() - 1) < WEIGHTS_OFF and (weights >= 0).all() and len(sizes) == 1):
            raise InputError(
                f"the weights are {weights.tolist()}; expected shares of 1, and as many marginals in each."
            )

    @property
    def identity(self) -> dict[str, list[dict[str, Any]]]:
        """Its clusters."""
        return self.to_dict()

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Independent draws (n, d)."""
        check_counts(0, n=n)
        counts = rng.multinomial(n, [cluster.weight for cluster in self.clusters])
        parts = [cluster.sample(count, rng) for cluster, count in zip(self.clusters, counts, strict=True)]
        return rng.permutation(np.concatenate(parts))

    def log_prob(self, x_a: ArrayLike) -> Array:
        """Log density (n,) at points (n, d); minus infinity outside [0, 1]."""
        x_a = check_points(x_a, len(self.clusters[0].marginals), "x_a")
        inside = ((x_a >= LOW) & (x_a <= HIGH)).all(axis=1)
        density = np.zeros(len(x_a))
        density[inside] = sum(cluster.weight * cluster.pdf(x_a[inside]) for cluster in self.clusters)
        with np.errstate(divide="ignore"):
            return np.log(density)

    def exceedance(self, number: int, x: ArrayLike) -> Array:
        """Probability that one input, counted from 0, lies above values in [0, 1]."""
        check_range(0, len(self.clusters[0].marginals) - 1, "[]", number=number)
        return sum((cluster.weight * cluster.marginals[number].sf(x) for cluster in self.clusters), np.zeros(()))

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """As JSON values."""
        return {
            "clusters": [
                {
                    "weight": float(cluster.weight),
                    "marginals": [[part.family, *map(float, part.numbers)] for part in cluster.marginals],
                    "copula": cluster.copula,
                    "tau": np.asarray(cluster.tau, np.float64).tolist(),
                }
                for cluster in self.clusters
            ]
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, list[dict[str, Any]]]) -> "FamilyDistribution":
        """The distribution that `to_dict` described, or an `InputError`."""
        try:
            clusters = tuple(_cluster(row) for row in kept["clusters"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"a distribution of families cannot be read: {type(error).__name__}, {error}") from error
        return cls(clusters)


def _cluster(row: Mapping[str, Any]) -> Cluster:
    """The cluster that a row of `FamilyDistribution.to_dict` described."""
    marginals = tuple(_marginal(*part) for part in row["marginals"])
    tau = tuple(map(float, row["tau"])) if isinstance(row["tau"], list) else float(row["tau"])
    pairs = len(tau) if isinstance(tau, tuple) else 1
    if not 1 <= len(marginals) <= MOST_INPUTS or (row["copula"] != "independent" and pairs != len(marginals) - 1):
        raise InputError(f"{len(marginals)} marginals with tau {tau}; expected 1 to {MOST_INPUTS}, a tau a pair.")
    make_copula(row["copula"], tau)  # refuses what is none
    return Cluster(float(row["weight"]), marginals, row["copula"], tau)


def _marginal(family: str, first: float, second: float) -> Marginal:
    """The marginal, unless it has no density or no quantiles between the bounds."""
    marginal, inside = Marginal(family, (float(first), float(second))), np.linspace(LOW, HIGH, 11)[1:-1]
    with np.errstate(all="ignore"):
        values = np.concatenate([marginal.pdf(inside), marginal.ppf(inside), [marginal._mass]])
    if not (np.isfinite(values).all() and marginal._mass > 0):
        raise InputError(f"{family} with {first} and {second} is no distribution within [{LOW}, {HIGH}].")
    return marginal


@dataclass(frozen=True)
class Form:
    """The families of a distribution of X_a: one for each input, and a copula, the same in each cluster."""

    families: tuple[str, ...]
    copula: str = "independent"
    clusters: int = 1

    def __post_init__(self) -> None:
        check_counts(clusters=self.clusters)
        if unknown := set(self.families) - set(FAMILIES) | {self.copula} - set(COPULAS):
            known = ", ".join((*FAMILIES, *COPULAS))
            raise InputError(f"families and copula name {', '.join(map(repr, unknown))}; expected names among {known}.")
        if not 1 <= len(self.families) <= MOST_INPUTS or (self.pairs and len(self.families) == 1):
            raise InputError(f"{self} does not fit; expected 1 to {MOST_INPUTS} inputs, and no copula with one input.")

    @property
    def pairs(self) -> int:
        """Pairs of neighbouring inputs that depend on each other."""
        return max(len(self.families) - 1, 1) if self.copula != "independent" else 0

    @property
    def marginal_size(self) -> int:
        """Free numbers of all marginals."""
        return 2 * len(self.families) * self.clusters

    @property
    def size(self) -> int:
        """Free numbers: those of the marginals, the weights of all clusters but one, and the strengths of copulas."""
        return self.marginal_size + self.clusters - 1 + self.pairs

    @property
    def name(self) -> str:
        """A readable name."""
        clusters = [f"{self.clusters} clusters"] * (self.clusters > 1)
        copula = [self.copula] * (len(self.families) > 1 and (self.clusters == 1 or self.copula != "independent"))
        return ", ".join([" x ".join(self.families), *copula, *clusters])

    def distribution(self, numbers: Sequence[float] | Array) -> FamilyDistribution:
        """The distribution at given numbers (size,)."""
        split = self.marginal_size, self.marginal_size + self.clusters - 1
        parts = np.reshape(numbers[: split[0]], (self.clusters, len(self.families), 2))
        weights = softmax([0.0, *numbers[split[0] : split[1]]])
        taus = tuple(float(LARGEST_TAU * np.tanh(number)) for number in numbers[split[1] :])
        tau: Tau = taus if len(taus) > 1 else taus[0] if taus else 0.0
        return FamilyDistribution(
            tuple(
                Cluster(
                    float(weight),
                    tuple(Marginal(name, (a, b)) for name, (a, b) in zip(self.families, part, strict=True)),
                    self.copula,
                    tau,
                )
                for weight, part in zip(weights, parts.tolist(), strict=True)
            )
        )

    def start(self, x_a: Array) -> Array:
        """Numbers (size,) to start from, by the moments of X_a (n, d) or of the groups that it falls into."""
        group = kmeans2(x_a / x_a.std(axis=0), self.clusters, minit="++", seed=1)[1] if self.clusters > 1 else 0
        groups = [x_a[np.broadcast_to(group == number, len(x_a))] for number in range(self.clusters)]
        shares = np.log([max(len(part), 1) for part in groups])
        pairs = list(pairwise(range(len(self.families))))[: self.pairs]
        taus = [np.arctanh(np.mean([_tau(part[:, pair]) for part in groups]) / LARGEST_TAU) for pair in pairs]
        return np.concatenate([*map(self._moments, groups), shares[1:] - shares[0], taus])

    def prior_mean(self) -> Array:
        """Numbers (size,) at which their prior is centred."""
        marginals = [FAMILIES[family].from_moments(PRIOR_MEAN, PRIOR_SPREAD) for family in self.families]
        return np.concatenate([*(marginals * self.clusters), np.zeros(self.size - self.marginal_size)])

    def _moments(self, x_a: Array) -> Array:
        if len(x_a) < 2:
            return np.ravel([FAMILIES[family].from_moments(PRIOR_MEAN, PRIOR_SPREAD) for family in self.families])
        mean, spread = np.clip(x_a.mean(axis=0), 0.01, 0.99), np.maximum(x_a.std(axis=0), 0.01)
        pairs = zip(self.families, mean, spread, strict=True)
        return np.ravel([FAMILIES[family].from_moments(*moments) for family, *moments in pairs])


def _tau(x_a: Array) -> float:
    """Kendall's tau of two inputs (n, 2), but not so close to 0 that the likelihood would seem flat there."""
    tau = stats.kendalltau(*x_a.T).statistic if len(x_a) > 2 else 0.0
    return float(np.copysign(np.clip(abs(tau), 0.02, 0.9), tau))
