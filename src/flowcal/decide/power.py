"""An emulator of what the performance of a design needs: the distribution of an hour's power over the seed.

One regularity of the black box carries it, found by simulation and tested where the emulator is validated: what X_e and
X_c do to a power, they do through one number, its level, and all powers answer to theirs alike. So a network turns
(X_e, X_c) into three levels, a second one turns (X_a, level) into an expected power, the same for all three, and a
third one gives the distribution of their sum as a mixture of normals, censored where the powers end [1]_ [2]_.

References
----------
.. [1] C. M. Bishop, "Mixture density networks", NCRG/94/004, Aston University, 1994.
.. [2] J. Tobin, "Estimation of relationships for limited dependent variables", Econometrica 26(1), 1958,
   doi:10.2307/1907382.


The expected power J of designs, tabulated from the emulator: J(X_e, X_c) is a sum of one function of three levels.

References
----------
.. [1] C. Agrell, L. G. Crespo, V. Flovik, E. Vanem and S. Kenny, "The NASA and DNV Challenge on Optimization Under
   Uncertainty", 2025, https://github.com/dnv-opensource/UQ-Challenge-2025.
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

from flowcal.challenge import ALEATORY, CONTROL, INPUTS, POWERS
from flowcal.decide.failure import AleatoryPlane
from flowcal.errors import InputError
from flowcal.files import Weights
from flowcal.infer.models import AleatoryDistribution, EpistemicSet, UncertaintyModel
from flowcal.infer.networks import SavedNetwork
from flowcal.infer.train import Trainer, Training, seeded, train
from flowcal.problem import SEED_MAX
from flowcal.simulate.campaign import Runner, run_campaign
from flowcal.simulate.simulator import Simulator

__all__ = [
    "Performance",
    "PowerEmulator",
    "power_runs",
    "tabulate_performance",
    "train_power_emulator",
]

Array = NDArray[np.float64]

WIDTH, DEPTH, COMPONENTS = 64, 3, 4
UNIFORM = 0.3  # share of the training runs whose X_a is uniform, so that no f_a near this one is out of reach
NARROWEST = 1e-3  # standard deviation of a component, as a share of the largest power
AT_A_LIMIT = 1e-6  # of the largest power, within which a sum counts as being at a limit
WEIGHT_OF_MEANS = 1000.0  # of squared errors, shares of the largest power, beside the log density of the sum
BLOCK = 50_000  # rows that are computed at a time


class PowerEmulator(SavedNetwork):
    """The distribution of the means over the hour of y1, y2 and y3, given all inputs, over the seed.

    Parameters
    ----------
    random_seed : int
        Decides the initial weights.
    """

    limit: Tensor

    def __init__(self, random_seed: int) -> None:
        super().__init__(random_seed=random_seed)
        self.register_buffer("limit", torch.zeros(()))  # largest power seen in training [MW]
        aleatory, powers = len(ALEATORY), len(POWERS)
        with seeded(random_seed):
            self.levels = _network(len(INPUTS) - aleatory, powers)
            self.response = _network(aleatory + 1, 1)
            self.spread = _network(aleatory + 2 * powers, 3 * COMPONENTS)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Expected powers, and the mixture that is the distribution of their mean.

        Powers are counted as shares of the limit.

        Parameters
        ----------
        x : Tensor, shape (n, 8)

        Returns
        -------
        expected : Tensor, shape (n, 3)
        mixture : tuple of three Tensor, each of shape (n, k)
            Log weights, centres and widths.
        """
        x_a, fixed = 4 * (2 * x[:, : len(ALEATORY)] - 1), 2 * x[:, len(ALEATORY) :] - 1
        levels = self.levels(fixed)
        logits = self.answer(x_a, levels)
        expected = torch.sigmoid(logits)
        known = torch.cat([x_a, levels.detach(), logits.detach()], dim=-1)
        weight, shift, width = self.spread(known).unflatten(-1, (3, COMPONENTS)).unbind(-2)
        width = NARROWEST + 0.1 * nn.functional.softplus(width - 2)
        centre = expected.mean(dim=-1, keepdim=True).detach() + width * shift
        return expected, (torch.log_softmax(weight, dim=-1), centre, width)

    def answer(self, x_a: Tensor, levels: Tensor) -> Tensor:
        """Logits of the expected powers.

        Parameters
        ----------
        x_a : Tensor, shape (n, 2)
            Scaled.
        levels : Tensor, shape (n, k)

        Returns
        -------
        Tensor, shape (n, k)
        """
        each = x_a[:, None].expand(-1, levels.shape[1], -1)
        logits: Tensor = self.response(torch.cat([each, levels[..., None]], dim=-1))[..., 0]
        return logits

    def loss(self, x: Tensor, powers: Tensor) -> Tensor:
        """Squared error of the powers and negative log density of their sum, as training needs them.

        Parameters
        ----------
        x : Tensor, shape (n, 8)
        powers : Tensor, shape (n, 3)
            Shares of the limit.

        Returns
        -------
        Tensor, shape (n,)
        """
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
        """Train, or train on, with simulated hours.

        Parameters
        ----------
        runs : Dataset
            x and power by sample, from `power_runs`.
        training : Training
        trainer : Trainer, optional

        Returns
        -------
        PowerEmulator
            This one.

        Raises
        ------
        InputError
            If all powers of the runs are 0.
        TrainingError
            If the loss is no longer a finite number.
        """
        largest = max(float(runs.power.max()), self.limit.item())
        if not largest > 0:
            raise InputError("all powers of the runs are 0; expected one above.")
        self.cpu().limit.fill_(largest)
        data = [torch.tensor(values, dtype=torch.float32) for values in (runs.x.values, runs.power.values / largest)]
        self.history = train(self, self.loss, data, training, trainer)
        return self

    def expected(self, x: ArrayLike) -> Array:
        """Expected means over the hour of y1, y2 and y3.

        Parameters
        ----------
        x : array_like, shape (n, 8)

        Returns
        -------
        ndarray, shape (n, 3)
            [MW].

        Raises
        ------
        InputError
            If x has another shape.
        """
        return self._computed(x)[0] * self.limit.item()

    @torch.no_grad()
    def responses(self, x_a: ArrayLike, levels: ArrayLike) -> Array:
        """Expected mean over the hour of a power, by its level.

        Parameters
        ----------
        x_a : array_like, shape (n, 2)
        levels : array_like, shape (k,)

        Returns
        -------
        ndarray, shape (n, k)
            [MW].
        """
        x_a, levels = (
            torch.tensor(np.asarray(part), dtype=torch.float32, device=self.limit.device) for part in (x_a, levels)
        )
        parts = [
            torch.sigmoid(self.answer(4 * (2 * rows - 1), levels.expand(len(rows), -1))) * self.limit
            for rows in x_a.split(max(1, BLOCK // len(levels)))
        ]
        return torch.cat(parts).double().cpu().numpy()

    def cdf(self, x: ArrayLike, total: ArrayLike) -> tuple[Array, Array]:
        """Probabilities that the mean of y1 + y2 + y3 lies below a total, and not above it.

        They differ where a total has a probability of its own: at no power, and at full power.

        Parameters
        ----------
        x : array_like, shape (n, 8)
        total : array_like, shape (n,)
            [MW].

        Returns
        -------
        below : ndarray, shape (n,)
        not_above : ndarray, shape (n,)

        Raises
        ------
        InputError
            If x has another shape.
        """
        _, weight, centre, width = self._computed(x)
        share = np.asarray(total, np.float64) / (len(POWERS) * self.limit.item())
        z = torch.from_numpy((share[:, None] - centre) / width)
        value = (np.exp(weight) * ndtr(z).numpy()).sum(axis=1)
        return np.where(share <= AT_A_LIMIT, 0.0, value), np.where(share >= 1 - AT_A_LIMIT, 1.0, value)

    @torch.no_grad()
    def _computed(self, x: ArrayLike) -> tuple[Array, ...]:
        """Expected powers and the mixture's log weights, centres and widths, as arrays."""
        x = np.asarray(x, np.float64)
        if x.ndim != 2 or x.shape[1] != len(INPUTS):
            raise InputError(f"x has shape {x.shape}; expected (n, {len(INPUTS)}).")
        self.eval()
        parts = []
        for rows in torch.tensor(x, dtype=torch.float32, device=self.limit.device).split(BLOCK):
            expected, mixture = self(rows)
            parts.append([expected, *mixture])
        return tuple(torch.cat(columns).double().cpu().numpy() for columns in zip(*parts, strict=True))


def power_runs(
    simulator: Simulator,
    model: UncertaintyModel,
    size: int,
    random_seed: int,
    near: ArrayLike | None = None,
    reach: float = 0.1,
    runner: Runner | None = None,
) -> xr.Dataset:
    """Powers of simulated hours as a design's performance asks for them.

    Parameters
    ----------
    simulator : Simulator
    model : UncertaintyModel
        X_a comes from its f_a, or is uniform in three of ten runs; X_e from its E.
    size : int
    random_seed : int
    near : array_like, shape (k, 3), optional
        Control points about which X_c is drawn, within `reach`; without, X_c is uniform.
    reach : float
    runner : Runner, optional

    Returns
    -------
    Dataset
        x (size, 8) by sample and input; power (size, 3), means over the hour [MW], by sample and output; without runs
        that failed.
    """
    rng = np.random.default_rng([random_seed, 8])
    x_a = np.where(rng.random((size, 1)) < UNIFORM, rng.random((size, 2)), model.f_a.sample(size, rng))
    x_c = rng.random((size, len(CONTROL)))
    if near is not None:
        points = np.asarray(near, np.float64)
        centres = points[rng.integers(len(points), size=size)]
        x_c = np.clip(centres + reach * (2 * x_c - 1), 0, 1)
    x = np.column_stack([x_a, model.e.sample(size, rng), x_c])
    seeds = rng.integers(1, SEED_MAX, size, endpoint=True)
    blocks = (slice(start, start + BLOCK) for start in range(0, size, BLOCK))
    campaigns = (run_campaign(simulator, x[rows], seeds[rows], runner, all_needed=False) for rows in blocks)
    made = [(hours.x.values, hours.y.sel(output=list(POWERS)).mean("time").values) for hours in campaigns]
    x, powers = map(np.concatenate, zip(*made, strict=True))
    return xr.Dataset(
        {"x": (("sample", "input"), x), "power": (("sample", "output"), powers, {"units": "MW"})},
        {"input": list(INPUTS), "output": list(POWERS)},
    )


def train_power_emulator(
    simulator: Simulator,
    model: UncertaintyModel,
    size: int,
    training: Training,
    runner: Runner | None = None,
    trainer: Trainer | None = None,
) -> Weights:
    """Weights of an emulator that is trained on simulations, for `PowerEmulator.from_weights`.

    Parameters
    ----------
    simulator : Simulator
    model : UncertaintyModel
    size : int
        Number of simulations.
    training : Training
    runner : Runner, optional
    trainer : Trainer, optional

    Returns
    -------
    Weights

    Raises
    ------
    InputError
        If all powers of the simulations are 0.
    TrainingError
        If the loss is no longer a finite number.
    """
    runs = power_runs(simulator, model, size, training.random_seed, runner=runner)
    return PowerEmulator(training.random_seed).fit(runs, training, trainer).to_weights()


def _network(inputs: int, outputs: int) -> nn.Sequential:
    sizes = (inputs, *[WIDTH] * DEPTH)
    hidden = [part for size in sizes[:-1] for part in (nn.Linear(size, WIDTH), nn.SiLU())]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, outputs))


DRAWS = 20_000  # of (X_e, X_c), whose levels the table spans
LIGHTEST = 1e-9  # share of f_a below which a cell does not count
NODES = 48  # leave an error of 5e-7 MW, as float32 does
MARGIN = 0.1  # by which the table goes beyond the levels that were seen, as a share of their range


class Performance:
    """J, the expectation over X_a and the seed of the mean over the hour of y1 + y2 + y3 [MW] [1]_.

    Parameters
    ----------
    levels : callable
        From X_e and X_c (n, 6) to the levels (n, 3) of the three powers.
    expected : callable
        From levels to expected powers [MW], elementwise.
    """

    def __init__(self, levels: Callable[[Array], Array], expected: Callable[[Array], Array]) -> None:
        self._levels, self._expected = levels, expected

    def __call__(self, x_e: ArrayLike, x_c: ArrayLike) -> Array:
        """J [MW], shape (n,), at x_e and x_c (n, 3).

        Parameters
        ----------
        x_e : array_like, shape (n, 3)
        x_c : array_like, shape (n, 3)

        Returns
        -------
        ndarray, shape (n,)
            J [MW].
        """
        j: Array = self._expected(self._levels(np.hstack([x_e, x_c]))).sum(axis=1)
        return j


def tabulate_performance(
    emulator: PowerEmulator, f_as: Sequence[AleatoryDistribution], e: EpistemicSet
) -> list[Performance]:
    """The performance under each of several f_a, such as an inferred one and its replicates.

    Parameters
    ----------
    emulator : PowerEmulator
    f_as : sequence of AleatoryDistribution
    e : EpistemicSet
        Whose X_e are to be tried.

    Returns
    -------
    list of Performance
        One for each f_a.
    """
    network = deepcopy(emulator.levels).double().cpu()

    @torch.no_grad()
    def levels(fixed: Array) -> Array:
        found: Tensor = network(torch.from_numpy(2 * fixed - 1))
        values: Array = found.numpy()
        return values

    rng = np.random.default_rng(1)
    seen = levels(np.hstack([e.sample(DRAWS, rng), rng.random((DRAWS, len(CONTROL)))]))
    room = MARGIN * np.ptp(seen)
    nodes = np.linspace(seen.min() - room, seen.max() + room, NODES)
    planes = [AleatoryPlane(f_a) for f_a in f_as]
    mass = np.array([plane.mass for plane in planes])
    heavy = mass.max(axis=0) > LIGHTEST
    responses = emulator.responses(planes[0].x_a[heavy], nodes)
    means = mass[:, heavy] @ responses / mass[:, heavy].sum(axis=1, keepdims=True)
    return [Performance(levels, CubicSpline(nodes, mean)) for mean in means]
