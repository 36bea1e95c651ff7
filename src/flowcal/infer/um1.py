"""The paper's two-step model updating: X_a from all hours first, then X_e at each control point.

Step 1 trains one conditional flow for X_a on simulations with every input uniform and the seed fixed. Its posterior
draws of all observed hours, pooled, are f_a. Step 2 trains a flow for X_e at each control point, with X_a drawn from
step 1, and pools its draws over the hours of that point. Some points are chosen, and intervals of their draws are E.
Where the paper chose by hand, we use rules:

1. The points with the largest mean log density of the true X_e in held-out simulations with the fixed seed are chosen.
2. Each interval lies about the mode of the chosen points' pooled draws, where their density exceeds half of its peak.
3. The best guess is the joint mode of the draws within the box of these intervals, E.

References
----------
.. [1] T. Wang et al., "Data-driven Model Updating Solution for the NASA and DNV Challenge 2025", ESREL SRA-E 2025,
   doi:10.3850/978-981-94-3281-3_ESREL-SRA-E2025-P5658-cd, sections 2, 3.2 and 3.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from flowcal.errors import InputError
from flowcal.infer.checks import calibrate
from flowcal.infer.hour_posterior import Architecture, HourPosterior
from flowcal.infer.models import BoundedKernelDensity, EpistemicBox, PooledDraws
from flowcal.infer.train import Trainer, Training
from flowcal.problem import Problem, as_numbers, check_counts, check_point, check_points, check_range, rng_of
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator, fresh_seeds, hours_of, problem_of

__all__ = [
    "FIXED_SEED",
    "TRAINING",
    "Seeds",
    "UM1Settings",
    "aleatory_flow",
    "aleatory_runs",
    "epistemic_flow",
    "epistemic_runs",
    "highest_density_box",
    "infer_aleatory",
    "infer_epistemic",
    "infer_set",
    "infer_um1",
    "joint_mode",
    "mode_box",
    "point_draws",
    "score_point",
    "update_points",
]

Seeds = Literal["fixed", "fresh"]
"""The random seed of training simulations: one for all as in the paper, or another for each run."""

SEEDS: tuple[Seeds, Seeds] = ("fixed", "fresh")
FIXED_SEED = 10
TRAINING = Training(epochs=15, batch_size=64, learning_rate=5e-3)
TRIALS = 100  # added to the random seed of a control point's training runs, for those that the flow is tried on


@dataclass(frozen=True)
class UM1Settings:
    """How step 2 is made at each control point.

    At each control point, a flow, `epistemic_flow` if none is given, is trained on so many runs with 'fixed' or 'fresh'
    seeds; the random seed of `training` is not used. It is tried on `trial_hours` simulations of each kind of seed with
    `trial_draws` posterior draws for each, and gives so many draws for each observed hour.
    """

    runs: int
    training: Training
    trial_hours: int
    trial_draws: int
    seeds: Seeds = "fixed"
    draws: int = 100
    flow: Architecture | None = None

    def __post_init__(self) -> None:
        check_counts(runs=self.runs, draws=self.draws, trial_draws=self.trial_draws)
        check_counts(2, trial_hours=self.trial_hours)
        _check_seeds(self.seeds)


def aleatory_flow(problem: Problem) -> Architecture:
    """Step 1's flow: it reads the hour and its control point; the parts are those that the paper lists.

    A positional encoding is not among them.
    """
    names = problem.aleatory, problem.outputs, problem.steps, problem.control
    return Architecture(*names, scaling="logarithm", positions=False)


def epistemic_flow(problem: Problem) -> Architecture:
    """Step 2's flow: each control point has its own, so that it reads no control point."""
    return Architecture(problem.epistemic, problem.outputs, problem.steps, (), scaling="logarithm", positions=False)


def aleatory_runs(
    simulator: Simulator, size: int, seeds: Seeds, random_seed: int, runner: Runner | None = None
) -> xr.Dataset:
    """Simulations of step 1, every input uniform on [0, 1] [1]_: x, seed and y by sample, without failed runs."""
    check_counts(size=size)
    rng = rng_of(random_seed, 1)
    x = rng.random((size, len(problem_of(simulator).inputs)))
    return run_campaign(simulator, x, _seeds(seeds, size, rng), runner, all_needed=False)


def epistemic_runs(
    simulator: Simulator,
    x_a: ArrayLike,
    x_c: ArrayLike,
    size: int,
    seeds: Seeds,
    random_seed: int,
    runner: Runner | None = None,
) -> xr.Dataset:
    """Simulations of step 2 at one control point [1]_: x, seed and y by sample, without failed runs.

    X_e is uniform. X_a takes the draws (n, a) of step 1 in random order, again and again if `size` exceeds them.
    """
    check_counts(size=size)
    rng, problem = rng_of(random_seed, 2), problem_of(simulator)
    x_a, x_c = check_points(x_a, problem.aleatory, "x_a"), check_point(x_c, problem.control, "x_c")
    if not len(x_a):
        raise InputError(f"x_a has shape {x_a.shape}; expected at least one draw.")
    passes = -(-size // len(x_a))
    picked = np.concatenate([rng.permutation(len(x_a)) for _ in range(passes)])[:size]
    x = np.column_stack([x_a[picked], rng.random((size, len(problem.epistemic))), np.tile(x_c, (size, 1))])
    return run_campaign(simulator, x, _seeds(seeds, size, rng), runner, all_needed=False)


def infer_aleatory(posterior: HourPosterior, hours: xr.Dataset, draws: int, random_seed: int) -> xr.Dataset:
    """The end of step 1: pooled draws of X_a of all hours [1]_ (the paper has 10 for each); see `PooledDraws`."""
    pooled = _pooled(posterior, hours, draws, random_seed)
    f_a = PooledDraws(pooled.values, hours.sizes["sample"])
    return f_a.to_dataset().assign_coords(parameter=pooled.parameter)


def infer_epistemic(posterior: HourPosterior, hours: xr.Dataset, draws: int, random_seed: int) -> xr.Dataset:
    """The end of step 2: pooled draws x_e by draw and parameter of all hours of one control point [1]_."""
    return xr.Dataset({"x_e": _pooled(posterior, hours, draws, random_seed)})


def update_points(
    simulator: Simulator,
    observed: xr.Dataset,
    f_a: PooledDraws,
    settings: UM1Settings,
    numbers: Sequence[int] | None = None,
    random_seed: int = 0,
    runner: Runner | None = None,
    trainer: Trainer | None = None,
) -> xr.Dataset:
    """Step 2 at each control point, given step 1's f_a, with trials of its flow; `infer_um1` reads E off.

    The control points are numbered from 1 in the order in which the observed hours have them; `numbers` selects some.
    The random seed of number n is random_seed + n.

    The dataset has by point (its number): 'x_c'; 'x_e', the pooled draws; 'training_loss', 'held_out_loss' and
    'seconds' by epoch; 'rank', 'credibility' and 'log_prob' of trials by seeds ('fixed', 'fresh') and sample, as of
    `calibrate`. NaN where a point has fewer draws, epochs or trials than others.
    """
    x_c = hours_of(observed, problem_of(simulator))[1]
    points = dict(enumerate(dict.fromkeys(map(tuple, x_c.tolist())), 1))
    if unknown := sorted(set(numbers or ()) - set(points)):
        raise InputError(f"numbers are {numbers}, and {unknown} are not among the {len(points)} control points.")
    updates = {}
    for number in numbers or points:
        point, seed = np.array(points[number]), random_seed + number
        hours = observed.isel(sample=(x_c == point).all(axis=1))
        updates[number] = _update_point(simulator, hours, point, f_a, settings, seed, runner, trainer)
    joined = xr.concat(list(updates.values()), xr.Variable("point", list(updates)), join="outer")
    return joined.drop_vars(["draw", "sample", "epoch"])


def _update_point(
    simulator: Simulator,
    hours: xr.Dataset,
    x_c: NDArray[np.float64],
    f_a: PooledDraws,
    settings: UM1Settings,
    random_seed: int,
    runner: Runner | None,
    trainer: Trainer | None,
) -> xr.Dataset:
    """Step 2 at the control point of the hours, and trials of its flow."""

    def simulate(size: int, seeds: Seeds, random_seed: int) -> xr.Dataset:
        return epistemic_runs(simulator, f_a.density.draws, x_c, size, seeds, random_seed, runner)

    training = replace(settings.training, random_seed=random_seed)
    posterior = HourPosterior(settings.flow or epistemic_flow(problem_of(simulator)), random_seed)
    posterior.fit(simulate(settings.runs, settings.seeds, random_seed), training, trainer)
    trials = [
        calibrate(
            posterior, simulate(settings.trial_hours, seeds, TRIALS + random_seed), settings.trial_draws, random_seed
        )
        for seeds in SEEDS
    ]
    trials = [trial.assign_coords(sample=np.arange(trial.sizes["sample"])) for trial in trials]
    drawn = infer_epistemic(posterior, hours, settings.draws, random_seed)
    curves = {name: ("epoch", values) for name, values in vars(posterior.history).items()}
    update = xr.concat(trials, xr.Variable("seeds", list(SEEDS)), join="outer").assign(curves)
    update = update.assign(x_e=drawn.x_e, x_c=("control", x_c))
    return update.assign_coords({name: np.arange(update.sizes[name]) for name in ("draw", "epoch")})


def infer_um1(updates: xr.Dataset, points: int = 3, level: float = 0.5) -> dict[str, list[float]]:
    """E of UM1 from what `update_points` returned: the points with the best scores, and the intervals of their draws.

    The result has 'points', the numbers of those chosen; 'low' and 'high' of E at a `level` of the density (see
    `mode_box`), and 'best_guess', by input.
    """
    check_counts(points=points)
    scores = np.array([score_point(updates, number, "fixed")[0] for number in updates.point.values])
    chosen = sorted(updates.point.values[np.argsort(-scores)][:points].tolist())
    return {"points": chosen, **infer_set(point_draws(updates, chosen), level)}


def score_point(updates: xr.Dataset, number: int, seeds: Seeds) -> tuple[float, float]:
    """Mean log density of the true X_e in the trials of a control point's flow [nats], and its standard error."""
    _check_seeds(seeds)
    values = _at_points(updates, [number]).log_prob.sel(seeds=seeds)[0].dropna("sample").values
    check_counts(2, **{f"the number of trials at point {number}": len(values)})
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values))


def point_draws(updates: xr.Dataset, numbers: Sequence[int]) -> NDArray[np.float64]:
    """Pooled draws (n, e) of X_e at some control points."""
    x_e = _at_points(updates, numbers).x_e
    return np.concatenate([each.dropna("draw").values for each in x_e])


def _at_points(updates: xr.Dataset, numbers: Sequence[int]) -> xr.Dataset:
    if not len(numbers) or not set(numbers) <= set(updates.point.values.tolist()):
        raise InputError(f"numbers are {list(numbers)}; expected some of {updates.point.values.tolist()}.")
    return updates.sel(point=list(numbers))


def infer_set(draws: ArrayLike, level: float = 0.5) -> dict[str, list[float]]:
    """'low' and 'high' of E from pooled draws of X_e (n, e), and the 'best_guess' within it.

    Raises `InputError` if the box holds no draw.
    """
    draws = _draws(draws)
    box = mode_box(draws, level)
    within = draws[box.contains(draws)]
    if not len(within):
        raise InputError(f"no draw of {len(draws)} lies in all intervals; expected more draws.")
    low, high = box.bounding_box
    return {"low": low.tolist(), "high": high.tolist(), "best_guess": joint_mode(within).tolist()}


def highest_density_box(draws: ArrayLike, share: float) -> EpistemicBox:
    """The box of the shortest intervals that each hold a share, in (0, 1], of the draws (n, e) of one input.

    Examples
    --------
    >>> draws = np.column_stack([np.linspace(0, 1, 101) ** 2] * 3)
    >>> highest_density_box(draws, share=0.5).bounding_box.round(2).tolist()
    [[0.0, 0.0, 0.0], [0.24, 0.24, 0.24]]
    """
    check_range(0, 1, "(]", share=share)
    ordered = np.sort(_draws(draws), axis=0)
    held = max(1, round(share * len(ordered)))
    widths = ordered[held - 1 :] - ordered[: len(ordered) - held + 1]
    first, columns = widths.argmin(axis=0), np.arange(ordered.shape[1])
    return EpistemicBox(ordered[first, columns], ordered[first + held - 1, columns])


def mode_box(draws: ArrayLike, level: float) -> EpistemicBox:
    """The box of the intervals about the marginal modes where the density of draws (n, e) exceeds a share of its peak.

    The `level` is that share, in (0, 1); one half gives the full width at half maximum.

    Examples
    --------
    >>> draws = np.random.default_rng(1).normal(0.5, 0.1, (10_000, 3))
    >>> mode_box(draws.clip(0, 1), level=0.5).bounding_box.round(1).tolist()
    [[0.4, 0.4, 0.4], [0.6, 0.6, 0.6]]
    """
    check_range(0, 1, level=level)
    grid, ends = np.linspace(0, 1, 501), []
    for column in _draws(draws).T:
        density = BoundedKernelDensity(column[:, None]).log_prob(grid[:, None])
        mode, below = int(density.argmax()), density < density.max() + np.log(level)
        low = max((place + 1 for place in np.flatnonzero(below[:mode])), default=0)
        high = min((mode + place for place in np.flatnonzero(below[mode:])), default=len(grid)) - 1
        ends.append((grid[low], grid[high]))
    return EpistemicBox(*np.transpose(ends))


def joint_mode(draws: ArrayLike, candidates: int = 1000) -> NDArray[np.float64]:
    """The best guess (d,): the densest of randomly picked draws (n, d), by their kernel density."""
    draws = _draws(draws)
    check_counts(candidates=candidates)
    tried = draws[np.random.default_rng(1).permutation(len(draws))[:candidates]]
    densest: NDArray[np.float64] = tried[BoundedKernelDensity(draws).log_prob(tried).argmax()]
    return densest


def _draws(draws: ArrayLike) -> NDArray[np.float64]:
    draws = as_numbers(draws, "draws")
    if draws.ndim != 2 or not draws.size or not ((draws >= 0) & (draws <= 1)).all():
        raise InputError(f"draws have shape {draws.shape}; expected (n, e) with at least one draw, all in [0, 1].")
    return draws


def _pooled(posterior: HourPosterior, hours: xr.Dataset, draws: int, random_seed: int) -> xr.DataArray:
    names = list(posterior.architecture.parameters)
    drawn = posterior.sample((draws,), hours, rng_of(random_seed))
    return xr.DataArray(drawn.reshape(-1, len(names)), {"parameter": names}, ("draw", "parameter"))


def _seeds(seeds: Seeds, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    _check_seeds(seeds)
    return np.full(size, FIXED_SEED) if seeds == "fixed" else fresh_seeds(size, rng)


def _check_seeds(seeds: Seeds) -> None:
    if seeds not in SEEDS:
        raise InputError(f"seeds is {seeds!r}; expected 'fixed' or 'fresh'.")
