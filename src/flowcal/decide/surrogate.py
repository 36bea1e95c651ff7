"""The paper's surrogate of the black box: for every time step a fully connected network with two hidden layers.

The sixty networks are computed as one batch. Their width, their inputs and the size of their training set are not
published [1]_: here all eight inputs go in, the seed being unknown to them, and all six outputs of the step come out.

References
----------
.. [1] T. Wang et al., "Data-driven Model Updating Solution for the NASA and DNV Challenge 2025", ESREL SRA-E 2025,
   doi:10.3850/978-981-94-3281-3_ESREL-SRA-E2025-P5658-cd, section 4.
"""

from itertools import pairwise

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from flowcal.challenge import INPUTS, OUTPUTS, TIME_STEPS
from flowcal.errors import InputError
from flowcal.infer.kept_network import KeptNetwork
from flowcal.infer.training import Trainer, Training, seeded, train
from flowcal.weights import Weights

__all__ = ["TimeStepSurrogate", "determination", "train_surrogate"]

Array = NDArray[np.float64]

BLOCK = 20_000  # rows that are computed at a time
WIDEST = 1024  # so that a damaged header cannot ask for more memory than there is


class TimeStepSurrogate(KeptNetwork):
    """Sixty networks, one for each time step, from the inputs to the six outputs of that step [1]_.

    Parameters
    ----------
    width : int
        Of the two hidden layers.
    random_seed : int
        Decides the initial weights.

    Raises
    ------
    InputError
        If the width is no whole number from 1 to 1024.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, width: int, random_seed: int) -> None:
        super().__init__(width=width, random_seed=random_seed)
        if not isinstance(width, int) or not 1 <= width <= WIDEST:
            raise InputError(f"width is {width!r}; needed is a whole number from 1 to {WIDEST}.")
        sizes = (len(INPUTS), width, width, len(OUTPUTS))
        with seeded(random_seed):
            self.weights = nn.ParameterList(
                (2 * torch.rand(TIME_STEPS, before, after) - 1) / np.sqrt(before) for before, after in pairwise(sizes)
            )
            self.biases = nn.ParameterList(torch.zeros(TIME_STEPS, 1, after) for after in sizes[1:])
        self.register_buffer("mean", torch.zeros(len(OUTPUTS)))
        self.register_buffer("spread", torch.ones(len(OUTPUTS)))

    def forward(self, x: Tensor) -> Tensor:
        """Scaled series at inputs.

        Parameters
        ----------
        x : Tensor, shape (n, 8)

        Returns
        -------
        Tensor, shape (n, 60, 6)
        """
        hidden = (2 * x - 1).expand(TIME_STEPS, -1, -1)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), 1):
            hidden = torch.baddbmm(bias, hidden, weight)
            if number < len(self.weights):
                hidden = torch.relu(hidden)
        return hidden.transpose(0, 1)

    def loss(self, x: Tensor, scaled: Tensor) -> Tensor:
        """Mean squared error, as training needs it.

        Parameters
        ----------
        x : Tensor, shape (n, 8)
        scaled : Tensor, shape (n, 60, 6)

        Returns
        -------
        Tensor, shape (n,)
        """
        squared: Tensor = (self(x) - scaled).square().mean(dim=(1, 2))
        return squared

    def fit(self, runs: xr.Dataset, training: Training, trainer: Trainer | None = None) -> "TimeStepSurrogate":
        """Train on simulated hours.

        Parameters
        ----------
        runs : Dataset
            x and y by sample, as `run_campaign` returns them.
        training : Training
        trainer : Trainer, optional

        Returns
        -------
        TimeStepSurrogate
            This one.

        Raises
        ------
        TrainingError
            If the loss is no longer a finite number.
        """
        x, y = (torch.tensor(runs[name].values, dtype=torch.float32) for name in ("x", "y"))
        self.cpu()
        self.mean.copy_(y.mean(dim=(0, 1)))
        self.spread.copy_(y.std(dim=(0, 1)).clamp(min=torch.finfo(y.dtype).tiny))
        self.history = train(self, self.loss, [x, (y - self.mean) / self.spread], training, trainer)
        return self

    @torch.no_grad()
    def predict(self, x: ArrayLike) -> Array:
        """Series at inputs.

        Parameters
        ----------
        x : array_like, shape (n, 8)

        Returns
        -------
        ndarray, shape (n, 60, 6)

        Raises
        ------
        InputError
            If x has another shape.
        """
        x = np.asarray(x, np.float64)
        if x.ndim != 2 or x.shape[1] != len(INPUTS):
            raise InputError(f"x has shape {x.shape}; needed is (n, {len(INPUTS)}).")
        rows = torch.tensor(x, dtype=torch.float32, device=self.mean.device).split(BLOCK)
        return np.concatenate([(self(part) * self.spread + self.mean).double().cpu().numpy() for part in rows])


def train_surrogate(runs: xr.Dataset, width: int, training: Training, trainer: Trainer | None = None) -> Weights:
    """Weights of a surrogate that is trained on simulated hours, for `TimeStepSurrogate.from_weights`.

    Parameters
    ----------
    runs : Dataset
        x and y by sample, as `run_campaign` returns them.
    width : int
    training : Training
    trainer : Trainer, optional

    Returns
    -------
    Weights

    Raises
    ------
    TrainingError
        If the loss is no longer a finite number.
    """
    return TimeStepSurrogate(width, training.random_seed).fit(runs, training, trainer).to_weights()


def determination(surrogate: TimeStepSurrogate, runs: xr.Dataset, repeated: xr.Dataset) -> xr.Dataset:
    """How much of the variance the surrogate explains, and how much anything could that does not know the seed.

    Parameters
    ----------
    surrogate : TimeStepSurrogate
    runs, repeated : Dataset
        Simulated hours that it has not seen, twice at the same inputs with other seeds.

    Returns
    -------
    Dataset
        By output: 'r_squared', over all hours and steps; its 'ceiling', the share of variance that is not the seed's.

    Raises
    ------
    InputError
        If the two were simulated at other inputs.
    """
    if not np.array_equal(runs.x, repeated.x):
        raise InputError("runs and repeated have other inputs x; needed are the same, with other seeds.")
    y, again = (part.y.transpose("sample", "time", "output").values for part in (runs, repeated))
    total = np.square(y - y.mean(axis=(0, 1))).mean(axis=(0, 1))
    left = np.square(y - surrogate.predict(runs.x.values)).mean(axis=(0, 1))
    noise = np.square(y - again).mean(axis=(0, 1)) / 2
    return xr.Dataset(
        {"r_squared": ("output", 1 - left / total), "ceiling": ("output", 1 - noise / total)}, {"output": list(OUTPUTS)}
    )
