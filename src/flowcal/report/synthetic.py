"""Synthetic real systems, each with an X_e* and an f_a drawn at random, and what is inferred from their hours.

Inference by our method and in the paper's two steps, and the designs that follow, are compared with the system's truth.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import brentq

from flowcal.challenge import ALEATORY, EPISTEMIC, TABLE_1
from flowcal.decide.design import DesignError, find_design
from flowcal.decide.failure import failure_curves, measure_severity
from flowcal.decide.power import PowerEmulator, tabulate_performance
from flowcal.decide.problems import (
    DesignSettings,
    FailureSeverities,
    compare_performance,
    refine_emulator,
    required_severity,
)
from flowcal.files import Weights
from flowcal.infer.checks import energy_distance
from flowcal.infer.families import FAMILIES, FamilyDistribution, Form
from flowcal.infer.hour_posterior import HourPosterior
from flowcal.infer.models import AleatoryDistribution, EpistemicBox, EpistemicSet, PooledDraws
from flowcal.infer.train import Trainer
from flowcal.infer.um1 import UM1Settings, infer_aleatory, infer_um1, update_points
from flowcal.infer.um2 import UM2, UM2Settings, infer_um2
from flowcal.infer.um2_aleatory import AleatoryEstimator, fit_family
from flowcal.simulate.campaign import run_campaign
from flowcal.simulate.simulator import Simulator, fresh_seeds, problem_of

__all__ = [
    "ENTROPY",
    "EPSILON",
    "SHAPES",
    "Shape",
    "SyntheticSystem",
    "TAIL",
    "judge",
    "judge_designs",
    "judge_paper",
    "synthetic_system",
]

HOURS = 100  # for each control point, as the challenge grants
ENTROPY = 7
"""Seed of all that is drawn for a system, beside its number."""


@dataclass(frozen=True)
class Shape:
    """A kind of f_a: its form, and a function that draws the form's parameters."""

    form: Form
    draw: Callable[[np.random.Generator], Sequence[float]]


def _marginal(family: str, *moments: tuple[float, float]) -> list[float]:
    """Parameters of marginals of one family, from their means and standard deviations."""
    return [value for mean, spread in moments for value in FAMILIES[family].from_moments(mean, spread)]


def _plain(rng: np.random.Generator) -> list[float]:
    means, shares = rng.uniform(0.15, 0.35, 2), rng.uniform(0.35, 0.55, 2)
    return _marginal("Weibull", *zip(means, shares * means, strict=True))


def _correlated(rng: np.random.Generator) -> list[float]:
    means, shares = rng.uniform(0.2, 0.4, 2), rng.uniform(0.3, 0.5, 2)
    marginals = _marginal("beta", *zip(means, shares * means, strict=True))
    return [*marginals, rng.choice([-1, 1]) * rng.uniform(0.3, 0.6)]


def _bimodal(rng: np.random.Generator) -> list[float]:
    low, high = rng.uniform(0.12, 0.2), rng.uniform(0.4, 0.55)
    second = [(rng.uniform(0.1, 0.3), 0.06) for _ in range(2)]
    return [*_marginal("normal", (low, 0.04), second[0], (high, 0.06), second[1]), rng.uniform(-1, 1)]


def _narrow(rng: np.random.Generator) -> list[float]:
    mean = rng.uniform(0.2, 0.4)
    spread = rng.uniform(0.3, 0.5) * mean
    return _marginal("gamma", (mean, spread), (rng.uniform(0.2, 0.5), rng.uniform(0.02, 0.035)))


def _trimodal(rng: np.random.Generator) -> list[float]:
    clusters = [((centre, rng.uniform(0.04, 0.07)), (rng.uniform(0.1, 0.4), 0.06)) for centre in (0.15, 0.3, 0.5)]
    return [*_marginal("normal", *(pair for cluster in clusters for pair in cluster)), *rng.uniform(-0.7, 0.7, 2)]


def _correlated_clusters(rng: np.random.Generator) -> list[float]:
    low, high = rng.uniform(0.15, 0.25), rng.uniform(0.4, 0.5)
    second = rng.uniform(0.1, 0.2), rng.uniform(0.3, 0.4)
    marginals = _marginal("Weibull", (low, 0.06), (second[0], 0.06), (high, 0.1), (second[1], 0.1))
    return [*marginals, rng.uniform(-1, 1), rng.choice([-1, 1]) * rng.uniform(0.4, 0.8)]


SHAPES: Mapping[str, Shape] = {
    "plain": Shape(Form(("Weibull", "Weibull")), _plain),
    "correlated": Shape(Form(("beta", "beta"), "Gaussian"), _correlated),
    "bimodal": Shape(Form(("normal", "normal"), clusters=2), _bimodal),
    "narrow": Shape(Form(("gamma", "gamma")), _narrow),
    "trimodal": Shape(Form(("normal", "normal"), clusters=3), _trimodal),
    "outside": Shape(Form(("Weibull", "Weibull"), "Gaussian", clusters=2), _correlated_clusters),
}
"""Kinds of f_a. An hour can hardly tell the X_a2 of 'narrow' from a constant; no candidate has the form 'outside', two
clusters with inputs that depend on each other within each.

:meta hide-value:
"""


@dataclass(frozen=True)
class SyntheticSystem:
    """A real system that is made up: its X_e*, its f_a, and what it showed at Table 1's points.

    `observed` holds y and x_c by sample, a hundred hours at each point, and `x_a` (1000, 2) the X_a of these hours.
    """

    number: int
    shape: str
    x_e: NDArray[np.float64]
    f_a: FamilyDistribution
    x_a: NDArray[np.float64]
    observed: xr.Dataset


def synthetic_system(simulator: Simulator, number: int) -> SyntheticSystem:
    """The system of a number from 0 up; shapes take turns, all else is drawn at random.

    Examples
    --------
    >>> from flowcal.simulate.windfarm import WindFarm
    >>> system = synthetic_system(WindFarm(), 2)
    >>> system.shape, dict(system.observed.y.sizes)
    ('bimodal', {'sample': 1000, 'time': 60, 'output': 6})
    """
    rng = np.random.default_rng([ENTROPY, number])
    name = list(SHAPES)[number % len(SHAPES)]
    shape = SHAPES[name]
    x_e, f_a = rng.random(len(EPISTEMIC)), shape.form.distribution(shape.draw(rng))
    x_c = np.repeat(TABLE_1, HOURS, axis=0)
    x_a = f_a.sample(len(x_c), rng)
    x = np.column_stack([x_a, np.tile(x_e, (len(x_c), 1)), x_c])
    runs = run_campaign(simulator, x, fresh_seeds(len(x), rng))
    observed = runs[["y"]].assign(x_c=(("sample", "control"), x_c))
    return SyntheticSystem(number, name, x_e, f_a, x_a, observed)


COMPARED = 4000  # samples that an energy distance is taken between
BLOCKS = 5  # energy distances are means over so many pairs of blocks
TAIL = (1e-3, 1e-5)
"""Probabilities of exceedance that are judged."""

INTERVAL = (0.05, 0.95)
POINT_SEEDS = 1000  # random seeds that a system has for its control points
EPSILON = 1e-4
"""Largest probability of failure that the designs are allowed."""

SYNTHETIC_DESIGNS_HOURS = 50_000  # with the same X_a and seeds, in which the designs' J are compared


def judge(number: int, simulator: Simulator, weights: Weights, settings: UM2Settings) -> dict[str, Any]:
    """Infer one system's X_e and f_a from its hours with an `AleatoryEstimator`, and compare both with its truth."""
    system = synthetic_system(simulator, number)
    estimator = AleatoryEstimator.from_weights(weights, "cpu")
    um_2 = _infer_um2(system, simulator, estimator, settings)
    e, f_a = um_2.e, um_2.f_a
    value = e.posterior_sample(4, np.random.default_rng(number))[0]
    pooled = estimator.sample(10, system.observed, value, np.random.default_rng(number)).reshape(-1, len(ALEATORY))
    return {
        **_judge_set(system, e),
        "x_e": system.x_e.tolist(),
        "volume": e.volume,
        "bounding_box_volume": float(np.prod(np.ptp(e.bounding_box, axis=0))),
        "simulations": sum(row["simulations"] for row in um_2.rounds),
        "plausibility": um_2.rounds[-1]["plausibility"],
        "seconds_e": um_2.seconds["e"],
        "seconds_f_a": um_2.seconds["f_a"],
        "chosen": um_2.inferred["candidates"][0]["name"],
        **_judge_density(system, f_a),
        "pooling": _judge_density(system, PooledDraws(pooled, len(system.x_a))),
        "tail": _judge_tail(system, f_a, um_2.replicates),
    }


def judge_paper(number: int, simulator: Simulator, weights: Weights, settings: UM1Settings) -> dict[str, Any]:
    """Infer one system's X_e and f_a in the paper's two steps, and compare both with its truth.

    The weights are those of step 1's `HourPosterior`, which is the same for all systems.
    """
    system = synthetic_system(simulator, number)
    start = time.perf_counter()
    f_a = PooledDraws.from_dataset(
        infer_aleatory(HourPosterior.from_weights(weights, "cpu"), system.observed, 10, number)
    )
    seed = POINT_SEEDS * number
    updates = update_points(simulator, system.observed, f_a, settings, random_seed=seed, trainer=Trainer("cpu"))
    found = infer_um1(updates)
    e, seconds = EpistemicBox(found["low"], found["high"]), round(time.perf_counter() - start, 1)
    return _judge_set(system, e) | {"volume": e.volume, "seconds": seconds} | _judge_density(system, f_a)


def judge_designs(
    number: int, simulator: Simulator, weights: Weights, settings: UM2Settings, designs: DesignSettings
) -> dict[str, Any]:
    """Solve the problem with a constraint from one system's hours, and see under its truth whether it is kept.

    The weights are those of an `AleatoryEstimator`. For designs at the 'credible' bound, at the 'plain' f_a without it,
    and from the 'truth', it returns the failure level required, and 'pof' and 'j' [MW] under the truth, the latter from
    the simulator in hours that the three share; None where no design reaches the level.
    """
    system, rng = synthetic_system(simulator, number), np.random.default_rng([number, 15])
    um_2 = _infer_um2(system, simulator, AleatoryEstimator.from_weights(weights, "cpu"), settings)
    model, x_e = um_2.model, system.x_e[None]
    severity, fresh = (measure_severity(simulator, [0.5] * 3, [0.5] * 3, designs.severity_runs, rng) for _ in range(2))
    refined = refine_emulator(simulator, model, None, severity, designs, trainer=Trainer("cpu"))
    emulator = PowerEmulator.from_weights(refined, "cpu")
    inferred, true = tabulate_performance(emulator, [model.f_a, system.f_a], model.e)
    curves, (true_curve,) = failure_curves([model.f_a, *um_2.replicates], severity), failure_curves([system.f_a], fresh)
    severities = FailureSeverities(simulator)
    cases = {
        "credible": (inferred, model.e, required_severity(curves, EPSILON)),
        "plain": (inferred, model.e, curves[0].severity_of(EPSILON)),
        "truth": (true, EpistemicBox(system.x_e, system.x_e), true_curve.severity_of(EPSILON)),
    }
    row: dict[str, Any] = _judge_set(system, model.e)
    for name, (performance, e, required) in cases.items():
        row[name] = {"level": required, "x_c": None, "pof": None, "j": None}
        with suppress(DesignError):
            x_c = find_design(performance, severities, e, designs.effort, problem_of(simulator), required).x_c
            row[name] |= {"x_c": list(x_c), "pof": float(true_curve(severities(x_e, [x_c]).min()))}
    if solved := [row[name] for name in cases if row[name]["x_c"]]:
        tried, hours = [design["x_c"] for design in solved], SYNTHETIC_DESIGNS_HOURS
        compared = compare_performance(system.f_a, simulator, system.x_e.tolist(), tried, hours, number)
        for design, j in zip(solved, compared.j.values.tolist(), strict=True):
            design["j"] = j
    return row


def _infer_um2(
    system: SyntheticSystem, simulator: Simulator, estimator: AleatoryEstimator, settings: UM2Settings
) -> UM2:
    observed, number = system.observed, system.number
    return UM2.from_weights(infer_um2(simulator, observed, estimator, settings, number))


def _judge_set(system: SyntheticSystem, e: EpistemicSet) -> dict[str, Any]:
    """Which system it is, and whether a set contains its X_e."""
    contains = bool(e.contains(system.x_e[None])[0])
    return {"number": system.number, "shape": system.shape, "contains": contains}


def _judge_density(system: SyntheticSystem, f_a: AleatoryDistribution) -> dict[str, Any]:
    """Energy distance from the true f_a and mean log density of its fresh samples, each with the best possible.

    Direct draws are the hours' own X_a, sampled with replacement: an f_a that puts equal weight on each.
    """
    rng, picks = (np.random.default_rng([ENTROPY, system.number, stream]) for stream in (1, 2))
    fresh = system.f_a.sample(BLOCKS * COMPARED, rng)

    def distance(sample: Callable[[], NDArray[np.float64]]) -> float:
        return float(np.mean([energy_distance(sample(), block) for block in np.split(fresh, BLOCKS)]))

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
        errors = {
            "log_error": _log_excess(f_a, probability, place),
            "log_error_of_true_family": _log_excess(limit, probability, place),
        }
        interval = {"interval": [float(low), float(high)], "covered": bool(low <= probability <= high)}
        rows.append({"probability": probability} | errors | interval)
    return rows


def _log_excess(f_a: FamilyDistribution, probability: float, place: float) -> float:
    """Logarithm of how many times `probability` the probability is that X_a1 exceeds a place."""
    return float(np.log(f_a.exceedance(0, place) + np.finfo(np.float64).tiny) - np.log(probability))
