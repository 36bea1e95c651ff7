"""f_a from all hours together: the distribution of X_a with each hour's own error taken out.

An amortised estimator, one posterior for all systems and control points, tells X_a of an hour whose X_e and X_c are
given. Its draws under a uniform prior represent the likelihood of that hour. A distribution of X_a is judged by how
likely it makes all hours, and named families are fitted and compared by that: empirical Bayes [1]_. Pooled posterior
samples would be the distribution blurred by every hour's error.

References
----------
.. [1] B. Efron, "Empirical Bayes deconvolution estimates", Biometrika 103(1), 2016, doi:10.1093/biomet/asv068.
.. [2] M. A. Newton, N. G. Polson and J. Xu, "Weighted Bayesian bootstrap for scalable posterior distributions",
   Canadian Journal of Statistics 49(2), 2021, arXiv:1803.04559.
.. [3] K. P. Burnham and D. R. Anderson, "Multimodel inference", Sociological Methods & Research 33(2), 2004,
   doi:10.1177/0049124104268644.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, reduce
from itertools import product
from operator import mul
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import qmc
from tqdm import tqdm

from flowcal.errors import InputError
from flowcal.files import Weights
from flowcal.infer.families import COPULAS, FAMILIES, PRIOR_WIDTH, Cluster, FamilyDistribution, Form, make_copula
from flowcal.infer.networks import FeaturePosterior, Layout, matching_header, tupled
from flowcal.infer.train import Trainer, Training
from flowcal.problem import Problem, as_numbers, check_counts, check_points, rng_of
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator, check_series, fresh_seeds, hours_of, problem_of

__all__ = [
    "estimator_training",
    "AleatoryEstimator",
    "HourLikelihood",
    "estimator_runs",
    "fit_family",
    "hour_statistics",
    "infer_population",
    "train_estimator",
]

Array = NDArray[np.float64]

LAGS = (1, 2, 4, 8)
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
FLOOR = 1e-3  # added, so that a constant series has a logarithm of its spread
RUNS_AT_A_TIME = 20_000
ESTIMATOR_WIDTH = 128

NODES = np.linspace(0, 1, 1025)  # between which marginals are interpolated
CLOSE = 6.0  # difference of AIC within which families of one input are combined with those of the others
MOST_CHANGED = 2  # inputs whose families may differ from the best ones in such a combination
FEWEST_FOR_CLUSTERS = 50  # hours
MOST_CLUSTERS = 4
CACHED_MARGINALS = 32
CLUSTER_FAMILIES = ("normal", "Weibull", "beta")


def hour_statistics(y: Array, problem: Problem) -> Array:
    """Statistics (n, k) of the root of one output of series y (n, steps, outputs).

    It is the first limited output, or the first of all where none is limited: on the challenge's loads the others add
    nothing about X_a. The root evens out that loads grow with a square. The statistics are mean and its logarithm;
    logarithms of the standard deviation, of that over the mean and of the typical step between neighbours;
    autocorrelations; smallest value, quartiles, largest value.
    """
    root = np.sqrt(check_series(y, problem)[..., problem.outputs.index((*problem.limited, *problem.outputs)[0])])
    mean = root.mean(axis=1)
    centred = root - mean[:, None]
    variance = np.square(centred).mean(axis=1)
    step = np.sqrt(np.square(np.diff(root, axis=1)).mean(axis=1))
    log_mean, log_spread, log_step = (np.log(part + FLOOR) for part in (mean, np.sqrt(variance), step))
    lags = [lag for lag in LAGS if lag < problem.steps]
    memory = [
        (centred[:, lag:] * centred[:, :-lag]).sum(axis=1) / problem.steps / (variance + FLOOR**2) for lag in lags
    ]
    quantiles = np.quantile(root, QUANTILES, axis=1)
    return np.column_stack([mean, log_mean, log_spread, log_spread - log_mean, log_step, *memory, *quantiles])


class AleatoryEstimator:
    """The posterior of X_a under a uniform prior, given an hour, its X_c, and a value of X_e.

    Hours are datasets with y and x_c by sample, or runs with x. X_e is a value for all hours (e,), or one for each of
    them (hours, e).
    """

    def __init__(self, posterior: FeaturePosterior, problem: Problem) -> None:
        self.posterior, self.problem = posterior, problem

    @property
    def identity(self) -> dict[str, str]:
        """What decides its answers."""
        return self.posterior.identity

    def to_weights(self) -> Weights:
        """Its network's weights, with the problem in their header."""
        weights = self.posterior.to_weights()
        return Weights(weights.header | {"problem": asdict(self.problem)}, weights.tensors)

    @classmethod
    def from_weights(cls, weights: Weights, device: str = "auto") -> "AleatoryEstimator":
        """The estimator that `train_estimator` made."""
        posterior = FeaturePosterior.from_weights(weights, device)
        with matching_header(weights, FeaturePosterior.__name__) as header:
            return cls(posterior, Problem(**tupled(header["problem"])))

    def sample(self, n: int, hours: xr.Dataset, x_e: ArrayLike, rng: np.random.Generator) -> Array:
        """Draws (n, hours, a) of X_a."""
        return self.posterior.sample(n, self._features(hours, x_e), rng)

    def spread_evenly(self, n: int, hours: xr.Dataset, x_e: ArrayLike, rng: np.random.Generator) -> Array:
        """Draws (n, hours, a) from quasi-random numbers that all hours share, so that means over them are preciser."""
        normal = qmc.MultivariateNormalQMC(np.zeros(len(self.problem.aleatory)), rng=rng).random(n)
        return self.posterior.from_normal(normal[:, None], self._features(hours, x_e))

    def log_prob(self, x_a: ArrayLike, hours: xr.Dataset, x_e: ArrayLike) -> Array:
        """Log density (..., hours) of X_a (..., hours, a); minus infinity outside [0, 1]."""
        return self.posterior.log_prob(x_a, self._features(hours, x_e))

    def _features(self, hours: xr.Dataset, x_e: ArrayLike) -> Array:
        y, x_c = hours_of(hours, self.problem)
        size = len(self.problem.epistemic)
        x_e = as_numbers(x_e, "x_e", self.problem.epistemic)
        if x_e.shape not in ((size,), (len(y), size)):
            raise InputError(f"x_e has shape {x_e.shape}; expected ({size},) or ({len(y)}, {size}).")
        x_e = check_points(np.broadcast_to(x_e, (len(y), size)), self.problem.epistemic, "x_e", within=True)
        return np.hstack([hour_statistics(y, self.problem), x_e, x_c])


def estimator_training(epochs: int) -> Training:
    """How the estimator of X_a is trained."""
    return Training(epochs=epochs, batch_size=512, learning_rate=2e-3)


def estimator_runs(simulator: Simulator, size: int, random_seed: int, runner: Runner | None = None) -> xr.Dataset:
    """Statistics by sample and x by sample and input, of simulations with uniform inputs and fresh seeds.

    Runs that failed are left out.
    """
    check_counts(size=size)
    problem, rng = problem_of(simulator), rng_of(random_seed, 3)
    x, seed = rng.random((size, len(problem.inputs))), fresh_seeds(size, rng)
    parts = [slice(start, start + RUNS_AT_A_TIME) for start in range(0, size, RUNS_AT_A_TIME)]
    campaigns = (run_campaign(simulator, x[rows], seed[rows], runner, all_needed=False) for rows in parts)
    made = [(hours.x.values, hour_statistics(hours.y.values, problem)) for hours in campaigns]
    x, statistics = map(np.concatenate, zip(*made, strict=True))
    values = {"x": (("sample", "input"), x), "statistics": (("sample", "statistic"), statistics)}
    return xr.Dataset(values, {"input": list(problem.inputs)})


def train_estimator(
    simulator: Simulator, size: int, training: Training, runner: Runner | None = None, trainer: Trainer | None = None
) -> Weights:
    """Weights of an estimator trained on so many simulations, for `AleatoryEstimator.from_weights`."""
    problem, runs = problem_of(simulator), estimator_runs(simulator, size, training.random_seed, runner)
    fixed = runs.x.sel(input=list(problem.epistemic + problem.control))
    features = np.hstack([runs.statistics.values, fixed.values])
    layout = Layout(len(problem.aleatory), features.shape[1], width=ESTIMATOR_WIDTH)
    x_a = runs.x.sel(input=list(problem.aleatory)).values
    posterior = FeaturePosterior(layout, training.random_seed).fit(x_a, features, training, trainer)
    return AleatoryEstimator(posterior, problem).to_weights()


class HourLikelihood:
    """How likely a distribution of X_a makes each hour, from draws (m, hours, d) under a uniform prior.

    Log p(hour | f_a) = log mean of f_a over the draws, up to a constant of the hour.
    """

    def __init__(self, draws: ArrayLike) -> None:
        draws = as_numbers(draws, "draws")
        if draws.ndim != 3 or not draws.size or not ((draws >= 0) & (draws <= 1)).all():
            raise InputError(f"draws have shape {draws.shape}; expected (m, hours, d), all in [0, 1].")
        self.shape = draws.shape[:2]
        self.centre = draws.mean(axis=0)
        place = np.clip(draws.reshape(-1, draws.shape[-1]), 0, 1) * (len(NODES) - 1)
        self._node = np.minimum(place.astype(np.int64), len(NODES) - 2).T
        self._beyond = place.T - self._node
        # A step along one number leaves all other marginals as they were.
        self._pdf = lru_cache(CACHED_MARGINALS)(lambda number, part: self._at(number, _finite(part.pdf(NODES))))
        self._cdf = lru_cache(CACHED_MARGINALS)(lambda number, part: self._at(number, part.cdf(NODES)))

    def __call__(self, distribution: FamilyDistribution) -> Array:
        """Log likelihood (hours,)."""
        parts = (cluster.weight * self._density(cluster) for cluster in distribution.clusters)
        density = sum(parts, np.zeros(()))
        by_hour: Array = np.log(density.reshape(self.shape).mean(axis=0) + np.finfo(np.float64).tiny)
        return by_hour

    def _density(self, cluster: Cluster) -> Array:
        density: Array = reduce(mul, (self._pdf(number, part) for number, part in enumerate(cluster.marginals)))
        if cluster.copula == "independent":
            return density
        shares = [self._cdf(number, part) for number, part in enumerate(cluster.marginals)]
        together: Array = make_copula(cluster.copula, cluster.tau).pdf(np.column_stack(shares))
        return density * together

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

    @property
    def distribution(self) -> FamilyDistribution:
        return self.form.distribution(self.numbers)


def infer_population(
    estimator: AleatoryEstimator, observed: xr.Dataset, x_e: ArrayLike, draws: int, replicates: int, random_seed: int
) -> dict[str, Any]:
    """f_a of the observed hours, one or more, with its uncertainty; as JSON values.

    Forms are compared by Akaike's criterion at the mean of the values x_e (k, e), with so many draws for each hour. A
    replicate gives hours random weights and the prior another centre [2]_, takes one of the values of X_e, draws a form
    by its Akaike weight [3]_ for hours so weighted, and fits it again.

    The result has 'distribution' and 'replicates', for `FamilyDistribution.from_dict`; 'candidates', best first, each
    with its name, 'aic' less that of the best, and 'distribution'.
    """
    check_counts(draws=draws)
    check_counts(0, replicates=replicates)
    x_e, rng = as_numbers(x_e, "x_e"), rng_of(random_seed, 5)
    if x_e.ndim != 2 or not len(x_e):
        raise InputError(f"x_e has shape {x_e.shape}; expected (k, e) with at least one value.")
    likelihood = HourLikelihood(estimator.spread_evenly(draws, observed, x_e.mean(axis=0), rng))
    fits = sorted(_candidates(likelihood), key=lambda fit: fit.aic)
    by_hour = np.array([likelihood(fit.distribution) for fit in fits])
    chosen = []
    with tqdm(total=replicates, desc="replicates of f_a", disable=None) as progress:
        for value, size in zip(x_e, _split(replicates, len(x_e)), strict=False):
            at = HourLikelihood(estimator.spread_evenly(draws, observed, value, rng)) if size else likelihood
            for _ in range(size):
                chosen.append(_replicate(fits, by_hour, at, rng))
                progress.update()
    return {
        "distribution": fits[0].distribution.to_dict(),
        "replicates": [distribution.to_dict() for distribution in chosen],
        "candidates": [
            {"name": fit.form.name, "aic": fit.aic - fits[0].aic, "distribution": fit.distribution.to_dict()}
            for fit in fits
        ],
    }


def fit_family(form: Form, x_a: ArrayLike) -> FamilyDistribution:
    """The likeliest distribution of a form for values of X_a (n, d) that are known themselves."""
    x_a = check_points(x_a, len(form.families), "x_a", within=True)
    return _fit(form, HourLikelihood(x_a[None]), prior_width=np.inf).distribution


def _candidates(likelihood: HourLikelihood) -> Iterator[_Fit]:
    """Fits of what is worth a try: families of each input, those combined, the best copula, clusters while more win."""
    best: tuple[str, ...] = ("beta",) * likelihood.centre.shape[-1]
    close = []
    for number in range(len(best)):
        tried = {name: (*best[:number], name, *best[number + 1 :]) for name in FAMILIES}
        fits = {name: _fit(Form(families), likelihood) for name, families in tried.items()}
        best = tried[min(fits, key=lambda name: fits[name].aic)]
        least = min(fit.aic for fit in fits.values())
        close.append([name for name, fit in fits.items() if fit.aic - least < CLOSE])
    combined = {
        families: fits[families[-1]] if families[:-1] == best[:-1] else _fit(Form(families), likelihood)
        for families in product(*close)
        if sum(one != other for one, other in zip(families, best, strict=True)) <= MOST_CHANGED
    }
    yield from combined.values()
    best = min(combined, key=lambda families: combined[families].aic)
    if len(best) > 1:
        joined = min((_fit(Form(best, copula), likelihood) for copula in COPULAS[1:]), key=lambda fit: fit.aic)
        yield joined
        if joined.aic < combined[best].aic:
            others = [families for families in combined if families != best]
            yield from (_fit(Form(families, joined.form.copula), likelihood) for families in others)
    if likelihood.shape[1] >= FEWEST_FOR_CLUSTERS:
        yield from _clustered(likelihood, combined[best].aic)


def _clustered(likelihood: HourLikelihood, best: float) -> Iterator[_Fit]:
    """Fits of two clusters, and of one more as long as that lowers Akaike's criterion, which is `best` for one."""
    inputs = likelihood.centre.shape[-1]
    for clusters in range(2, MOST_CLUSTERS + 1):
        fits = [_fit(Form((name,) * inputs, clusters=clusters), likelihood) for name in CLUSTER_FAMILIES]
        yield from fits
        least = min(fit.aic for fit in fits)
        if least >= best:
            return
        best = least


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
        if not np.isfinite(numbers).all():  # a step that went too far
            return 1e10
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

    The log likelihoods `by_hour` (fits, hours) of the fits stand for those of fits to hours so weighted.
    """
    weight = rng.exponential(size=likelihood.shape[1])
    fit = fits[rng.choice(len(fits), p=softmax(by_hour @ weight - [fit.form.size for fit in fits]))]
    moved = fit.form.prior_mean() + PRIOR_WIDTH * rng.standard_normal(fit.form.size)
    return _fit(fit.form, likelihood, weight, moved, fit).distribution


def _split(total: int, parts: int) -> list[int]:
    """A total in parts that differ by no more than one."""
    return [total // parts + (place < total % parts) for place in range(parts)]


def _finite(density: Array) -> Array:
    """Densities at the nodes, with those at the bounds replaced by their neighbours' where they are infinite."""
    density[0], density[-1] = (
        value if np.isfinite(value) else neighbour
        for value, neighbour in ((density[0], density[1]), (density[-1], density[-2]))
    )
    return density
