"""Designs from one synthetic system's inferred uncertainty model, held against its truth."""

from contextlib import suppress
from typing import Any

import numpy as np

from flowcal.decide.design import DesignError, Effort, find_design
from flowcal.decide.performance import tabulate_performance
from flowcal.decide.power_emulator import PowerEmulator, train_power_emulator
from flowcal.decide.problems import FailureLevels, refine_emulator, required_level
from flowcal.decide.reliability import failure_curves
from flowcal.decide.severity import measure_severity
from flowcal.decide.verification import compare_performance
from flowcal.infer.aleatory_estimator import AleatoryEstimator
from flowcal.infer.families import FamilyDistribution
from flowcal.infer.level_set import EpistemicLevelSet
from flowcal.infer.population import infer_population
from flowcal.infer.shared import Rounds, infer_shared
from flowcal.infer.training import Trainer, Training
from flowcal.infer.uncertainty import EpistemicBox, UncertaintyModel
from flowcal.report.synthetic import SyntheticSystem, synthetic_system
from flowcal.simulate.simulator import Simulator
from flowcal.weights import Weights

__all__ = ["EPSILON", "judge_designs"]

EPSILON = 1e-4
"""Largest probability of failure that the designs are allowed."""

SEEDS = 3000  # whose share in the peaks is measured, once for the search and once for the verdict
HOURS = 50_000  # with the same X_a and seeds, in which the designs' J are compared


def judge_designs(
    number: int,
    simulator: Simulator,
    weights: Weights,
    rounds: Rounds,
    draws: int,
    replicates: int,
    size: int,
    training: Training,
    effort: Effort,
) -> dict[str, Any]:
    """Solve the problem with a constraint from one system's hours, and see under its truth whether it is kept.

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
    size : int
        Simulations for the emulator of power, and as many to refine it.
    training : Training
    effort : Effort

    Returns
    -------
    dict
        JSON values. For designs at the 'credible' bound, at the 'plain' f_a without it, and from the 'truth': the
        failure level required, and 'pof' and 'j' [MW] under the truth, the latter from the simulator in hours that the
        three share; None where no design reaches the level.
    """
    system, rng = synthetic_system(simulator, number), np.random.default_rng([number, 15])
    model, others = _inferred(
        system, simulator, AleatoryEstimator.from_weights(weights, "cpu"), rounds, draws, replicates
    )
    severity = measure_severity(simulator, [0.5] * 3, [0.5] * 3, SEEDS, rng)
    everywhere = train_power_emulator(simulator, model, size, training, trainer=Trainer("cpu"))
    refined = refine_emulator(simulator, model, everywhere, severity, effort, size, training, trainer=Trainer("cpu"))
    emulator = PowerEmulator.from_weights(refined, "cpu")
    inferred, true = tabulate_performance(emulator, [model.f_a, system.f_a], model.e)
    curves = failure_curves([model.f_a, *others], severity)
    (true_curve,) = failure_curves([system.f_a], measure_severity(simulator, [0.5] * 3, [0.5] * 3, SEEDS, rng))
    levels, x_e = FailureLevels(simulator), system.x_e[None]
    cases = {
        "credible": (inferred, model.e, required_level(curves, EPSILON)),
        "plain": (inferred, model.e, curves[0].level_of(EPSILON)),
        "truth": (true, EpistemicBox(system.x_e, system.x_e), true_curve.level_of(EPSILON)),
    }
    row: dict[str, Any] = {"number": number, "shape": system.shape, "contains": bool(model.e.contains(x_e)[0])}
    for name, (performance, e, level) in cases.items():
        row[name] = {"level": level, "x_c": None, "pof": None, "j": None}
        with suppress(DesignError):
            x_c = find_design(performance, levels, e, effort, level).x_c
            row[name] |= {"x_c": list(x_c), "pof": float(true_curve(levels(x_e, [x_c]).min()))}
    solved = [name for name in cases if row[name]["x_c"]]
    if solved:
        tried = [row[name]["x_c"] for name in solved]
        compared = compare_performance(system.f_a, simulator, system.x_e.tolist(), tried, HOURS, number)
        for name, j in zip(solved, compared.j.values.tolist(), strict=True):
            row[name]["j"] = j
    return row


def _inferred(
    system: SyntheticSystem,
    simulator: Simulator,
    estimator: AleatoryEstimator,
    rounds: Rounds,
    draws: int,
    replicates: int,
) -> tuple[UncertaintyModel, list[FamilyDistribution]]:
    """UM2 of a system's hours, and the replicates of its f_a."""
    number = system.number
    found = infer_shared(simulator, system.observed, estimator, rounds, number, trainer=Trainer("cpu"))
    e = EpistemicLevelSet.from_weights(found, "cpu")
    values = e.posterior_sample(4, np.random.default_rng(number))
    inferred = infer_population(estimator, system.observed, values, draws, replicates, number)
    f_a, *others = map(FamilyDistribution.from_dict, (inferred["distribution"], *inferred["replicates"]))
    return UncertaintyModel(f_a, e), others
