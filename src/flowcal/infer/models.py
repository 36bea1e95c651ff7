"""Boxes in the space of X_e that are turned along the directions in which points spread.

Kernel density estimates on the unit cube.

References
----------
.. [1] B. W. Silverman, "Density Estimation for Statistics and Data Analysis", 1986, doi:10.1201/9781315140919, section
   2.10 (reflection).
.. [2] D. W. Scott, "Multivariate Density Estimation", 1992, doi:10.1002/9780470316849, section 6.3 (bandwidth).


Uncertainty models: what inference hands on, a distribution f_a of X_a and a set E that holds X_e.

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
from flowcal.challenge import ALEATORY, EPISTEMIC
from flowcal.errors import InputError
from flowcal.problem import BOUNDS

__all__ = [
    "AleatoryDistribution",
    "BoundedKernelDensity",
    "EpistemicBox",
    "EpistemicSet",
    "Frame",
    "PooledDraws",
    "UncertaintyModel",
    "in_cube",
]

NARROWEST = 1e-12  # room on each side of what does not spread at all
PADDING = 0.1  # by which a frame reaches beyond the draws it was laid around, as a share of its width


class Frame:
    """A box in X_e, turned along the directions in which a cloud of points spreads; u in [0, 1]^3 inside it.

    Parameters
    ----------
    corner : array_like, shape (3,)
        Where u is 0.
    edges : array_like, shape (3, 3)
        A row for every edge from that corner. An edge may have no length.

    Raises
    ------
    InputError
        If the shapes are others, or a number is not finite.
    """

    def __init__(self, corner: ArrayLike, edges: ArrayLike) -> None:
        self.corner, self.edges = np.array(corner, np.float64), np.array(edges, np.float64)
        size = len(EPISTEMIC)
        shapes = self.corner.shape, self.edges.shape
        if shapes != ((size,), (size, size)) or not np.isfinite([*self.corner, *self.edges.ravel()]).all():
            raise InputError(
                f"corner is {corner!r}, edges are {edges!r}; expected {size} and {size} by {size} numbers."
            )

    @classmethod
    def whole(cls) -> "Frame":
        """The whole cube of X_e.

        Returns
        -------
        Frame
        """
        return cls(np.zeros(len(EPISTEMIC)), np.eye(len(EPISTEMIC)))

    @classmethod
    def around(cls, points: NDArray[np.float64]) -> "Frame":
        """The frame along the principal axes of points that holds them all, with some room to spare.

        Parameters
        ----------
        points : ndarray, shape (n, 3)

        Returns
        -------
        Frame
        """
        _, _, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
        along = points @ axes.T
        low, high = along.min(axis=0), along.max(axis=0)
        room = np.maximum(PADDING * (high - low), NARROWEST)
        return cls((low - room) @ axes, (high - low + 2 * room)[:, None] * axes)

    @property
    def volume(self) -> float:
        """Share of the unit cube, or more where it reaches beyond."""
        return float(abs(np.linalg.det(self.edges)))

    def to_x_e(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """From places in the frame to X_e.

        Parameters
        ----------
        u : ndarray, shape (n, 3)

        Returns
        -------
        ndarray, shape (n, 3)
        """
        return self.corner + u @ self.edges

    def to_u(self, x_e: NDArray[np.float64]) -> NDArray[np.float64]:
        """From X_e to places in the frame; 0 along edges without length.

        Parameters
        ----------
        x_e : ndarray, shape (n, 3)

        Returns
        -------
        ndarray, shape (n, 3)
        """
        u: NDArray[Any] = np.linalg.lstsq(self.edges.T, (x_e - self.corner).T)[0]
        return u.T

    def ends(self, x_e: NDArray[np.float64], edge: float) -> bool:
        """Whether some points lie closer to a face than they should, within the cube.

        Parameters
        ----------
        x_e : ndarray, shape (n, 3)
        edge : float
            What is too close, as a share of the width.

        Returns
        -------
        bool
        """
        u = self.to_u(x_e)
        outward = np.where(u < edge, -edge, np.where(u > 1 - edge, edge, 0.0))
        beyond = (x_e[:, None] + outward[:, :, None] * self.edges).reshape(-1, len(EPISTEMIC))
        return bool((in_cube(beyond) & (outward.ravel() != 0)).any())

    def sample(self, n: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points drawn uniformly from what of the frame lies in the unit cube.

        Parameters
        ----------
        n : int
        rng : Generator

        Returns
        -------
        u : ndarray, shape (n, 3)
            Places in the frame.
        x_e : ndarray, shape (n, 3)
        """
        kept: list[NDArray[np.float64]] = []
        while sum(map(len, kept)) < n:
            u = rng.random((2 * n, len(EPISTEMIC)))
            kept.append(u[in_cube(self.to_x_e(u))])
        u = np.concatenate(kept)[:n]
        return u, self.to_x_e(u)


def in_cube(x_e: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether points lie in the unit cube.

    Parameters
    ----------
    x_e : ndarray, shape (n, 3)

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    low, high = BOUNDS
    inside: NDArray[np.bool_] = np.all((x_e >= low) & (x_e <= high), axis=1)
    return inside


BLOCK = 2_000_000  # pairs of points and kernels that are worked on at a time
SMALLEST_BANDWIDTH = 1e-4


class BoundedKernelDensity:
    """A density from draws: a Gaussian kernel about each, reflected at the bounds so that no mass is lost [1]_.

    Parameters
    ----------
    draws : array_like, shape (n, d)
        At least two, in [0, 1].

    Attributes
    ----------
    draws : ndarray, shape (n, d)
    bandwidth : ndarray, shape (d,)
        Standard deviations of the kernels, by Scott's rule [2]_.

    Raises
    ------
    InputError
        If there are fewer than two draws, or one leaves [0, 1].

    Examples
    --------
    >>> density = BoundedKernelDensity(np.random.default_rng(1).random((1000, 2)))
    >>> bool(abs(density.log_prob([[0.0, 0.0]])[0]) < 0.5)  # the uniform density, up to its corner
    True
    """

    def __init__(self, draws: ArrayLike) -> None:
        draws = np.asarray(draws, np.float64)
        if draws.ndim != 2 or len(draws) < 2 or not _inside(draws).all():
            raise InputError(f"draws have shape {draws.shape}; expected (n, d) with n of 2 or more, all in [0, 1].")
        self.draws = draws
        scott = len(draws) ** (-1 / (draws.shape[1] + 4))
        self.bandwidth = np.maximum(scott * draws.std(axis=0, ddof=1), SMALLEST_BANDWIDTH)

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draws: a kernel at random, a Gaussian step from its centre, reflected into [0, 1].

        Parameters
        ----------
        n : int
        rng : Generator

        Returns
        -------
        ndarray, shape (n, d)
        """
        centres = self.draws[rng.integers(len(self.draws), size=n)]
        return _reflect(centres + self.bandwidth * rng.standard_normal(centres.shape))

    def log_prob(self, x: ArrayLike) -> NDArray[np.float64]:
        """Log density; minus infinity outside [0, 1].

        Parameters
        ----------
        x : array_like, shape (m, d)

        Returns
        -------
        ndarray, shape (m,)

        Raises
        ------
        InputError
            If x has another shape.
        """
        x = np.asarray(x, np.float64)
        if x.ndim != 2 or x.shape[1] != self.draws.shape[1]:
            raise InputError(f"x has shape {x.shape}; expected (m, {self.draws.shape[1]}).")
        rows = max(1, BLOCK // len(self.draws))
        density = np.concatenate([self._density(part) for part in np.split(x, range(rows, len(x), rows))])
        with np.errstate(divide="ignore"):
            return np.where(_inside(x).all(axis=1), np.log(density), -np.inf)

    def marginal(self, column: int, x: ArrayLike) -> NDArray[np.float64]:
        """Density of one of its dimensions, by the same kernels.

        Parameters
        ----------
        column : int
        x : array_like, shape (m,)

        Returns
        -------
        ndarray, shape (m,)
        """
        marginal = BoundedKernelDensity(self.draws[:, [column]])
        marginal.bandwidth = self.bandwidth[[column]]
        return np.exp(marginal.log_prob(np.asarray(x, np.float64)[:, None]))

    def _density(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        product = np.ones((len(x), len(self.draws)))
        for points, centres, width in zip(x.T, self.draws.T, self.bandwidth, strict=True):
            images = (centres, -centres, 2 - centres, centres - 2, centres + 2)  # more are out of a kernel's reach
            product *= sum(np.exp(-0.5 * ((points[:, None] - image) / width) ** 2) for image in images)
            product /= width * np.sqrt(2 * np.pi)
        density: NDArray[np.float64] = product.mean(axis=1)
        return density


def _inside(x: NDArray[np.float64]) -> NDArray[np.bool_]:
    low, high = BOUNDS
    return (x >= low) & (x <= high)


def _reflect(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values folded back at 0 and 1 as often as it takes."""
    folded: NDArray[np.float64] = 1 - np.abs(1 - np.mod(x, 2))
    return folded


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
                f"draws have shape {self.density.draws.shape} from {hours} hours; expected two columns, "
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
            raise InputError(f"low is {low!r}, high is {high!r}; expected {len(EPISTEMIC)} numbers each, in [0, 1].")
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
        raise InputError(f"x_e has shape {x_e.shape}; expected (n, {len(EPISTEMIC)}).")
    return x_e
