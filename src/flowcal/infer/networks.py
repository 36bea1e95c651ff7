"""Networks that can be saved and loaded: conditional flows on the unit cube, and a posterior given features.

The flows are built from zuko's transforms.

References
----------
.. [1] L. Ardizzone, C. Lüth, J. Kruse, C. Rother and U. Köthe, "Guided Image Generation with Conditional Invertible
   Neural Networks", 2019, arXiv:1907.02392.
.. [2] L. Dinh, J. Sohl-Dickstein and S. Bengio, "Density estimation using Real NVP", ICLR 2017, arXiv:1605.08803.
.. [3] C. Durkan, A. Bekasov, I. Murray and G. Papamakarios, "Neural Spline Flows", NeurIPS 2019, arXiv:1906.04032.
.. [4] K. Cranmer, J. Brehmer and G. Louppe, "The frontier of simulation-based inference", PNAS 117(48), 2020,
   arXiv:1911.01429.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
import zuko
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.distributions import Normal
from torch.distributions.transforms import CumulativeDistributionTransform
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

from flowcal.errors import FlowcalWarning, InputError
from flowcal.files import Weights, WeightsError
from flowcal.fingerprint import digest
from flowcal.infer.train import History, Trainer, Training, seeded, train
from flowcal.problem import as_numbers, check_counts, check_points

__all__ = [
    "BoundedFlow",
    "Coupling",
    "FeaturePosterior",
    "Layout",
    "OutsideTrainingWarning",
    "SavedNetwork",
    "check_finite",
    "matching_header",
    "tupled",
]

Coupling = Literal["affine", "spline"]
"""What a coupling layer does to each value: scale and shift [2]_, or a rational-quadratic spline [3]_."""

BINS = 8
COUPLINGS = {
    "affine": {"univariate": MonotonicAffineTransform, "shapes": [(), ()]},
    "spline": {"univariate": MonotonicRQSTransform, "shapes": [(BINS,), (BINS,), (BINS - 1,)]},
}
ROUNDING = 1e-6  # relative; how far what never changed in training may be off
EDGE = 1e-6  # values closer to a bound are moved here, where single precision still tells them apart
DRAWS_AT_A_TIME = 200_000
# Bounds, so that a damaged header cannot ask for more memory than there is, nor for much time.
MOST = {"parameters": 32, "features": 10_000, "width": 512, "coupling_layers": 32}


class SavedNetwork(nn.Module):
    """A network that turns into `Weights` and back.

    `built_with` holds the arguments of the subclass's constructor as JSON values, `history` the learning curve, which
    is empty before training, and `seen` the least and largest value (2, k) of each kind of input in training.
    """

    def __init__(self, **built_with: Any) -> None:
        super().__init__()
        self.built_with, self.history = built_with, History()
        self.seen: NDArray[np.float64] | None = None

    @property
    def identity(self) -> dict[str, str]:
        """Digest of what decides its answers: its constructor's arguments and its weights."""
        return {"weights": digest([self.built_with, self.to_weights().tensors])}

    def to_weights(self) -> Weights:
        """Its parameters and buffers, with a header that says how to build it."""
        header = {"kind": type(self).__name__, "built_with": self.built_with, "history": asdict(self.history)}
        if self.seen is not None:
            header["seen"] = self.seen.tolist()
        return Weights(header, {name: value.cpu().numpy() for name, value in self.state_dict().items()})

    @classmethod
    def from_weights(cls, weights: Weights, device: str = "auto") -> Self:
        """The network that `to_weights` described, ready for use on a device ('cpu', 'cuda' or 'auto')."""
        with matching_header(weights, cls.__name__) as header:
            network = cls.build(header["built_with"])
            network.load_tensors(weights.tensors)
            network.history = History(**header["history"])
            if "seen" in header:
                network.seen = _two_rows(header["seen"])
        return network.to(Trainer(device).resolve()).eval()

    @classmethod
    def build(cls, built_with: dict[str, Any]) -> Self:
        """The untrained network that a header describes; to be overridden where arguments are not JSON values."""
        return cls(**built_with)

    def note_range(self, values: NDArray[np.float64]) -> None:
        """Keep the least and largest of each column of training data (n, k)."""
        self.seen = np.array([values.min(axis=0), values.max(axis=0)])

    def warn_outside(self, values: NDArray[np.float64], what: str) -> None:
        """Warn if values (n, k) leave the training range by more than its width: networks extrapolate there."""
        if self.seen is None:
            return
        low, high = self.seen
        room = np.maximum(high - low, ROUNDING * np.abs(self.seen).max(axis=0))
        outside = (values < low - room) | (values > high + room)
        if outside.any():
            row, column = np.argwhere(outside)[0].tolist()
            warnings.warn(
                f"{what} go up to {values[row, column]:.3g} where training had {low[column]:.3g} to "
                f"{high[column]:.3g}; what {type(self).__name__} infers from them is extrapolated.",
                OutsideTrainingWarning,
                stacklevel=4,
            )

    def load_tensors(self, tensors: Mapping[str, Any]) -> None:
        """Load parameters and buffers of the right types, all finite, with masks that select as many values as ours."""
        ours = {name: (value.dtype, value.sum()) for name, value in self.state_dict().items()}
        self.load_state_dict({name: torch.tensor(value) for name, value in tensors.items()})
        for name, value in self.state_dict().items():
            dtype, selected = ours[name]
            if (found := torch.tensor(tensors[name]).dtype) != dtype:
                raise ValueError(f"{name} is of type {found}; expected {dtype}")
            if dtype == torch.bool and value.sum() != selected:
                raise ValueError(f"{name} selects {value.sum()} values; expected {selected}")
            if not torch.isfinite(value).all():
                raise ValueError(f"some of {name} are not finite")


class OutsideTrainingWarning(FlowcalWarning):
    """A network is asked about inputs far outside those that it was trained on."""


def _two_rows(seen: Any) -> NDArray[np.float64]:
    rows = np.array(seen, np.float64)
    if rows.ndim != 2 or len(rows) != 2 or not np.isfinite(rows).all():
        raise ValueError(f"seen has shape {rows.shape}; expected (2, k), all finite")
    return rows


def check_finite(values: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    """What a network computed, unless it is NaN."""
    if np.isnan(values).any():
        raise InputError(f"the network gives NaN for {what}; expected inputs nearer to those that it was trained on.")
    return values


@contextmanager
def matching_header(weights: Weights, kind: str) -> Iterator[dict[str, Any]]:
    """The header of weights of a kind; whatever fails while it is used becomes a `WeightsError`."""
    if (found := weights.header.get("kind")) != kind:
        raise WeightsError(f"the weights are of kind {found!r}; expected {kind!r}.")
    try:
        yield weights.header
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise WeightsError(f"the weights do not fit their header: {error}") from error


def tupled(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values with tuples for lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


class BoundedFlow(nn.Module):
    """A distribution on [0, 1]^d given a condition.

    The standard normal quantile function maps the cube to R^d, and the uniform prior to the flow's base distribution.
    Conditional coupling layers follow, so that all mass lies within the cube.

    A conditional affine coupling layer [1]_ splits its input in two and transforms each part by scales and translations
    that are networks of the other part and of the condition. So it holds two of zuko's couplings. The split is drawn
    at random for each layer. A single parameter cannot be split: each layer is a spline that depends on the condition
    alone, whatever `coupling` says.

    Examples
    --------
    >>> flow = BoundedFlow(2, condition=4, layers=6, coupling="affine", hidden=(64, 64), rng=np.random.default_rng(1))
    >>> condition = torch.zeros(5, 4)
    >>> flow.log_prob(torch.full((5, 2), 0.5), condition).shape
    torch.Size([5])
    >>> flow.from_normal(torch.zeros(100, 5, 2), condition).shape
    torch.Size([100, 5, 2])
    """

    def __init__(
        self,
        parameters: int,
        condition: int,
        layers: int,
        coupling: Coupling,
        hidden: Sequence[int],
        rng: np.random.Generator,
    ) -> None:
        super().__init__()
        if parameters < 1 or coupling not in COUPLINGS:
            raise InputError(
                f"expected at least one parameter and a coupling among {', '.join(COUPLINGS)}, got {parameters} and "
                f"{coupling!r}."
            )
        kind = COUPLINGS[coupling if parameters > 1 else "spline"]
        couplings = [
            GeneralCouplingTransform(parameters, condition, mask=mask, hidden_features=hidden, **kind)
            for mask in _random_masks(parameters, layers, rng)
        ]
        self.couplings = zuko.lazy.LazyComposedTransform(*couplings)

    def log_prob(self, theta: Tensor, condition: Tensor) -> Tensor:
        """Log density (..., n) of theta (..., n, d) given conditions (n, k); minus infinity outside the cube."""
        inside = ((theta >= 0) & (theta <= 1)).all(dim=-1)
        opened, log_slope = self._opening.call_and_ladj(theta.clamp(EDGE, 1 - EDGE))
        z, log_volume = self.couplings(condition).call_and_ladj(opened)
        density = Normal(0, 1).log_prob(z).sum(-1) + log_volume + log_slope.sum(-1)
        return torch.where(inside, density, -torch.inf)

    def from_normal(self, z: Tensor, condition: Tensor) -> Tensor:
        """Samples (..., n, d) in the cube from standard normal numbers z (..., n, d) and conditions (n, k)."""
        theta: Tensor = self._opening.inv(self.couplings(condition).inv(z))
        return theta

    @property
    def _opening(self) -> Any:
        """From the cube to R^d, value by value: PyTorch's transform with what zuko adds to it."""
        return CumulativeDistributionTransform(Normal(0, 1)).inv


def _random_masks(parameters: int, layers: int, rng: np.random.Generator) -> Iterator[Tensor | None]:
    """Masks of the couplings: for each layer one part of a random split and then the other, neither of them empty."""
    for _ in range(layers):
        if parameters == 1:
            yield None
            continue
        size = rng.integers(1, parameters)
        part = torch.from_numpy(rng.permutation(parameters) < size)
        yield from (part, ~part)


@dataclass(frozen=True)
class Layout:
    """What a `FeaturePosterior` is built of: `width` is that of its hidden layers and of the flow's condition."""

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


class FeaturePosterior(SavedNetwork):
    """The distribution of parameters in the unit cube given features, for any features, once trained [4]_.

    The random seed decides the splits of the coupling layers and the initial weights.

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
        super().__init__(layout=asdict(layout), random_seed=random_seed)
        self.layout = layout
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

    @classmethod
    def build(cls, built_with: dict[str, Any]) -> Self:
        """The untrained network that a header describes."""
        return cls(**built_with | {"layout": Layout(**built_with["layout"])})

    def loss(self, theta: Tensor, scaled: Tensor) -> Tensor:
        """Negative log density (n,) of parameters (n, d) given scaled features (n, k)."""
        return -self.flow.log_prob(theta, self.network(scaled))

    @_one_thread()
    def fit(
        self, theta: ArrayLike, features: ArrayLike, training: Training, trainer: Trainer | None = None
    ) -> "FeaturePosterior":
        """Train on pairs of parameters (n, d) in [0, 1] and features (n, k)."""
        features = self._checked(features)
        theta = check_points(theta, self.layout.parameters, "theta", within=True)
        if len(theta) != len(features):
            raise InputError(f"theta has {len(theta)} rows; expected {len(features)}, one for each row of features.")
        self.cpu()
        self.note_range(features)
        spread = features.std(axis=0)
        self.mean.copy_(torch.from_numpy(features.mean(axis=0)))
        self.spread.copy_(torch.from_numpy(np.where(spread > 0, spread, 1.0)))
        data = [torch.from_numpy(theta).float(), self._scaled(features)]
        self.history = train(self, self.loss, data, training, trainer)
        return self.eval()

    def sample(self, n: int, features: ArrayLike, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draws (n, m, d) for each of m vectors of features (m, k), all within [0, 1]."""
        features = self._checked(features)
        check_counts(n=n)
        return self.from_normal(rng.standard_normal((n, len(features), self.layout.parameters)), features)

    @_one_thread()
    @torch.no_grad()
    def from_normal(self, z: NDArray[np.float64], features: ArrayLike) -> NDArray[np.float64]:
        """Draws (n, m, d) from standard normal numbers z (n, m, d), or (n, 1, d) for all m features (m, k) the same."""
        features = self._checked(features)
        z = np.broadcast_to(z, (len(z), len(features), self.layout.parameters))
        draws = [
            self.flow.from_normal(torch.tensor(z[:, rows], dtype=torch.float32, device=condition.device), condition)
            for rows, condition in self._conditions(features, len(z))
        ]
        together = np.concatenate([part.cpu().numpy() for part in draws], axis=1).astype(np.float64)
        return check_finite(together, "these features")

    @_one_thread()
    @torch.no_grad()
    def log_prob(self, theta: ArrayLike, features: ArrayLike) -> NDArray[np.float64]:
        """Log density (..., m) of parameters (..., m, d) given features (m, k); minus infinity outside the cube."""
        theta, features = as_numbers(theta, "theta"), self._checked(features)
        if theta.shape[-2:] != (len(features), self.layout.parameters) or np.isnan(theta).any():
            raise InputError(
                f"theta has shape {theta.shape}; expected (..., {len(features)}, {self.layout.parameters}) without NaN."
            )
        densities = [
            self.flow.log_prob(
                torch.tensor(theta[..., rows, :], dtype=torch.float32, device=condition.device), condition
            )
            for rows, condition in self._conditions(features, theta[..., 0, 0].size)
        ]
        together = np.concatenate([part.cpu().numpy() for part in densities], axis=-1).astype(np.float64)
        return check_finite(together, "these features")

    def _conditions(self, features: NDArray[np.float64], draws: int) -> Iterator[tuple[slice, Tensor]]:
        """Conditions of the flow with the rows of features that they belong to, some rows at a time."""
        self.eval()
        self.warn_outside(features, "the features")
        step = max(1, DRAWS_AT_A_TIME // max(draws, 1))
        for start in range(0, len(features), step):
            rows = slice(start, start + step)
            yield rows, self.network(self._scaled(features[rows]).to(self.spread.device))

    def _scaled(self, features: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy((features - self.mean.cpu().numpy()) / self.spread.cpu().numpy()).float()

    def _checked(self, features: ArrayLike) -> NDArray[np.float64]:
        features = check_points(features, self.layout.features, "features")
        check_counts(**{"the number of rows of features": len(features)})
        return features
