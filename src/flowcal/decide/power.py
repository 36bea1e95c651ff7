"""The expected power J of designs, from an emulator of the distribution of an hour's power over the seed.

One regularity of the black box carries it, found by simulation and tested where the emulator is validated: what X_e and
X_c do to a power, an output that is maximised, they do through one number, its level, and all powers answer to theirs
alike. So a network turns (X_e, X_c) into levels, a second one turns (X_a, level) into an expected power, the same for
all, and a third one gives the distribution of their sum as a mixture of normals, censored where the powers end [1]_
[2]_. Under a given f_a, J is then a sum of one function of the levels, which is tabulated.

References
----------
.. [1] C. M. Bishop, "Mixture density networks", NCRG/94/004, Aston University, 1994.
.. [2] J. Tobin, "Estimation of relationships for limited dependent variables", Econometrica 26(1), 1958,
   doi:10.2307/1907382.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from torch import Tensor, nn
from torch.special import log_ndtr, ndtr

from flowcal.decide.plane import AleatoryPlane
from flowcal.errors import InputError
from flowcal.files import Weights
from flowcal.infer.models import AleatoryDistribution, EpistemicSet, UncertaintyModel
from flowcal.infer.networks import SavedNetwork
from flowcal.infer.train import Trainer, Training, seeded, train
from flowcal.problem import Problem, as_numbers, check_counts, check_points, check_range, rng_of
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator, fresh_seeds, problem_of

__all__ = [
    "emulator_training",
    "refinement_training",
    "Performance",
    "PowerEmulator",
    "power_runs",
    "tabulate_performance",
    "train_power_emulator",
]

Array = NDArray[np.float64]

WIDTH, DEPTH, COMPONENTS = 64, 3, 4
MOST_SIZES = 1000  # inputs or powers, so that a damaged header cannot ask for more memory than there is
UNIFORM = 0.3  # share of the training runs whose X_a is uniform, so that no f_a near this one is out of reach
NARROWEST = 1e-3  # standard deviation of a component, as a share of the largest power
AT_A_LIMIT = 1e-6  # of the largest power, within which a sum counts as being at a limit
WEIGHT_OF_MEANS = 1000.0  # of squared errors, shares of the largest power, beside the log density of the sum
BLOCK = 50_000  # rows that are computed at a time

SAMPLES = 20_000  # of (X_e, X_c), whose levels the table spans
LIGHTEST = 1e-9  # share of f_a below which a cell does not count
NODES = 48  # leave an error of 5e-7 MW, as float32 does
MARGIN = 0.1  # by which the table goes beyond the levels that were seen, as a share of their range


class PowerEmulator(SavedNetwork):
    """The distribution over the seed of each power's mean over the hour, given all inputs.

    It counts aleatory inputs, all others (`fixed`), and outputs that are maximised (`powers`). The random seed decides
    the initial weights.
    """

    limit: Tensor

    def __init__(self, aleatory: int, fixed: int, powers: int, random_seed: int) -> None:
        super().__init__(aleatory=aleatory, fixed=fixed, powers=powers, random_seed=random_seed)
        sizes = aleatory, fixed, powers
        if not all(isinstance(size, int) and 1 <= size <= MOST_SIZES for size in sizes):
            raise InputError(f"aleatory, fixed and powers are {sizes}; expected whole numbers from 1 to {MOST_SIZES}.")
        self.aleatory, self.inputs, self.powers = aleatory, aleatory + fixed, powers
        self.register_buffer("limit", torch.zeros(()))  # largest power seen in training
        with seeded(random_seed):
            self.levels = _network(fixed, powers)
            self.response = _network(aleatory + 1, 1)
            self.spread = _network(aleatory + 2 * powers, 3 * COMPONENTS)

    @classmethod
    def for_problem(cls, problem: Problem, random_seed: int) -> "PowerEmulator":
        """An untrained emulator with the numbers of inputs and powers of a problem."""
        aleatory = len(problem.aleatory)
        return cls(aleatory, len(problem.inputs) - aleatory, len(problem.maximised), random_seed)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Expected powers (n, powers), and the mixture that is the distribution of their mean, as shares of the limit.

        The mixture is its log weights, centres and widths, (n, components) each.
        """
        x_a, fixed = 4 * (2 * x[:, : self.aleatory] - 1), 2 * x[:, self.aleatory :] - 1
        levels = self.levels(fixed)
        logits = self.answer(x_a, levels)
        expected = torch.sigmoid(logits)
        known = torch.cat([x_a, levels.detach(), logits.detach()], dim=-1)
        weight, shift, width = self.spread(known).unflatten(-1, (3, COMPONENTS)).unbind(-2)
        width = NARROWEST + 0.1 * nn.functional.softplus(width - 2)
        centre = expected.mean(dim=-1, keepdim=True).detach() + width * shift
        return expected, (torch.log_softmax(weight, dim=-1), centre, width)

    def answer(self, x_a: Tensor, levels: Tensor) -> Tensor:
        """Logits of the expected powers (n, k) at scaled X_a (n, aleatory) and levels (n, k)."""
        each = x_a[:, None].expand(-1, levels.shape[1], -1)
        logits: Tensor = self.response(torch.cat([each, levels[..., None]], dim=-1))[..., 0]
        return logits

    def loss(self, x: Tensor, powers: Tensor) -> Tensor:
        """Squared error of the powers, shares of the limit, and negative log density of their sum."""
        expected, (weight, centre, width) = self(x)
        total = powers.mean(dim=-1, keepdim=True)
        z = (total - centre) / width
        within = torch.logsumexp(weight - z.square() / 2 - torch.log(width * np.sqrt(2 * np.pi)), dim=-1)
        below = torch.logsumexp(weight + log_ndtr(-centre / width), dim=-1)
        above = torch.logsumexp(weight + log_ndtr((centre - 1) / width), dim=-1)
        total = total[:, 0]
        density = torch.where(total >= 1 - AT_A_LIMIT, above, torch.where(total <= AT_A_LIMIT, below, within))
        squared: Tensor = (expected - powers).square().mean(dim=-1)
        return WEIGHT_OF_MEANS * squared - density

    def fit(self, runs: xr.Dataset, training: Training, trainer: Trainer | None = None) -> "PowerEmulator":
        """Train, or train on, with hours from `power_runs`."""
        powers = check_points(runs.power.values, self.powers, "power")
        largest = max(float(powers.max(initial=0)), self.limit.item())
        if not largest > 0:
            raise InputError("all powers of the runs are 0; expected one above.")
        self.cpu().limit.fill_(largest)
        data = [torch.tensor(values, dtype=torch.float32) for values in (runs.x.values, runs.power.values / largest)]
        self.history = train(self, self.loss, data, training, trainer)
        return self

    def expected(self, x: ArrayLike) -> Array:
        """Expected means over the hour of the powers (n, powers) at inputs x (n, inputs)."""
        return self._computed(x)[0] * self.limit.item()

    @torch.no_grad()
    def responses(self, x_a: ArrayLike, levels: ArrayLike) -> Array:
        """Expected means over the hour of a power (n, k) at X_a (n, aleatory) and its level (k,)."""
        x_a, levels = (
            torch.tensor(np.asarray(part), dtype=torch.float32, device=self.limit.device) for part in (x_a, levels)
        )
        parts = [
            torch.sigmoid(self.answer(4 * (2 * rows - 1), levels.expand(len(rows), -1))) * self.limit
            for rows in x_a.split(max(1, BLOCK // len(levels)))
        ]
        return torch.cat(parts).double().cpu().numpy()

    def cdf(self, x: ArrayLike, total: ArrayLike) -> tuple[Array, Array]:
        """Probabilities (n,) that the mean of the powers' sum lies below a total (n,), and that it does not lie above.

        They differ where a total has a probability of its own: at no power, and at full power.
        """
        _, weight, centre, width = self._computed(x)
        total = as_numbers(total, "total")
        if total.shape != (len(weight),) or np.isnan(total).any():
            raise InputError(f"total has shape {total.shape}; expected ({len(weight)},), without NaN.")
        share = total / (self.powers * self.limit.item())
        z = torch.from_numpy((share[:, None] - centre) / width)
        value = (np.exp(weight) * ndtr(z).numpy()).sum(axis=1)
        return np.where(share <= AT_A_LIMIT, 0.0, value), np.where(share >= 1 - AT_A_LIMIT, 1.0, value)

    @torch.no_grad()
    def _computed(self, x: ArrayLike) -> tuple[Array, ...]:
        """Expected powers and the mixture's log weights, centres and widths, as arrays."""
        x = check_points(x, self.inputs, "x", within=True)
        self.eval()
        parts = []
        for rows in torch.tensor(x, dtype=torch.float32, device=self.limit.device).split(BLOCK):
            expected, mixture = self(rows)
            parts.append([expected, *mixture])
        return tuple(torch.cat(columns).double().cpu().numpy() for columns in zip(*parts, strict=True))


def _network(inputs: int, outputs: int) -> nn.Sequential:
    sizes = (inputs, *[WIDTH] * DEPTH)
    hidden = [part for size in sizes[:-1] for part in (nn.Linear(size, WIDTH), nn.SiLU())]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, outputs))


def emulator_training(epochs: int) -> Training:
    """How the emulator is trained on control points from all over the cube."""
    return Training(epochs=epochs, batch_size=512, learning_rate=6e-3)


def refinement_training(epochs: int) -> Training:
    """How it is trained on near designs."""
    return Training(epochs=epochs, batch_size=512, learning_rate=2e-3)


def power_runs(
    simulator: Simulator,
    model: UncertaintyModel,
    size: int,
    random_seed: int,
    near: ArrayLike | None = None,
    reach: float = 0.1,
    runner: Runner | None = None,
) -> xr.Dataset:
    """Powers of simulated hours as a design's performance asks for them, without runs that failed.

    X_a comes from the model's f_a, or is uniform in three of ten runs, X_e from its E. X_c is uniform, or where control
    points `near` (k, controls) are given, within `reach` of one of them.

    The dataset has x by sample and input; power, the mean over the hour, by sample and output.
    """
    check_counts(size=size)
    check_range(0, 1, "[]", reach=reach)
    problem, rng = problem_of(simulator), rng_of(random_seed, 8)
    uniform, aleatory = rng.random((size, 1)) < UNIFORM, (size, len(problem.aleatory))
    x_a = np.where(uniform, rng.random(aleatory), model.f_a.sample(size, rng))
    x_c = rng.random((size, len(problem.control)))
    if near is not None:
        points = check_points(near, problem.control, "near", within=True)
        centres = points[rng.integers(len(points), size=size)]
        x_c = np.clip(centres + reach * (2 * x_c - 1), 0, 1)
    x = np.column_stack([x_a, model.e.sample(size, rng), x_c])
    seeds = fresh_seeds(size, rng)
    blocks = (slice(start, start + BLOCK) for start in range(0, size, BLOCK))
    made = []
    for rows in blocks:
        hours = run_campaign(simulator, x[rows], seeds[rows], runner, all_needed=False).load()
        made.append((hours.x.values, hours.y.sel(output=list(problem.maximised)).mean("time").values))
    x, powers = map(np.concatenate, zip(*made, strict=True))
    units = ", ".join(dict.fromkeys(problem.units[column] for column in problem.columns(problem.maximised)))
    return xr.Dataset(
        {"x": (("sample", "input"), x), "power": (("sample", "output"), powers, {"units": units})},
        {"input": list(problem.inputs), "output": list(problem.maximised)},
    )


def train_power_emulator(
    simulator: Simulator,
    model: UncertaintyModel,
    size: int,
    training: Training,
    runner: Runner | None = None,
    trainer: Trainer | None = None,
) -> Weights:
    """Weights of a `PowerEmulator` that is trained on as many simulations, all over the cube of X_c."""
    emulator = PowerEmulator.for_problem(problem_of(simulator), training.random_seed)
    runs = power_runs(simulator, model, size, training.random_seed, runner=runner)
    return emulator.fit(runs, training, trainer).to_weights()


class Performance:
    """J, the expectation over X_a and the seed of the mean over the hour of the sum of all powers.

    `levels` leads from X_e and X_c, side by side in n rows, to the levels (n, powers), and `expected` from levels to
    expected powers, elementwise.
    """

    def __init__(self, levels: Callable[[Array], Array], expected: Callable[[Array], Array]) -> None:
        self._levels, self._expected = levels, expected

    def __call__(self, x_e: ArrayLike, x_c: ArrayLike) -> Array:
        """J (n,) at n rows of X_e and X_c."""
        j: Array = self._expected(self._levels(np.hstack([x_e, x_c]))).sum(axis=1)
        return j


def tabulate_performance(
    emulator: PowerEmulator, f_as: Sequence[AleatoryDistribution], e: EpistemicSet
) -> list[Performance]:
    """The performance under each of several f_a, such as an inferred one and its replicates, for X_e in E."""
    network = deepcopy(emulator.levels).double().cpu()

    @torch.no_grad()
    def levels(fixed: Array) -> Array:
        found: Tensor = network(torch.from_numpy(2 * fixed - 1))
        values: Array = found.numpy()
        return values

    rng = np.random.default_rng(1)
    x_e = e.sample(SAMPLES, rng)
    seen = levels(np.hstack([x_e, rng.random((SAMPLES, emulator.inputs - emulator.aleatory - x_e.shape[1]))]))
    room = MARGIN * np.ptp(seen)
    nodes = np.linspace(seen.min() - room, seen.max() + room, NODES)
    planes = [AleatoryPlane(f_a) for f_a in f_as]
    mass = np.array([plane.mass for plane in planes])
    heavy = mass.max(axis=0) > LIGHTEST
    responses = emulator.responses(planes[0].x_a[heavy], nodes)
    means = mass[:, heavy] @ responses / mass[:, heavy].sum(axis=1, keepdims=True)
    return [Performance(levels, CubicSpline(nodes, mean)) for mean in means]
