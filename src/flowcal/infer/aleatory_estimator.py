"""X_a of an hour whose X_e and X_c are known: one amortised posterior for all systems and control points."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import qmc

from flowcal.challenge import ALEATORY, CONTROL, EPISTEMIC, INPUTS, SEED_MAX
from flowcal.errors import InputError
from flowcal.infer.diagnostics import rank_truth
from flowcal.infer.feature_posterior import FeaturePosterior, Layout
from flowcal.infer.hour_statistics import hour_statistics
from flowcal.infer.training import Trainer, Training
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator
from flowcal.weights import Weights

__all__ = ["AleatoryEstimator", "calibrate_estimator", "estimator_runs", "train_estimator"]

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
        As `flowcal.infer.diagnostics.calibrate` has it.
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
        raise InputError(f"x_e has shape {x_e.shape}; needed is ({len(EPISTEMIC)},) or ({len(x_c)}, {len(EPISTEMIC)}).")
    statistics = hour_statistics(hours.y.transpose("sample", "time", "output").values)
    return np.hstack([statistics, np.broadcast_to(x_e, (len(x_c), len(EPISTEMIC))), x_c.values])
