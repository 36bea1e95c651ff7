"""E from all hours together: a likelihood of their mean features, learned by simulation in rounds that close in.

All hours share one X_e. A round simulates data sets, one hour for each control point, with X_e in a box and X_a as the
observed hours have them. From these it learns how the mean features of each control point depend on X_e
(`point_model`), whether the simulator can be right (`misfit`), and the likelihood of X_e (`summary_likelihood`). The
next round simulates around what is left [1]_. Nothing is known of the black box: that some combination of outputs has
no noise is found, where it is so, because its spread is small.

References
----------
.. [1] M. Deistler, P. J. Goncalves and J. H. Macke, "Truncated proposals for scalable and hassle-free simulation-based
   inference", NeurIPS 2022, arXiv:2210.04815.
.. [2] J. Lei, M. G'Sell, A. Rinaldo, R. J. Tibshirani and L. Wasserman, "Distribution-Free Predictive Inference for
   Regression", JASA 113, 2018, arXiv:1604.04173.
"""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flowcal.errors import InputError
from flowcal.files import Weights
from flowcal.infer.credible_set import CredibleSet, EmptySet
from flowcal.infer.hour_features import PooledFeatures, hour_features, pool_features
from flowcal.infer.misfit import estimate_misfit, plausibility
from flowcal.infer.models import TurnedBox
from flowcal.infer.point_model import Runs, fewest_runs, fit_point, moments
from flowcal.infer.summary_likelihood import SummaryLikelihood, fit_summary
from flowcal.infer.um2_aleatory import AleatoryEstimator
from flowcal.problem import BOUNDS, check_counts, check_range, rng_of
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator, fresh_seeds, problem_of

__all__ = ["IMPLAUSIBLE", "MisspecifiedWarning", "Rounds", "infer_epistemic_set"]

Array = NDArray[np.float64]

FEWEST_X_A = 5_000  # draws that the X_a of simulated hours are taken from
SETTLED = 0.5  # a round that leaves more than this share of the volume before is the last
ROOM = 2.0  # width of a round's box over that of the set before
FURTHER = 3.0  # width of the next box over that of one that holds no X_e
OWN_ERROR = 0.2  # share of the covariance that the finite number of simulations may have
MOST_DATA_SETS = 8  # times those of the first round
ROUNDED = 0.5  # share of the covariance that rounding may have
TRIES = 200  # to draw hours that have all features: half of the hours may be calm
IMPLAUSIBLE = 1e-3
"""Plausibility of the observed features below which the simulator is taken to be wrong."""


class MisspecifiedWarning(UserWarning):
    """The observations look like no simulation; the simulator, or the stated control points, are wrong."""


@dataclass(frozen=True)
class Rounds:
    """How X_e is inferred from all hours.

    The first round simulates so many data sets, an hour for each control point, or as many as there have to be for the
    number of epistemic inputs (350 for three, 4,950 for eight). Rounds go on until E gets no smaller, at most so many;
    they double their data sets where it is their number that limits E. The control points are known within
    `control_tolerance`, for printed ones may be rounded; the simulator is granted a relative error of `misfit` in every
    output, and more where the observations ask for it. E has the credibility, measured on synthetic data sets [2]_.
    """

    data_sets: int = 2000
    control_tolerance: float = 0.0
    misfit: float = 0.0
    credibility: float = 0.99
    most: int = 10

    def __post_init__(self) -> None:
        check_counts(100, data_sets=self.data_sets)
        check_counts(most=self.most)
        check_range(0, 1, credibility=self.credibility)
        check_range(0, 1, "[)", control_tolerance=self.control_tolerance, misfit=self.misfit)


def infer_epistemic_set(
    simulator: Simulator,
    observed: xr.Dataset,
    estimator: AleatoryEstimator,
    rounds: Rounds,
    random_seed: int,
    runner: Runner | None = None,
) -> Weights:
    """The set E of X_e that fits all observed hours together, for `CredibleSet.from_weights`.

    The estimator decides which X_a the simulated hours get: those of the observed hours as far as X_e is known.

    In the header of the weights, 'found' has a row for each round: 'simulations', 'volume', 'width', 'degree' of the
    polynomials, 'plausibility' of the observed features if the simulator has the stated misfit, 'misfit' by output that
    was assumed, and 'shares' of the covariance. Where the simulator is taken to be wrong in the last round, a
    `MisspecifiedWarning` says so.
    """
    problem, rng = problem_of(simulator), rng_of(random_seed, 4)
    points, size = pool_features(observed, problem), len(problem.epistemic)
    least, data_sets = np.full((2, len(problem.outputs)), rounds.misfit), max(rounds.data_sets, 2 * fewest_runs(size))
    box, most, found = TurnedBox.whole(size), MOST_DATA_SETS * data_sets, []
    for number in range(rounds.most):
        x_a = _current_x_a(estimator, observed, box, rng)
        runs = _simulate(simulator, points, box, x_a, rounds.control_tolerance, data_sets, rng, runner)
        try:
            e, row = _close_in(points, runs, box, rounds, least, random_seed + number)
        except EmptySet:  # the simulator is so wrong that what it allows lies outside
            box = box.widened(FURTHER)
            continue
        found.append(row | {"simulations": data_sets * len(points)})
        settled = len(found) > 1 and row["volume"] > SETTLED * found[-2]["volume"]
        limited = row["shares"]["simulations"] > OWN_ERROR
        if (settled and not (limited and data_sets < most)) or row["shares"]["rounding"] > ROUNDED:
            break
        if number and limited:
            data_sets = min(2 * data_sets, most)
        box = e.turned_box.widened(ROOM)
    if not found:
        raise InputError("no X_e makes hours like the observed ones; expected observations that fit.")
    if found[-1]["plausibility"] < IMPLAUSIBLE:
        _warn(found[-1], problem.outputs, rounds)
    return e.to_weights({"rounds": found, "settings": asdict(rounds)})


def _close_in(
    points: Sequence[PooledFeatures], runs: Runs, box: TurnedBox, rounds: Rounds, least: Array, seed: int
) -> tuple[CredibleSet, dict[str, Any]]:
    """What a round leaves, and its row in the history; the misfit (2, outputs) is at least as given."""
    half = len(runs.u) // 2
    models = [fit_point(point, runs[:half], place) for place, point in enumerate(points)]

    def fit(at: Array, misfit: Array) -> tuple[CredibleSet, SummaryLikelihood]:
        found = fit_summary(models, at, misfit, runs[half:], rounds.credibility, np.random.default_rng(seed))
        return CredibleSet(box, found.observed, found.coefficients, found.degree, found.threshold), found

    likely = least
    e, found = fit(np.full(len(box.corner), 0.5), least)
    plausible = plausibility(models, e.centre, least)
    if plausible < IMPLAUSIBLE:
        likely, largest = estimate_misfit(models, e.centre, least)
        e, found = fit(e.centre, largest)
    return e, {
        "volume": e.volume,
        "width": np.ptp(e.bounding_box, axis=0).tolist(),
        "degree": e.degree,
        "plausibility": plausible,
        "misfit": np.linalg.norm(likely, axis=0).tolist(),
        "shares": found.shares,
    }


def _current_x_a(estimator: AleatoryEstimator, observed: xr.Dataset, box: TurnedBox, rng: np.random.Generator) -> Array:
    """X_a of the observed hours as far as X_e is known: draws (n, a), each hour's at values of X_e of its own."""
    hours = observed.sizes["sample"]
    draws = [estimator.sample(1, observed, box.sample(hours, rng)[1], rng) for _ in range(max(1, FEWEST_X_A // hours))]
    return np.concatenate(draws).reshape(-1, draws[0].shape[-1])


def _simulate(
    simulator: Simulator,
    points: Sequence[PooledFeatures],
    box: TurnedBox,
    x_a: Array,
    tolerance: float,
    size: int,
    rng: np.random.Generator,
    runner: Runner | None,
) -> Runs:
    """Data sets with X_e in a box, one hour for each control point; hours that lack a feature are drawn again."""
    problem = problem_of(simulator)
    u, x_e = box.sample(size, rng)
    drawn = np.empty((size, len(points), x_a.shape[1]))
    offsets = rng.uniform(-1, 1, (size, len(points), len(problem.control) if tolerance else 0))
    features = [np.full((size, len(point.kept)), np.nan) for point in points]
    for _ in range(TRIES):
        lacking = [np.flatnonzero(~np.isfinite(each).all(axis=1)) for each in features]
        if not sum(map(len, lacking)):
            return Runs(u, moments(drawn), offsets, features)
        rows = []
        for place, (point, some) in enumerate(zip(points, lacking, strict=True)):
            drawn[some, place] = x_a[rng.integers(len(x_a), size=len(some))]
            x_c = np.array(point.x_c) + tolerance * (offsets[some, place] if tolerance else 0)
            x_c = np.broadcast_to(np.clip(x_c, *BOUNDS), (len(some), len(point.x_c)))
            rows.append(np.column_stack([drawn[some, place], x_e[some], x_c]))
        x = np.concatenate(rows)
        found = hour_features(run_campaign(simulator, x, fresh_seeds(len(x), rng), runner).y.values, problem)
        ends = np.cumsum([len(some) for some in lacking])[:-1]
        for each, point, some, part in zip(features, points, lacking, np.split(found, ends), strict=True):
            each[some] = part[:, point.kept]
    raise InputError(
        f"after {TRIES} tries {sum(map(len, lacking))} of {size * len(points)} simulated hours still lack features "
        "that the observed ones have; expected simulated outputs above 0 where the observed ones are."
    )


def _warn(row: dict[str, Any], outputs: Sequence[str], rounds: Rounds) -> None:
    wrong = ", ".join(f"{name} {scale:.1g}" for name, scale in zip(outputs, row["misfit"], strict=True) if scale)
    warnings.warn(
        f"simulations are as far from the observations with probability {row['plausibility']:.2g}: the simulator is "
        f"wrong, or X_a vary in a way that single hours hardly tell. E is that of a simulator whose outputs have "
        f"relative errors of about {wrong}. Check the control points, which are taken to be "
        f"known within {rounds.control_tolerance}, and state a misfit if the simulator may be wrong in a way that "
        "looks like another X_e, which cannot be seen.",
        MisspecifiedWarning,
        stacklevel=3,
    )
