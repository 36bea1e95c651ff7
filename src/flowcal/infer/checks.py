"""Is an inference right? Calibration of posteriors, distances between samples, predicted hours against observed ones.

References
----------
.. [1] S. Talts, M. Betancourt, D. Simpson, A. Vehtari and A. Gelman, "Validating Bayesian Inference Algorithms with
   Simulation-Based Calibration", 2018, arXiv:1804.06788.
.. [2] T. Säilynoja, P.-C. Bürkner and A. Vehtari, "Graphical test for discrete uniformity and its applications in
   goodness-of-fit evaluation and multiple sample comparison", Statistics and Computing 32, 2022,
   doi:10.1007/s11222-022-10090-6.
.. [3] J. Hermans et al., "A Trust Crisis In Simulation-Based Inference? Your Posterior Approximations Can Be
   Unfaithful", TMLR 2022, arXiv:2110.06581.
.. [4] G. J. Székely and M. L. Rizzo, "Energy statistics: A class of statistics based on distances", Journal of
   Statistical Planning and Inference 143, 2013, doi:10.1016/j.jspi.2013.03.018.
.. [5] A. Gelman, X.-L. Meng and H. Stern, "Posterior predictive assessment of model fitness via realized
   discrepancies", Statistica Sinica 6, 1996.
.. [6] P. Massart, "The Tight Constant in the Dvoretzky-Kiefer-Wolfowitz Inequality", Annals of Probability 18(3), 1990,
   doi:10.1214/aop/1176990746.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist, pdist
from scipy.stats import binom

from flowcal.errors import InputError
from flowcal.infer.models import UncertaintyModel
from flowcal.problem import as_numbers, check_counts, check_point, check_points, check_range, rng_of
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator, fresh_seeds, peaks, problem_of

if TYPE_CHECKING:
    from flowcal.infer.hour_posterior import HourPosterior
    from flowcal.infer.um2_aleatory import AleatoryEstimator

__all__ = [
    "calibrate",
    "calibrate_estimator",
    "coverage",
    "energy_distance",
    "predict_hours",
    "predictive_levels",
    "probability_box",
    "share_beyond_chance",
    "uniform_band",
]

DIGITS = 6  # decimals that are compared, since files round what they print


def calibrate(posterior: "HourPosterior", runs: xr.Dataset, draws: int, random_seed: int) -> xr.Dataset:
    """Where the true inputs of simulated hours, which were not trained on, lie within their posteriors.

    The dataset has by sample: 'rank', the share of draws below the truth, for each parameter [1]_; 'credibility', the
    share of draws with a higher density than the truth, which is the credibility of the smallest region that holds it
    [3]_; 'log_prob', the log density of the truth. If the posterior is right, the first two are uniform.
    """
    rng = rng_of(random_seed)
    theta = runs.x.sel(input=list(posterior.architecture.parameters))
    drawn = posterior.sample((draws,), runs, rng)
    return _rank_truth(theta, drawn, lambda values: posterior.log_prob(values, runs), rng)


def calibrate_estimator(estimator: "AleatoryEstimator", runs: xr.Dataset, draws: int, random_seed: int) -> xr.Dataset:
    """Where the true X_a of simulated hours lies within its posterior given their X_e; a dataset as of `calibrate`."""
    rng = rng_of(random_seed)
    x_e = runs.x.sel(input=list(estimator.problem.epistemic)).values
    drawn = estimator.sample(draws, runs, x_e, rng)
    theta = runs.x.sel(input=list(estimator.problem.aleatory))
    return _rank_truth(theta, drawn, lambda values: estimator.log_prob(values, runs, x_e), rng)


def _rank_truth(
    theta: xr.DataArray,
    drawn: NDArray[np.float64],
    log_prob: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    rng: np.random.Generator,
) -> xr.Dataset:
    """Where true values by sample and input lie among draws (draws, n, d) from their posteriors."""
    values = theta.transpose("sample", "input").values
    density = log_prob(values)
    below, denser = np.sum(drawn < values, axis=0), np.sum(log_prob(drawn) > density, axis=0)
    return xr.Dataset(
        {
            "rank": (("sample", "parameter"), _spread(below, len(drawn), rng)),
            "credibility": ("sample", _spread(denser, len(drawn), rng)),
            "log_prob": ("sample", density),
        },
        coords={"parameter": theta.input.values.tolist()},
    )


def _spread(counts: NDArray[np.int64], draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Counts 0..draws as shares in (0, 1), each spread over its own step so that they can be uniform."""
    return (counts + rng.random(counts.shape)) / (draws + 1)


def coverage(rank: ArrayLike, level: float) -> NDArray[np.float64]:
    """Share of ranks (n, ...) within the central interval of credibility `level`.

    Examples
    --------
    >>> coverage(np.linspace(0, 1, 1001), level=0.9).round(2)
    np.float64(0.9)
    """
    check_range(0, 1, "[]", level=level)
    rank = as_numbers(rank, "rank")
    if not len(np.atleast_1d(rank)) or not ((rank >= 0) & (rank <= 1)).all():
        raise InputError(f"rank has shape {rank.shape}; expected at least one, all in [0, 1].")
    share: NDArray[np.float64] = np.mean(np.abs(rank - 0.5) <= level / 2, axis=0)
    return share


def uniform_band(
    size: int, at: ArrayLike, rng: np.random.Generator, level: float = 0.95, trials: int = 1000
) -> NDArray[np.float64]:
    """Band (2, m) that the distribution function of `size` uniform values stays in with probability `level` [2]_.

    It does so at all places `at` (m,) in (0, 1) together; the width is found by random trials.
    """
    at = as_numbers(at, "at")
    check_counts(size=size, trials=trials)
    check_range(0, 1, level=level)
    if at.ndim != 1 or not at.size or not ((at > 0) & (at < 1)).all():
        raise InputError(f"at is {at.tolist()}; expected numbers between 0 and 1.")
    counts = np.array([np.searchsorted(np.sort(rng.random(size)), at, side="right") for _ in range(trials)])
    lower, upper = binom.cdf(counts, size, at), binom.sf(counts - 1, size, at)
    widest = np.quantile(np.minimum(lower, upper).min(axis=1), 1 - level)  # the tail that so many trials never reach
    band: NDArray[np.float64] = binom.ppf([[widest], [1 - widest]], size, at) / size
    return band


def energy_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Energy distance [4]_ between the distributions of two samples (n, d) and (m, d); about 0 where they agree.

    The squared distance 2 E d(X, Y) - E d(X, X') - E d(Y, Y'), d being Euclidean, without pairs of a draw with itself.
    So it is unbiased and may be negative.

    Examples
    --------
    >>> energy_distance([[0.0], [1.0]], [[2.0], [3.0]])
    2.0
    """
    size = np.shape(first)[-1] if np.ndim(first) == 2 else 1
    first, second = check_points(first, size, "first"), check_points(second, size, "second")
    check_counts(2, **{"the number of samples in first": len(first), "the number of samples in second": len(second)})
    return float(2 * cdist(first, second).mean() - pdist(first).mean() - pdist(second).mean())


def predict_hours(
    model: UncertaintyModel,
    simulator: Simulator,
    x_c: Sequence[float],
    hours: int,
    random_seed: int,
    runner: Runner | None = None,
) -> xr.Dataset:
    """Hours at a control point, each with X_a from f_a, X_e uniform in E and a fresh seed; x, seed and y by sample.

    Examples
    --------
    >>> from flowcal.infer.models import EpistemicBox, PooledDraws
    >>> from flowcal.simulate.windfarm import WindFarm
    >>> f_a = PooledDraws(np.random.default_rng(1).random((100, 2)), hours=100)
    >>> model = UncertaintyModel(f_a, EpistemicBox([0.26, 0.5, 0.0], [0.41, 0.6, 0.5]))
    >>> hours = predict_hours(model, WindFarm(), [0.533, 0.666, 0.5], hours=10, random_seed=1)
    >>> dict(hours.y.sizes)
    {'sample': 10, 'time': 60, 'output': 6}
    """
    check_counts(hours=hours)
    rng, x_c = rng_of(random_seed), check_point(x_c, problem_of(simulator).control, "x_c").tolist()
    x = np.column_stack([model.f_a.sample(hours, rng), model.e.sample(hours, rng), np.tile(x_c, (hours, 1))])
    return run_campaign(simulator, x, fresh_seeds(hours, rng), runner)


def predictive_levels(observed: xr.Dataset, predicted: xr.Dataset, rng: np.random.Generator) -> xr.DataArray:
    """Share of predicted hours below the mean and the peak of each observed hour of the same control point [5]_.

    The array is by quantity ('mean', 'peak'), sample and output; uniform where the prediction is right. Values that
    agree to six decimals are ties, as at a power's upper limit, and are split at random.
    """
    if not (observed.sizes["sample"] and predicted.sizes["sample"]) or not (
        np.isfinite(observed.y).all() and np.isfinite(predicted.y).all()
    ):
        raise InputError("observed or predicted hours have no samples or NaN; expected at least one, all finite.")
    predicted = predicted.sel(output=observed.output)
    levels = []
    for quantity in (lambda hours: hours.y.mean("time"), peaks):
        seen, expected = (quantity(hours).round(DIGITS) for hours in (observed, predicted))
        expected = np.sort(expected.values, axis=0)
        below, upto = (
            np.column_stack([np.searchsorted(expected[:, i], seen.values[:, i], side) for i in range(seen.shape[1])])
            for side in ("left", "right")
        )
        levels.append(seen.copy(data=(below + rng.random(below.shape) * (upto - below)) / len(expected)))
    return xr.concat(levels, xr.Variable("quantity", ["mean", "peak"])).rename("level")


def share_beyond_chance(levels: xr.DataArray, bins: int = 10) -> float:
    """Share of the bars of all histograms of levels, from `predictive_levels`, beyond the 95 % band of uniform ones."""
    check_counts(bins=bins)
    expected = binom.ppf([0.025, 0.975], levels.sizes["sample"], 1 / bins)
    by_sample = levels.transpose("sample", ...).values.reshape(levels.sizes["sample"], -1)
    bars = np.array([np.histogram(column, bins, (0, 1))[0] for column in by_sample.T])
    return float(np.mean((bars < expected[0]) | (bars > expected[1])))


def probability_box(draws: ArrayLike, at: ArrayLike, level: float = 0.95) -> NDArray[np.float64]:
    """Bounds (2, m) on the probability that X exceeds each of values `at` (m,), whatever the distribution of X.

    `draws` (n, hours) are posterior draws of each hour's X. An hour's X is taken to lie between its smallest and its
    largest draw, which a share of 2 / (n + 1) may miss. The Dvoretzky-Kiefer-Wolfowitz inequality [6]_ adds what the
    number of hours leaves open at this level.

    Examples
    --------
    >>> hours = np.random.default_rng(1).random(1000)
    >>> probability_box(np.tile(hours, (500, 1)), at=[0.5]).round(2).tolist()
    [[0.45], [0.54]]
    """
    draws, at = as_numbers(draws, "draws"), as_numbers(at, "at")
    if draws.ndim != 2 or not draws.size or at.ndim != 1:
        raise InputError(f"draws have shape {draws.shape}, at has {at.shape}; expected (n, hours) and (m,), not empty.")
    check_range(0, 1, level=level)
    room = np.sqrt(np.log(2 / (1 - level)) / (2 * draws.shape[1])) + 2 / (len(draws) + 1)
    ends = np.sort(draws.min(axis=0)), np.sort(draws.max(axis=0))
    low, high = (1 - np.searchsorted(end, at, side="right") / draws.shape[1] for end in ends)
    bounds: NDArray[np.float64] = np.clip([low - room, high + room], 0, 1)
    return bounds
