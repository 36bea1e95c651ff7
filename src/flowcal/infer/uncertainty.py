"""Uncertainty models: what inference hands on, a distribution f_a of X_a and a set E that holds X_e.

References
----------
.. [1] C. Agrell, L. G. Crespo, V. Flovik, E. Vanem and S. Kenny, "The NASA and DNV Challenge on Optimization Under
   Uncertainty", 2025, https://github.com/dnv-opensource/UQ-Challenge-2025.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from flowcal.artifacts import digest
from flowcal.challenge import ALEATORY, BOUNDS, EPISTEMIC
from flowcal.errors import InputError
from flowcal.infer.frame import Frame
from flowcal.infer.kernel_density import BoundedKernelDensity

__all__ = ["AleatoryDistribution", "EpistemicBox", "EpistemicSet", "PooledDraws", "UncertaintyModel"]


class AleatoryDistribution(Protocol):
    """The distribution f_a of X_a on the unit square."""

    @property
    def resolution(self) -> float:
        """Smallest probability of which it says more than a bound."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides it."""
        ...

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Independent draws.

        Parameters
        ----------
        n : int
        rng : Generator

        Returns
        -------
        ndarray, shape (n, 2)
        """
        ...

    def log_prob(self, x_a: ArrayLike) -> NDArray[np.float64]:
        """Log density; minus infinity outside [0, 1].

        Parameters
        ----------
        x_a : array_like, shape (n, 2)

        Returns
        -------
        ndarray, shape (n,)
        """
        ...


class EpistemicSet(Protocol):
    """The set E of the values of X_e that are held possible; a single point is one."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides it."""
        ...

    def contains(self, x_e: ArrayLike) -> NDArray[np.bool_]:
        """Whether points lie in the set.

        Parameters
        ----------
        x_e : array_like, shape (n, 3)

        Returns
        -------
        ndarray of bool, shape (n,)
        """
        ...

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Points drawn uniformly from the set.

        Parameters
        ----------
        n : int
        rng : Generator

        Returns
        -------
        ndarray, shape (n, 3)
        """
        ...

    @property
    def volume(self) -> float:
        """Share of the unit cube."""
        ...

    @property
    def bounding_box(self) -> NDArray[np.float64]:
        """Smallest and largest value of each input, shape (2, 3)."""
        ...

    @property
    def turned_box(self) -> Frame:
        """A box around the set along its own axes, with which it may be much smaller than the bounding box."""
        ...


@dataclass(frozen=True)
class UncertaintyModel:
    """What is known of the inputs that nobody sets [1]_.

    Attributes
    ----------
    f_a : AleatoryDistribution
    e : EpistemicSet
    """

    f_a: AleatoryDistribution
    e: EpistemicSet


class PooledDraws:
    """f_a from draws of X_a, as the paper has it: a kernel density about posterior draws of all hours together.

    Parameters
    ----------
    draws : array_like, shape (n, 2)
        A first draw for every hour, a second for every hour, and so on.
    hours : int
        How many observed hours the draws come from. They cannot resolve a probability below one in this.

    Raises
    ------
    InputError
        If the draws have other columns, or not as many for every hour.

    Examples
    --------
    >>> f_a = PooledDraws(np.random.default_rng(1).random((1000, 2)), hours=100)
    >>> f_a.sample(3, np.random.default_rng(2)).shape
    (3, 2)
    >>> f_a.resolution
    0.01
    """

    def __init__(self, draws: ArrayLike, hours: int) -> None:
        self.density = BoundedKernelDensity(draws)
        self.hours = int(hours)
        if self.density.draws.shape[1] != len(ALEATORY) or not self.hours >= 1 or len(self.density.draws) % self.hours:
            raise InputError(
                f"draws have shape {self.density.draws.shape} from {hours} hours; needed are two columns, "
                f"{' and '.join(ALEATORY)}, and as many draws for every hour."
            )
        self.resolution = 1 / self.hours

    @property
    def identity(self) -> dict[str, str]:
        """What decides it: a digest of its draws and of their number of hours."""
        return {"draws": digest(self.to_dataset())}

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draws from the kernel density.

        Parameters
        ----------
        n : int
        rng : Generator

        Returns
        -------
        ndarray, shape (n, 2)
        """
        return self.density.sample(n, rng)

    def log_prob(self, x_a: ArrayLike) -> NDArray[np.float64]:
        """Log density; minus infinity outside [0, 1].

        Parameters
        ----------
        x_a : array_like, shape (n, 2)

        Returns
        -------
        ndarray, shape (n,)

        Raises
        ------
        InputError
            If x_a has another shape.
        """
        return self.density.log_prob(x_a)

    def resample(self, rng: np.random.Generator) -> "PooledDraws":
        """The f_a of as many hours drawn from its own with replacement: a bootstrap sample.

        Parameters
        ----------
        rng : Generator

        Returns
        -------
        PooledDraws
        """
        by_hour = self.density.draws.reshape(-1, self.hours, len(ALEATORY))
        picked = by_hour[:, rng.integers(self.hours, size=self.hours)]
        return PooledDraws(picked.reshape(-1, len(ALEATORY)), self.hours)

    def to_dataset(self) -> xr.Dataset:
        """Draws and their number of hours, to be kept.

        Returns
        -------
        Dataset
            x_a by draw and parameter, and the attribute hours.
        """
        draws = (("draw", "parameter"), self.density.draws)
        return xr.Dataset({"x_a": draws}, {"parameter": list(ALEATORY)}, {"hours": self.hours})

    @classmethod
    def from_dataset(cls, kept: xr.Dataset) -> "PooledDraws":
        """The f_a that `to_dataset` described.

        Parameters
        ----------
        kept : Dataset

        Returns
        -------
        PooledDraws
        """
        return cls(kept.x_a.values, kept.attrs["hours"])


class EpistemicBox:
    """E as a box; where low and high are equal it is a point.

    Parameters
    ----------
    low, high : array_like, shape (3,)
        In [0, 1], low nowhere above high.

    Raises
    ------
    InputError
        If a corner is not three numbers in [0, 1], or low exceeds high somewhere.

    Examples
    --------
    >>> box = EpistemicBox([0.26, 0.5, 0.0], [0.41, 0.6, 0.5])  # Table 2 of the paper
    >>> round(box.volume, 4)
    0.0075
    >>> EpistemicBox([0.3] * 3, [0.3] * 3).contains([[0.3, 0.3, 0.3], [0.3, 0.3, 0.4]])
    array([ True, False])
    """

    def __init__(self, low: ArrayLike, high: ArrayLike) -> None:
        corners = np.array([low, high], np.float64)
        least, most = BOUNDS
        if corners.shape != (2, len(EPISTEMIC)) or not (least <= corners[0]).all() or not (corners[1] <= most).all():
            raise InputError(f"low is {low!r}, high is {high!r}; needed are {len(EPISTEMIC)} numbers each, in [0, 1].")
        if not (corners[0] <= corners[1]).all():
            raise InputError(f"low is {low!r}, high is {high!r}; an empty E is none: low may nowhere exceed high.")
        self._corners = corners

    @property
    def identity(self) -> dict[str, list[float]]:
        """What decides it: its corners."""
        return dict(zip(("low", "high"), self._corners.tolist(), strict=True))

    @property
    def bounding_box(self) -> NDArray[np.float64]:
        """The box itself: its low and its high corner, shape (2, 3)."""
        return self._corners.copy()

    @property
    def turned_box(self) -> Frame:
        """The box itself, as a frame."""
        return Frame(self._corners[0], np.diag(self._corners[1] - self._corners[0]))

    @property
    def volume(self) -> float:
        """Share of the unit cube; 0 for a point."""
        return float(np.prod(self._corners[1] - self._corners[0]))

    def contains(self, x_e: ArrayLike) -> NDArray[np.bool_]:
        """Whether points lie in the box, its faces included.

        Parameters
        ----------
        x_e : array_like, shape (n, 3)

        Returns
        -------
        ndarray of bool, shape (n,)

        Raises
        ------
        InputError
            If x_e has another shape.
        """
        x_e = _check_points(x_e)
        inside: NDArray[np.bool_] = ((x_e >= self._corners[0]) & (x_e <= self._corners[1])).all(axis=1)
        return inside

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Points drawn uniformly from the box.

        Parameters
        ----------
        n : int
        rng : Generator

        Returns
        -------
        ndarray, shape (n, 3)
        """
        low, high = self._corners
        return rng.uniform(low, high, (n, len(EPISTEMIC)))


def _check_points(x_e: ArrayLike) -> NDArray[np.float64]:
    x_e = np.asarray(x_e, np.float64)
    if x_e.ndim != 2 or x_e.shape[1] != len(EPISTEMIC):
        raise InputError(f"x_e has shape {x_e.shape}; needed is (n, {len(EPISTEMIC)}).")
    return x_e
