"""Designs as the paper makes them: a swarm on a surrogate of the black box, its inner loop by Monte Carlo.

The surrogate is a fully connected network with two hidden layers for every time step. All are computed as one batch.
Their width, their inputs and the size of their training set are not published [1]_. Here all inputs go in and all
outputs of the step come out. The runs lie where the designs need them: X_a uniform or from f_a, X_e in E, X_c uniform,
and the seed fixed as in the rest of the paper.

For every control point that a particle of the swarm [2]_ [3]_ tries, X_e is sampled from E; X_a is given, sampled
uniformly from [0, 1] as section 4.1 words it [1]_, or from f_a. The objective is the least mean over the X_e, and the
probability of failure the largest share. pyswarms knows no constraints; a penalty stands for the one of section 4.3.

References
----------
.. [1] T. Wang et al., "Data-driven Model Updating Solution for the NASA and DNV Challenge 2025", ESREL SRA-E 2025,
   doi:10.3850/978-981-94-3281-3_ESREL-SRA-E2025-P5658-cd, section 4.
.. [2] J. Kennedy and R. Eberhart, "Particle swarm optimization", ICNN 1995, doi:10.1109/ICNN.1995.488968.
.. [3] L. J. V. Miranda, "PySwarms: a research toolkit for Particle Swarm Optimization in Python", JOSS 3(21), 2018,
   doi:10.21105/joss.00433.
.. [4] M. Clerc and J. Kennedy, "The particle swarm: explosion, stability, and convergence in a multidimensional complex
   space", IEEE Transactions on Evolutionary Computation 6(1), 2002, doi:10.1109/4235.985692 (the coefficients).
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from flowcal.decide.design import DesignProblem
from flowcal.errors import InputError
from flowcal.files import Weights
from flowcal.infer.models import EpistemicSet, UncertaintyModel
from flowcal.infer.networks import SavedNetwork
from flowcal.infer.train import Trainer, Training, seeded, train
from flowcal.infer.um1 import FIXED_SEED
from flowcal.problem import BOUNDS, Problem, as_numbers, check_counts, check_points, rng_of
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import SERIES, Simulator, problem_of

__all__ = [
    "Swarm",
    "TimeStepSurrogate",
    "determination",
    "fly",
    "published_design",
    "surrogate_runs",
    "train_surrogate",
]

Array = NDArray[np.float64]

BLOCK = 500  # rows that are computed at a time: few enough for the processor's cache
WIDEST = 1024  # so that a damaged header cannot ask for more memory than there is
PENALTY = 1e4
COEFFICIENTS = {"c1": 1.49445, "c2": 1.49445, "w": 0.729}
LOG_SETTINGS = "LOG_CFG"  # where pyswarms looks for a file with settings of its log


class TimeStepSurrogate(SavedNetwork):
    """Networks, one for each time step, from the inputs to the outputs of that step [1]_.

    The width is that of the two hidden layers; the random seed decides the initial weights.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, inputs: int, steps: int, outputs: int, width: int, random_seed: int) -> None:
        super().__init__(inputs=inputs, steps=steps, outputs=outputs, width=width, random_seed=random_seed)
        for name in ("inputs", "steps", "outputs", "width"):
            if not isinstance(size := self.built_with[name], int) or not 1 <= size <= WIDEST:
                raise InputError(f"{name} is {size!r}; expected a whole number from 1 to {WIDEST}.")
        self.inputs, self.steps = inputs, steps
        sizes = (inputs, width, width, outputs)
        with seeded(random_seed):
            self.weights = nn.ParameterList(
                (2 * torch.rand(steps, before, after) - 1) / np.sqrt(before) for before, after in pairwise(sizes)
            )
            self.biases = nn.ParameterList(torch.zeros(steps, 1, after) for after in sizes[1:])
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("spread", torch.ones(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Scaled series (n, steps, outputs) at inputs (n, inputs)."""
        hidden = (2 * x - 1).expand(self.steps, -1, -1)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), 1):
            hidden = torch.baddbmm(bias, hidden, weight)
            if number < len(self.weights):
                hidden = torch.relu(hidden)
        return hidden.transpose(0, 1)

    def loss(self, x: Tensor, scaled: Tensor) -> Tensor:
        """Mean squared error of each series (n,)."""
        squared: Tensor = (self(x) - scaled).square().mean(dim=(1, 2))
        return squared

    def fit(self, runs: xr.Dataset, training: Training, trainer: Trainer | None = None) -> "TimeStepSurrogate":
        """Train on simulated hours, x and y by sample."""
        if not {"x", "y"} <= set(runs) or not np.isfinite(runs.y).all():
            raise InputError(f"the runs have {', '.join(map(str, runs))}; expected x and y, all finite.")
        x, y = (torch.tensor(runs[name].values, dtype=torch.float32) for name in ("x", "y"))
        self.cpu()
        self.mean.copy_(y.mean(dim=(0, 1)))
        self.spread.copy_(y.std(dim=(0, 1)).clamp(min=torch.finfo(y.dtype).tiny))
        self.history = train(self, self.loss, [x, (y - self.mean) / self.spread], training, trainer)
        return self

    @torch.no_grad()
    def predict(self, x: ArrayLike) -> Array:
        """Series (n, steps, outputs) at inputs (n, inputs)."""
        x = check_points(x, self.inputs, "x", within=True)
        rows = torch.tensor(x, dtype=torch.float32, device=self.mean.device).split(BLOCK)
        return np.concatenate([(self(part) * self.spread + self.mean).double().cpu().numpy() for part in rows])


def surrogate_runs(
    simulator: Simulator,
    model: UncertaintyModel,
    size: int,
    random_seed: int,
    uniform: bool = False,
    runner: Runner | None = None,
) -> xr.Dataset:
    """Simulations to train a surrogate on: X_a from f_a or `uniform`, X_e in E, X_c uniform, the seed fixed."""
    check_counts(size=size)
    rng, problem = rng_of(random_seed, 12), problem_of(simulator)
    x_a = rng.random((size, len(problem.aleatory))) if uniform else model.f_a.sample(size, rng)
    x = np.hstack([x_a, model.e.sample(size, rng), rng.random((size, len(problem.control)))])
    return run_campaign(simulator, x, np.full(size, FIXED_SEED), runner, all_needed=False)


def train_surrogate(runs: xr.Dataset, width: int, training: Training, trainer: Trainer | None = None) -> Weights:
    """Weights of a `TimeStepSurrogate` that is trained on simulated hours, x and y by sample."""
    sizes = runs.sizes["input"], runs.sizes["time"], runs.sizes["output"]
    return TimeStepSurrogate(*sizes, width, training.random_seed).fit(runs, training, trainer).to_weights()


def determination(surrogate: TimeStepSurrogate, runs: xr.Dataset, repeated: xr.Dataset) -> xr.Dataset:
    """How much of the variance the surrogate explains, and how much anything could that does not know the seed.

    `runs` and `repeated` are simulated hours that it has not seen, twice at the same inputs with other seeds. The
    dataset has by output: 'r_squared', over all hours and steps; its 'ceiling', the share of variance that is not
    the seed's.
    """
    if not np.array_equal(runs.x, repeated.x):
        raise InputError("runs and repeated have other inputs x; expected the same, with other seeds.")
    if not np.array_equal(runs.output, repeated.output):
        repeated = repeated.sel(output=runs.output.values)
    y, again = (part.y.transpose(*SERIES).values for part in (runs, repeated))
    total = np.square(y - y.mean(axis=(0, 1))).mean(axis=(0, 1))
    left = np.square(y - surrogate.predict(runs.x.values)).mean(axis=(0, 1))
    noise = np.square(y - again).mean(axis=(0, 1)) / 2
    total = np.where(total > 0, total, np.nan)  # what is constant has no variance to explain
    shares = {"r_squared": ("output", 1 - left / total), "ceiling": ("output", 1 - noise / total)}
    return xr.Dataset(shares, {"output": runs.output.values})


@dataclass(frozen=True)
class Swarm:
    """Where a swarm has been: its best control point, the cost there, and the best cost so far after each iteration."""

    x_c: Array
    cost: float
    costs: list[float]


def fly(cost: Callable[[Array], Array], controls: int, particles: int, iterations: int, random_seed: int) -> Swarm:
    """Minimise a cost of control points, (n, controls) to (n,), over their cube with a swarm [2]_ [3]_ [4]_.

    Examples
    --------
    >>> swarm = fly(lambda x_c: np.square(x_c - 0.4).sum(axis=1), 3, particles=20, iterations=40, random_seed=1)
    >>> swarm.x_c.round(2).tolist()
    [0.4, 0.4, 0.4]
    """
    check_counts(controls=controls, particles=particles, iterations=iterations)
    check_counts(0, random_seed=random_seed)

    def checked(x_c: Array) -> Array:
        values = as_numbers(cost(x_c), "cost")
        if values.shape != (len(x_c),) or not np.isfinite(values).all():
            raise InputError(f"cost has shape {values.shape}; expected ({len(x_c)},), all finite.")
        return values

    low, high = (np.full(controls, bound) for bound in BOUNDS)
    with _own_generator(random_seed):
        with _no_log_file():
            from pyswarms.single import GlobalBestPSO  # sets up its log when imported, and again for each swarm

            swarm = GlobalBestPSO(particles, controls, COEFFICIENTS, bounds=(low, high), bh_strategy="nearest")
        best, x_c = swarm.optimize(checked, iterations, verbose=False)
    return Swarm(np.asarray(x_c), float(best), [float(value) for value in swarm.cost_history])


@contextmanager
def _own_generator(random_seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, the only one that pyswarms knows, and leave it as it was."""
    before = np.random.get_state()
    np.random.seed(random_seed)
    try:
        yield
    finally:
        np.random.set_state(before)


@contextmanager
def _no_log_file() -> Iterator[None]:
    """Keep pyswarms from writing report.log into the working folder and from sending all loggers to the screen."""
    before = os.environ.get(LOG_SETTINGS)
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "log.yml"
        settings.write_text("version: 1\ndisable_existing_loggers: false\n")
        os.environ[LOG_SETTINGS] = str(settings)
        try:
            yield
        finally:
            del os.environ[LOG_SETTINGS]
            if before is not None:
                os.environ[LOG_SETTINGS] = before


def published_design(
    surrogate: TimeStepSurrogate,
    e: EpistemicSet,
    goal: DesignProblem,
    problem: Problem,
    x_a: Array,
    epistemic_draws: int,
    particles: int,
    iterations: int,
    random_seed: int,
    restarts: int = 1,
    penalty: float = PENALTY,
) -> dict[str, Any]:
    """Solve one of the paper's problems 2.1, 2.2 and 2.3.

    X_a (n, aleatory) is taken with every X_e and at every control point, `epistemic_draws` of X_e likewise. The result
    has what `Swarm` has, of the best of so many swarms. The cost is minus J, with a penalty [MW] for each unit of
    probability above epsilon, or the probability of failure where reliability is the goal.
    """
    check_counts(epistemic_draws=epistemic_draws, restarts=restarts)
    x_a, rng = check_points(x_a, problem.aleatory, "x_a", within=True), rng_of(random_seed, 11)
    x_e = np.repeat(e.sample(epistemic_draws, rng), len(x_a), axis=0)
    hours = np.tile(x_a, (epistemic_draws, 1))
    powers, loads = problem.columns(problem.maximised), problem.columns(problem.limited)

    def cost_at(x_c: Array) -> float:
        y = surrogate.predict(np.column_stack([hours, x_e, np.tile(x_c, (len(hours), 1))]))
        by_x_e = y.reshape(epistemic_draws, len(x_a), *y.shape[1:])
        failed = (by_x_e[..., loads].max(axis=2) > np.array(problem.thresholds)).any(axis=2)
        pof = float(failed.mean(axis=1).max())
        if goal.reliability:
            return pof
        power = by_x_e[..., powers].sum(axis=3).mean(axis=(1, 2)).min()
        return -float(power) + penalty * max(0.0, pof - (1.0 if goal.epsilon is None else goal.epsilon))

    def cost(x_c: Array) -> Array:
        return np.array([cost_at(point) for point in x_c])

    swarms = [fly(cost, len(problem.control), particles, iterations, random_seed + start) for start in range(restarts)]
    return asdict(min(swarms, key=lambda swarm: swarm.cost))
