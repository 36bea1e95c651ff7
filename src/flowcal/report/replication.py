"""A replicated study: many synthetic real systems with known truths, each inferred anew and held against its own."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import brentq
from tqdm import tqdm

from flowcal.artifacts import code_digest, digest
from flowcal.challenge import ALEATORY, EPISTEMIC, SEED_MAX, TABLE_1
from flowcal.infer.aleatory_estimator import AleatoryEstimator, train_estimator
from flowcal.infer.energy_distance import energy_distance
from flowcal.infer.families import FAMILIES, FamilyDistribution
from flowcal.infer.level_set import EpistemicLevelSet
from flowcal.infer.population import Form, fit_family, infer_population
from flowcal.infer.shared import Rounds, infer_shared
from flowcal.infer.training import Trainer
from flowcal.infer.uncertainty import PooledDraws
from flowcal.simulate.campaign import run_campaign
from flowcal.simulate.simulator import Simulator
from flowcal.study import Study, find_root
from flowcal.weights import Weights

__all__ = ["SHAPES", "SyntheticSystem", "judge", "replicate", "summarise", "synthetic_system", "write_replication"]

HOURS = 100  # for each control point, as the challenge grants
COMPARED = 4000  # draws that an energy distance is taken between
BLOCKS = 5  # energy distances are means over so many pairs of blocks
TAIL = (1e-3, 1e-5)  # probabilities of exceedance that are judged
INTERVAL = (0.05, 0.95)
ENTROPY = 7


@dataclass(frozen=True)
class Shape:
    """A kind of f_a: its families, and how its numbers are drawn."""

    form: Form
    draw: Callable[[np.random.Generator], Sequence[float]]


def _moments(family: str, mean: float, spread: float) -> tuple[float, float]:
    return FAMILIES[family].from_moments(mean, spread)


def _plain(rng: np.random.Generator) -> list[float]:
    means, shares = rng.uniform(0.15, 0.35, 2), rng.uniform(0.35, 0.55, 2)
    return [n for mean, share in zip(means, shares, strict=True) for n in _moments("Weibull", mean, share * mean)]


def _correlated(rng: np.random.Generator) -> list[float]:
    means, shares = rng.uniform(0.2, 0.4, 2), rng.uniform(0.3, 0.5, 2)
    numbers = [n for mean, share in zip(means, shares, strict=True) for n in _moments("beta", mean, share * mean)]
    return [*numbers, rng.choice([-1, 1]) * rng.uniform(0.3, 0.6)]


def _bimodal(rng: np.random.Generator) -> list[float]:
    low, high = rng.uniform(0.12, 0.2), rng.uniform(0.4, 0.55)
    numbers = [
        *_moments("normal", low, 0.04),
        *_moments("normal", rng.uniform(0.1, 0.3), 0.06),
        *_moments("normal", high, 0.06),
        *_moments("normal", rng.uniform(0.1, 0.3), 0.06),
    ]
    return [*numbers, rng.uniform(-1, 1)]


def _narrow(rng: np.random.Generator) -> list[float]:
    mean = rng.uniform(0.2, 0.4)
    spread = rng.uniform(0.3, 0.5) * mean
    return [*_moments("gamma", mean, spread), *_moments("gamma", rng.uniform(0.2, 0.5), rng.uniform(0.02, 0.035))]


def _three_clusters(rng: np.random.Generator) -> list[float]:
    numbers = [
        n
        for centre in (0.15, 0.3, 0.5)
        for n in (
            *_moments("normal", centre, rng.uniform(0.04, 0.07)),
            *_moments("normal", rng.uniform(0.1, 0.4), 0.06),
        )
    ]
    return [*numbers, *rng.uniform(-0.7, 0.7, 2)]


SHAPES: Mapping[str, Shape] = {
    "plain": Shape(Form(("Weibull", "Weibull")), _plain),
    "correlated": Shape(Form(("beta", "beta"), "Gaussian"), _correlated),
    "bimodal": Shape(Form(("normal", "normal"), clusters=2), _bimodal),
    "narrow": Shape(Form(("gamma", "gamma")), _narrow),
    "outside": Shape(Form(("normal", "normal"), clusters=3), _three_clusters),
}
"""Kinds of f_a. An hour can hardly tell the X_a2 of 'narrow' from a constant; no candidate has the form 'outside'."""


@dataclass(frozen=True)
class SyntheticSystem:
    """A real system that is made up: its X_e*, its f_a, and what it showed at Table 1's points."""

    number: int
    shape: str
    x_e: NDArray[np.float64]
    f_a: FamilyDistribution
    x_a: NDArray[np.float64]
    observed: xr.Dataset


def synthetic_system(simulator: Simulator, number: int) -> SyntheticSystem:
    """The system of a number from 0 up; shapes take turns, all else is drawn at random."""
    rng = np.random.default_rng([ENTROPY, number])
    name = list(SHAPES)[number % len(SHAPES)]
    shape = SHAPES[name]
    x_e, f_a = rng.random(len(EPISTEMIC)), shape.form.distribution(shape.draw(rng))
    x_c = np.repeat(TABLE_1, HOURS, axis=0)
    x_a = f_a.sample(len(x_c), rng)
    x = np.column_stack([x_a, np.tile(x_e, (len(x_c), 1)), x_c])
    runs = run_campaign(simulator, x, rng.integers(1, SEED_MAX, len(x), endpoint=True))
    observed = runs[["y"]].assign(x_c=(("sample", "control"), x_c))
    return SyntheticSystem(number, name, x_e, f_a, x_a, observed)


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
        **_judge_density(system, f_a, PooledDraws(heap, len(system.x_a))),
        "tail": [_judge_tail(system, f_a, others, probability) for probability in TAIL],
    }


def write_replication(path: Path, systems: int, scheduler: str | None = None) -> dict[str, Any]:
    """Judge as many systems with the budgets of the `full` profile, and keep verdicts and summary as JSON.

    Parameters
    ----------
    path : Path
        Where to keep them.
    systems : int
        How many; those of an earlier call with the same code and settings are not judged again.
    scheduler : str, optional
        Address of a Dask scheduler.

    Returns
    -------
    dict
        What `summarise` returns.
    """
    study = Study("shared", "full")
    budget = study.profile
    weights = study.keep(
        "estimator",
        train_estimator,
        simulator=study.simulator,
        size=budget.estimator_runs,
        training=budget.estimator_training,
        runner=study.runner,
        trainer=study.trainer,
    )
    settings = {
        "rounds": budget.rounds,
        "draws": budget.population_draws,
        "replicates": budget.population_replicates,
    }
    recipe = digest([code_digest(__name__), study.simulator.identity, weights.tensors, repr(settings)])
    rows = replicate(
        find_root() / "artifacts" / "score" / recipe[:12],
        range(systems),
        judge,
        scheduler,
        simulator=study.simulator,
        weights=weights,
        **settings,
    )
    summary = summarise(rows)
    path.write_text(json.dumps({"summary": summary, "systems": rows}, indent=1) + "\n")
    return summary


def replicate(
    folder: Path,
    numbers: Sequence[int],
    function: Callable[..., dict[str, Any]],
    scheduler: str | None = None,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Judge systems on all cores or on a Dask cluster; what is already in the folder is not judged again.

    Parameters
    ----------
    folder : Path
        Keeps a JSON file for every system, so that a study that was stopped goes on.
    numbers : sequence of int
        Of the systems.
    function : callable
        `judge`, or another that takes the system's number and the settings.
    scheduler : str, optional
        Address of a Dask scheduler; without, processes of this machine.
    **settings : any
        For the function.

    Returns
    -------
    list of dict
        What the function returned, by number.
    """
    from dask.distributed import Client, LocalCluster, as_completed

    folder.mkdir(parents=True, exist_ok=True)
    files = {number: folder / f"{number:03}.json" for number in numbers}
    missing = [number for number, file in files.items() if not file.exists()]
    if missing:
        cluster = scheduler or LocalCluster(threads_per_worker=1, dashboard_address=None)
        with Client(cluster) as client:
            shared = {name: client.scatter(value, broadcast=True) for name, value in settings.items()}
            futures = {client.submit(function, number, **shared, pure=False): number for number in missing}
            for future in tqdm(as_completed(list(futures)), total=len(missing), desc="systems", disable=None):
                draft = files[futures[future]].with_suffix(".draft")
                draft.write_text(json.dumps(future.result(), indent=1) + "\n")
                draft.replace(files[futures[future]])
                future.release()
        if not scheduler:
            cluster.close()
    return [json.loads(file.read_text()) for file in files.values()]


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The replicated study in numbers, from what `judge` returned for its systems."""
    narrow = np.array([row["log_density"] for row in rows if row["shape"] == "narrow"])
    gain = narrow[:, 0] - narrow[:, 1] if len(narrow) else np.zeros(0)
    tails = {
        f"{probability:g}": {
            "median_log_error": float(np.median([abs(row["tail"][place]["log_error"]) for row in rows])),
            "median_log_error_of_true_family": float(
                np.median([abs(row["tail"][place]["log_error_of_true_family"]) for row in rows])
            ),
            "covered": sum(row["tail"][place]["covered"] for row in rows),
        }
        for place, probability in enumerate(TAIL)
    }
    return {
        "systems": len(rows),
        "contains": sum(row["contains"] for row in rows),
        "median_volume": float(np.median([row["volume"] for row in rows])),
        "median_simulations": float(np.median([row["simulations"] for row in rows])),
        "median_seconds": float(np.median([row["seconds_e"] + row["seconds_f_a"] for row in rows])),
        "largest_seconds": max(row["seconds_e"] + row["seconds_f_a"] for row in rows),
        "energy_distance": float(np.mean([row["energy_distance"] for row in rows])),
        "energy_distance_of_direct_draws": float(np.mean([row["energy_distance_of_direct_draws"] for row in rows])),
        "energy_distance_of_pooling": float(np.mean([row["energy_distance_of_pooling"] for row in rows])),
        "gain_over_pooling_narrow": [float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(len(gain)))]
        if len(gain) > 1
        else None,
        "tail": tails,
    }


def _judge_density(system: SyntheticSystem, f_a: FamilyDistribution, pooled: PooledDraws) -> dict[str, Any]:
    rng = np.random.default_rng([ENTROPY, system.number, 1])
    fresh = system.f_a.sample(BLOCKS * COMPARED, rng)
    blocks = np.split(fresh, BLOCKS)

    def distance(sample: Callable[[], NDArray[np.float64]]) -> float:
        return float(np.mean([energy_distance(sample(), block) for block in blocks]))

    return {
        "energy_distance": distance(lambda: f_a.sample(COMPARED, rng)),
        "energy_distance_of_direct_draws": distance(lambda: system.x_a),
        "energy_distance_of_pooling": distance(lambda: pooled.sample(COMPARED, rng)),
        "log_density": [float(model.log_prob(fresh).mean()) for model in (f_a, pooled, system.f_a)],
    }


def _judge_tail(
    system: SyntheticSystem, f_a: FamilyDistribution, others: Sequence[FamilyDistribution], probability: float
) -> dict[str, Any]:
    """How well the probability that X_a1 exceeds its true quantile is known."""
    place = brentq(lambda x: np.log(system.f_a.exceedance(0, x) + 1e-300) - np.log(probability), 0, 1 - 1e-9)
    limit = fit_family(SHAPES[system.shape].form, system.x_a)
    low, high = np.quantile([other.exceedance(0, place) for other in others], INTERVAL)
    return {
        "probability": probability,
        "log_error": float(np.log(f_a.exceedance(0, place) / probability)),
        "log_error_of_true_family": float(np.log(limit.exceedance(0, place) / probability)),
        "interval": [float(low), float(high)],
        "covered": bool(low <= probability <= high),
    }
