"""X_e from all observations at once: sequential, truncated neural posterior estimation on whole data sets.

All hours share one X_e. So data sets are simulated as a whole, each with one X_e for all its hours, and summarised
control point by control point; a flow infers X_e from the summaries of all points together. What the observations rule
out is cut away, and the next round simulates within the rest.

References
----------
.. [1] M. Deistler, P. J. Goncalves and J. H. Macke, "Truncated proposals for scalable and hassle-free simulation-based
   inference", NeurIPS 2022, arXiv:2210.04815.
.. [2] J. Lei, M. G'Sell, A. Rinaldo, R. J. Tibshirani and L. Wasserman, "Distribution-Free Predictive Inference for
   Regression", JASA 113, 2018, arXiv:1604.04173.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flowcal.challenge import ALEATORY, BOUNDS, EPISTEMIC, INPUTS, SEED_MAX
from flowcal.errors import InputError
from flowcal.infer.aleatory_estimator import AleatoryEstimator
from flowcal.infer.contrasts import load_contrasts, response_lags, response_levels
from flowcal.infer.feature_posterior import FeaturePosterior, Layout
from flowcal.infer.frame import Frame
from flowcal.infer.level_set import EmptySet, EpistemicLevelSet
from flowcal.infer.training import Trainer, Training
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator
from flowcal.weights import Weights

__all__ = ["SURPRISE", "MisspecifiedWarning", "Rounds", "hours_by_point", "infer_shared"]

BLOCK = 20_000  # hours that are held at a time
SCORED = 64  # draws that a density is compared with
DRAWS = 20_000  # from a round's posterior, that the next round's frame holds
PREDICTED = 2_000  # data sets that the observed one is compared with
DRAWS_OF_X_A = 5_000  # at least, of which the simulated hours get theirs
FLATTEST = 1e-12  # smallest variance of simulated features along a direction, over the largest, that is told from 0
EXTRA = 3  # rounds at most, beyond those that were asked for, while it is the frame that ends the set
EDGE = 0.02  # of a frame's width: what comes so close to a face is ended by it
SURPRISE = 1e-3
"""Share of predicted data sets as unusual as the observed one, below which a warning is due."""


class MisspecifiedWarning(UserWarning):
    """The observations look like no simulation; what is inferred from them may be wrong."""


@dataclass(frozen=True)
class Rounds:
    """How X_e is inferred from all hours.

    Attributes
    ----------
    rounds : int
        At least; more follow as long as it is the frame of the last that ends the set, and not the observations.
    data_sets : int
        Simulated in each round to train on; a tenth as many again calibrate the set.
    hours : int
        Simulated for each control point of a data set. One stands for all where the summaries of all hours agree.
    responses : bool
        Whether the summaries hold how powers respond to loads (many hours a point), or contrasts of loads alone.
    control_tolerance : float
        Half-width within which the control points are known. Printed ones may be rounded.
    truncation : float
        Credibility of the region that a round leaves to the next.
    credibility : float
        Credibility of the set E, which is measured on simulated data sets [2]_.
    training : Training

    Raises
    ------
    InputError
        If a number is no whole number from 1 up, or a share is out of range.
    """

    rounds: int
    data_sets: int
    training: Training
    hours: int = 1
    responses: bool = False
    control_tolerance: float = 0.0
    truncation: float = 0.999
    credibility: float = 0.99

    def __post_init__(self) -> None:
        for name in ("rounds", "data_sets", "hours"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name} is {value!r}; needed is a whole number from 1 up.")
        for name in ("truncation", "credibility"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; needed is a share between 0 and 1.")
        if not 0 <= self.control_tolerance < 1:
            raise InputError(f"control_tolerance is {self.control_tolerance}; needed is a number from 0 to below 1.")


def hours_by_point(hours: xr.Dataset) -> dict[tuple[float, ...], NDArray[np.float64]]:
    """Series (hours, 60, 6) of each control point.

    Parameters
    ----------
    hours : Dataset
        y and x_c by sample.

    Returns
    -------
    dict of tuple to ndarray, shape (hours, 60, 6)
        By control point, in the order in which they come.
    """
    x_c = hours.x_c.transpose("sample", "control").values
    y = hours.y.transpose("sample", "time", "output").values
    points = dict.fromkeys(map(tuple, x_c.tolist()))
    return {point: y[(x_c == point).all(axis=1)] for point in points}


def infer_shared(
    simulator: Simulator,
    observed: xr.Dataset,
    estimator: AleatoryEstimator,
    rounds: Rounds,
    random_seed: int,
    runner: Runner | None = None,
    trainer: Trainer | None = None,
) -> Weights:
    """The set E that all observed hours together leave of X_e, for `EpistemicLevelSet.from_weights` [1]_.

    Parameters
    ----------
    simulator : Simulator
    observed : Dataset
        y and x_c by sample, from one control point up.
    estimator : AleatoryEstimator
        Tells which X_a the simulated hours get: those of the observed hours as far as X_e is known.
    rounds : Rounds
    random_seed : int
    runner : Runner, optional
    trainer : Trainer, optional

    Returns
    -------
    Weights
        The header's 'found' has a row for every round: simulations, held-out loss, volume and width, and surprise, the
        share of the data sets predicted from its set that lie as far from the others as the observed one does;
        'framed', whether it is the frame that ends the set; 'kept', false for a last one that was a surprise.

    Raises
    ------
    InputError
        If the observed hours have no minute with two loads, too few simulated data sets have the features of the
        observed one, or no value of X_e makes data sets like it.

    Warns
    -----
    MisspecifiedWarning
        If in some round the observations look like no simulation. The set of the round before is returned then.
    """
    rng = np.random.default_rng([random_seed, 4])
    summary, features = _summarise_observed(hours_by_point(observed), rounds)
    e, found, frame = None, [], Frame.whole()
    for number in range(rounds.rounds + EXTRA):
        x_a = _current_x_a(estimator, observed, frame, rng)
        simulate = partial(_simulate, simulator, x_a, summary, rounds, rng, runner)
        (u, simulated), calibration = (
            simulate(*frame.sample(size, rng)) for size in (rounds.data_sets, -(-rounds.data_sets // 10))
        )
        layout = Layout(len(EPISTEMIC), simulated.shape[1])
        posterior = FeaturePosterior(layout, random_seed).fit(u, simulated, rounds.training, trainer)
        level = rounds.credibility if number >= rounds.rounds - 1 else rounds.truncation
        threshold = _threshold(posterior, *calibration, features, level, rng)
        left = EpistemicLevelSet(posterior, frame, features, threshold)
        drawn, surprise = _predict(left, features, simulate, rng)
        found.append(
            {
                "simulations": (len(u) + len(calibration[0]) + PREDICTED) * len(summary.points) * rounds.hours,
                "held_out_loss": min(posterior.history.held_out_loss),
                "volume": left.volume if len(drawn) else 0.0,
                "width": np.ptp(left.bounding_box, axis=0).tolist() if len(drawn) else [0.0] * len(EPISTEMIC),
                "surprise": surprise,
                "framed": frame.ends(drawn, EDGE),
                "kept": True,
            }
        )
        if surprise < SURPRISE:
            _warn(surprise, rounds, number)
            if e is not None or not len(drawn):
                found[-1]["kept"] = False
                break
        e = left
        if number >= rounds.rounds - 1 and not found[-1]["framed"]:
            break
        frame = Frame.around(drawn)
    if e is None:
        raise InputError("no value of X_e makes data sets like the observed one; needed are observations that can be.")
    return e.to_weights({"rounds": found, "settings": asdict(rounds)})


@dataclass(frozen=True)
class _Summary:
    """How a data set becomes a vector of features.

    Attributes
    ----------
    points : tuple of control points
    lags : ndarray, shape (3,), or None
        Of the responses, where these are used.
    kept : ndarray of bool, shape (k,)
        Which features the observations have.
    """

    points: tuple[tuple[float, ...], ...]
    lags: NDArray[np.float64] | None
    kept: NDArray[np.bool_]

    def features(self, y: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Features (n, k) from the hours (n, hours, 60, 6) of each control point."""
        return np.hstack([_point_features(part, self.lags) for part in y])[:, self.kept]


def _summarise_observed(
    points: dict[tuple[float, ...], NDArray[np.float64]], rounds: Rounds
) -> tuple[_Summary, NDArray[np.float64]]:
    """The summary that suits the observed hours, and their features."""
    lags = np.median([response_lags(y) for y in points.values()], axis=0) if rounds.responses else None
    features = np.hstack([_point_features(y[None], lags) for y in points.values()])[0]
    kept = np.isfinite(features)
    if not kept.any():
        raise InputError("the observed hours have no minute in which two loads are above 0; needed is at least one.")
    return _Summary(tuple(points), lags, kept), features[kept]


def _point_features(y: NDArray[np.float64], lags: NDArray[np.float64] | None) -> NDArray[np.float64]:
    contrasts = load_contrasts(y)
    return contrasts if lags is None else np.hstack([contrasts, response_levels(y, lags)])


def _current_x_a(
    estimator: AleatoryEstimator, observed: xr.Dataset, frame: Frame, rng: np.random.Generator
) -> NDArray[np.float64]:
    """X_a of the observed hours as far as X_e is known: draws (n, 2), each hour's at values of X_e of its own."""
    draws = [
        estimator.sample(1, observed, frame.sample(observed.sizes["sample"], rng)[1], rng)
        for _ in range(max(1, DRAWS_OF_X_A // observed.sizes["sample"]))
    ]
    return np.concatenate(draws).reshape(-1, len(ALEATORY))


def _simulate(
    simulator: Simulator,
    x_a: NDArray[np.float64],
    summary: _Summary,
    rounds: Rounds,
    rng: np.random.Generator,
    runner: Runner | None,
    u: NDArray[np.float64],
    x_e: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Data sets with given X_e (n, 3): u (n, 3) and features (n, k) of those that have all features."""
    points, hours = np.array(summary.points), rounds.hours
    step = max(1, BLOCK // (len(points) * hours))
    features = []
    for start in range(0, len(x_e), step):
        block = x_e[start : start + step]
        shape = (len(block), len(points), hours)
        x = np.empty((*shape, len(INPUTS)))
        x[..., :2] = x_a[rng.integers(len(x_a), size=shape)]
        x[..., 2:5] = block[:, None, None]
        moved = points + rounds.control_tolerance * rng.uniform(-1, 1, (len(block), *points.shape))
        x[..., 5:] = np.clip(moved, *BOUNDS)[:, :, None]
        seed = rng.integers(1, SEED_MAX, x[..., 0].size, endpoint=True)
        y = run_campaign(simulator, x.reshape(-1, len(INPUTS)), seed, runner).y.values
        features.append(summary.features(list(np.moveaxis(y.reshape(*shape, *y.shape[1:]), 1, 0))))
    values = np.concatenate(features)
    whole = np.isfinite(values).all(axis=1)
    if whole.mean() < 0.5:
        raise InputError(
            f"{whole.mean():.0%} of the simulated data sets have all the features of the observed one; needed is half. "
            f"More than {hours} hours for each control point would help."
        )
    return u[whole], values[whole]


def _threshold(
    posterior: FeaturePosterior,
    u: NDArray[np.float64],
    simulated: NDArray[np.float64],
    features: NDArray[np.float64],
    level: float,
    rng: np.random.Generator,
) -> float:
    """Log density that a share `level` of the true values of simulated data sets reach [2]_.

    Each is compared with the mean log density of draws from its own posterior, so that wide posteriors and narrow ones
    can be held side by side.
    """

    def usual(given: NDArray[np.float64], draws: int) -> NDArray[np.float64]:
        density: NDArray[np.float64] = posterior.log_prob(posterior.sample(draws, given, rng), given).mean(axis=0)
        return density

    excess = np.sort(posterior.log_prob(u, simulated) - usual(simulated, SCORED))
    place = max(0, int((len(u) + 1) * (1 - level)) - 1)
    return float(usual(features[None], 100 * SCORED)[0] + excess[place])


def _predict(
    left: EpistemicLevelSet,
    features: NDArray[np.float64],
    simulate: Callable[..., tuple[NDArray[np.float64], NDArray[np.float64]]],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], float]:
    """Draws from what a round has left, and how unusual the observations are among the data sets that it predicts."""
    try:
        drawn = left.posterior_sample(DRAWS, rng)
    except EmptySet:  # the observations lie so far from all simulations that the flow makes no sense there
        return np.empty((0, len(EPISTEMIC))), 0.0
    _, predicted = simulate(left.frame.to_u(drawn[:PREDICTED]), drawn[:PREDICTED])
    return drawn, _surprise(predicted, features)


def _surprise(simulated: NDArray[np.float64], features: NDArray[np.float64]) -> float:
    """Share of simulated data sets (n, k) as far from their mean, in their own metric, as the observed one (k,)."""
    mean, spread = simulated.mean(axis=0), simulated.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    scaled = (simulated - mean) / spread
    size, axes = np.linalg.eigh(np.cov(scaled.T).reshape(len(mean), -1))
    axes = axes / np.sqrt(np.maximum(size, FLATTEST * size.max()))

    def distance(values: NDArray[np.float64]) -> NDArray[np.float64]:
        squared: NDArray[np.float64] = np.square(values @ axes).sum(axis=-1)
        return squared

    return float(np.mean(distance(scaled) >= distance((features - mean) / spread)))


def _warn(surprise: float, rounds: Rounds, number: int) -> None:
    kept = f"The set is that of round {number}." if number else "What is inferred may be wrong."
    warnings.warn(
        f"after round {number + 1}, of the data sets that its set predicts, a share of {surprise:.2g} is as unusual as "
        f"the observed one. {kept} Check the control points, which are taken to be known within "
        f"{rounds.control_tolerance}, and whether the simulator fits the system.",
        MisspecifiedWarning,
        stacklevel=3,
    )
