"""Black boxes that are noisy, or not the system that was observed: how often E holds the truth, and how large it is."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import chi2

from flowcal.challenge import ALEATORY, LOADS, PROBLEM, TABLE_1
from flowcal.files import Weights
from flowcal.infer.contrasts import hours_by_point
from flowcal.infer.credible_set import CredibleSet
from flowcal.infer.least_squares import fit_contrasts
from flowcal.infer.um2_aleatory import AleatoryEstimator
from flowcal.infer.um2_epistemic import Rounds, infer_epistemic_set
from flowcal.report.synthetic import ENTROPY, HOURS, SyntheticSystem, synthetic_system
from flowcal.simulate.campaign import run_campaign
from flowcal.simulate.imperfect import NoisyBox, Perturbed
from flowcal.simulate.simulator import Simulator, fresh_seeds
from flowcal.simulate.windfarm import WindFarm

__all__ = ["BOXES", "Box", "fisher_volume", "judge_box", "judge_least_squares"]

Array = NDArray[np.float64]

STEP = 1e-6  # of differences that give slopes
STARTS, CREDIBILITY = 2, 0.99  # of least squares


@dataclass(frozen=True)
class Box:
    """A simulator, the system that is observed, which may depend on random numbers, and the misfit that is granted."""

    title: str
    simulator: Simulator
    system: Callable[[np.random.Generator], Simulator]
    misfit: float = 0.0


def _noisy(share: float) -> Box:
    box = NoisyBox(WindFarm(), share)
    return Box(f"{100 * share:.0f} % noise on every value", box, lambda rng: box)


def _gain(size: float) -> Box:
    def system(rng: np.random.Generator) -> Simulator:
        return Perturbed(WindFarm(), tuple(size * rng.choice([-1, 1], len(PROBLEM.outputs))))

    return Box(f"each output {size:g} too large or too small", WindFarm(), system)


BOXES: Mapping[str, Box] = {
    "as_is": Box("the system itself", WindFarm(), lambda rng: WindFarm()),
    "noise_2": _noisy(0.02),
    "noise_5": _noisy(0.05),
    "noise_10": _noisy(0.1),
    "gain_1e-5": _gain(1e-5),
    "gain_1e-3": _gain(1e-3),
    "gain_1e-2": _gain(1e-2),
    "thrust_0.5": Box("thrust 0.5 % larger", WindFarm(), lambda rng: WindFarm(thrust=1.005), misfit=0.01),
    "thrust_2": Box("thrust 2 % larger", WindFarm(), lambda rng: WindFarm(thrust=1.02), misfit=0.04),
    "lag_0.92": Box("powers that keep 0.92 of their last value", WindFarm(), lambda rng: WindFarm(lag=0.92)),
}
"""Boxes by their key. A thrust that is off changes the loads as another X_e would, up to three times as much as itself;
twice its error is granted.

:meta hide-value:
"""


def judge_box(number: int, key: str, weights: Weights, rounds: Rounds) -> dict[str, Any]:
    """Infer X_e of a synthetic system of this number that is observed as the box says, and compare with its truth.

    The weights are those of an `AleatoryEstimator` for the box's simulator. `fisher` is the volume that loads with such
    noise allow at best, where there is noise.
    """
    start, box = time.perf_counter(), BOXES[key]
    made, observed = _observed_system(number, box)
    estimator = AleatoryEstimator.from_weights(weights, "cpu")
    found = infer_epistemic_set(box.simulator, observed, estimator, rounds, number)
    e, rows = CredibleSet.from_weights(found), found.header["found"]["rounds"]
    (distance,) = e.distance(made.x_e[None]).tolist()
    noise = getattr(box.simulator, "sd", None)
    minutes = [int((y[..., 3:] > 0).all(axis=-1).sum()) for y in hours_by_point(observed).values()]
    return {
        "number": number,
        "shape": made.shape,
        "contains": distance <= e.threshold,
        "distance": min(distance, 1e300),
        "threshold": e.threshold,
        "volume": e.volume,
        "plausibility": rows[-1]["plausibility"],
        "misfit": rows[-1]["misfit"],
        "rounds": len(rows),
        "simulations": sum(row["simulations"] for row in rows),
        "fisher": None if noise is None else fisher_volume(made.x_e, noise, minutes, rounds.credibility),
        "seconds": round(time.perf_counter() - start, 1),
    }


def judge_least_squares(number: int, key: str) -> dict[str, Any]:
    """Fit X_e of the same system to the same hours by least squares on load contrasts, and compare with its truth.

    `contains` says whether the Fisher ellipsoid of 99 % holds the truth, and `volume` how large it is. Where hours do
    not differ, the ellipsoid is the point itself; both are None, and only the distance `off` says how good it is.
    """
    start, box = time.perf_counter(), BOXES[key]
    made, observed = _observed_system(number, box)
    noisy = isinstance(box.simulator, NoisyBox)
    fit = fit_contrasts(box.simulator, observed, hours=HOURS if noisy else 1, starts=STARTS)
    off = made.x_e - fit.x_e
    sized = bool(fit.covariance.any())
    contains = off @ np.linalg.solve(fit.covariance, off) <= chi2.ppf(CREDIBILITY, len(off)) if sized else None
    return {
        "number": number,
        "contains": None if contains is None else bool(contains),
        "volume": fit.ellipsoid_volume(CREDIBILITY) if sized else None,
        "off": float(np.linalg.norm(off)),
        "simulations": fit.simulations,
        "seconds": round(time.perf_counter() - start, 1),
    }


def _observed_system(number: int, box: Box) -> tuple[SyntheticSystem, xr.Dataset]:
    """A synthetic system, and its hours as the box has them observed."""
    rng, made = np.random.default_rng([ENTROPY, number, 1]), synthetic_system(WindFarm(), number)
    x_c = np.repeat(TABLE_1, HOURS, axis=0)
    x = np.column_stack([made.x_a, np.tile(made.x_e, (len(x_c), 1)), x_c])
    runs = run_campaign(box.system(rng), x, fresh_seeds(len(x), rng))
    return made, runs[["y"]].assign(x_c=(("sample", "control"), x_c))


def fisher_volume(x_e: Array, noise: float, minutes: list[int], credibility: float) -> float:
    """Volume of the ellipsoid that the information of the loads allows at X_e (e,), at Table 1's points.

    The wind of each minute is unknown, so that a minute tells what the ratios of its loads do. The noise is relative
    and independent; powers are left out. `minutes` with wind there are by control point.
    """

    def ratios(at: Array) -> Array:
        x = np.array([[0.5] * len(ALEATORY) + [*at, *x_c] for x_c in TABLE_1])
        loads = WindFarm().simulate(x, np.ones(len(x)))[:, :, PROBLEM.columns(LOADS)]
        logs = np.log(loads).mean(axis=1)
        differences: Array = logs[:, 1:] - logs[:, :1]
        return differences

    size = len(x_e)
    steps = STEP * np.eye(size)
    slopes = np.stack([(ratios(x_e + step) - ratios(x_e - step)) / (2 * STEP) for step in steps], axis=-1)
    precision = np.linalg.inv(noise**2 * (np.eye(len(LOADS) - 1) + 1))
    information = np.einsum("p,pie,ij,pjf->ef", minutes, slopes, precision, slopes)
    ball = np.exp(size / 2 * np.log(np.pi) - gammaln(size / 2 + 1))
    return float(ball * chi2.ppf(credibility, size) ** (size / 2) / np.sqrt(np.linalg.det(information)))
