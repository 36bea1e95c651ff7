"""E from all hours together: sequential, truncated neural posterior estimation on whole data sets.

All hours share one X_e. So whole data sets are simulated, each with one X_e for all its hours, and summarised control
point by control point; a flow infers X_e from the summaries of all points together. Values that the observations rule
out are cut away, and the next round simulates within the rest [1]_.

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
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from flowcal.errors import FlowcalError, InputError
from flowcal.files import Weights
from flowcal.fingerprint import digest
from flowcal.infer.contrasts import hours_by_point, median_of, output_contrasts, response_lags, response_loads
from flowcal.infer.models import TurnedBox, in_cube
from flowcal.infer.networks import FeaturePosterior, Layout, matching_header
from flowcal.infer.train import Trainer, Training
from flowcal.infer.um2_aleatory import AleatoryEstimator
from flowcal.problem import BOUNDS, Problem, check_counts, check_points, check_range, rng_of
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator, fresh_seeds, problem_of

__all__ = [
    "SURPRISE",
    "CredibleSet",
    "EmptySet",
    "MisspecifiedWarning",
    "Rounds",
    "infer_epistemic_set",
    "set_training",
]

Array = NDArray[np.float64]

SET_DRAWS = 20_000  # behind the volume and the bounding box of a set
RAREST = 0.05  # share of a posterior's draws that must reach the threshold
HOURS_AT_A_TIME = 20_000
DENSITY_DRAWS = 64  # whose mean log density each density is compared with
PREDICTED = 2_000  # data sets that the observed one is compared with
FEWEST_X_A = 5_000  # draws that the X_a of simulated hours are taken from
FLATTEST = 1e-12  # smallest variance of features along a direction, over the largest, that differs from 0
EXTRA = 3  # most further rounds while the search box cuts off the set
EDGE = 0.02  # share of the box's width within which a face cuts off a point
SURPRISE = 1e-3
"""Share of predicted data sets as unusual as the observed one, below which a warning is due."""


class EmptySet(FlowcalError):
    """Hardly any draw of the posterior reaches the threshold of its credible set."""


class CredibleSet:
    """The set E of all X_e within a turned box at which the log density of a posterior reaches a threshold.

    The posterior is that of the coordinates u in the box, given features (k,) of the observations, and so is the
    threshold.
    """

    def __init__(self, posterior: FeaturePosterior, box: TurnedBox, features: ArrayLike, threshold: float) -> None:
        self.posterior, self.box, self.threshold = posterior, box, float(threshold)
        self.features = np.asarray(features, np.float64)[None]
        if not 0 < box.volume < np.inf or len(box.corner) != posterior.layout.parameters:
            raise InputError(
                f"the box has {len(box.corner)} dimensions and volume {box.volume}; expected "
                f"{posterior.layout.parameters} and one that is neither flat nor endless."
            )

    @property
    def identity(self) -> dict[str, str]:
        """Digest of all its parts."""
        return {"credible_set": digest(self.to_weights({}).tensors)}

    def log_prob(self, x_e: ArrayLike) -> Array:
        """Log density (n,) of the posterior at points (n, e), per unit of the cube's volume; minus infinity outside."""
        x_e = check_points(x_e, len(self.box.corner), "x_e")
        density = self._density(self.box.to_u(x_e)) - np.log(self.box.volume)
        return np.where(in_cube(x_e), density, -np.inf)

    def contains(self, x_e: ArrayLike) -> NDArray[np.bool_]:
        """Whether points (n, e) lie in the set."""
        inside: NDArray[np.bool_] = self.log_prob(x_e) >= self.threshold - np.log(self.box.volume)
        return inside

    def posterior_sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, e) from the posterior within the set.

        Raises `EmptySet` if hardly any draw of the posterior lies in the set.
        """
        kept: list[Array] = []
        while sum(map(len, kept)) < n:
            u = self.posterior.sample(2 * n, self.features, rng)[:, 0]
            inside = (self._density(u) >= self.threshold) & in_cube(self.box.to_x_e(u))
            if inside.mean() < RAREST:
                raise EmptySet(f"{inside.mean():.1%} of the draws reach the threshold {self.threshold:.3g}.")
            kept.append(u[inside])
        return self.box.to_x_e(np.concatenate(kept)[:n])

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Points (n, e) drawn uniformly from the set."""
        kept: list[Array] = []
        while sum(map(len, kept)) < n:
            _, x_e = self.turned_box.sample(4 * n, rng)
            kept.append(x_e[self.contains(x_e)])
        return np.concatenate(kept)[:n]

    @cached_property
    def volume(self) -> float:
        """Share of the unit cube, estimated from uniform points around the set."""
        u = np.random.default_rng(1).random((SET_DRAWS, len(self.box.corner)))
        return float(self.turned_box.volume * self.contains(self.turned_box.to_x_e(u)).mean())

    @cached_property
    def bounding_box(self) -> Array:
        """Smallest and largest value of each input among many points of the set, shape (2, e)."""
        points = self.posterior_sample(SET_DRAWS, np.random.default_rng(1))
        return np.array([points.min(axis=0), points.max(axis=0)])

    @cached_property
    def turned_box(self) -> TurnedBox:
        """A box around the set, turned along the directions in which it spreads."""
        return TurnedBox.around(self.posterior_sample(SET_DRAWS, np.random.default_rng(1)))

    def _density(self, u: Array) -> Array:
        return self.posterior.log_prob(u[:, None], self.features)[:, 0]

    def to_weights(self, found: Mapping[str, object]) -> Weights:
        """All its parts, with JSON values that say how it was found."""
        weights = self.posterior.to_weights()
        parts = {"corner": self.box.corner, "edges": self.box.edges, "features": self.features}
        header = {"kind": "CredibleSet", "threshold": self.threshold, "posterior": weights.header, "found": dict(found)}
        return Weights(header, {f"posterior.{name}": value for name, value in weights.tensors.items()} | parts)

    @classmethod
    def from_weights(cls, weights: Weights, device: str = "auto") -> "CredibleSet":
        """The set that `to_weights` described."""
        with matching_header(weights, "CredibleSet") as header:
            tensors, prefix = weights.tensors, "posterior."
            parts = {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
            posterior = FeaturePosterior.from_weights(Weights(header["posterior"], parts), device)
            features, threshold = tensors["features"], header["threshold"]
            if features.shape != (1, posterior.layout.features) or not np.isfinite(features).all():
                raise InputError(f"features have shape {features.shape}; expected (1, {posterior.layout.features}).")
            if not isinstance(threshold, float) or not np.isfinite(threshold):
                raise InputError(f"threshold is {threshold!r}; expected a finite number.")
            return cls(posterior, TurnedBox(tensors["corner"], tensors["edges"]), features[0], threshold)


class MisspecifiedWarning(UserWarning):
    """The observations look like no simulation; what is inferred from them may be wrong."""


@dataclass(frozen=True)
class Rounds:
    """How X_e is inferred from all hours.

    There are so many rounds at least (`count`); more follow while the search box, and not the observations, cuts off
    the set. In each, `data_sets` are simulated to train on, and a tenth as many again calibrate the set. Each has so
    many hours for each control point; one is enough where the summaries of all hours agree. The summaries hold
    contrasts of loads, and `responses` where asked for, which take many hours a point. The control points are known
    within `control_tolerance`, for printed ones may be rounded. The region that a round leaves to the next has the
    credibility `truncation`, E has `credibility`; both are measured on simulated data sets [2]_.
    """

    count: int
    data_sets: int
    training: Training
    hours: int = 1
    responses: bool = False
    control_tolerance: float = 0.0
    truncation: float = 0.999
    credibility: float = 0.99

    def __post_init__(self) -> None:
        check_counts(count=self.count, data_sets=self.data_sets, hours=self.hours)
        check_range(0, 1, truncation=self.truncation, credibility=self.credibility)
        check_range(0, 1, "[)", control_tolerance=self.control_tolerance)


def set_training(epochs: int) -> Training:
    """How the flow of each round is trained."""
    return Training(epochs=epochs, batch_size=256, learning_rate=3e-3)


def infer_epistemic_set(
    simulator: Simulator,
    observed: xr.Dataset,
    estimator: AleatoryEstimator,
    rounds: Rounds,
    random_seed: int,
    runner: Runner | None = None,
    trainer: Trainer | None = None,
) -> Weights:
    """The set E of X_e that fits all observed hours together, for `CredibleSet.from_weights` [1]_.

    The estimator decides which X_a the simulated hours get: those of the observed hours as far as X_e is known. If in
    some round the observations look like no simulation, a `MisspecifiedWarning` says so, and the set is that of the
    round before.

    In the header of the weights, 'found' has a row for each round: 'simulations', 'held_out_loss', 'volume', 'width',
    'surprise' (share of the data sets predicted from its set that lie as far from the others as the observed one does),
    'cut_off' (whether the search box cuts off the set), and 'kept' (false for a last one that was a surprise).
    """
    problem, rng = problem_of(simulator), rng_of(random_seed, 4)
    summary, features = _summarise_observed(observed, rounds, problem)
    e, found, box = None, [], TurnedBox.whole(len(problem.epistemic))
    for number in range(rounds.count + EXTRA):
        x_a = _current_x_a(estimator, observed, box, rng)
        simulate = partial(_simulate, simulator, x_a, summary, rounds, rng, runner)
        (u, simulated), calibration = (
            simulate(*box.sample(size, rng)) for size in (rounds.data_sets, -(-rounds.data_sets // 10))
        )
        layout = Layout(len(problem.epistemic), simulated.shape[1])
        posterior = FeaturePosterior(layout, random_seed).fit(u, simulated, rounds.training, trainer)
        credibility = rounds.credibility if number >= rounds.count - 1 else rounds.truncation
        threshold = _threshold(posterior, *calibration, features, credibility, rng)
        left = CredibleSet(posterior, box, features, threshold)
        drawn, surprise = _predict(left, features, simulate, rng)
        found.append(_describe(left, drawn, surprise))
        found[-1]["simulations"] = (len(u) + len(calibration[0]) + PREDICTED) * len(summary.points) * rounds.hours
        if surprise < SURPRISE:
            _warn(surprise, rounds, number)
            if e is not None or not len(drawn):
                found[-1]["kept"] = False
                break
        e = left
        if number >= rounds.count - 1 and not found[-1]["cut_off"]:
            break
        box = TurnedBox.around(drawn)
    if e is None:
        raise InputError("no value of X_e makes data sets like the observed one; expected observations that fit.")
    return e.to_weights({"rounds": found, "settings": asdict(rounds)})


@dataclass(frozen=True)
class _Summary:
    """How a data set becomes features: for each point, contrasts and responses at given lags; `kept` selects some."""

    problem: Problem
    points: tuple[tuple[float, ...], ...]
    lags: Array | None
    kept: NDArray[np.bool_] | None = None

    def features(self, y: Sequence[Array]) -> Array:
        """Features (n, k) from the hours (n, hours, steps, outputs) of each control point."""
        features = np.hstack([self._of_point(part) for part in y])
        return features if self.kept is None else features[:, self.kept]

    def _of_point(self, y: Array) -> Array:
        contrasts = [output_contrasts(y, self.problem)] if len(self.problem.limited) > 1 else [np.empty((len(y), 0))]
        return np.hstack(contrasts if self.lags is None else [*contrasts, response_loads(y, self.lags, self.problem)])


def _summarise_observed(observed: xr.Dataset, rounds: Rounds, problem: Problem) -> tuple[_Summary, Array]:
    """The summary that suits the observed hours, and their features."""
    points = hours_by_point(observed, problem)
    lags = median_of(np.array([response_lags(y, problem) for y in points.values()])) if rounds.responses else None
    if lags is not None and not np.isfinite(lags).all():
        raise InputError("hours are too calm to tell how outputs follow the load; expected rounds without responses.")
    features = _Summary(problem, tuple(points), lags).features([y[None] for y in points.values()])[0]
    kept = np.isfinite(features)
    if not kept.any() or not problem.epistemic:
        raise InputError(
            f"the observed hours have {kept.sum()} features for {len(problem.epistemic)} epistemic inputs; expected at "
            "least one of each: responses, or steps in which two limited outputs are above 0."
        )
    return _Summary(problem, tuple(points), lags, kept), features[kept]


def _current_x_a(estimator: AleatoryEstimator, observed: xr.Dataset, box: TurnedBox, rng: np.random.Generator) -> Array:
    """X_a of the observed hours as far as X_e is known: draws (n, a), each hour's at values of X_e of its own."""
    hours = observed.sizes["sample"]
    draws = [estimator.sample(1, observed, box.sample(hours, rng)[1], rng) for _ in range(max(1, FEWEST_X_A // hours))]
    return np.concatenate(draws).reshape(-1, draws[0].shape[-1])


def _simulate(
    simulator: Simulator,
    x_a: Array,
    summary: _Summary,
    rounds: Rounds,
    rng: np.random.Generator,
    runner: Runner | None,
    u: Array,
    x_e: Array,
) -> tuple[Array, Array]:
    """Data sets with given X_e (n, e): u (n, e) and features (n, k) of those that have all features."""
    points, hours, inputs = np.array(summary.points), rounds.hours, len(summary.problem.inputs)
    aleatory, fixed = x_a.shape[1], x_a.shape[1] + x_e.shape[1]
    step = max(1, HOURS_AT_A_TIME // (len(points) * hours))
    features = []
    for start in range(0, len(x_e), step):
        some = x_e[start : start + step]
        shape = (len(some), len(points), hours)
        x = np.empty((*shape, inputs))
        x[..., :aleatory] = x_a[rng.integers(len(x_a), size=shape)]
        x[..., aleatory:fixed] = some[:, None, None]
        moved = points + rounds.control_tolerance * rng.uniform(-1, 1, (len(some), *points.shape))
        x[..., fixed:] = np.clip(moved, *BOUNDS)[:, :, None]
        y = run_campaign(simulator, x.reshape(-1, inputs), fresh_seeds(x[..., 0].size, rng), runner).y.values
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
    u: Array,
    simulated: Array,
    features: Array,
    credibility: float,
    rng: np.random.Generator,
) -> float:
    """Log density that a share `credibility` of the true values of simulated data sets reach [2]_.

    Each is compared with the mean log density of draws from its own posterior, which may be wide or narrow.
    """

    def usual(given: Array, draws: int) -> Array:
        density: Array = posterior.log_prob(posterior.sample(draws, given, rng), given).mean(axis=0)
        return density

    excess = np.sort(posterior.log_prob(u, simulated) - usual(simulated, DENSITY_DRAWS))
    place = max(0, int((len(u) + 1) * (1 - credibility)) - 1)
    return float(usual(features[None], 100 * DENSITY_DRAWS)[0] + excess[place])


def _predict(
    left: CredibleSet, features: Array, simulate: Callable[..., tuple[Array, Array]], rng: np.random.Generator
) -> tuple[Array, float]:
    """Draws from what a round has left, and how unusual the observations are among the data sets that it predicts."""
    try:
        drawn = left.posterior_sample(SET_DRAWS, rng)
    except EmptySet:  # the observations lie so far from all simulations that the flow makes no sense there
        return np.empty((0, len(left.box.corner))), 0.0
    _, predicted = simulate(left.box.to_u(drawn[:PREDICTED]), drawn[:PREDICTED])
    return drawn, _surprise(predicted, features)


def _describe(left: CredibleSet, drawn: Array, surprise: float) -> dict[str, Any]:
    """The row of a round in the history."""
    width = np.ptp(left.bounding_box, axis=0) if len(drawn) else np.zeros(len(left.box.corner))
    return {
        "held_out_loss": min(left.posterior.history.held_out_loss),
        "volume": left.volume if len(drawn) else 0.0,
        "width": width.tolist(),
        "surprise": surprise,
        "cut_off": left.box.cuts_off(drawn, EDGE),
        "kept": True,
    }


def _surprise(simulated: Array, features: Array) -> float:
    """Share of simulated data sets (n, k) as far from their mean, in their own metric, as the observed one (k,)."""
    mean, spread = simulated.mean(axis=0), simulated.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    scaled = (simulated - mean) / spread
    size, axes = np.linalg.eigh(np.cov(scaled.T).reshape(len(mean), -1))
    axes = axes / np.sqrt(np.maximum(size, FLATTEST * size.max()))

    def distance(values: Array) -> Array:
        squared: Array = np.square(values @ axes).sum(axis=-1)
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
