"""One synthetic system inferred anew, by our method or in the paper's two steps, and held against its truth."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from flowcal.challenge import ALEATORY, EPISTEMIC, TABLE_1
from flowcal.infer.aleatory_estimator import AleatoryEstimator
from flowcal.infer.energy_distance import energy_distance
from flowcal.infer.families import FamilyDistribution
from flowcal.infer.level_set import EpistemicLevelSet
from flowcal.infer.population import fit_family, infer_population
from flowcal.infer.posterior import HourPosterior
from flowcal.infer.shared import Rounds, infer_shared
from flowcal.infer.training import Trainer
from flowcal.infer.uncertainty import AleatoryDistribution, EpistemicBox, PooledDraws
from flowcal.infer.updating import (
    EPISTEMIC_FLOW,
    TRAINING,
    epistemic_runs,
    infer_aleatory,
    infer_epistemic,
    infer_set,
)
from flowcal.report.synthetic import ENTROPY, SHAPES, SyntheticSystem, synthetic_system
from flowcal.simulate.simulator import Simulator
from flowcal.weights import Weights

__all__ = ["TAIL", "judge", "judge_paper"]

COMPARED = 4000  # draws that an energy distance is taken between
BLOCKS = 5  # energy distances are means over so many pairs of blocks
TAIL = (1e-3, 1e-5)
"""Probabilities of exceedance that are judged."""

INTERVAL = (0.05, 0.95)


def judge(
    number: int, simulator: Simulator, weights: Weights, rounds: Rounds, draws: int, replicates: int
) -> dict[str, Any]:
    """Infer one system's X_e and f_a from its hours, and hold both against its truth.

    Parameters
    ----------
    number : int
        Of the system.
    simulator : Simulator
    weights : Weights
        Of the `AleatoryEstimator`.
    rounds : Rounds
    draws, replicates : int
        For `infer_population`.

    Returns
    -------
    dict
        JSON values, see the keys.
    """
    system = synthetic_system(simulator, number)
    estimator = AleatoryEstimator.from_weights(weights, "cpu")
    start = time.perf_counter()
    found = infer_shared(simulator, system.observed, estimator, rounds, number, trainer=Trainer("cpu"))
    e = EpistemicLevelSet.from_weights(found, "cpu")
    middle = time.perf_counter()
    values = e.posterior_sample(4, np.random.default_rng(number))
    inferred = infer_population(estimator, system.observed, values, draws, replicates, number)
    end = time.perf_counter()
    f_a = FamilyDistribution.from_dict(inferred["distribution"])
    others = [FamilyDistribution.from_dict(kept) for kept in inferred["replicates"]]
    heap = estimator.sample(10, system.observed, values[0], np.random.default_rng(number)).reshape(-1, len(ALEATORY))
    return {
        "number": number,
        "shape": system.shape,
        "x_e": system.x_e.tolist(),
        "contains": bool(e.contains(system.x_e[None])[0]),
        "volume": e.volume,
        "bounding_box_volume": float(np.prod(np.ptp(e.bounding_box, axis=0))),
        "simulations": sum(row["simulations"] for row in found.header["found"]["rounds"]),
        "surprise": found.header["found"]["rounds"][-1]["surprise"],
        "seconds_e": round(middle - start, 1),
        "seconds_f_a": round(end - middle, 1),
        "chosen": inferred["candidates"][0]["name"],
        **_judge_density(system, f_a),
        "pooling": _judge_density(system, PooledDraws(heap, len(system.x_a))),
        "tail": _judge_tail(system, f_a, others),
    }


def judge_paper(
    number: int, simulator: Simulator, weights: Weights, runs: int, epochs: int, held_out: int
) -> dict[str, Any]:
    """Infer one system's X_e and f_a in the paper's two steps, and hold both against its truth.

    Parameters
    ----------
    number : int
        Of the system.
    simulator : Simulator
    weights : Weights
        Of step 1's `HourPosterior`, which is the same for all systems.
    runs, epochs : int
        Simulations at each control point, and most passes over them, in step 2.
    held_out : int
        Simulations at each control point by which the three best are chosen.

    Returns
    -------
    dict
        JSON values, those of `judge` that the two steps have.
    """
    system = synthetic_system(simulator, number)
    start = time.perf_counter()
    drawn = infer_aleatory(HourPosterior.from_weights(weights, "cpu"), system.observed, 10, number)
    f_a = PooledDraws.from_dataset(drawn)
    updates = []
    for point in TABLE_1:
        simulate: dict[str, Any] = {"simulator": simulator, "x_a": f_a.density.draws, "x_c": point, "seeds": "fixed"}
        posterior = HourPosterior(EPISTEMIC_FLOW, number).fit(
            epistemic_runs(size=runs, random_seed=number, **simulate),
            replace(TRAINING, epochs=epochs, random_seed=number),
            Trainer("cpu"),
        )
        fresh = epistemic_runs(size=held_out, random_seed=number + 1000, **simulate)
        worth = posterior.log_prob(fresh.x.sel(input=list(EPISTEMIC)).values, fresh).mean()
        hours = system.observed.isel(sample=(system.observed.x_c == list(point)).all("control"))
        updates.append((worth, infer_epistemic(posterior, hours, 100, number).x_e.values))
    best = sorted(updates, key=lambda update: -update[0])[:3]
    found = infer_set(np.concatenate([draws for _, draws in best]), level=0.9)
    e = EpistemicBox(found["low"], found["high"])
    return {
        "number": number,
        "shape": system.shape,
        "contains": bool(e.contains(system.x_e[None])[0]),
        "volume": e.volume,
        "seconds": round(time.perf_counter() - start, 1),
        **_judge_density(system, f_a),
    }


def _judge_density(system: SyntheticSystem, f_a: AleatoryDistribution) -> dict[str, Any]:
    """Energy distance and mean log density of fresh draws from the true f_a, and what the best could have of them.

    Direct draws are the hours' own X_a, drawn from with replacement: an f_a that puts equal weight on each.
    """
    rng = np.random.default_rng([ENTROPY, system.number, 1])
    fresh = system.f_a.sample(BLOCKS * COMPARED, rng)
    blocks = np.split(fresh, BLOCKS)
    picks = np.random.default_rng([ENTROPY, system.number, 2])

    def distance(sample: Callable[[], NDArray[np.float64]]) -> float:
        return float(np.mean([energy_distance(sample(), block) for block in blocks]))

    return {
        "energy_distance": distance(lambda: f_a.sample(COMPARED, rng)),
        "energy_distance_of_direct_draws": distance(lambda: picks.choice(system.x_a, COMPARED)),
        "log_density": float(f_a.log_prob(fresh).mean()),
        "log_density_of_truth": float(system.f_a.log_prob(fresh).mean()),
    }


def _judge_tail(
    system: SyntheticSystem, f_a: FamilyDistribution, others: Sequence[FamilyDistribution]
) -> list[dict[str, Any]]:
    """How well the probabilities that X_a1 exceeds its true quantiles are known."""
    limit = fit_family(SHAPES[system.shape].form, system.x_a)
    rows = []
    for probability in TAIL:
        place = brentq(partial(_log_excess, system.f_a, probability), 0, 1 - 1e-9)
        low, high = np.quantile([other.exceedance(0, place) for other in others], INTERVAL)
        rows.append(
            {
                "probability": probability,
                "log_error": _log_excess(f_a, probability, place),
                "log_error_of_true_family": _log_excess(limit, probability, place),
                "interval": [float(low), float(high)],
                "covered": bool(low <= probability <= high),
            }
        )
    return rows


def _log_excess(f_a: FamilyDistribution, probability: float, place: float) -> float:
    """Logarithm of how many times `probability` the probability is that X_a1 exceeds a place."""
    return float(np.log(f_a.exceedance(0, place) + np.finfo(np.float64).tiny) - np.log(probability))
