"""Networks that can be written down and read again: what they were built with, their weights, their learning curve."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Self, TypeVar

import torch
from torch import nn

from flowcal.artifacts import digest
from flowcal.infer.training import History, Trainer
from flowcal.weights import Weights, WeightsError

__all__ = ["KeptNetwork", "rebuilt"]

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
            raise WeightsError(f"the weights are of kind {header.get('kind')!r}; needed is {cls.__name__!r}.")
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
                raise ValueError(f"{name} is of type {tensors[name].dtype}; needed is {value.dtype}")
            if name in masks and value.sum() != masks[name]:
                raise ValueError(f"{name} picks {value.sum()} values; needed are {masks[name]}")
            if not torch.isfinite(value).all():
                raise ValueError(f"some of {name} are not finite")
        network.history = History(**weights.header["history"])  # type: ignore[assignment]  # all of ours have one
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise WeightsError(f"the weights do not fit their header: {error}") from error
    return network.to(Trainer(device).resolve()).eval()
