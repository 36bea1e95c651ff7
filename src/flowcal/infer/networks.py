"""Networks that can be written down and read again: what they were built with, their weights, their learning curve.

Summaries of hours: the transformer that turns a series of 60 minutes and 6 outputs into one vector.

References
----------
.. [1] T. Wang et al., "Data-driven Model Updating Solution for the NASA and DNV Challenge 2025", ESREL SRA-E 2025,
   doi:10.3850/978-981-94-3281-3_ESREL-SRA-E2025-P5658-cd, section 3.3.
.. [2] A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762.
"""

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowcal.artifacts import digest
from flowcal.challenge import OUTPUTS, TIME_STEPS
from flowcal.files import Weights, WeightsError
from flowcal.infer.train import History, Trainer

__all__ = [
    "KeptNetwork",
    "Scaling",
    "SeriesScaling",
    "TransformerSummary",
    "rebuilt",
]

Network = TypeVar("Network", bound=nn.Module)


class KeptNetwork(nn.Module):
    """A network that turns into `Weights` and back.

    Parameters
    ----------
    **built_with
        What the subclass's constructor was called with: JSON values.

    Attributes
    ----------
    history : History
        The learning curve; empty before training.
    """

    def __init__(self, **built_with: Any) -> None:
        super().__init__()
        self.built_with, self.history = built_with, History()

    @property
    def identity(self) -> dict[str, str]:
        """What decides its answers: a digest of what it was built with and of its weights."""
        return {"weights": digest([self.built_with, self.to_weights().tensors])}

    def to_weights(self) -> Weights:
        """Everything it consists of, as weights with a header.

        Returns
        -------
        Weights
        """
        header = {"kind": type(self).__name__, "built_with": self.built_with, "history": asdict(self.history)}
        return Weights(header, {name: value.cpu().numpy() for name, value in self.state_dict().items()})

    @classmethod
    def from_weights(cls, weights: Weights, device: str = "auto") -> Self:
        """The network that `to_weights` described, ready for use.

        Parameters
        ----------
        weights : Weights
        device : str
            'cpu', 'cuda' or 'auto'.

        Returns
        -------
        KeptNetwork
            Of the class that is asked.

        Raises
        ------
        WeightsError
            If they belong to another network, or do not fit their header.
        """
        header = weights.header
        if header.get("kind") != cls.__name__:
            raise WeightsError(f"the weights are of kind {header.get('kind')!r}; expected {cls.__name__!r}.")
        return rebuilt(lambda: cls(**header["built_with"]), weights, device)


def rebuilt(build: Callable[[], Network], weights: Weights, device: str) -> Network:
    """A network with kept weights and history, ready for use.

    Parameters
    ----------
    build : callable
        Makes the network that the header describes; may fail in any way that a wrong header leads it to.
    weights : Weights
    device : str

    Returns
    -------
    Module
        What `build` made.

    Raises
    ------
    WeightsError
        If header and weights do not fit each other.
    """
    try:
        network = build()
        tensors = {name: torch.tensor(value) for name, value in weights.tensors.items()}
        masks = {name: value.sum() for name, value in network.state_dict().items() if value.dtype == torch.bool}
        network.load_state_dict(tensors)
        for name, value in network.state_dict().items():
            if tensors[name].dtype != value.dtype:
                raise ValueError(f"{name} is of type {tensors[name].dtype}; expected {value.dtype}")
            if name in masks and value.sum() != masks[name]:
                raise ValueError(f"{name} picks {value.sum()} values; expected {masks[name]}")
            if not torch.isfinite(value).all():
                raise ValueError(f"some of {name} are not finite")
        network.history = History(**weights.header["history"])  # type: ignore[assignment]  # all of ours have one
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise WeightsError(f"the weights do not fit their header: {error}") from error
    return network.to(Trainer(device).resolve()).eval()


Scaling = Literal["linear", "root", "logarithm"]
"""What an output goes through before it is brought to a common scale."""

CURVES: dict[str, Callable[[Tensor], Tensor]] = {"linear": lambda y: y, "root": torch.sqrt, "logarithm": torch.log1p}


class SeriesScaling(nn.Module):
    """Outputs of unlike size and skewness on a common scale; what is learned from the training data stays with it.

    Parameters
    ----------
    curve : {'linear', 'root', 'logarithm'}
        What an output goes through before it is brought to mean 0 and standard deviation 1. Outputs are not negative.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, curve: Scaling) -> None:
        super().__init__()
        self.curve = CURVES[curve]
        self.register_buffer("mean", torch.zeros(len(OUTPUTS)))
        self.register_buffer("spread", torch.ones(len(OUTPUTS)))

    def learn(self, y: Tensor) -> None:
        """Take means and standard deviations from hours; an output that never changes keeps its unit.

        Parameters
        ----------
        y : Tensor, shape (n, 60, 6)
        """
        curved = self.curve(y).flatten(0, 1)
        spread = curved.std(0, correction=0)
        self.mean.copy_(curved.mean(0))
        self.spread.copy_(torch.where(spread > 0, spread, 1))

    def forward(self, y: Tensor) -> Tensor:
        """Scaled hours.

        Parameters
        ----------
        y : Tensor, shape (n, 60, 6)

        Returns
        -------
        Tensor, shape (n, 60, 6)
        """
        scaled: Tensor = (self.curve(y) - self.mean) / self.spread
        return scaled


class TransformerSummary(nn.Module):
    """The summary network of the paper [1]_: hours (n, 60, 6) to vectors (n, width).

    Each minute is embedded and marked with its position by sines and cosines [2]_; encoder layers follow; the mean
    over the minutes is the summary.

    Parameters
    ----------
    width : int
        Size of the model and of the summary.
    layers : int
        Encoder layers.
    heads : int
        Heads of self-attention; they divide the width.
    feed_forward : int
        Hidden size of the feed-forward networks.
    dropout : float
        Share of values dropped from each sub-layer's output in training.
    inner_dropout : float
        The same for attention weights and hidden units, where PyTorch's own encoder layer has it too.
    embedding_dropout : float
        The same for the embedded minutes, where [2]_ has it too. The paper [1]_ names dropout with the layers only.
    """

    positions: Tensor

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        feed_forward: int,
        dropout: float,
        inner_dropout: float,
        embedding_dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = nn.Linear(len(OUTPUTS), width)
        self.register_buffer("positions", _positions(width), persistent=False)
        self.dropout = nn.Dropout(embedding_dropout)
        self.layers = nn.Sequential(
            *(EncoderLayer(width, heads, feed_forward, dropout, inner_dropout) for _ in range(layers))
        )

    def forward(self, y: Tensor) -> Tensor:
        """Summaries of hours.

        Parameters
        ----------
        y : Tensor, shape (n, 60, 6)
            Scaled.

        Returns
        -------
        Tensor, shape (n, width)
        """
        summary: Tensor = self.layers(self.dropout(self.embedding(y) + self.positions)).mean(dim=1)
        return summary


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
        """From (n, minutes, width) to the same shape."""
        x = self.norms[0](x + self.dropout(self._attend(x)))
        passed: Tensor = self.norms[1](x + self.dropout(self.feed_forward(x)))
        return passed

    def extra_repr(self) -> str:
        """What no part of it shows."""
        return f"heads={self.heads}, attention_dropout={self.attention_dropout}"

    def _attend(self, x: Tensor) -> Tensor:
        parts = self.queries_keys_values(x).unflatten(-1, (3, self.heads, -1))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)  # each (n, heads, minutes, width of a head)
        dropped = self.attention_dropout if self.training else 0.0
        attended = functional.scaled_dot_product_attention(queries, keys, values, dropout_p=dropped)
        mixed: Tensor = self.mix(attended.transpose(1, 2).flatten(-2))
        return mixed


def _positions(width: int) -> Tensor:
    """Sines and cosines of geometrically spaced frequencies, shape (60, width) [2]_."""
    angle = torch.arange(TIME_STEPS)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
