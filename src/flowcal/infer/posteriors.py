"""Amortised posteriors: a flow over some inputs, given an hour that a summary network reads.

References
----------
.. [1] T. Wang et al., "Data-driven Model Updating Solution for the NASA and DNV Challenge 2025", ESREL SRA-E 2025,
   doi:10.3850/978-981-94-3281-3_ESREL-SRA-E2025-P5658-cd, sections 2 and 3.3.
.. [2] G. Papamakarios and I. Murray, "Fast ε-free Inference of Simulation Models with Bayesian Conditional Density
   Estimation", NeurIPS 2016, arXiv:1605.06376.


Posteriors given a vector of features: a flow behind a small network, for what has been summarised already.

References
----------
.. [1] K. Cranmer, J. Brehmer and G. Louppe, "The frontier of simulation-based inference", PNAS 117(48), 2020,
   arXiv:1911.01429.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from flowcal.artifacts import digest
from flowcal.challenge import CONTROL, INPUTS, OUTPUTS
from flowcal.errors import InputError
from flowcal.files import Weights, WeightsError, read_weights, write_weights
from flowcal.infer.flow import BoundedFlow, Coupling
from flowcal.infer.networks import CURVES, Scaling, SeriesScaling, TransformerSummary, rebuilt
from flowcal.infer.train import History, Trainer, Training, seeded, train
from flowcal.simulate.simulator import check_hours

__all__ = [
    "Architecture",
    "FeaturePosterior",
    "HourPosterior",
    "Layout",
    "train_posterior",
]

DEEPEST, WIDEST = 12, 512  # so that a damaged header cannot ask for more memory than there is
BLOCK = 1000  # hours that are read at a time, so that any number fits in memory


@dataclass(frozen=True)
class Architecture:
    """What an `HourPosterior` is built of; the sizes are the paper's [1]_ where it gives them.

    Attributes
    ----------
    parameters : tuple of str
        The inputs to infer.
    reads_control : bool
        Whether the condition holds the hour's control point beside its series.
    scaling : {'linear', 'root', 'logarithm'}
    coupling : {'affine', 'spline'}
    coupling_layers, hidden
        Of the flow.
    width, encoder_layers, heads, feed_forward, dropout, inner_dropout, embedding_dropout
        Of the summary network.

    Raises
    ------
    InputError
        If a name or a word is unknown, or a size or a share does not fit.
    """

    parameters: tuple[str, ...]
    reads_control: bool
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

    def __post_init__(self) -> None:
        if not set(self.parameters) <= set(INPUTS) or len(set(self.parameters)) != len(self.parameters):
            raise InputError(f"parameters are {self.parameters}; expected some of {', '.join(INPUTS)}, each once.")
        if not isinstance(self.reads_control, bool):
            raise InputError(f"reads_control is {self.reads_control!r}; expected true or false.")
        if self.scaling not in CURVES:
            raise InputError(f"scaling is {self.scaling!r}; expected one of {', '.join(CURVES)}.")
        depths = (self.coupling_layers, self.encoder_layers, len(self.hidden))
        widths = (*self.hidden, self.width, self.heads, self.feed_forward)
        if not (_whole(depths, DEEPEST) and _whole(widths, WIDEST)) or self.width % self.heads:
            raise InputError(
                f"the sizes of {self} do not fit; expected whole numbers, up to {DEEPEST} layers and a width up to "
                f"{WIDEST}, and heads that divide the width."
            )
        dropouts = (self.dropout, self.inner_dropout, self.embedding_dropout)
        if not all(0 <= dropout < 1 for dropout in dropouts):
            raise InputError(f"the shares of dropout are {dropouts}; expected numbers from 0 to below 1.")


class HourPosterior(nn.Module):
    """The distribution of some inputs given one hour, for any hour, once it has been trained on simulations [2]_.

    Parameters
    ----------
    architecture : Architecture
    random_seed : int
        Decides the splits of the coupling layers and the initial weights.

    Attributes
    ----------
    architecture : Architecture
    history : History
        The learning curve; empty before `fit`.

    Examples
    --------
    >>> from flowcal.simulate.simulator import labelled_hours
    >>> rng = np.random.default_rng(1)  # in place of a simulator
    >>> runs = labelled_hours(rng.random((100, 60, 6)), x=(("sample", "input"), rng.random((100, 8))))
    >>> posterior = HourPosterior(Architecture(("X_a1", "X_a2"), reads_control=True, scaling="root"), random_seed=1)
    >>> posterior = posterior.fit(runs, Training(epochs=1))
    >>> posterior.sample((10,), runs, rng).shape
    (10, 100, 2)
    >>> posterior.log_prob(runs.x.values[:, :2], runs).shape
    (100,)
    """

    def __init__(self, architecture: Architecture, random_seed: int) -> None:
        super().__init__()
        self.architecture, self.random_seed = architecture, random_seed
        self.history = History()
        a = architecture
        condition = a.width + len(CONTROL) * a.reads_control
        with seeded(random_seed):
            self.scaling = SeriesScaling(a.scaling)
            self.summary = TransformerSummary(
                a.width, a.encoder_layers, a.heads, a.feed_forward, a.dropout, a.inner_dropout, a.embedding_dropout
            )
            rng = np.random.default_rng(random_seed)
            self.flow = BoundedFlow(len(a.parameters), condition, a.coupling_layers, a.coupling, a.hidden, rng)

    @property
    def identity(self) -> dict[str, str]:
        """What decides its answers: a digest of its architecture and its weights."""
        return {"weights": digest([asdict(self.architecture), self.to_weights().tensors])}

    def forward(self, y: Tensor, x_c: Tensor) -> Tensor:
        """Conditions of the flow.

        Parameters
        ----------
        y : Tensor, shape (n, 60, 6)
            Hours.
        x_c : Tensor, shape (n, 3)
            Their control points.

        Returns
        -------
        Tensor, shape (n, k)
        """
        summary = self.summary(self.scaling(y))
        return torch.cat([summary, 2 * x_c - 1], dim=-1) if self.architecture.reads_control else summary

    def loss(self, theta: Tensor, y: Tensor, x_c: Tensor) -> Tensor:
        """Negative log density of the true inputs, as training needs it.

        Parameters
        ----------
        theta : Tensor, shape (n, d)
        y : Tensor, shape (n, 60, 6)
        x_c : Tensor, shape (n, 3)

        Returns
        -------
        Tensor, shape (n,)
        """
        return -self.flow.log_prob(theta, self(y, x_c))

    def fit(self, runs: xr.Dataset, training: Training, trainer: Trainer | None = None) -> "HourPosterior":
        """Train on simulated hours.

        Parameters
        ----------
        runs : Dataset
            x and y by sample, as `run_campaign` returns them.
        training : Training
        trainer : Trainer, optional

        Returns
        -------
        HourPosterior
            This one.

        Raises
        ------
        InputError
            If the runs have no x, or hours that cannot be used.
        TrainingError
            If the loss is no longer a finite number.
        """
        if "x" not in runs:
            raise InputError("the runs have no x; expected simulated hours with their inputs.")
        y, x_c = _checked(runs)
        theta = runs.x.sel(input=list(self.architecture.parameters)).values
        data = [torch.tensor(part, dtype=torch.float32) for part in (theta, y, x_c)]
        self.scaling.cpu().learn(data[1])
        self.history = train(self, self.loss, data, training, trainer)
        return self

    def sample(self, shape: tuple[int], hours: xr.Dataset, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draws from the posterior of each hour.

        Parameters
        ----------
        shape : tuple of one int
            (n,), the number of draws for each hour.
        hours : Dataset
            y by sample, and x_c or x, as `observe` and `run_campaign` return them.
        rng : Generator

        Returns
        -------
        ndarray, shape (n, hours, d)
            All within [0, 1].

        Raises
        ------
        InputError
            If the shape or the hours do not fit.
        """
        if not isinstance(shape, tuple) or len(shape) != 1 or shape[0] < 1:
            raise InputError(f"shape is {shape}; expected (n,), the number of draws for each hour, from 1 up.")
        (count,) = shape
        size = len(self.architecture.parameters)
        draws = []
        for condition in self._conditions(hours):
            z = rng.standard_normal((count, len(condition), size), dtype=np.float32)
            with torch.no_grad():
                draws.append(self.flow.from_normal(torch.from_numpy(z).to(condition.device), condition).cpu().numpy())
        return np.concatenate(draws, axis=1).astype(np.float64)

    def log_prob(self, theta: ArrayLike, hours: xr.Dataset) -> NDArray[np.float64]:
        """Log density given each hour; minus infinity outside [0, 1].

        Parameters
        ----------
        theta : array_like, shape (..., hours, d)
        hours : Dataset
            y by sample, and x_c or x.

        Returns
        -------
        ndarray, shape (..., hours)

        Raises
        ------
        InputError
            If theta has another shape, or the hours do not fit.
        """
        theta = np.asarray(theta, np.float32)
        needed = (hours.sizes["sample"], len(self.architecture.parameters))
        if theta.shape[-2:] != needed:
            raise InputError(f"theta has shape {theta.shape}; expected (..., {needed[0]}, {needed[1]}).")
        values, start = [], 0
        for condition in self._conditions(hours):
            part = torch.from_numpy(theta[..., start : start + len(condition), :]).to(condition.device)
            with torch.no_grad():
                values.append(self.flow.log_prob(part, condition).cpu().numpy())
            start += len(condition)
        return np.concatenate(values, axis=-1).astype(np.float64)

    def _conditions(self, hours: xr.Dataset) -> Iterator[Tensor]:
        """Conditions of the hours, block by block."""
        y, x_c = _checked(hours)
        device = self.scaling.mean.device
        self.eval()
        for start in range(0, len(y), BLOCK):
            block = (torch.tensor(part[start : start + BLOCK], dtype=torch.float32) for part in (y, x_c))
            with torch.no_grad():
                yield self(*(part.to(device) for part in block))

    def to_weights(self) -> Weights:
        """Everything it consists of, as weights with a header.

        Returns
        -------
        Weights
        """
        header = {
            "kind": type(self).__name__,
            "architecture": asdict(self.architecture),
            "random_seed": self.random_seed,
            "history": asdict(self.history),
        }
        return Weights(header, {name: value.cpu().numpy() for name, value in self.state_dict().items()})

    @classmethod
    def from_weights(cls, weights: Weights, device: str = "auto") -> "HourPosterior":
        """The posterior that `to_weights` described.

        Parameters
        ----------
        weights : Weights
        device : str
            'cpu', 'cuda' or 'auto'.

        Returns
        -------
        HourPosterior

        Raises
        ------
        WeightsError
            If they belong to something else, or do not fit their header.
        """
        if weights.header.get("kind") != cls.__name__:
            raise WeightsError(f"the weights are of kind {weights.header.get('kind')!r}; expected {cls.__name__!r}.")

        def build() -> HourPosterior:
            architecture: dict[str, Any] = {
                name: _tupled(value) for name, value in weights.header["architecture"].items()
            }
            return cls(Architecture(**architecture), weights.header["random_seed"])

        return rebuilt(build, weights, device)

    def save(self, path: Path) -> None:
        """Write it to a safetensors file with a JSON header.

        Parameters
        ----------
        path : Path

        Raises
        ------
        WeightsError
            If the file cannot be written.
        """
        write_weights(path, self.to_weights())

    @classmethod
    def load(cls, path: Path, device: str = "auto") -> "HourPosterior":
        """Read what `save` wrote.

        Parameters
        ----------
        path : Path
        device : str
            'cpu', 'cuda' or 'auto'.

        Returns
        -------
        HourPosterior

        Raises
        ------
        WeightsError
            If the file is anything else.
        """
        return cls.from_weights(read_weights(path), device)


def train_posterior(
    runs: xr.Dataset, architecture: Architecture, training: Training, trainer: Trainer | None = None
) -> Weights:
    """Weights of a posterior trained on simulated hours, for `HourPosterior.from_weights`.

    Parameters
    ----------
    runs : Dataset
        x and y by sample.
    architecture : Architecture
    training : Training
    trainer : Trainer, optional

    Returns
    -------
    Weights

    Raises
    ------
    InputError
        If the runs have no x, or hours that cannot be used.
    TrainingError
        If the loss is no longer a finite number.
    """
    return HourPosterior(architecture, training.random_seed).fit(runs, training, trainer).to_weights()


def _checked(hours: xr.Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Series and control points of observed or simulated hours, in the order of their names, fit for inference."""
    if "y" not in hours or not {"x_c", "x"} & set(hours):
        raise InputError(f"the hours have {', '.join(map(str, hours))}; expected y, and x_c or x.")
    x_c = hours.x_c if "x_c" in hours else hours.x.sel(input=list(CONTROL)).rename(input="control")
    y = _ordered(hours.y.transpose("sample", "time", "output"), "output", OUTPUTS)
    return check_hours(y.values, _ordered(x_c.transpose("sample", "control"), "control", CONTROL).values)


def _ordered(values: xr.DataArray, dimension: str, names: Sequence[str]) -> xr.DataArray:
    """The values in the order of the names, where they are labelled with just these."""
    labels = values.coords.get(dimension)
    return values if labels is None or set(labels.values) != set(names) else values.sel({dimension: list(names)})


def _whole(values: Sequence[object], largest: int) -> bool:
    return all(isinstance(value, int) and 1 <= value <= largest for value in values)


def _tupled(value: object) -> object:
    """Lists as the tuples that JSON made them from."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


FEATURE_POSTERIOR_BLOCK = 200_000  # draws that are made at a time, so that any number fits in memory
# So that a damaged header cannot ask for more memory than there is, nor for much time.
MOST = {"parameters": 32, "features": 10_000, "width": 512, "coupling_layers": 32}


@dataclass(frozen=True)
class Layout:
    """What a `FeaturePosterior` is built of.

    Attributes
    ----------
    parameters : int
        How many are inferred.
    features : int
        Length of the vector they are inferred from.
    width : int
        Of the two hidden layers between features and condition, and of the condition.
    coupling_layers : int
    coupling : {'affine', 'spline'}

    Raises
    ------
    InputError
        If a size is no whole number from 1 to its most.
    """

    parameters: int
    features: int
    width: int = 64
    coupling_layers: int = 4
    coupling: Coupling = "affine"

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            size = getattr(self, name)
            if not isinstance(size, int) or not 1 <= size <= most:
                raise InputError(f"{name} is {size!r}; expected whole numbers from 1 to {most}.")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Networks so small gain nothing from more threads, and lose much where these have to share cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class FeaturePosterior(nn.Module):
    """The distribution of parameters in the unit cube given features, for any features, once trained [1]_.

    Parameters
    ----------
    layout : Layout
    random_seed : int
        Decides the splits of the coupling layers and the initial weights.

    Attributes
    ----------
    history : History
        The learning curve; empty before `fit`.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> theta = rng.random((500, 2))
    >>> features = theta + 0.1 * rng.standard_normal((500, 2))
    >>> posterior = FeaturePosterior(Layout(parameters=2, features=2), random_seed=1)
    >>> posterior = posterior.fit(theta, features, Training(epochs=1))
    >>> posterior.sample(10, features, rng).shape
    (10, 500, 2)
    >>> posterior.log_prob(theta, features).shape
    (500,)
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, layout: Layout, random_seed: int) -> None:
        super().__init__()
        self.layout, self.random_seed = layout, random_seed
        self.history = History()
        # Double precision: features may differ in their last digits only, until they are brought to a common scale.
        self.register_buffer("mean", torch.zeros(layout.features, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(layout.features, dtype=torch.float64))
        with seeded(random_seed):
            width = layout.width
            sizes = (layout.features, width, width)
            hidden = [part for size in sizes for part in (nn.Linear(size, width), nn.SiLU())]
            self.network = nn.Sequential(*hidden[:-1])
            rng = np.random.default_rng(random_seed)
            self.flow = BoundedFlow(layout.parameters, width, layout.coupling_layers, layout.coupling, (64,), rng)

    @property
    def identity(self) -> dict[str, str]:
        """What decides its answers: a digest of its layout and its weights."""
        return {"weights": digest([asdict(self.layout), self.to_weights().tensors])}

    def loss(self, theta: Tensor, features: Tensor) -> Tensor:
        """Negative log density, as training needs it.

        Parameters
        ----------
        theta : Tensor, shape (n, d)
        features : Tensor, shape (n, k)
            Brought to a common scale.

        Returns
        -------
        Tensor, shape (n,)
        """
        return -self.flow.log_prob(theta, self.network(features))

    @_one_thread()
    def fit(
        self, theta: ArrayLike, features: ArrayLike, training: Training, trainer: Trainer | None = None
    ) -> "FeaturePosterior":
        """Train on pairs.

        Parameters
        ----------
        theta : array_like, shape (n, d)
            In [0, 1].
        features : array_like, shape (n, k)
        training : Training
        trainer : Trainer, optional

        Returns
        -------
        FeaturePosterior
            This one.

        Raises
        ------
        InputError
            If a shape does not fit, a feature is not finite, or a parameter leaves [0, 1].
        TrainingError
            If the loss is no longer a finite number.
        """
        features = self._checked(features)
        theta = np.asarray(theta, np.float64)
        if theta.shape != (len(features), self.layout.parameters) or not ((theta >= 0) & (theta <= 1)).all():
            raise InputError(
                f"theta has shape {theta.shape}; expected {(len(features), self.layout.parameters)}, within [0, 1]."
            )
        self.cpu()
        spread = features.std(axis=0)
        self.mean.copy_(torch.from_numpy(features.mean(axis=0)))
        self.spread.copy_(torch.from_numpy(np.where(spread > 0, spread, 1.0)))
        data = [torch.from_numpy(theta).float(), self._scaled(features)]
        self.history = train(self, self.loss, data, training, trainer)
        return self.eval()

    def sample(self, n: int, features: ArrayLike, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draws for each of several vectors of features, all within [0, 1].

        Parameters
        ----------
        n : int
        features : array_like, shape (m, k)
        rng : Generator

        Returns
        -------
        ndarray, shape (n, m, d)

        Raises
        ------
        InputError
            If the features have another shape or are not finite.
        """
        features = self._checked(features)
        return self.from_normal(rng.standard_normal((n, len(features), self.layout.parameters)), features)

    @_one_thread()
    @torch.no_grad()
    def from_normal(self, z: NDArray[np.float64], features: ArrayLike) -> NDArray[np.float64]:
        """Draws that stand for given standard normal numbers.

        Parameters
        ----------
        z : ndarray, shape (n, m, d) or (n, 1, d)
            The latter for all features the same.
        features : array_like, shape (m, k)

        Returns
        -------
        ndarray, shape (n, m, d)

        Raises
        ------
        InputError
            If the features have another shape or are not finite.
        """
        features = self._checked(features)
        z = np.broadcast_to(z, (len(z), len(features), self.layout.parameters))
        draws = [
            self.flow.from_normal(torch.tensor(z[:, rows], dtype=torch.float32, device=condition.device), condition)
            for rows, condition in self._conditions(features, len(z))
        ]
        return np.concatenate([part.cpu().numpy() for part in draws], axis=1).astype(np.float64)

    @_one_thread()
    @torch.no_grad()
    def log_prob(self, theta: ArrayLike, features: ArrayLike) -> NDArray[np.float64]:
        """Log density of parameters given features; minus infinity outside the cube.

        Parameters
        ----------
        theta : array_like, shape (..., m, d)
        features : array_like, shape (m, k)

        Returns
        -------
        ndarray, shape (..., m)

        Raises
        ------
        InputError
            If a shape does not fit, or a feature is not finite.
        """
        theta, features = np.asarray(theta, np.float64), self._checked(features)
        if theta.shape[-2:] != (len(features), self.layout.parameters):
            raise InputError(
                f"theta has shape {theta.shape}; expected (..., {len(features)}, {self.layout.parameters})."
            )
        densities = [
            self.flow.log_prob(
                torch.tensor(theta[..., rows, :], dtype=torch.float32, device=condition.device), condition
            )
            for rows, condition in self._conditions(features, theta[..., 0, 0].size)
        ]
        return np.concatenate([part.cpu().numpy() for part in densities], axis=-1).astype(np.float64)

    def to_weights(self) -> Weights:
        """Everything it consists of, as weights with a header.

        Returns
        -------
        Weights
        """
        header = {
            "kind": type(self).__name__,
            "layout": asdict(self.layout),
            "random_seed": self.random_seed,
            "history": asdict(self.history),
        }
        return Weights(header, {name: value.cpu().numpy() for name, value in self.state_dict().items()})

    @classmethod
    def from_weights(cls, weights: Weights, device: str = "auto") -> "FeaturePosterior":
        """The posterior that `to_weights` described.

        Parameters
        ----------
        weights : Weights
        device : str
            'cpu', 'cuda' or 'auto'.

        Returns
        -------
        FeaturePosterior

        Raises
        ------
        WeightsError
            If they belong to something else, or do not fit their header.
        """
        header = weights.header
        if header.get("kind") != cls.__name__:
            raise WeightsError(f"the weights are of kind {header.get('kind')!r}; expected {cls.__name__!r}.")
        return rebuilt(lambda: cls(Layout(**header["layout"]), header["random_seed"]), weights, device)

    def _conditions(self, features: NDArray[np.float64], draws: int) -> Iterator[tuple[slice, Tensor]]:
        """Conditions of the flow, block by block, with the rows of features that they belong to."""
        self.eval()
        step = max(1, FEATURE_POSTERIOR_BLOCK // max(draws, 1))
        for start in range(0, len(features), step):
            rows = slice(start, start + step)
            yield rows, self.network(self._scaled(features[rows]).to(self.spread.device))

    def _scaled(self, features: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy((features - self.mean.cpu().numpy()) / self.spread.cpu().numpy()).float()

    def _checked(self, features: ArrayLike) -> NDArray[np.float64]:
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or features.shape[1] != self.layout.features or not np.isfinite(features).all():
            raise InputError(f"features have shape {features.shape}; expected (n, {self.layout.features}), all finite.")
        return features
