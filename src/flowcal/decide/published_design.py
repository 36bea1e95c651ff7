"""Designs as the paper makes them: a swarm on the surrogate, its inner loop by Monte Carlo.

For every control point that a particle tries, X_e is drawn from E; X_a is given, drawn uniformly from [0, 1] as section
4.1 words it [1]_, or from f_a. The objective is the least mean over the X_e, and the probability of failure the largest
share. pyswarms knows no constraints; a penalty stands for the one of section 4.3.

References
----------
.. [1] T. Wang et al., "Data-driven Model Updating Solution for the NASA and DNV Challenge 2025", ESREL SRA-E 2025,
   doi:10.3850/978-981-94-3281-3_ESREL-SRA-E2025-P5658-cd, section 4.
"""

from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flowcal.challenge import LOADS, OUTPUTS, POWERS, THRESHOLDS
from flowcal.decide.surrogate import TimeStepSurrogate
from flowcal.decide.swarm import fly
from flowcal.errors import InputError
from flowcal.infer.uncertainty import EpistemicSet

__all__ = ["published_design"]

Array = NDArray[np.float64]

PENALTY = 1e4  # MW for a unit of probability above epsilon
POWER_COLUMNS = [OUTPUTS.index(power) for power in POWERS]
LOAD_COLUMNS = [OUTPUTS.index(load) for load in LOADS]


def published_design(
    surrogate: TimeStepSurrogate,
    e: EpistemicSet,
    problem: Literal["performance", "reliability", "epsilon"],
    x_a: NDArray[np.float64],
    epistemic_draws: int,
    particles: int,
    iterations: int,
    random_seed: int,
    epsilon: float | None = None,
) -> dict[str, Any]:
    """Solve one of the paper's problems 2.1, 2.2 and 2.3.

    Parameters
    ----------
    surrogate : TimeStepSurrogate
    e : EpistemicSet
    problem : {'performance', 'reliability', 'epsilon'}
    x_a : ndarray, shape (n, 2)
        Taken with every X_e and at every control point.
    epistemic_draws : int
        Of X_e, the same for all control points.
    particles, iterations : int
        Of the swarm.
    random_seed : int
    epsilon : float, optional
        Largest probability of failure, for the third problem.

    Returns
    -------
    dict
        What `Swarm` has. The cost is minus J [MW], or the probability of failure where reliability is the goal.

    Raises
    ------
    InputError
        If there is no such problem, or an epsilon that does not belong to it.
    """
    if problem not in ("performance", "reliability", "epsilon") or (problem == "epsilon") != (epsilon is not None):
        raise InputError(
            f"problem is {problem!r} with epsilon {epsilon}; needed is 'performance' or 'reliability' without, or "
            "'epsilon' with one."
        )
    rng = np.random.default_rng([random_seed, 11])
    x_e = np.repeat(e.sample(epistemic_draws, rng), len(x_a), axis=0)
    hours = np.tile(x_a, (epistemic_draws, 1))
    thresholds = np.array([THRESHOLDS[load] for load in LOADS])

    def cost(x_c: Array) -> Array:
        return np.array(
            [_cost(surrogate.predict(np.column_stack([hours, x_e, np.tile(point, (len(hours), 1))]))) for point in x_c]
        )

    def _cost(y: Array) -> float:
        by_x_e = y.reshape(epistemic_draws, len(x_a), *y.shape[1:])
        failed = (by_x_e[..., LOAD_COLUMNS].max(axis=2) > thresholds).any(axis=2)
        pof = float(failed.mean(axis=1).max())
        if problem == "reliability":
            return pof
        power = by_x_e[..., POWER_COLUMNS].sum(axis=3).mean(axis=(1, 2)).min()
        return -float(power) + PENALTY * max(0.0, pof - (1.0 if epsilon is None else epsilon))

    return asdict(fly(cost, particles, iterations, random_seed))
