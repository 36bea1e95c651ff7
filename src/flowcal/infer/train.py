"""Training: the one loop behind every network of the study.

AdamW [1]_ under a learning rate that warms up and then falls as a cosine, clipped gradients, early stopping on held-out
rows, and a checkpoint after every epoch from which a killed run goes on to the same result.

References
----------
.. [1] I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, arXiv:1711.05101.
"""

import hashlib
import math
import operator
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from tqdm import tqdm

from flowcal.code import code_digest
from flowcal.errors import FlowcalError, InputError
from flowcal.files import Weights, WeightsError, read_weights, write_weights

__all__ = [
    "History",
    "Trainer",
    "Training",
    "TrainingError",
    "seeded",
    "train",
]

WARM_UP = 0.05
"""Share of all steps over which the learning rate rises from 0."""


class TrainingError(FlowcalError, ArithmeticError):
    """Training cannot go on; the message says where it stands and what may help."""


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Attributes
    ----------
    epochs : int
        Most passes over the training rows; the learning rate has fallen to 0 by the last.
    batch_size : int
    learning_rate : float
        Its largest value.
    held_out : float
        Share of the rows that is kept from training, to stop by.
    patience : int
        Epochs without a better held-out loss after which training stops.
    clip : float
        Largest norm of a step's gradient.
    weight_decay : float
    random_seed : int
        Decides the rows held out, the order of the rest, and dropout.

    Raises
    ------
    InputError
        If a number is out of its range.
    """

    epochs: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    held_out: float = 0.1
    patience: int = 10
    clip: float = 5.0
    weight_decay: float = 0.01
    random_seed: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name} is {value!r}; expected a whole number from 1 up.")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}; expected a number above 0.")
        if not 0 < self.held_out < 1:
            raise InputError(f"held_out is {self.held_out}; expected a share between 0 and 1.")


@dataclass(frozen=True)
class Trainer:
    """Where training happens and where checkpoints are kept.

    Attributes
    ----------
    device : str
        ``cpu``, ``cuda``, or ``auto`` for a graphics processor where there is one.
    folder : Path or None
        Folder of checkpoints, each named by the digest of what is trained on what; None keeps none.
    """

    device: str = "auto"
    folder: Path | None = None

    @property
    def identity(self) -> dict[str, str]:
        """The kind of device, for dropout draws other numbers on another; the folder changes no result."""
        return {"device": self.resolve().type}

    def resolve(self) -> torch.device:
        """The device that `device` names.

        Returns
        -------
        device
            Of PyTorch.

        Raises
        ------
        InputError
            If there is none such here.
        """
        name = self.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device is {self.device!r}, which is not to be had here: {error}.") from error
        return torch.device(name)


@dataclass
class History:
    """The learning curve, a value an epoch.

    Attributes
    ----------
    training_loss : list of float
        Mean over the epoch's batches, with dropout.
    held_out_loss : list of float
        After the epoch, without dropout.
    seconds : list of float
        Wall time of the epoch.

    Raises
    ------
    InputError
        If the curves are no lists of numbers, or of unlike length.
    """

    training_loss: list[float] = field(default_factory=list)
    held_out_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        curves = (self.training_loss, self.held_out_loss, self.seconds)
        if not all(isinstance(curve, list) and all(isinstance(value, float) for value in curve) for curve in curves):
            raise InputError("the learning curve does not fit; expected three lists of numbers.")
        if len({len(curve) for curve in curves}) > 1:
            raise InputError(f"the learning curve has {[len(curve) for curve in curves]} epochs; expected as many.")

    @property
    def best(self) -> int:
        """The epoch with the smallest held-out loss, counted from 0; its weights are kept."""
        return int(np.argmin(self.held_out_loss))

    def __len__(self) -> int:
        return len(self.held_out_loss)


Loss = Callable[..., Tensor]


def train(
    network: nn.Module, loss: Loss, data: Sequence[Tensor], training: Training, trainer: Trainer | None = None
) -> History:
    """Train a network in place and leave it with its best weights, ready for use.

    Parameters
    ----------
    network : Module
    loss : callable
        Takes a batch of rows of each tensor of `data` and returns a loss (n,), a value a row.
    data : sequence of Tensor
        Tensors with the same number of rows.
    training : Training
    trainer : Trainer, optional

    Returns
    -------
    History
        The learning curve.

    Raises
    ------
    InputError
        If there are too few rows to hold some out.
    TrainingError
        If the loss is no longer a finite number.
    """
    trainer = trainer or Trainer()
    device = trainer.resolve()
    network.to(device)
    fitted, held_out = ([part.to(device) for part in side] for side in _split(data, training))
    steps = math.ceil(len(fitted[0]) / training.batch_size)
    checkpoint = _Checkpoint.of(network, data, training, trainer.folder)
    optimizer = AdamW(network.parameters(), weight_decay=training.weight_decay, fused=True)
    history, best = checkpoint.take_up(network, optimizer)
    progress = tqdm(total=training.epochs, initial=len(history), desc="training", unit="epoch", delay=2)
    with progress:
        while len(history) < training.epochs and not _is_stalled(history, training.patience):
            start = time.perf_counter()
            epoch = len(history)
            rate = _cosine(training.learning_rate, epoch * steps, training.epochs * steps)
            history.training_loss.append(_fit_epoch(network, loss, fitted, optimizer, rate, training, epoch))
            history.held_out_loss.append(_mean_loss(network, loss, held_out))
            history.seconds.append(round(time.perf_counter() - start, 3))
            if history.best == epoch:
                best = _copy(network.state_dict())
            checkpoint.put(network, optimizer, best, history)
            progress.set_postfix(loss=f"{history.training_loss[-1]:.3f}", held_out=f"{history.held_out_loss[-1]:.3f}")
            progress.update()
    network.load_state_dict(best)
    network.eval()
    checkpoint.remove()
    return history


@contextmanager
def seeded(*random_seed: int) -> Iterator[None]:
    """Seed PyTorch's own generators, which initialisation and dropout draw from, and leave them as they were.

    Parameters
    ----------
    *random_seed : int

    Yields
    ------
    None

    Examples
    --------
    >>> with seeded(1):
    ...     first = torch.rand(3)
    >>> with seeded(1):
    ...     again = torch.rand(3)
    >>> torch.equal(first, again)
    True
    """
    with torch.random.fork_rng():
        seeds = [operator.index(seed) for seed in random_seed]
        torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> 1))
        yield


def _split(data: Sequence[Tensor], training: Training) -> tuple[list[Tensor], list[Tensor]]:
    rows = len(data[0])
    if any(len(part) != rows for part in data):
        raise InputError(f"the tensors have {', '.join(str(len(part)) for part in data)} rows; expected equal numbers.")
    held_out = round(rows * training.held_out)
    if not 1 <= held_out < rows:
        raise InputError(f"{rows} rows leave {held_out} to hold out; expected at least 1, and 1 to train on.")
    order = np.random.default_rng([training.random_seed, rows]).permutation(rows)
    return [part[order[held_out:]] for part in data], [part[order[:held_out]] for part in data]


def _is_stalled(history: History, patience: int) -> bool:
    return len(history) > 0 and len(history) - 1 - history.best >= patience


def _cosine(largest: float, done: int, total: int) -> Callable[[int], float]:
    """Learning rate of the next steps, once `done` of `total` have been made."""

    def rate(step: int) -> float:
        share = (done + step + 1) / total
        return largest * min(share / WARM_UP, 0.5 * (1 + math.cos(math.pi * max(0.0, share - WARM_UP) / (1 - WARM_UP))))

    return rate


def _fit_epoch(
    network: nn.Module,
    loss: Loss,
    data: Sequence[Tensor],
    optimizer: AdamW,
    rate: Callable[[int], float],
    training: Training,
    epoch: int,
) -> float:
    """One pass over the rows in random order; the mean loss of its batches."""
    network.train()
    total = torch.zeros((), device=data[0].device)
    with seeded(training.random_seed, epoch):
        batches = torch.randperm(len(data[0])).split(training.batch_size)
        for step, rows in enumerate(batches):
            optimizer.param_groups[0]["lr"] = rate(step)
            value = loss(*(part[rows.to(part.device)] for part in data)).mean()
            if not torch.isfinite(value):
                raise TrainingError(
                    f"the loss is {value.item()} in batch {step + 1} of epoch {epoch + 1}, at learning rate "
                    f"{rate(step):.2g}; its mean so far this epoch was {(total / max(step, 1)).item():.4g}. A smaller "
                    "learning rate or clip may help, or data without extreme values."
                )
            optimizer.zero_grad()
            value.backward()
            clip_grad_norm_(network.parameters(), training.clip)
            optimizer.step()
            total += value.detach()
    return (total / len(batches)).item()


@torch.no_grad()
def _mean_loss(network: nn.Module, loss: Loss, data: Sequence[Tensor]) -> float:
    network.eval()
    batches = zip(*(part.split(512) for part in data), strict=True)
    value = torch.cat([loss(*batch) for batch in batches]).mean().item()
    if not math.isfinite(value):
        raise TrainingError(f"the held-out loss is {value}; a smaller learning rate or clip may help.")
    return value


@dataclass(frozen=True)
class _Checkpoint:
    """What a killed run goes on from; random numbers need no place in it, for every epoch has seeds of its own."""

    path: Path | None

    @classmethod
    def of(cls, network: nn.Module, data: Sequence[Tensor], training: Training, folder: Path | None) -> "_Checkpoint":
        """The checkpoint of this network as it is initialised, trained on these data in this way."""
        if folder is None:
            return cls(None)
        content = hashlib.sha256(
            repr((network, asdict(training), code_digest([(__name__, "train")]), _code_of(network))).encode()
        )
        for tensor in (*network.state_dict().values(), *data):
            content.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder / f"{content.hexdigest()[:16]}.safetensors")

    def take_up(self, network: nn.Module, optimizer: AdamW) -> tuple[History, dict[str, Tensor]]:
        """Set network and optimiser to where an earlier run was, and return its history and its best weights."""
        if self.path is None or not self.path.exists():
            return History(), _copy(network.state_dict())
        try:
            kept = read_weights(self.path)
        except WeightsError:  # damaged: begin anew
            return History(), _copy(network.state_dict())
        tensors = {name: torch.from_numpy(value) for name, value in kept.tensors.items()}
        network.load_state_dict(_part(tensors, "network."))
        moments: dict[int, dict[str, Tensor]] = {}  # weights that no loss has reached yet have none
        for place, value in _part(tensors, "optimizer.").items():
            index, name = place.split(".")
            moments.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        return History(**kept.header), _part(tensors, "best.")

    def put(self, network: nn.Module, optimizer: AdamW, best: dict[str, Tensor], history: History) -> None:
        """Keep where the run is."""
        if self.path is None:
            return
        moments = {
            f"optimizer.{index}.{name}": value
            for index, state in optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }
        parts = {"network.": network.state_dict(), "best.": best, "": moments}
        tensors = {
            prefix + name: value.detach().cpu().numpy()
            for prefix, part in parts.items()
            for name, value in part.items()
        }
        write_weights(self.path, Weights(asdict(history), tensors))

    def remove(self) -> None:
        """Forget it, once the run is over."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _code_of(network: nn.Module) -> str:
    """Digest of the code behind the network, where it is the package's."""
    module = type(network).__module__
    return code_digest([(module, type(network).__name__)]) if module.startswith("flowcal.") else module


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
