"""Statistics of an hour: what an analyst would write down of the sixty minutes of its first load.

The other outputs tell nothing more of X_a: all loads of an hour are in proportion (`flowcal.infer.um2_epistemic`), and
powers follow them.


X_a of an hour whose X_e and X_c are known: one amortised posterior for all systems and control points.

f_a from all hours together: the distribution of X_a with each hour's own error taken out.

The estimator's draws for an hour, made under a uniform prior, are a picture of that hour's likelihood. A distribution
of X_a is judged by how likely it makes all hours, and named families are fitted and compared by that: empirical Bayes
[1]_. A heap of the same draws would be the distribution blurred by every hour's error.

References
----------
.. [1] B. Efron, "Empirical Bayes deconvolution estimates", Biometrika 103(1), 2016, doi:10.1093/biomet/asv068.
.. [2] M. A. Newton, N. G. Polson and J. Xu, "Weighted Bayesian bootstrap for scalable posterior distributions",
   Canadian Journal of Statistics 49(2), 2021, arXiv:1803.04559.
.. [3] K. P. Burnham and D. R. Anderson, "Multimodel inference", Sociological Methods & Research 33(2), 2004,
   doi:10.1177/0049124104268644.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.vq import kmeans2
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import kendalltau, qmc
from tqdm import tqdm

from flowcal.challenge import ALEATORY, CONTROL, EPISTEMIC, INPUTS, LOADS, OUTPUTS, TIME_STEPS
from flowcal.errors import InputError
from flowcal.files import Weights
from flowcal.infer.checks import rank_truth
from flowcal.infer.families import COPULAS, FAMILIES, Cluster, FamilyDistribution, Marginal, make_copula
from flowcal.infer.posteriors import FeaturePosterior, Layout
from flowcal.infer.train import Trainer, Training
from flowcal.problem import SEED_MAX
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator

__all__ = [
    "AleatoryEstimator",
    "Form",
    "HourLikelihood",
    "calibrate_estimator",
    "estimator_runs",
    "fit_family",
    "hour_statistics",
    "infer_population",
    "train_estimator",
]

LAGS = (1, 2, 4, 8)
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
FLOOR = 1e-3  # so that what does not vary has a logarithm


def hour_statistics(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Level, spread, memory and quantiles of the first load's root, which evens out that loads grow with a square.

    Parameters
    ----------
    y : ndarray, shape (n, 60, 6)

    Returns
    -------
    ndarray, shape (n, 14)
        Mean and its logarithm; logarithms of the standard deviation, of that over the mean and of the typical step from
        minute to minute; autocorrelations at lags 1, 2, 4 and 8; smallest value, quartiles, largest value.
    """
    root = np.sqrt(y[..., OUTPUTS.index(LOADS[0])])
    mean = root.mean(axis=1)
    centred = root - mean[:, None]
    variance = np.square(centred).mean(axis=1)
    step = np.sqrt(np.square(np.diff(root, axis=1)).mean(axis=1))
    log_mean, log_spread, log_step = (np.log(part + FLOOR) for part in (mean, np.sqrt(variance), step))
    memory = [(centred[:, lag:] * centred[:, :-lag]).sum(axis=1) / TIME_STEPS / (variance + FLOOR**2) for lag in LAGS]
    quantiles = np.quantile(root, QUANTILES, axis=1)
    return np.column_stack([mean, log_mean, log_spread, log_spread - log_mean, log_step, *memory, *quantiles])


BLOCK = 20_000  # hours that are held at a time
FIXED = EPISTEMIC + CONTROL


class AleatoryEstimator:
    """The posterior of X_a under a uniform prior, given an hour, its X_c, and a value of X_e.

    Parameters
    ----------
    posterior : FeaturePosterior
        Trained by `train_estimator`.
    """

    def __init__(self, posterior: FeaturePosterior) -> None:
        self.posterior = posterior

    @property
    def identity(self) -> dict[str, str]:
        """What decides its answers."""
        return self.posterior.identity

    @classmethod
    def from_weights(cls, weights: Weights, device: str = "auto") -> "AleatoryEstimator":
        """The estimator that `train_estimator` made.

        Parameters
        ----------
        weights : Weights
        device : str
            'cpu', 'cuda' or 'auto'.

        Returns
        -------
        AleatoryEstimator

        Raises
        ------
        WeightsError
            If the weights belong to something else.
        """
        return cls(FeaturePosterior.from_weights(weights, device))

    def sample(self, n: int, hours: xr.Dataset, x_e: ArrayLike, rng: np.random.Generator) -> NDArray[np.float64]:
        """N draws for each hour.

        Parameters
        ----------
        n : int
        hours : Dataset
            y and x_c by sample, or runs with x.
        x_e : array_like, shape (3,) or (hours, 3)
            One for all hours, or another for each.
        rng : Generator

        Returns
        -------
        ndarray, shape (n, hours, 2)

        Raises
        ------
        InputError
            If x_e has another shape.
        """
        return self.posterior.sample(n, _features(hours, x_e), rng)

    def spread_evenly(self, n: int, hours: xr.Dataset, x_e: ArrayLike, rng: np.random.Generator) -> NDArray[np.float64]:
        """The same, from quasi-random numbers that all hours share, which makes means over the draws more precise.

        Parameters
        ----------
        n : int
        hours : Dataset
            y and x_c by sample, or runs with x.
        x_e : array_like, shape (3,) or (hours, 3)
        rng : Generator

        Returns
        -------
        ndarray, shape (n, hours, 2)

        Raises
        ------
        InputError
            If x_e has another shape.
        """
        normal = qmc.MultivariateNormalQMC(np.zeros(len(ALEATORY)), rng=rng).random(n)
        return self.posterior.from_normal(normal[:, None], _features(hours, x_e))

    def log_prob(self, x_a: ArrayLike, hours: xr.Dataset, x_e: ArrayLike) -> NDArray[np.float64]:
        """Log density of X_a given each hour and X_e; minus infinity outside [0, 1].

        Parameters
        ----------
        x_a : array_like, shape (..., hours, 2)
        hours : Dataset
            y and x_c by sample, or runs with x.
        x_e : array_like, shape (3,) or (hours, 3)

        Returns
        -------
        ndarray, shape (..., hours)

        Raises
        ------
        InputError
            If x_a or x_e has another shape.
        """
        return self.posterior.log_prob(x_a, _features(hours, x_e))


def estimator_runs(simulator: Simulator, size: int, random_seed: int, runner: Runner | None = None) -> xr.Dataset:
    """Statistics of simulated hours with every input uniform and every seed another.

    Parameters
    ----------
    simulator : Simulator
    size : int
        Number of runs.
    random_seed : int
    runner : Runner, optional

    Returns
    -------
    Dataset
        x (size, 8) by sample and input, statistics (size, k) by sample and statistic; without runs that failed.
    """
    rng = np.random.default_rng([random_seed, 3])
    x, seed = rng.random((size, len(INPUTS))), rng.integers(1, SEED_MAX, size, endpoint=True)
    blocks = [slice(start, start + BLOCK) for start in range(0, size, BLOCK)]
    campaigns = (run_campaign(simulator, x[rows], seed[rows], runner, all_needed=False) for rows in blocks)
    made = [(hours.x.values, hour_statistics(hours.y.values)) for hours in campaigns]
    x, statistics = map(np.concatenate, zip(*made, strict=True))
    values = {"x": (("sample", "input"), x), "statistics": (("sample", "statistic"), statistics)}
    return xr.Dataset(values, {"input": list(INPUTS)})


def train_estimator(
    simulator: Simulator, size: int, training: Training, runner: Runner | None = None, trainer: Trainer | None = None
) -> Weights:
    """Weights of an estimator that is trained on simulations, for `AleatoryEstimator.from_weights`.

    Parameters
    ----------
    simulator : Simulator
    size : int
        Number of simulations.
    training : Training
    runner : Runner, optional
    trainer : Trainer, optional

    Returns
    -------
    Weights

    Raises
    ------
    TrainingError
        If the loss is no longer a finite number.
    """
    runs = estimator_runs(simulator, size, training.random_seed, runner)
    features = np.hstack([runs.statistics.values, runs.x.sel(input=list(FIXED)).values])
    posterior = FeaturePosterior(Layout(len(ALEATORY), features.shape[1], width=128), training.random_seed)
    return posterior.fit(runs.x.sel(input=list(ALEATORY)).values, features, training, trainer).to_weights()


def calibrate_estimator(estimator: AleatoryEstimator, runs: xr.Dataset, draws: int, random_seed: int) -> xr.Dataset:
    """Where the true X_a of simulations lies within its posterior.

    Parameters
    ----------
    estimator : AleatoryEstimator
    runs : Dataset
        Simulated hours that were not trained on, with their true inputs x.
    draws : int
        Posterior draws for each hour.
    random_seed : int

    Returns
    -------
    Dataset
        As `flowcal.infer.checks.calibrate` has it.
    """
    rng = np.random.default_rng(random_seed)
    x_e = runs.x.sel(input=list(EPISTEMIC)).values
    drawn = estimator.sample(draws, runs, x_e, rng)
    theta = runs.x.sel(input=list(ALEATORY))
    return rank_truth(theta, drawn, lambda values: estimator.log_prob(values, runs, x_e), rng)


def _features(hours: xr.Dataset, x_e: ArrayLike) -> NDArray[np.float64]:
    x_c = hours.x_c if "x_c" in hours else hours.x.sel(input=list(CONTROL))
    x_e = np.asarray(x_e, np.float64)
    if x_e.shape not in ((len(EPISTEMIC),), (len(x_c), len(EPISTEMIC))):
        raise InputError(f"x_e has shape {x_e.shape}; expected ({len(EPISTEMIC)},) or ({len(x_c)}, {len(EPISTEMIC)}).")
    statistics = hour_statistics(hours.y.transpose("sample", "time", "output").values)
    return np.hstack([statistics, np.broadcast_to(x_e, (len(x_c), len(EPISTEMIC))), x_c.values])


Array = NDArray[np.float64]

NODES = np.linspace(0, 1, 1025)  # between which marginals are interpolated
PRIOR_MEAN, PRIOR_SPREAD = 0.35, 0.2  # where the prior of a marginal's numbers is centred
LARGEST_TAU = 0.99
PRIOR_WIDTH = 0.75  # its standard deviation, for numbers most of which are logarithms
CLOSE = 6.0  # difference of AIC within which families of one input are crossed with those of the other
FEWEST_FOR_CLUSTERS = 50
MOST_CLUSTERS = 4
REMEMBERED = 32  # marginals whose densities at all draws are kept at hand
CLUSTER_FAMILIES = ("normal", "Weibull", "beta")


@dataclass(frozen=True)
class Form:
    """Which families a distribution of X_a is made of.

    Attributes
    ----------
    families : tuple of two str
        Of the marginals of X_a1 and X_a2.
    copula : str
        Of each cluster, with the same dependence in all.
    clusters : int
    """

    families: tuple[str, str]
    copula: str = "independent"
    clusters: int = 1

    @property
    def size(self) -> int:
        """How many numbers are free."""
        return 5 * self.clusters - 1 + (self.copula != "independent")

    @property
    def name(self) -> str:
        """As a reader would call it."""
        clusters = [f"{self.clusters} clusters"] * (self.clusters > 1)
        copula = [self.copula] * (self.clusters == 1 or self.copula != "independent")
        return ", ".join([" x ".join(self.families), *copula, *clusters])

    def distribution(self, numbers: Sequence[float] | Array) -> FamilyDistribution:
        """The distribution at given numbers.

        Parameters
        ----------
        numbers : sequence of float or ndarray
            As many as `size` says.

        Returns
        -------
        FamilyDistribution
        """
        split = 4 * self.clusters, 5 * self.clusters - 1
        parts = np.reshape(numbers[: split[0]], (self.clusters, 2, 2))
        weights = softmax([0.0, *numbers[split[0] : split[1]]])
        tau = 0.0 if self.copula == "independent" else float(LARGEST_TAU * np.tanh(numbers[-1]))
        first, second = self.families
        return FamilyDistribution(
            tuple(
                Cluster(float(weight), (Marginal(first, (a, b)), Marginal(second, (c, d))), self.copula, tau)
                for weight, ((a, b), (c, d)) in zip(weights, parts.tolist(), strict=True)
            )
        )

    def start(self, x_a: Array) -> Array:
        """Numbers to start from, by the moments of X_a or of the groups it falls into.

        Parameters
        ----------
        x_a : ndarray, shape (n, 2)

        Returns
        -------
        ndarray, shape (size,)
        """
        group = kmeans2(x_a / x_a.std(axis=0), self.clusters, minit="++", seed=1)[1] if self.clusters > 1 else 0
        groups = [x_a[np.broadcast_to(group == number, len(x_a))] for number in range(self.clusters)]
        shares = np.log([max(len(part), 1) for part in groups])
        tau = [np.arctanh(np.mean([*map(_tau, groups)]) / LARGEST_TAU)] * (self.copula != "independent")
        return np.concatenate([*map(self._moments, groups), shares[1:] - shares[0], tau])

    def prior_mean(self) -> Array:
        """Where the prior of the numbers is centred.

        Returns
        -------
        ndarray, shape (size,)
        """
        marginals = [FAMILIES[family].from_moments(PRIOR_MEAN, PRIOR_SPREAD) for family in self.families]
        return np.concatenate([*(marginals * self.clusters), np.zeros(self.size - 4 * self.clusters)])

    def _moments(self, x_a: Array) -> Array:
        if len(x_a) < 2:
            return np.ravel([FAMILIES[family].from_moments(PRIOR_MEAN, PRIOR_SPREAD) for family in self.families])
        mean, spread = np.clip(x_a.mean(axis=0), 0.01, 0.99), np.maximum(x_a.std(axis=0), 0.01)
        pairs = zip(self.families, mean, spread, strict=True)
        return np.ravel([FAMILIES[family].from_moments(*moments) for family, *moments in pairs])


class HourLikelihood:
    """How likely a distribution of X_a makes each hour.

    Parameters
    ----------
    draws : array_like, shape (m, hours, 2)
        Of X_a for each hour, under a uniform prior.
    """

    def __init__(self, draws: ArrayLike) -> None:
        draws = np.asarray(draws, np.float64)
        self.shape = draws.shape[:2]
        self.centre = draws.mean(axis=0)
        place = np.clip(draws.reshape(-1, len(ALEATORY)), 0, 1) * (len(NODES) - 1)
        self._node = np.minimum(place.astype(np.int64), len(NODES) - 2).T
        self._beyond = place.T - self._node
        # A step along one number leaves all other marginals as they were.
        self._pdf = lru_cache(REMEMBERED)(lambda number, part: self._at(number, _finite(part.pdf(NODES))))
        self._cdf = lru_cache(REMEMBERED)(lambda number, part: self._at(number, part.cdf(NODES)))

    def __call__(self, distribution: FamilyDistribution) -> Array:
        """Log likelihood of each hour, up to a constant of that hour.

        Parameters
        ----------
        distribution : FamilyDistribution

        Returns
        -------
        ndarray, shape (hours,)
        """
        parts = (cluster.weight * self._density(cluster) for cluster in distribution.clusters)
        density = sum(parts, np.zeros(()))
        by_hour: Array = np.log(density.reshape(self.shape).mean(axis=0) + np.finfo(np.float64).tiny)
        return by_hour

    def _density(self, cluster: Cluster) -> Array:
        first, second = (self._pdf(number, part) for number, part in enumerate(cluster.marginals))
        product: Array = first * second
        if cluster.copula == "independent":
            return product
        shares = [self._cdf(number, part) for number, part in enumerate(cluster.marginals)]
        together: Array = make_copula(cluster.copula, cluster.tau).pdf(np.column_stack(shares))
        return product * together

    def _at(self, number: int, table: Array) -> Array:
        node, beyond = self._node[number], self._beyond[number]
        values: Array = table[node] + beyond * (table[node + 1] - table[node])
        return values


@dataclass(frozen=True)
class _Fit:
    """A form with its best numbers."""

    form: Form
    numbers: Array
    log_likelihood: float
    inverse_hessian: Array

    @property
    def aic(self) -> float:
        """Akaike's criterion, smaller being better."""
        return 2 * (self.form.size - self.log_likelihood)


def infer_population(
    estimator: AleatoryEstimator,
    observed: xr.Dataset,
    x_e: ArrayLike,
    draws: int,
    replicates: int,
    random_seed: int,
) -> dict[str, Any]:
    """f_a of the observed hours, with its uncertainty.

    Forms are compared by Akaike's criterion. A replicate gives hours random weights and the prior another centre [2]_,
    takes one of the values of X_e, draws a form by its Akaike weight [3]_ for hours so weighted, and fits it anew.

    Parameters
    ----------
    estimator : AleatoryEstimator
    observed : Dataset
        y and x_c by sample, from one hour up.
    x_e : array_like, shape (k, 3)
        Values from E. The best f_a is taken at their mean.
    draws : int
        For each hour.
    replicates : int
    random_seed : int

    Returns
    -------
    dict
        'distribution' and 'replicates', for `FamilyDistribution.from_dict`; 'candidates', best first, each with its
        name, 'aic' less that of the best, and 'distribution'.

    Raises
    ------
    InputError
        If there is no X_e, no draw, or a number of replicates below 0.
    """
    x_e = np.asarray(x_e, np.float64)
    if x_e.ndim != 2 or len(x_e) < 1 or replicates < 0 or draws < 1:
        raise InputError(
            f"x_e has shape {x_e.shape}, draws is {draws}, replicates is {replicates}; expected (k, 3) with at least "
            "one value, 1 or more, and 0 or more."
        )
    rng = np.random.default_rng([random_seed, 5])
    likelihood = HourLikelihood(estimator.spread_evenly(draws, observed, x_e.mean(axis=0), rng))
    fits = sorted(_candidates(likelihood), key=lambda fit: fit.aic)
    by_hour = np.array([likelihood(fit.form.distribution(fit.numbers)) for fit in fits])
    chosen = []
    with tqdm(total=replicates, desc="replicates of f_a", disable=None) as progress:
        for part, size in zip(x_e, _split(replicates, len(x_e)), strict=False):
            at = HourLikelihood(estimator.spread_evenly(draws, observed, part, rng)) if size else likelihood
            for _ in range(size):
                chosen.append(_replicate(fits, by_hour, at, rng))
                progress.update()
    return {
        "distribution": fits[0].form.distribution(fits[0].numbers).to_dict(),
        "replicates": [distribution.to_dict() for distribution in chosen],
        "candidates": [
            {
                "name": fit.form.name,
                "aic": fit.aic - fits[0].aic,
                "distribution": fit.form.distribution(fit.numbers).to_dict(),
            }
            for fit in fits
        ],
    }


def fit_family(form: Form, x_a: ArrayLike) -> FamilyDistribution:
    """The likeliest distribution of a form for values of X_a that are known themselves.

    Parameters
    ----------
    form : Form
    x_a : array_like, shape (n, 2)

    Returns
    -------
    FamilyDistribution
    """
    fit = _fit(form, HourLikelihood(np.asarray(x_a, np.float64)[None]), prior_width=np.inf)
    return form.distribution(fit.numbers)


def _candidates(likelihood: HourLikelihood) -> Iterator[_Fit]:
    """Fits of what is worth a try: families of each input, their crosses, the best copula, clusters while more win."""
    firsts = {name: _fit(Form((name, "beta")), likelihood) for name in FAMILIES}
    best = min(firsts, key=lambda name: firsts[name].aic)
    seconds = {name: _fit(Form((best, name)), likelihood) for name in FAMILIES}
    crossed = {
        pair: seconds[pair[1]] if pair[0] == best else _fit(Form(pair), likelihood)
        for pair in product(_close(firsts), _close(seconds))
    }
    yield from crossed.values()
    best_pair = min(crossed, key=lambda pair: crossed[pair].aic)
    joined = min((_fit(Form(best_pair, copula), likelihood) for copula in COPULAS[1:]), key=lambda fit: fit.aic)
    yield joined
    if joined.aic < crossed[best_pair].aic:
        yield from (_fit(Form(pair, joined.form.copula), likelihood) for pair in crossed if pair != best_pair)
    if likelihood.shape[1] >= FEWEST_FOR_CLUSTERS:
        yield from _clustered(likelihood, crossed[best_pair].aic)


def _clustered(likelihood: HourLikelihood, best: float) -> Iterator[_Fit]:
    """Fits of two clusters, and of one more as long as that lowers Akaike's criterion, which is `best` for one."""
    for clusters in range(2, MOST_CLUSTERS + 1):
        fits = [_fit(Form((name, name), clusters=clusters), likelihood) for name in CLUSTER_FAMILIES]
        yield from fits
        least = min(fit.aic for fit in fits)
        if least >= best:
            return
        best = least


def _close(fits: dict[str, _Fit]) -> list[str]:
    best = min(fit.aic for fit in fits.values())
    return [name for name, fit in fits.items() if fit.aic - best < CLOSE]


def _fit(
    form: Form,
    likelihood: HourLikelihood,
    weight: Array | float = 1.0,
    prior_mean: Array | None = None,
    start: _Fit | None = None,
    prior_width: float = PRIOR_WIDTH,
) -> _Fit:
    """The numbers of the largest likelihood of the weighted hours and prior density."""
    prior_mean = form.prior_mean() if prior_mean is None else prior_mean

    def loss(numbers: Array) -> float:
        log_prior = -np.square((numbers - prior_mean) / prior_width).sum() / 2
        with np.errstate(all="ignore"):
            value = np.sum(weight * likelihood(form.distribution(numbers))) + log_prior
        return -value if np.isfinite(value) else 1e10

    options = {"gtol": 0.02} | ({"hess_inv0": start.inverse_hessian} if start else {})
    first = form.start(likelihood.centre) if start is None else start.numbers
    best = minimize(loss, first, method="BFGS", options=options)
    with np.errstate(all="ignore"):
        fitted = float(np.sum(weight * likelihood(form.distribution(best.x))))
    inverse = (best.hess_inv + best.hess_inv.T) / 2
    positive = bool((np.linalg.eigvalsh(inverse) > 0).all())
    return _Fit(form, best.x, fitted, inverse if positive else np.eye(form.size))


def _replicate(
    fits: Sequence[_Fit], by_hour: Array, likelihood: HourLikelihood, rng: np.random.Generator
) -> FamilyDistribution:
    """A form drawn by its Akaike weight and fitted, for hours of random weight and a prior that is centred elsewhere.

    The log likelihoods `by_hour` of the fits, shape (fits, hours), stand for those of fits to hours so weighted.
    """
    weight = rng.exponential(size=likelihood.shape[1])
    fit = fits[rng.choice(len(fits), p=softmax(by_hour @ weight - [fit.form.size for fit in fits]))]
    moved = fit.form.prior_mean() + PRIOR_WIDTH * rng.standard_normal(fit.form.size)
    again = _fit(fit.form, likelihood, weight, moved, fit)
    return again.form.distribution(again.numbers)


def _split(total: int, parts: int) -> list[int]:
    """A total in parts that differ by no more than one."""
    return [total // parts + (place < total % parts) for place in range(parts)]


def _tau(x_a: Array) -> float:
    """Kendall's tau of X_a (n, 2), but not so close to 0 that the likelihood would seem flat there."""
    tau = kendalltau(*x_a.T).statistic if len(x_a) > 2 else 0.0
    return float(np.copysign(np.clip(abs(tau), 0.02, 0.9), tau))


def _finite(density: Array) -> Array:
    """Densities at the nodes, with those at the bounds replaced by their neighbours' where they are infinite."""
    density[0], density[-1] = (
        value if np.isfinite(value) else neighbour
        for value, neighbour in ((density[0], density[1]), (density[-1], density[-2]))
    )
    return density
