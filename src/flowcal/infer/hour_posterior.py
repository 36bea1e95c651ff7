"""The amortised posterior of an hour: a transformer summarises its series, and a flow gives some inputs.

References
----------
.. [1] T. Wang et al., "Data-driven Model Updating Solution for the NASA and DNV Challenge 2025", ESREL SRA-E 2025,
   doi:10.3850/978-981-94-3281-3_ESREL-SRA-E2025-P5658-cd, sections 2 and 3.3.
.. [2] A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762.
.. [3] G. Papamakarios and I. Murray, "Fast ε-free Inference of Simulation Models with Bayesian Conditional Density
   Estimation", NeurIPS 2016, arXiv:1605.06376.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from flowcal.errors import InputError
from flowcal.files import Weights, read_weights, write_weights
from flowcal.infer.networks import BoundedFlow, Coupling, SavedNetwork, check_finite, tupled
from flowcal.infer.train import Trainer, Training, seeded, train
from flowcal.problem import Problem, as_numbers, check_counts
from flowcal.simulate.simulator import hours_of

__all__ = [
    "Architecture",
    "HourPosterior",
    "Pooling",
    "Scaling",
    "SeriesScaling",
    "TransformerSummary",
    "train_posterior",
]

Scaling = Literal["linear", "root", "logarithm"]
"""The function that is applied to each output before scaling."""

Pooling = Literal["mean", "last"]
"""What a summary is of the encoded steps."""

CURVES: dict[str, Callable[[Tensor], Tensor]] = {"linear": lambda y: y, "root": torch.sqrt, "logarithm": torch.log1p}
# Bounds, so that a damaged header cannot ask for more memory than there is, nor for much time.
DEEPEST, WIDEST, LONGEST = 12, 512, 10_000
HOURS_AT_A_TIME = 1000


@dataclass(frozen=True)
class Architecture:
    """What an `HourPosterior` is built of; the sizes are the paper's [1]_ where it gives them.

    The parameters are the inputs to infer, the controls those that the flow reads together with the series; () where it
    reads none.
    """

    parameters: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: int
    controls: tuple[str, ...]
    scaling: Scaling
    coupling: Coupling = "affine"
    coupling_layers: int = 6
    hidden: tuple[int, ...] = (64, 64)
    width: int = 64
    encoder_layers: int = 2
    heads: int = 4
    feed_forward: int = 256
    dropout: float = 0.1
    inner_dropout: float = 0.0
    embedding_dropout: float = 0.0
    pooling: Pooling = "mean"
    positions: bool = True

    def __post_init__(self) -> None:
        if not all(isinstance(names, tuple) for names in (self.parameters, self.outputs, self.controls)):
            raise InputError("parameters, outputs and controls are no tuples; expected tuples of names.")
        if self.scaling not in CURVES:
            raise InputError(f"scaling is {self.scaling!r}; expected one of {', '.join(CURVES)}.")
        if self.pooling not in get_args(Pooling) or not isinstance(self.positions, bool):
            raise InputError(
                f"pooling is {self.pooling!r} and positions is {self.positions!r}; expected one of "
                f"{', '.join(get_args(Pooling))}, and True or False."
            )
        depths = (self.coupling_layers, self.encoder_layers, len(self.hidden))
        widths = (*self.hidden, self.width, self.heads, self.feed_forward, len(self.outputs))
        fits = _whole(depths, DEEPEST) and _whole(widths, WIDEST) and _whole((self.steps,), LONGEST)
        if not fits or self.width % self.heads:
            raise InputError(
                f"the sizes of {self} do not fit; expected whole numbers, up to {DEEPEST} layers, a width up to "
                f"{WIDEST} and {LONGEST} steps, and heads that divide the width."
            )
        dropouts = (self.dropout, self.inner_dropout, self.embedding_dropout)
        if not all(0 <= dropout < 1 for dropout in dropouts):
            raise InputError(f"the shares of dropout are {dropouts}; expected numbers from 0 to below 1.")
        _ = self.problem  # refuses names that are not distinct

    @property
    def problem(self) -> Problem:
        """The hours that it reads, as those of a black box."""
        units = ("1",) * len(self.outputs)
        return Problem(self.parameters, (), self.controls, self.outputs, units, self.steps)


def _whole(values: Sequence[object], largest: int) -> bool:
    return all(isinstance(value, int) and 1 <= value <= largest for value in values)


class SeriesScaling(nn.Module):
    """Series (n, steps, outputs), from 0 up, with mean 0 and standard deviation 1 for each output after a function.

    Mean and standard deviation are learned from the training data and saved with the weights.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, curve: Scaling, outputs: int) -> None:
        super().__init__()
        self.curve = CURVES[curve]
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("spread", torch.ones(outputs))

    def learn(self, y: Tensor) -> None:
        """Take means and standard deviations from series; a constant output keeps its unit."""
        curved = self.curve(y).flatten(0, 1)
        spread = curved.std(0, correction=0)
        self.mean.copy_(curved.mean(0))
        self.spread.copy_(torch.where(spread > 0, spread, 1))

    def forward(self, y: Tensor) -> Tensor:
        """Scaled series."""
        scaled: Tensor = (self.curve(y) - self.mean) / self.spread
        return scaled


class TransformerSummary(nn.Module):
    """The summary network of the paper [1]_: scaled series (n, steps, outputs) to vectors (n, width).

    Each step is embedded and, with `positions`, marked with its place by sines and cosines [2]_. Encoder layers follow.
    The summary is the mean over the steps or the last one. The paper names dropout with the layers only:
    `inner_dropout` is that of attention weights and hidden units, which PyTorch's own encoder layer has too,
    `embedding_dropout` that of [2]_.
    """

    places: Tensor

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.embedding = nn.Linear(len(a.outputs), a.width)
        places = _positions(a.steps, a.width) if a.positions else torch.zeros(a.steps, a.width)
        self.register_buffer("places", places, persistent=False)
        self.dropout = nn.Dropout(a.embedding_dropout)
        layer = (a.width, a.heads, a.feed_forward, a.dropout, a.inner_dropout)
        self.layers = nn.Sequential(*(EncoderLayer(*layer) for _ in range(a.encoder_layers)))
        self.pooling = a.pooling

    def forward(self, y: Tensor) -> Tensor:
        """Summaries (n, width) of scaled series."""
        steps: Tensor = self.layers(self.dropout(self.embedding(y) + self.places))
        return steps.mean(dim=1) if self.pooling == "mean" else steps[:, -1]


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each with dropout, a residual connection and layer norm [2]_."""

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float, inner_dropout: float) -> None:
        super().__init__()
        self.heads, self.attention_dropout = heads, inner_dropout
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, feed_forward), nn.ReLU(), nn.Dropout(inner_dropout), nn.Linear(feed_forward, width)
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """From (n, steps, width) to the same shape."""
        x = self.norms[0](x + self.dropout(self._attend(x)))
        passed: Tensor = self.norms[1](x + self.dropout(self.feed_forward(x)))
        return passed

    def extra_repr(self) -> str:
        """What no part of it shows; it tells checkpoints apart."""
        return f"heads={self.heads}, attention_dropout={self.attention_dropout}"

    def _attend(self, x: Tensor) -> Tensor:
        parts = self.queries_keys_values(x).unflatten(-1, (3, self.heads, -1))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)  # each (n, heads, steps, width of a head)
        dropped = self.attention_dropout if self.training else 0.0
        attended = functional.scaled_dot_product_attention(queries, keys, values, dropout_p=dropped)
        mixed: Tensor = self.mix(attended.transpose(1, 2).flatten(-2))
        return mixed


def _positions(steps: int, width: int) -> Tensor:
    """Sines and cosines of geometrically spaced frequencies, shape (steps, width) [2]_."""
    angle = torch.arange(steps)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class HourPosterior(SavedNetwork):
    """The distribution of some inputs given one hour, for any hour, once it has been trained on simulations [3]_.

    The random seed decides the splits of the coupling layers and the initial weights.

    Examples
    --------
    >>> from flowcal.infer.um1 import aleatory_flow, aleatory_runs
    >>> from flowcal.simulate.windfarm import WindFarm
    >>> from flowcal.simulate.simulator import problem_of
    >>> runs = aleatory_runs(WindFarm(), size=100, seeds="fresh", random_seed=1)
    >>> architecture = aleatory_flow(problem_of(WindFarm()))
    >>> posterior = HourPosterior(architecture, random_seed=1).fit(runs, Training(epochs=1))
    >>> posterior.sample((10,), runs, np.random.default_rng(1)).shape
    (10, 100, 2)
    >>> posterior.log_prob(runs.x.values[:, :2], runs).shape
    (100,)
    """

    def __init__(self, architecture: Architecture, random_seed: int) -> None:
        super().__init__(architecture=asdict(architecture), random_seed=random_seed)
        self.architecture = a = architecture
        with seeded(random_seed):
            self.scaling = SeriesScaling(a.scaling, len(a.outputs))
            self.summary = TransformerSummary(a)
            rng, condition = np.random.default_rng(random_seed), a.width + len(a.controls)
            self.flow = BoundedFlow(len(a.parameters), condition, a.coupling_layers, a.coupling, a.hidden, rng)

    @classmethod
    def build(cls, built_with: dict[str, Any]) -> Self:
        """The untrained network that a header describes."""
        return cls(**built_with | {"architecture": Architecture(**tupled(built_with["architecture"]))})

    def forward(self, y: Tensor, x_c: Tensor) -> Tensor:
        """Conditions (n, k) of the flow from series y (n, steps, outputs) and control points x_c (n, controls)."""
        return torch.cat([self.summary(self.scaling(y)), 2 * x_c - 1], dim=-1)

    def loss(self, theta: Tensor, y: Tensor, x_c: Tensor) -> Tensor:
        """Negative log density (n,) of the true inputs (n, d)."""
        return -self.flow.log_prob(theta, self(y, x_c))

    def fit(self, runs: xr.Dataset, training: Training, trainer: Trainer | None = None) -> Self:
        """Train on simulated hours: x and y by sample, as `run_campaign` returns them."""
        names = list(self.architecture.parameters)
        if "x" not in runs or not set(names) <= set(runs.input.values):
            raise InputError(f"the runs have no x with {', '.join(names)}; expected simulated hours with these inputs.")
        y, x_c = hours_of(runs, self.architecture.problem)
        theta = runs.x.sel(input=names).values
        data = [torch.tensor(part, dtype=torch.float32) for part in (theta, y, x_c)]
        self.note_range(y.reshape(-1, y.shape[2]))
        self.scaling.cpu().learn(data[1])
        self.history = train(self, self.loss, data, training, trainer)
        return self

    def sample(self, shape: tuple[int], hours: xr.Dataset, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draws (n, hours, d) from the posterior of each hour, for shape (n,), all within [0, 1].

        The hours have y by sample, and x_c or x, as `observe` and `run_campaign` return them.
        """
        if not isinstance(shape, tuple) or len(shape) != 1:
            raise InputError(f"shape is {shape}; expected (n,), the number of draws for each hour, from 1 up.")
        (count,) = shape
        check_counts(**{"the number of draws in shape": count})
        size = len(self.architecture.parameters)
        draws = []
        for condition in self._conditions(hours):
            z = rng.standard_normal((count, len(condition), size), dtype=np.float32)
            with torch.no_grad():
                draws.append(self.flow.from_normal(torch.from_numpy(z).to(condition.device), condition).cpu().numpy())
        return check_finite(np.concatenate(draws, axis=1).astype(np.float64), "these hours")

    def log_prob(self, theta: ArrayLike, hours: xr.Dataset) -> NDArray[np.float64]:
        """Log density (..., hours) of theta (..., hours, d) given each hour; minus infinity outside [0, 1]."""
        theta = as_numbers(theta, "theta").astype(np.float32)
        needed = (hours.sizes["sample"], len(self.architecture.parameters))
        if theta.shape[-2:] != needed or np.isnan(theta).any():
            raise InputError(f"theta has shape {theta.shape}; expected (..., {needed[0]}, {needed[1]}) without NaN.")
        values, start = [], 0
        for condition in self._conditions(hours):
            part = torch.from_numpy(theta[..., start : start + len(condition), :]).to(condition.device)
            with torch.no_grad():
                values.append(self.flow.log_prob(part, condition).cpu().numpy())
            start += len(condition)
        return check_finite(np.concatenate(values, axis=-1).astype(np.float64), "these hours")

    def _conditions(self, hours: xr.Dataset) -> Iterator[Tensor]:
        """Conditions of the hours, some hours at a time, so that any number fits in memory."""
        y, x_c = hours_of(hours, self.architecture.problem)
        self.warn_outside(y.reshape(-1, y.shape[2]), "the series")
        device = self.scaling.mean.device
        self.eval()
        for start in range(0, len(y), HOURS_AT_A_TIME):
            rows = slice(start, start + HOURS_AT_A_TIME)
            some = (torch.tensor(part[rows], dtype=torch.float32) for part in (y, x_c))
            with torch.no_grad():
                yield self(*(part.to(device) for part in some))

    def save(self, path: Path) -> None:
        """Write it to a safetensors file with a JSON header."""
        write_weights(path, self.to_weights())

    @classmethod
    def load(cls, path: Path, device: str = "auto") -> Self:
        """Read what `save` wrote."""
        return cls.from_weights(read_weights(path), device)


def train_posterior(
    runs: xr.Dataset, architecture: Architecture, training: Training, trainer: Trainer | None = None
) -> Weights:
    """Weights of a posterior trained on simulated hours, for `HourPosterior.from_weights`."""
    return HourPosterior(architecture, training.random_seed).fit(runs, training, trainer).to_weights()
