"""Conditional normalising flows on the unit cube, built from zuko's transforms.

References
----------
.. [1] L. Ardizzone, C. Lüth, J. Kruse, C. Rother and U. Köthe, "Guided Image Generation with Conditional Invertible
   Neural Networks", 2019, arXiv:1907.02392.
.. [2] L. Dinh, J. Sohl-Dickstein and S. Bengio, "Density estimation using Real NVP", ICLR 2017, arXiv:1605.08803.
.. [3] C. Durkan, A. Bekasov, I. Murray and G. Papamakarios, "Neural Spline Flows", NeurIPS 2019, arXiv:1906.04032.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
import zuko
from torch import Tensor, nn
from torch.distributions import Normal
from torch.distributions.transforms import CumulativeDistributionTransform
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

from flowcal.errors import InputError

__all__ = [
    "BoundedFlow",
    "Coupling",
]

Coupling = Literal["affine", "spline"]
"""What a coupling layer does to each value."""

BINS = 8
COUPLINGS = {
    "affine": {"univariate": MonotonicAffineTransform, "shapes": [(), ()]},
    "spline": {"univariate": MonotonicRQSTransform, "shapes": [(BINS,), (BINS,), (BINS - 1,)]},
}
EDGE = 1e-6  # what lies closer to a bound is treated as lying here, where single precision still tells values apart


class BoundedFlow(nn.Module):
    """A distribution on [0, 1]^d given a condition.

    The cube is opened to all of R^d by the standard normal quantile function, under which the uniform prior becomes
    exactly the flow's base; conditional coupling layers follow. Samples cannot leave the cube, and no mass lies
    outside.

    A conditional affine coupling layer (cACL) [1]_ splits its input in two and transforms each part by scales and
    translations that are networks of the other part and of the condition; so it holds two of zuko's couplings. Which
    parameters make up the parts, and how many each, is drawn for each layer. Two parameters can only be split one and
    one, three only one and two.

    Parameters
    ----------
    parameters : int
        Dimension d, at least 2.
    condition : int
        Length of the condition.
    layers : int
        Number of coupling layers.
    coupling : {'affine', 'spline'}
        What a layer does to each value: scale and shift [2]_, or a rational-quadratic spline [3]_.
    hidden : sequence of int
        Sizes of the hidden layers of the networks.
    rng : Generator
        Draws the splits.

    Raises
    ------
    InputError
        If there are fewer than two parameters, or no such coupling.

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
        if parameters < 2:
            raise InputError(f"parameters is {parameters}; a coupling layer needs at least 2 to split.")
        if coupling not in COUPLINGS:
            raise InputError(f"coupling is {coupling!r}; expected one of {', '.join(COUPLINGS)}.")
        couplings = [
            GeneralCouplingTransform(parameters, condition, mask=mask, hidden_features=hidden, **COUPLINGS[coupling])
            for split in _random_splits(parameters, layers, rng)
            for mask in (split, ~split)
        ]
        self.couplings = zuko.lazy.LazyComposedTransform(*couplings)

    def log_prob(self, theta: Tensor, condition: Tensor) -> Tensor:
        """Log density; minus infinity outside the cube, and never NaN inside.

        Parameters
        ----------
        theta : Tensor, shape (..., n, d)
        condition : Tensor, shape (n, k)

        Returns
        -------
        Tensor, shape (..., n)
        """
        inside = ((theta >= 0) & (theta <= 1)).all(dim=-1)
        opened, log_slope = self._opening.call_and_ladj(theta.clamp(EDGE, 1 - EDGE))
        z, log_volume = self.couplings(condition).call_and_ladj(opened)
        density = Normal(0, 1).log_prob(z).sum(-1) + log_volume + log_slope.sum(-1)
        return torch.where(inside, density, -torch.inf)

    def from_normal(self, z: Tensor, condition: Tensor) -> Tensor:
        """Samples that stand for standard normal numbers, condition by condition.

        Parameters
        ----------
        z : Tensor, shape (..., n, d)
        condition : Tensor, shape (n, k)

        Returns
        -------
        Tensor, shape (..., n, d)
            Within [0, 1].
        """
        theta: Tensor = self._opening.inv(self.couplings(condition).inv(z))
        return theta

    @property
    def _opening(self) -> Any:
        """From the cube to R^d, value by value: a transform of PyTorch's with what zuko adds to these."""
        return CumulativeDistributionTransform(Normal(0, 1)).inv


def _random_splits(parameters: int, layers: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """For each layer a mask of one part, with at least one parameter in each part."""
    for _ in range(layers):
        size = rng.integers(1, parameters)
        yield torch.from_numpy(rng.permutation(parameters) < size)
