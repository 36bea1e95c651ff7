"""Posteriors given a vector of features: a flow behind a small network, for what has been summarised already.

References
----------
.. [1] K. Cranmer, J. Brehmer and G. Louppe, "The frontier of simulation-based inference", PNAS 117(48), 2020,
   arXiv:1911.01429.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from flowcal.artifacts import digest
from flowcal.errors import InputError
from flowcal.infer.flows import BoundedFlow, Coupling
from flowcal.infer.kept_network import rebuilt
from flowcal.infer.training import History, Trainer, Training, seeded, train
from flowcal.weights import Weights, WeightsError

__all__ = ["FeaturePosterior", "Layout"]

BLOCK = 200_000  # draws that are made at a time, so that any number fits in memory
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
                raise InputError(f"{name} is {size!r}; needed are whole numbers from 1 to {most}.")


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
                f"theta has shape {theta.shape}; needed is {(len(features), self.layout.parameters)}, within [0, 1]."
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
                f"theta has shape {theta.shape}; needed is (..., {len(features)}, {self.layout.parameters})."
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
            raise WeightsError(f"the weights are of kind {header.get('kind')!r}; needed is {cls.__name__!r}.")
        return rebuilt(lambda: cls(Layout(**header["layout"]), header["random_seed"]), weights, device)

    def _conditions(self, features: NDArray[np.float64], draws: int) -> Iterator[tuple[slice, Tensor]]:
        """Conditions of the flow, block by block, with the rows of features that they belong to."""
        self.eval()
        step = max(1, BLOCK // max(draws, 1))
        for start in range(0, len(features), step):
            rows = slice(start, start + step)
            yield rows, self.network(self._scaled(features[rows]).to(self.spread.device))

    def _scaled(self, features: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy((features - self.mean.cpu().numpy()) / self.spread.cpu().numpy()).float()

    def _checked(self, features: ArrayLike) -> NDArray[np.float64]:
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or features.shape[1] != self.layout.features or not np.isfinite(features).all():
            raise InputError(
                f"features have shape {features.shape}; needed is (n, {self.layout.features}), all finite."
            )
        return features
