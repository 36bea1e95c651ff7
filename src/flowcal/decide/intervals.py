"""Prediction intervals: where the outputs at a control point will lie, whatever X_e in E is true.

Two readings of one task. The paper [1]_ takes quantiles over all minutes of all hours, X_e drawn from E like X_a from
f_a. The challenge [2]_ asks for bounds on whole hours and for every X_e: the smallest u with
max over X_e in E of P[max over t of y_i > u] <= 1 - alpha, and the largest lower bound likewise.

References
----------
.. [1] T. Wang et al., "Data-driven Model Updating Solution for the NASA and DNV Challenge 2025", ESREL SRA-E 2025,
   doi:10.3850/978-981-94-3281-3_ESREL-SRA-E2025-P5658-cd, section 3.4.
.. [2] C. Agrell, L. G. Crespo, V. Flovik, E. Vanem and S. Kenny, "The NASA and DNV Challenge on Optimization Under
   Uncertainty", 2025, https://github.com/dnv-opensource/UQ-Challenge-2025.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import quantile_test

from flowcal.decide.failure import inputs_at, simulate_hours
from flowcal.decide.worst_case import Search, find_worst_cases
from flowcal.errors import InputError
from flowcal.infer.checks import predict_hours
from flowcal.infer.models import AleatoryDistribution, EpistemicBox, UncertaintyModel
from flowcal.problem import Problem, as_numbers, check_counts, rng_of
from flowcal.simulate.campaign import Runner
from flowcal.simulate.simulator import Simulator, fresh_seeds, problem_of

__all__ = ["SIDES", "flattened_intervals", "resampled_intervals", "trajectory_intervals"]

Array = NDArray[np.float64]

SIDES = ("lower", "upper")
"""The two bounds of an interval."""

BLOCKS = 20  # groups of hours for the errors of quantiles over minutes, which are not independent within an hour


def flattened_intervals(
    model: UncertaintyModel,
    simulator: Simulator,
    x_c: Sequence[float],
    alphas: Sequence[float],
    hours: int,
    random_seed: int,
    runner: Runner | None = None,
) -> xr.Dataset:
    """As the paper has it [1]_: quantiles alpha and 1 - alpha of each output over all minutes of all hours.

    The dataset has 'bound' and its 'standard_error' by side ('lower', 'upper'), alpha and output.
    """
    problem, shares = problem_of(simulator), _shares(alphas)
    check_counts(BLOCKS, hours=hours)  # the errors come from as many groups
    y = predict_hours(model, simulator, x_c, hours, random_seed, runner).y.values
    bound, *groups = (
        np.quantile(part.reshape(-1, len(problem.outputs)), shares, axis=0) for part in (y, *np.array_split(y, BLOCKS))
    )
    error = np.std(groups, axis=0, ddof=1) / np.sqrt(BLOCKS)
    dims = ("side", "alpha", "output")
    return _labelled({"bound": (dims, bound), "standard_error": (dims, error)}, alphas, problem, runs=hours)


def trajectory_intervals(
    model: UncertaintyModel,
    simulator: Simulator,
    x_c: Sequence[float],
    alphas: Sequence[float],
    search: Search,
    search_hours: int,
    hours: int,
    random_seed: int,
    runner: Runner | None = None,
) -> xr.Dataset:
    """As the challenge has it [2]_: bounds that whole hours keep with probability alpha, at the worst X_e in E.

    The worst X_e of each bound is searched with the same `search_hours` everywhere; the bound is then taken at it from
    fresh `hours`.

    The dataset has by side, alpha and output: 'bound'; its 95 % confidence interval 'low' and 'high' given f_a and that
    X_e, infinite where so few hours give none; the worst 'x_e'; the 'gap' in which the search's climbs ended.

    Examples
    --------
    >>> from flowcal.infer.models import PooledDraws
    >>> from flowcal.simulate.windfarm import WindFarm
    >>> f_a = PooledDraws(0.5 * np.random.default_rng(1).random((100, 2)), hours=100)
    >>> model = UncertaintyModel(f_a, EpistemicBox([0.26, 0.5, 0.0], [0.41, 0.6, 0.5]))
    >>> intervals = trajectory_intervals(
    ...     model, WindFarm(), [0.533, 0.666, 0.5], [0.95], Search(4, 1, 0.1), search_hours=50, hours=100, random_seed=1
    ... )
    >>> dict(intervals.bound.sizes)
    {'side': 2, 'alpha': 1, 'output': 6}
    """
    _shares(alphas)
    check_counts(search_hours=search_hours, hours=hours)
    problem = problem_of(simulator)
    search_rng, fresh_rng = rng_of(random_seed).spawn(2)
    common = model.f_a.sample(search_hours, search_rng), fresh_seeds(search_hours, search_rng)
    known: dict[bytes, Array] = {}  # climbs that are pulled back to E's edge ask for some points again

    def signed_bounds(x_e: Array) -> Array:
        if (key := x_e.tobytes()) not in known:
            extremes = _signed_extremes(simulator, *common, x_e, x_c, runner)
            known[key] = np.quantile(extremes, alphas, axis=1, method="inverted_cdf").swapaxes(0, 1).ravel()
        return known[key]

    worst = find_worst_cases(signed_bounds, model.e, search, search_rng)
    fresh = model.f_a.sample(hours, fresh_rng), fresh_seeds(hours, fresh_rng)
    shape = (len(SIDES), len(alphas), len(problem.outputs))
    reported = np.empty((3, *shape))
    places, which = np.unique(worst.x_e, axis=0, return_inverse=True)
    for number, x_e in enumerate(places):
        extremes = _signed_extremes(simulator, *fresh, x_e, x_c, runner)
        for side, alpha, output in np.argwhere(which.reshape(shape) == number):
            values = extremes[side, :, output]
            reported[:, side, alpha, output] = _quantile_with_interval(values, alphas[alpha])
    bound, low, high = reported * np.array([-1.0, 1.0])[:, None, None]
    dims = ("side", "alpha", "output")
    variables = {
        "bound": (dims, bound),
        "low": (dims, np.minimum(low, high)),
        "high": (dims, np.maximum(low, high)),
        "x_e": ((*dims, "parameter"), worst.x_e.reshape(*shape, -1)),
        "gap": (dims, worst.gap.reshape(shape)),
    }
    runs = worst.evaluations * search_hours + len(places) * hours
    attributes = {"converged": int(worst.converged), "evaluations": worst.evaluations, "tolerance": search.tolerance}
    return _labelled(variables, alphas, problem, runs=runs, **attributes)


def resampled_intervals(
    replicates: Sequence[AleatoryDistribution],
    x_e: Sequence[float],
    simulator: Simulator,
    x_c: Sequence[float],
    alphas: Sequence[float],
    hours: int,
    random_seed: int,
    runner: Runner | None = None,
) -> xr.Dataset:
    """What the 'bound' at one X_e, by resample, side, alpha and output, owes to the hours that f_a was inferred from.

    It is taken again from each replicate of f_a, such as from bootstrap samples of the observed hours.
    """
    if not replicates:
        raise InputError("replicates is empty; expected at least one f_a.")
    point = EpistemicBox(x_e, x_e)
    bounds = [
        trajectory_intervals(
            UncertaintyModel(f_a, point), simulator, x_c, alphas, Search(1, 1), 1, hours, random_seed, runner
        ).bound
        for f_a in replicates
    ]
    resampled: xr.DataArray = xr.concat(bounds, "resample")
    return resampled.to_dataset()


def _signed_extremes(
    simulator: Simulator, x_a: Array, seeds: NDArray[np.int64], x_e: Array, x_c: Sequence[float], runner: Runner | None
) -> Array:
    """Minus the least, and the largest value of each output in each hour, (2, n, outputs): both have upper bounds."""
    y = simulate_hours(simulator, inputs_at(problem_of(simulator), x_a, x_e, x_c), seeds, runner)
    least, largest = (reduce(pick, y.swapaxes(0, 1)) for pick in (np.minimum, np.maximum))  # y.min(axis=1) takes longer
    return np.stack([-least, largest])


def _quantile_with_interval(values: Array, share: float) -> tuple[float, float, float]:
    """The smallest value that a share does not exceed, and its 95 % interval from the order statistics."""
    interval = quantile_test(values, p=share).confidence_interval(0.95)
    bound = np.quantile(values, share, method="inverted_cdf")
    return bound, np.nan_to_num(interval.low, nan=-np.inf), np.nan_to_num(interval.high, nan=np.inf)


def _shares(alphas: Sequence[float]) -> Array:
    """What lies below each bound, by side and alpha."""
    values = as_numbers(alphas, "alphas")
    if values.ndim != 1 or not len(values) or not ((values > 0.5) & (values < 1)).all():
        raise InputError(f"alphas are {alphas!r}; expected probabilities between 0.5 and 1.")
    return np.stack([1 - values, values])


def _labelled(variables: dict[str, Any], alphas: Sequence[float], problem: Problem, **attributes: float) -> xr.Dataset:
    axes = {"side": list(SIDES), "alpha": list(alphas), "output": list(problem.outputs)}
    if "x_e" in variables:
        axes["parameter"] = list(problem.epistemic)
    return xr.Dataset(variables, axes, attributes)
