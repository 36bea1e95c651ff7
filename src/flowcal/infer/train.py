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
from flowcal.problem import check_counts, check_range

__all__ = ["History", "Trainer", "Training", "TrainingError", "seeded", "train"]

WARM_UP = 0.05  # share of all steps over which the learning rate rises from 0
ROWS_AT_A_TIME = 512  # of those held out


class TrainingError(FlowcalError, ArithmeticError):
    """The loss is not finite; the message says where and what may help."""


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    The learning rate rises to `learning_rate` and falls to 0 by the last of the epochs. A share `held_out` of the rows
    is not trained on, and training stops after `patience` epochs without a better loss on them. The norm of a step's
    gradient is at most `clip`. The random seed decides the rows held out, the order of the rest, and dropout.
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
        check_counts(epochs=self.epochs, batch_size=self.batch_size, patience=self.patience)
        check_counts(0, random_seed=self.random_seed)
        check_range(0, math.inf, learning_rate=self.learning_rate, clip=self.clip)
        check_range(0, math.inf, "[)", weight_decay=self.weight_decay)
        check_range(0, 1, held_out=self.held_out)


@dataclass(frozen=True)
class Trainer:
    """Where training runs ('cpu', 'cuda', or 'auto' for a graphics processor where there is one), and its checkpoints.

    Each checkpoint in the folder is named by the digest of what is trained on which data.
    """

    device: str = "auto"
    folder: Path | None = None

    @property
    def identity(self) -> dict[str, str]:
        """The kind of device, since dropout draws other numbers on another; the folder changes no result."""
        return {"device": self.resolve().type}

    def resolve(self) -> torch.device:
        """PyTorch's device of this name, or an `InputError` where it is not available."""
        name = self.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device is {self.device!r}, which is not available here: {error}.") from error
        return torch.device(name)


@dataclass
class History:
    """The learning curve by epoch: mean loss of its batches with dropout, held-out loss after it, wall time [s]."""

    training_loss: list[float] = field(default_factory=list)
    held_out_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        curves = (self.training_loss, self.held_out_loss, self.seconds)
        numbers = all(isinstance(curve, list) and all(isinstance(value, float) for value in curve) for curve in curves)
        if not numbers or len({len(curve) for curve in curves}) > 1:
            raise InputError("the learning curve does not fit; expected three lists of numbers of equal length.")

    @property
    def best(self) -> int:
        """The epoch with the smallest held-out loss, counted from 0; its weights are kept."""
        return int(np.argmin(self.held_out_loss))

    def is_stalled(self, patience: int) -> bool:
        """Whether so many epochs have passed since the best one."""
        return len(self) > 0 and len(self) - 1 - self.best >= patience

    def __len__(self) -> int:
        return len(self.held_out_loss)


Loss = Callable[..., Tensor]


def train(
    network: nn.Module, loss: Loss, data: Sequence[Tensor], training: Training, trainer: Trainer | None = None
) -> History:
    """Train a network in place and leave it with its best weights, ready for use.

    `data` are tensors with the same number of rows. The loss takes a batch of rows of each of them and returns a value
    for each row (n,).

    Raises `TrainingError` if the loss is no longer a finite number.
    """
    trainer = trainer or Trainer()
    device = trainer.resolve()
    network.to(device)
    fitted, held_out = ([part.to(device) for part in side] for side in _split(data, training))
    steps = math.ceil(len(fitted[0]) / training.batch_size)
    checkpoint = _Checkpoint.of(network, data, training, trainer.folder)
    optimizer = AdamW(network.parameters(), weight_decay=training.weight_decay, fused=True)
    history, best = checkpoint.resume(network, optimizer)
    with tqdm(total=training.epochs, initial=len(history), desc="training", unit="epoch", delay=2) as progress:
        while len(history) < training.epochs and not history.is_stalled(training.patience):
            start, epoch = time.perf_counter(), len(history)
            rate = _cosine(training.learning_rate, epoch * steps, training.epochs * steps)
            history.training_loss.append(_fit_epoch(network, loss, fitted, optimizer, rate, training, epoch))
            history.held_out_loss.append(_mean_loss(network, loss, held_out))
            history.seconds.append(round(time.perf_counter() - start, 3))
            if history.best == epoch:
                best = _copy(network.state_dict())
            checkpoint.write(network, optimizer, best, history)
            progress.set_postfix(loss=f"{history.training_loss[-1]:.3f}", held_out=f"{history.held_out_loss[-1]:.3f}")
            progress.update()
    network.load_state_dict(best)
    network.eval()
    checkpoint.remove()
    return history


@contextmanager
def seeded(*random_seed: int) -> Iterator[None]:
    """Seed PyTorch's own generators, which initialisation and dropout draw from, and restore them afterwards.

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


def _cosine(largest: float, done: int, total: int) -> Callable[[int], float]:
    """Learning rate of the next steps after `done` of `total`: a linear rise, then half a cosine."""

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
    batches = zip(*(part.split(ROWS_AT_A_TIME) for part in data), strict=True)
    value = torch.cat([loss(*batch) for batch in batches]).mean().item()
    if not math.isfinite(value):
        raise TrainingError(f"the held-out loss is {value}; a smaller learning rate or clip may help.")
    return value


@dataclass(frozen=True)
class _Checkpoint:
    """What a killed run resumes from; it holds no state of random numbers, since each epoch has seeds of its own."""

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

    def resume(self, network: nn.Module, optimizer: AdamW) -> tuple[History, dict[str, Tensor]]:
        """Set network and optimiser to where an earlier run was, and return its history and its best weights."""
        try:
            if self.path is None or not self.path.exists():
                return History(), _copy(network.state_dict())
            kept = read_weights(self.path)
        except WeightsError:  # damaged: start again
            return History(), _copy(network.state_dict())
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "moments": {}}
        for place, value in kept.tensors.items():
            part, name = place.split(".", 1)
            parts[part][name] = torch.from_numpy(value)
        moments: dict[int, dict[str, Tensor]] = {}  # weights that no loss has reached yet have none
        for place, moment in parts["moments"].items():
            index, name = place.split(".")
            moments.setdefault(int(index), {})[name] = moment
        network.load_state_dict(parts["network"])
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        return History(**kept.header), parts["best"]

    def write(self, network: nn.Module, optimizer: AdamW, best: dict[str, Tensor], history: History) -> None:
        """Save the current state of the run."""
        if self.path is None:
            return
        parts = {"network": network.state_dict(), "best": best}
        parts |= {f"moments.{index}": state for index, state in optimizer.state_dict()["state"].items()}
        tensors = {
            f"{part}.{name}": value.detach().cpu().numpy()
            for part, values in parts.items()
            for name, value in values.items()
        }
        write_weights(self.path, Weights(asdict(history), tensors))

    def remove(self) -> None:
        """Delete it once the run is over."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _code_of(network: nn.Module) -> str:
    """Digest of the code behind the network, where it is the package's."""
    module = type(network).__module__
    return code_digest([(module, type(network).__name__)]) if module.startswith("flowcal.") else module


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}
