"""What the hours of one control point say about each other: contrasts between channels that anybody would try first.

How one load compares with another, and how a power answers to a load: neither needs to know what the channels mean.
Medians over minutes and hours stand the calm minutes that means do not.


E as a density-level set: where a posterior of X_e, given everything observed, is at least so dense.

X_e from all observations at once: sequential, truncated neural posterior estimation on whole data sets.

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from flowcal.artifacts import digest
from flowcal.challenge import ALEATORY, EPISTEMIC, INPUTS, LOADS, OUTPUTS, POWERS, RATED_POWER
from flowcal.errors import FlowcalError, InputError
from flowcal.files import Weights, WeightsError
from flowcal.infer.models import Frame, in_cube
from flowcal.infer.posteriors import FeaturePosterior, Layout
from flowcal.infer.train import Trainer, Training
from flowcal.infer.um2_aleatory import AleatoryEstimator
from flowcal.problem import BOUNDS, SEED_MAX
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator

__all__ = [
    "EmptySet",
    "EpistemicLevelSet",
    "MisspecifiedWarning",
    "Rounds",
    "SURPRISE",
    "hours_by_point",
    "infer_shared",
    "load_contrasts",
    "response_lags",
    "response_levels",
    "responses",
]

LEVELS = (0.15, 0.45, 0.75)
"""Where a response is read off, as shares of the rated power."""

RESPONSIVE = (0.02, 0.98)
"""Between these shares of the rated power a power can follow a load."""

_LOADS = [OUTPUTS.index(name) for name in LOADS]
_POWERS = [OUTPUTS.index(name) for name in POWERS]


def load_contrasts(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over hours and minutes of the logarithm of each load's ratio to the first.

    Parameters
    ----------
    y : ndarray, shape (..., hours, 60, 6)
        Hours of one control point.

    Returns
    -------
    ndarray, shape (..., 2)
        NaN where no minute has both loads above 0.

    Examples
    --------
    >>> y = np.ones((100, 60, 6)) * [1, 1, 1, 4, 8, 2]
    >>> load_contrasts(y).round(2)
    array([ 0.69, -0.69])
    """
    loads = y[..., _LOADS]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log(loads[..., 1:] / loads[..., :1])
    ratios = np.where(np.isfinite(ratios), ratios, np.nan)
    flat = ratios.reshape(*ratios.shape[:-3], -1, ratios.shape[-1])
    return _median(flat)


def response_lags(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of its last value each power keeps: the share at which what is new in it becomes a curve over the load.

    A power that follows a load with a first-order lag a has y(t) - a y(t - 1) = (1 - a) g(load(t)). At the right a the
    left side, sorted by the load, is smooth; at any other it is not. The total variation of it tells.

    Parameters
    ----------
    y : ndarray, shape (hours, 60, 6)
        Observed hours of one control point.

    Returns
    -------
    ndarray, shape (3,)
        A value in [0, 0.99] for each power.

    Raises
    ------
    InputError
        If hardly any minutes have a power between none and the rated one.
    """
    return np.array([_lag(y[..., power], y[..., _LOADS[0]]) for power in _POWERS])


def responses(y: NDArray[np.float64], lags: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each power strives for against the first load, minute by minute.

    Parameters
    ----------
    y : ndarray, shape (..., hours, 60, 6)
    lags : ndarray, shape (3,)
        See `response_lags`.

    Returns
    -------
    log_load : ndarray, shape (..., hours, 59)
        Logarithm of the first load.
    strives : ndarray, shape (..., hours, 59, 3)
        What the powers strive for then [MW].
    """
    powers = y[..., _POWERS]
    strives = (powers[..., 1:, :] - lags * powers[..., :-1, :]) / (1 - lags)
    with np.errstate(divide="ignore"):
        return np.log(y[..., 1:, _LOADS[0]]), strives


def response_levels(y: NDArray[np.float64], lags: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of the first load at which each power strives for `LEVELS` of the rated power.

    Parameters
    ----------
    y : ndarray, shape (n, hours, 60, 6)
        Hours of one control point, n times.
    lags : ndarray, shape (3,)
        See `response_lags`.

    Returns
    -------
    ndarray, shape (n, 9)
        NaN where no minutes lie on both sides of a level.
    """
    load, strives = responses(y, lags)
    load = load.reshape(len(y), -1)
    strives = strives.reshape(len(y), -1, len(_POWERS))
    order = np.argsort(strives, axis=1, kind="stable")
    levels = RATED_POWER * np.array(LEVELS)
    rows = [
        [
            np.interp(levels, power[places], one[places], left=np.nan, right=np.nan)
            for power, places in zip(each.T, at.T, strict=True)
        ]
        for each, one, at in zip(strives, load, order, strict=True)
    ]
    found = np.reshape(rows, (len(y), -1))
    return np.where(np.isfinite(found), found, np.nan)


def _lag(power: NDArray[np.float64], load: NDArray[np.float64]) -> float:
    responsive = (power > RESPONSIVE[0] * RATED_POWER) & (power < RESPONSIVE[1] * RATED_POWER)
    both = responsive[:, 1:] & responsive[:, :-1]
    if both.sum() < 10:
        raise InputError(
            f"{both.sum()} minutes have a power between {RESPONSIVE} of the rated one; expected at least 10 to tell "
            "how power follows load."
        )
    now, last = power[:, 1:][both], power[:, :-1][both]
    order = np.argsort(load[:, 1:][both])

    def variation(lag: float) -> float:
        strives = (now - lag * last)[order] / (1 - lag)
        return float(np.abs(np.diff(strives)).sum() / np.ptp(strives))

    coarse = np.linspace(0, 0.99, 100)
    start = coarse[np.argmin([variation(lag) for lag in coarse])]
    bounds = (max(0.0, start - 0.01), min(0.99, start + 0.01))
    return float(minimize_scalar(variation, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x)


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over the last axis but one of what is not NaN; NaN without a warning where nothing is."""
    empty: NDArray[np.bool_] = np.all(np.isnan(values), axis=-2, keepdims=True)
    return np.where(empty[..., 0, :], np.nan, np.nanmedian(np.where(empty, 0.0, values), axis=-2))


DRAWS = 20_000  # that volume and bounding box are estimated from
RAREST = 0.05  # share of a posterior's draws that must reach the threshold, so that there is a set to speak of


class EmptySet(FlowcalError):
    """Hardly any draw of the posterior reaches the threshold of its level set."""


class EpistemicLevelSet:
    """The set E of all X_e within a frame at which a posterior density reaches a threshold.

    Parameters
    ----------
    posterior : FeaturePosterior
        Of u in the frame, given features of the observations.
    frame : Frame
    features : array_like, shape (k,)
        What was observed.
    threshold : float
        Log density in the frame that a point of the set has at least.

    Raises
    ------
    InputError
        If the frame is flat or endless.
    """

    def __init__(self, posterior: FeaturePosterior, frame: Frame, features: ArrayLike, threshold: float) -> None:
        self.posterior, self.frame, self.threshold = posterior, frame, float(threshold)
        self.features = np.asarray(features, np.float64)[None]
        if not 0 < frame.volume < np.inf:
            raise InputError(f"the frame has volume {frame.volume}; expected one that is neither flat nor endless.")

    @property
    def identity(self) -> dict[str, str]:
        """What decides it: a digest of all its parts."""
        return {"level_set": digest(self.to_weights({}).tensors)}

    def log_prob(self, x_e: ArrayLike) -> NDArray[np.float64]:
        """Log density of the posterior, per unit of the cube's volume; minus infinity outside.

        Parameters
        ----------
        x_e : array_like, shape (n, 3)

        Returns
        -------
        ndarray, shape (n,)

        Raises
        ------
        InputError
            If x_e has another shape.
        """
        x_e = np.asarray(x_e, np.float64)
        if x_e.ndim != 2 or x_e.shape[1] != len(EPISTEMIC):
            raise InputError(f"x_e has shape {x_e.shape}; expected (n, {len(EPISTEMIC)}).")
        density = self._density(self.frame.to_u(x_e)) - np.log(self.frame.volume)
        return np.where(in_cube(x_e), density, -np.inf)

    def contains(self, x_e: ArrayLike) -> NDArray[np.bool_]:
        """Whether points lie in the set.

        Parameters
        ----------
        x_e : array_like, shape (n, 3)

        Returns
        -------
        ndarray of bool, shape (n,)

        Raises
        ------
        InputError
            If x_e has another shape.
        """
        inside: NDArray[np.bool_] = self.log_prob(x_e) >= self.threshold - np.log(self.frame.volume)
        return inside

    def posterior_sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draws from the posterior within the set.

        Parameters
        ----------
        n : int
        rng : Generator

        Returns
        -------
        ndarray, shape (n, 3)

        Raises
        ------
        EmptySet
            If hardly any draw of the posterior lies in the set.
        """
        kept: list[NDArray[np.float64]] = []
        while sum(map(len, kept)) < n:
            u = self.posterior.sample(2 * n, self.features, rng)[:, 0]
            inside = (self._density(u) >= self.threshold) & in_cube(self.frame.to_x_e(u))
            if inside.mean() < RAREST:
                raise EmptySet(f"{inside.mean():.1%} of the draws reach the threshold {self.threshold:.3g}.")
            kept.append(u[inside])
        return self.frame.to_x_e(np.concatenate(kept)[:n])

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Points drawn uniformly from the set.

        Parameters
        ----------
        n : int
        rng : Generator

        Returns
        -------
        ndarray, shape (n, 3)

        Raises
        ------
        EmptySet
            If hardly any draw of the posterior lies in the set.
        """
        kept: list[NDArray[np.float64]] = []
        while sum(map(len, kept)) < n:
            _, x_e = self.turned_box.sample(4 * n, rng)
            kept.append(x_e[self.contains(x_e)])
        return np.concatenate(kept)[:n]

    @cached_property
    def volume(self) -> float:
        """Share of the unit cube, estimated from uniform points around the set."""
        u = np.random.default_rng(1).random((DRAWS, len(EPISTEMIC)))
        return float(self.turned_box.volume * self.contains(self.turned_box.to_x_e(u)).mean())

    @cached_property
    def bounding_box(self) -> NDArray[np.float64]:
        """Smallest and largest value of each input among many points of the set, shape (2, 3)."""
        points = self.posterior_sample(DRAWS, np.random.default_rng(1))
        return np.array([points.min(axis=0), points.max(axis=0)])

    def to_weights(self, history: Mapping[str, object]) -> Weights:
        """Everything it consists of, with the history of how it was found.

        Parameters
        ----------
        history : mapping of str to any
            JSON values.

        Returns
        -------
        Weights
        """
        weights = self.posterior.to_weights()
        parts = {"corner": self.frame.corner, "edges": self.frame.edges, "features": self.features}
        header = {
            "kind": type(self).__name__,
            "threshold": self.threshold,
            "posterior": weights.header,
            "found": dict(history),
        }
        return Weights(header, {f"posterior.{name}": value for name, value in weights.tensors.items()} | parts)

    @classmethod
    def from_weights(cls, weights: Weights, device: str = "auto") -> "EpistemicLevelSet":
        """The set that `to_weights` described.

        Parameters
        ----------
        weights : Weights
        device : str
            'cpu', 'cuda' or 'auto'.

        Returns
        -------
        EpistemicLevelSet

        Raises
        ------
        WeightsError
            If they belong to something else, or do not fit their header.
        """
        header, tensors = weights.header, weights.tensors
        if header.get("kind") != cls.__name__:
            raise WeightsError(f"the weights are of kind {header.get('kind')!r}; expected {cls.__name__!r}.")
        try:
            parts = {
                name.removeprefix("posterior."): tensors[name] for name in tensors if name.startswith("posterior.")
            }
            posterior = FeaturePosterior.from_weights(Weights(header["posterior"], parts), device)
            frame, features = Frame(tensors["corner"], tensors["edges"]), tensors["features"]
            if features.shape != (1, posterior.layout.features) or not np.isfinite(features).all():
                raise InputError(f"features have shape {features.shape}; expected (1, {posterior.layout.features}).")
            threshold = header["threshold"]
            if not isinstance(threshold, float) or not np.isfinite(threshold):
                raise InputError(f"threshold is {threshold!r}; expected a finite number.")
            return cls(posterior, frame, features[0], threshold)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise WeightsError(f"the weights do not fit their header: {error}") from error

    @cached_property
    def turned_box(self) -> Frame:
        """A box around the set, turned along the directions in which it spreads."""
        return Frame.around(self.posterior_sample(DRAWS, np.random.default_rng(1)))

    def _density(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.posterior.log_prob(u[:, None], self.features)[:, 0]


BLOCK = 20_000  # hours that are held at a time
SCORED = 64  # draws that a density is compared with
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
                raise InputError(f"{name} is {value!r}; expected a whole number from 1 up.")
        for name in ("truncation", "credibility"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected a share between 0 and 1.")
        if not 0 <= self.control_tolerance < 1:
            raise InputError(f"control_tolerance is {self.control_tolerance}; expected a number from 0 to below 1.")


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
        raise InputError("no value of X_e makes data sets like the observed one; expected observations that can be.")
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
        raise InputError("the observed hours have no minute in which two loads are above 0; expected at least one.")
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
            f"{whole.mean():.0%} of the simulated data sets have all the features of the observed one; expected half. "
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
