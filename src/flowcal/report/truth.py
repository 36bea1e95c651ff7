"""Results compared with the known truth of the embedded real system: the one module that reads it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import PublishedEntry
from flowcal.decide.failure import sampled_pof
from flowcal.decide.plane import AleatoryPlane
from flowcal.decide.problems import compare_performance
from flowcal.infer.checks import energy_distance
from flowcal.infer.models import AleatoryDistribution, EpistemicBox, EpistemicSet, UncertaintyModel
from flowcal.problem import check_counts
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.observed import _TRUE_F_A, _TRUE_X_E
from flowcal.simulate.simulator import Simulator, fresh_seeds, objective, problem_of

__all__ = [
    "REBUILT",
    "direct_distances_by_hours",
    "distances_by_hours",
    "judge_by_truth",
    "score_aleatory",
    "score_box",
    "score_set",
    "true_exceedance",
    "true_hours",
    "true_performance",
    "true_uncertainty_model",
]

NODES = 48  # for each aleatory input
BLOCKS, DRAWS = 10, 4000  # energy distances are means over blocks of so many draws each

REBUILT: Mapping[str, str] = {"uniform": "rebuilt, $X_a$ uniform", "f_a": "rebuilt, $X_a$ from UM1"}
"""Names of designs made the paper's way, by where their X_a come from."""


def score_set(e: EpistemicSet, best_guess: Sequence[float] | None = None) -> dict[str, Any]:
    """Whether a set E contains X_e*, its volume, and the distances of its nearest point and of a best guess from X_e*.

    The 'volume' of the unit cube is 1, the 'least_distance' is 0 if inside, and the 'best_guess_distance' is None
    without a best guess.
    """
    contains = bool(e.contains([_TRUE_X_E])[0])
    return {
        "contains": contains,
        "volume": float(e.volume),
        "least_distance": 0.0 if contains else _least_distance(e),
        "best_guess_distance": None if best_guess is None else math.dist(best_guess, _TRUE_X_E),
    }


def score_box(entry: PublishedEntry) -> dict[str, Any]:
    """`score_set` of a published box for X_e and its best guess."""
    low, high = np.transpose(list(entry.x_e_intervals.values()))
    return score_set(EpistemicBox(low, high), entry.x_e_best)


def _least_distance(e: EpistemicSet) -> float:
    """From X_e* to the nearest point of a set beside it: exactly for a box, else to the nearest of some samples."""
    if isinstance(e, EpistemicBox):
        return math.dist(np.clip(_TRUE_X_E, *e.bounding_box), _TRUE_X_E)
    return float(np.linalg.norm(e.sample(DRAWS, np.random.default_rng(1)) - _TRUE_X_E, axis=1).min())


def true_uncertainty_model() -> UncertaintyModel:
    """The truth as an uncertainty model: f_a itself, and the point X_e* as E."""
    return UncertaintyModel(_TrueDistribution(), EpistemicBox(_TRUE_X_E, _TRUE_X_E))


def true_hours(
    simulator: Simulator, x_c: Sequence[float], hours: int, random_seed: int, runner: Runner | None = None
) -> xr.Dataset:
    """New hours of the embedded real system at a control point: x, seed and y by sample."""
    rng = np.random.default_rng(random_seed)
    x = np.column_stack([_TrueDistribution().sample(hours, rng), np.tile([*_TRUE_X_E, *x_c], (hours, 1))])
    return run_campaign(simulator, x, fresh_seeds(hours, rng), runner)


def score_aleatory(f_a: AleatoryDistribution, random_seed: int) -> dict[str, Any]:
    """Moments of an f_a ('estimate') and, exactly, of the true one ('truth'), and the energy distance between the two.

    The error of the distance is one standard error.
    """
    rng = np.random.default_rng(random_seed)
    samples = {"estimate": f_a.sample(BLOCKS * DRAWS, rng), "truth": _TrueDistribution().sample(BLOCKS * DRAWS, rng)}
    blocks = zip(*(np.split(sample, BLOCKS) for sample in samples.values()), strict=True)
    distances = [energy_distance(*pair) for pair in blocks]
    estimate = samples["estimate"]
    mean, variance = np.transpose([marginal.stats() for marginal in _TRUE_F_A])
    return {
        "mean": {"estimate": estimate.mean(axis=0).tolist(), "truth": mean.tolist()},
        "standard_deviation": {"estimate": estimate.std(axis=0).tolist(), "truth": np.sqrt(variance).tolist()},
        "correlation": {"estimate": float(np.atleast_2d(np.corrcoef(estimate.T))[0, 1]), "truth": 0.0},
        "energy_distance": float(np.mean(distances)),
        "energy_distance_error": float(np.std(distances, ddof=1) / np.sqrt(BLOCKS)),
    }


def distances_by_hours(
    draws: NDArray[np.float64], counts: Sequence[int], repeats: int, random_seed: int
) -> list[list[float]]:
    """Energy distances from the truth of the pooled posterior samples (n, hours, 2) of some hours, chosen at random.

    They are by number of hours in `counts` and by repeat.
    """
    rng = np.random.default_rng(random_seed)

    def distance(count: int) -> float:
        pooled = draws[:, rng.choice(draws.shape[1], count, replace=False)].reshape(-1, 2)
        return energy_distance(pooled[rng.integers(len(pooled), size=DRAWS)], _TrueDistribution().sample(DRAWS, rng))

    return [[distance(count) for _ in range(repeats)] for count in counts]


def direct_distances_by_hours(counts: Sequence[int], repeats: int, random_seed: int) -> list[list[float]]:
    """What the number of hours alone costs: `distances_by_hours` for one sample of X_a itself per hour."""
    draws = _TrueDistribution().sample(10 * max(counts), np.random.default_rng([random_seed, 1]))
    return distances_by_hours(draws[None], counts, repeats, random_seed)


def true_exceedance(number: int, x: ArrayLike) -> NDArray[np.float64]:
    """Probability that X_a1 (number 0) or X_a2 (number 1) of the embedded real system exceeds x."""
    probability: NDArray[np.float64] = _TRUE_F_A[number].sf(x)
    return probability


def true_performance(
    x_c: Sequence[float], simulator: Simulator, repeats: int, random_seed: int, runner: Runner | None = None
) -> list[float]:
    """J [MW] at a control point under the truth, and its standard error, which comes from the seeds alone.

    The integral over X_a is a Gauss-Legendre rule of 48 by 48 nodes in the quantiles of the true f_a, each node with so
    many seeds.
    """
    check_counts(2, repeats=repeats)
    node, weight = np.polynomial.legendre.leggauss(NODES)
    x_a = np.stack(np.meshgrid(*(f.ppf((node + 1) / 2) for f in _TRUE_F_A), indexing="ij"), axis=-1).reshape(-1, 2)
    x = np.column_stack([x_a, np.tile([*_TRUE_X_E, *x_c], (len(x_a), 1))])
    by_node = np.outer(weight, weight).ravel() / 4
    rng, problem, j = np.random.default_rng(random_seed), problem_of(simulator), []
    for _ in range(repeats):
        hours = run_campaign(simulator, x, fresh_seeds(len(x), rng), runner)
        j.append(float(by_node @ objective(hours, problem).values))
    return [float(np.mean(j)), float(np.std(j, ddof=1) / np.sqrt(repeats))]


def judge_by_truth(
    designs: Mapping[str, Sequence[float]],
    best: Sequence[float],
    simulator: Simulator,
    hours: int,
    pof_calls: int,
    random_seed: int,
    runner: Runner | None = None,
) -> dict[str, dict[str, float]]:
    """Performance and probability of failure of designs at the true X_e* under the true f_a, by the design's name.

    The 'difference' is J less that of the control point `best` [MW], in hours that all designs share. The 'pof' is that
    of the system, from as many simulations as `pof_calls`, with the bound 'pof_upper' of 95 %; 'pof_sum' is the sum
    over the loads. Errors are one standard error.
    """
    truth = true_uncertainty_model()
    x_e, plane = truth.e.bounding_box[0], AleatoryPlane(truth.f_a)
    tried = [best, *designs.values()]
    compared = compare_performance(truth.f_a, simulator, x_e, tried, hours, random_seed, runner)
    judged = {}
    for place, (name, x_c) in enumerate(designs.items(), 1):
        found = sampled_pof(plane, simulator, x_e, x_c, calls=pof_calls, random_seed=random_seed, runner=runner)
        failure = found.sel(failure="system")
        judged[name] = {
            "difference": compared.difference[place].item(),
            "difference_error": compared.standard_error[place].item(),
            "pof": failure.pof.item(),
            "pof_error": failure.standard_error.item(),
            "pof_upper": failure.upper.item(),
            "pof_sum": found.pof.drop_sel(failure="system").sum().item(),
        }
    return judged


class _TrueDistribution:
    """The true f_a: X_a1 and X_a2 independent."""

    resolution = 0.0

    @property
    def identity(self) -> dict[str, list[str]]:
        """Its marginals with their parameters."""
        return {"truth": [f"{marginal.dist.name}{marginal.args}{marginal.kwds}" for marginal in _TRUE_F_A]}

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Samples (n, 2)."""
        return np.column_stack([marginal.rvs(n, random_state=rng) for marginal in _TRUE_F_A])

    def log_prob(self, x_a: ArrayLike) -> NDArray[np.float64]:
        """Log density (n,) at x_a (n, 2)."""
        pairs = zip(_TRUE_F_A, np.asarray(x_a, np.float64).T, strict=True)
        return sum((marginal.logpdf(values) for marginal, values in pairs), np.zeros(()))
