"""Results held against the known truth of the embedded real system: the one module that looks at it.

Designs, whoever's, held against the truth of the embedded real system.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import EPISTEMIC, PUBLISHED, PublishedEntry
from flowcal.decide.failure import sampled_pof
from flowcal.decide.plane import AleatoryPlane
from flowcal.decide.problems import compare_performance
from flowcal.infer.checks import energy_distance
from flowcal.infer.models import AleatoryDistribution, EpistemicBox, EpistemicSet, UncertaintyModel
from flowcal.problem import SEED_MAX
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.observed import _TRUE_F_A, _TRUE_X_E
from flowcal.simulate.simulator import Simulator

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
    "true_uncertainty_model",
    "write_scores",
]

BLOCKS, DRAWS = 10, 4000  # energy distances are means over blocks of so many draws each


def write_scores(path: Path) -> dict[str, dict[str, Any]]:
    """Score every published entry against the truth, and keep the result as JSON.

    Parameters
    ----------
    path : Path
        Where to keep it.

    Returns
    -------
    dict
        By team, what `score_box` returns.
    """
    scores = {team: score_box(entry) for team, entry in PUBLISHED.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(scores, indent=1) + "\n")
    return scores


def score_box(entry: PublishedEntry) -> dict[str, Any]:
    """Hold a published box for X_e against X_e*.

    Parameters
    ----------
    entry : PublishedEntry

    Returns
    -------
    dict
        'contains': whether the box holds X_e*; 'missed_by': by input, how far X_e* lies outside, 0 if inside; 'volume':
        of the box, the unit cube being 1; 'best_guess_distance': of the best guess from X_e*, None where not published.
    """
    truth = dict(zip(EPISTEMIC, _TRUE_X_E, strict=True))
    missed = {name: max(low - truth[name], 0, truth[name] - high) for name, (low, high) in entry.x_e_intervals.items()}
    return {
        "contains": not any(missed.values()),
        "missed_by": {name: round(distance, 6) for name, distance in missed.items()},
        "volume": math.prod(high - low for low, high in entry.x_e_intervals.values()),
        "best_guess_distance": math.dist(entry.x_e_best, _TRUE_X_E) if entry.x_e_best else None,
    }


def true_uncertainty_model() -> UncertaintyModel:
    """The truth as an uncertainty model: f_a itself, and the point X_e* as E.

    Returns
    -------
    UncertaintyModel
    """
    return UncertaintyModel(_TrueDistribution(), EpistemicBox(_TRUE_X_E, _TRUE_X_E))


def true_hours(
    simulator: Simulator, x_c: Sequence[float], hours: int, random_seed: int, runner: Runner | None = None
) -> xr.Dataset:
    """New hours of the embedded real system at a control point, with the inputs x that made them.

    Parameters
    ----------
    simulator : Simulator
    x_c : sequence of float, shape (3,)
    hours : int
    random_seed : int
    runner : Runner, optional

    Returns
    -------
    Dataset
        x, seed and y by sample.
    """
    rng = np.random.default_rng(random_seed)
    x = np.column_stack([_TrueDistribution().sample(hours, rng), np.tile([*_TRUE_X_E, *x_c], (hours, 1))])
    return run_campaign(simulator, x, rng.integers(1, SEED_MAX, hours, endpoint=True), runner)


def score_aleatory(f_a: AleatoryDistribution, random_seed: int) -> dict[str, Any]:
    """Hold an f_a against the true one.

    Parameters
    ----------
    f_a : AleatoryDistribution
    random_seed : int

    Returns
    -------
    dict
        'mean' and 'standard_deviation' of X_a1 and X_a2, their 'correlation', each for the f_a given ('estimate') and
        the true one ('truth'); 'energy_distance' between the two with its 'energy_distance_error', one standard error.
    """
    rng = np.random.default_rng(random_seed)
    samples = {"estimate": f_a.sample(BLOCKS * DRAWS, rng), "truth": _TrueDistribution().sample(BLOCKS * DRAWS, rng)}
    blocks = zip(*(np.split(sample, BLOCKS) for sample in samples.values()), strict=True)
    distances = [energy_distance(*pair) for pair in blocks]
    return {
        "mean": {name: sample.mean(axis=0).tolist() for name, sample in samples.items()},
        "standard_deviation": {name: sample.std(axis=0).tolist() for name, sample in samples.items()},
        "correlation": {name: float(np.atleast_2d(np.corrcoef(sample.T))[0, 1]) for name, sample in samples.items()},
        "energy_distance": float(np.mean(distances)),
        "energy_distance_error": float(np.std(distances, ddof=1) / np.sqrt(BLOCKS)),
    }


def distances_by_hours(
    draws: NDArray[np.float64], counts: Sequence[int], repeats: int, random_seed: int
) -> list[list[float]]:
    """Energy distance from the truth of the heap of some hours' posterior draws, for several numbers of hours.

    Parameters
    ----------
    draws : ndarray, shape (n, hours, 2)
        Posterior draws of X_a for each hour.
    counts : sequence of int
        Numbers of hours to take, at random.
    repeats : int
        How often they are taken anew.
    random_seed : int

    Returns
    -------
    list of list of float
        By count, a value a repeat.
    """
    rng = np.random.default_rng(random_seed)

    def distance(count: int) -> float:
        heap = draws[:, rng.choice(draws.shape[1], count, replace=False)].reshape(-1, 2)
        return energy_distance(heap[rng.integers(len(heap), size=DRAWS)], _TrueDistribution().sample(DRAWS, rng))

    return [[distance(count) for _ in range(repeats)] for count in counts]


def direct_distances_by_hours(counts: Sequence[int], repeats: int, random_seed: int) -> list[list[float]]:
    """What the number of hours alone costs: `distances_by_hours` for draws of X_a itself, one an hour.

    Parameters
    ----------
    counts : sequence of int
    repeats : int
    random_seed : int

    Returns
    -------
    list of list of float
        By count, a value a repeat.
    """
    draws = _TrueDistribution().sample(10 * max(counts), np.random.default_rng([random_seed, 1]))
    return distances_by_hours(draws[None], counts, repeats, random_seed)


def score_set(e: EpistemicSet) -> dict[str, Any]:
    """Hold a set E against X_e*.

    Parameters
    ----------
    e : EpistemicSet

    Returns
    -------
    dict
        'contains': whether it holds X_e*; 'volume', the unit cube being 1.
    """
    return {"contains": bool(e.contains([_TRUE_X_E])[0]), "volume": e.volume}


def true_exceedance(number: int, x: ArrayLike) -> NDArray[np.float64]:
    """Probability that an aleatory input of the embedded real system exceeds a value.

    Parameters
    ----------
    number : int
        0 for X_a1, 1 for X_a2.
    x : array_like

    Returns
    -------
    ndarray
        Of the shape of x.
    """
    probability: NDArray[np.float64] = _TRUE_F_A[number].sf(x)
    return probability


class _TrueDistribution:
    """The true f_a: X_a1 and X_a2 independent."""

    resolution = 0.0

    @property
    def identity(self) -> dict[str, list[str]]:
        """What decides it: its marginals with their parameters."""
        return {"truth": [f"{marginal.dist.name}{marginal.args}{marginal.kwds}" for marginal in _TRUE_F_A]}

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """As many draws, shape (n, 2)."""
        return np.column_stack([marginal.rvs(n, random_state=rng) for marginal in _TRUE_F_A])

    def log_prob(self, x_a: ArrayLike) -> NDArray[np.float64]:
        """Log density (n,) at x_a (n, 2)."""
        columns = np.asarray(x_a, np.float64).T
        parts = (marginal.logpdf(values) for marginal, values in zip(_TRUE_F_A, columns, strict=True))
        return sum(parts, np.zeros(()))


REBUILT: Mapping[str, str] = MappingProxyType({"uniform": "rebuilt, $X_a$ uniform", "f_a": "rebuilt, $X_a$ from UM1"})
"""What designs made the paper's way are called, by where their X_a come from."""


def judge_by_truth(
    designs: Mapping[str, Sequence[float]],
    best: Sequence[float],
    simulator: Simulator,
    hours: int,
    pof_calls: int,
    random_seed: int,
    runner: Runner | None = None,
) -> dict[str, dict[str, float]]:
    """Performance and probability of failure of designs at the true X_e* under the true f_a.

    Parameters
    ----------
    designs : mapping of str to sequence of float, shape (3,)
        Control points by name.
    best : sequence of float, shape (3,)
        The control point that performance is compared with.
    simulator : Simulator
    hours : int
        Behind each comparison, the same for all designs.
    pof_calls : int
        Simulations behind each probability of failure.
    random_seed : int
    runner : Runner, optional

    Returns
    -------
    dict of str to dict
        By name: 'difference', J less that of `best` [MW], with its 'difference_error'; 'pof' of the system with its
        'pof_error', both one standard error; 'pof_upper', the bound of 95 % on it.
    """
    truth = true_uncertainty_model()
    x_e, plane = truth.e.bounding_box[0], AleatoryPlane(truth.f_a)
    compared = compare_performance(
        truth.f_a, simulator, x_e, [best, *designs.values()], hours, random_seed, runner
    ).isel(design=slice(1, None))
    judged = {}
    for place, (name, x_c) in enumerate(designs.items()):
        failure = sampled_pof(plane, simulator, x_e, x_c, calls=pof_calls, random_seed=random_seed, runner=runner).sel(
            failure="system"
        )
        judged[name] = {
            "difference": compared.difference[place].item(),
            "difference_error": compared.standard_error[place].item(),
            "pof": failure.pof.item(),
            "pof_error": failure.standard_error.item(),
            "pof_upper": failure.upper.item(),
        }
    return judged
