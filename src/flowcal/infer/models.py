"""Uncertainty models, which inference hands on: a distribution f_a of X_a and a set E that holds X_e.

References
----------
.. [1] B. W. Silverman, "Density Estimation for Statistics and Data Analysis", 1986, doi:10.1201/9781315140919, section
   2.10 (reflection).
.. [2] D. W. Scott, "Multivariate Density Estimation", 1992, doi:10.1002/9780470316849, section 6.3 (bandwidth).
.. [3] C. Agrell, L. G. Crespo, V. Flovik, E. Vanem and S. Kenny, "The NASA and DNV Challenge on Optimization Under
   Uncertainty", 2025, https://github.com/dnv-opensource/UQ-Challenge-2025.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from flowcal.errors import InputError
from flowcal.fingerprint import digest
from flowcal.problem import BOUNDS, as_numbers, check_counts, check_points, check_range

__all__ = [
    "AleatoryDistribution",
    "BoundedKernelDensity",
    "EpistemicBox",
    "EpistemicSet",
    "PooledDraws",
    "TurnedBox",
    "UncertaintyModel",
    "in_cube",
]

NARROWEST = 1e-12  # room on each side of points that do not spread at all
PADDING = 0.1  # room on each side of other points, as a share of their width
PAIRS_AT_A_TIME = 2_000_000  # points times kernels
SMALLEST_BANDWIDTH = 1e-4


class AleatoryDistribution(Protocol):
    """The distribution f_a of X_a on the unit cube."""

    @property
    def resolution(self) -> float:
        """Smallest probability of which it says more than a bound."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides it."""
        ...

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Independent draws (n, d)."""
        ...

    def log_prob(self, x_a: ArrayLike) -> NDArray[np.float64]:
        """Log density (n,) at points (n, d); minus infinity outside [0, 1]."""
        ...


class EpistemicSet(Protocol):
    """The set E of the values of X_e that are held possible; it may be a single point."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides it."""
        ...

    def contains(self, x_e: ArrayLike) -> NDArray[np.bool_]:
        """Whether points (n, d) lie in the set."""
        ...

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Points (n, d) drawn uniformly from the set."""
        ...

    @property
    def volume(self) -> float:
        """Share of the unit cube."""
        ...

    @property
    def bounding_box(self) -> NDArray[np.float64]:
        """Smallest and largest value of each input, shape (2, d)."""
        ...

    @property
    def turned_box(self) -> "TurnedBox":
        """A box around the set along its own axes; it may be much smaller than the bounding box."""
        ...


@dataclass(frozen=True)
class UncertaintyModel:
    """What is known of the inputs that no design sets [3]_."""

    f_a: AleatoryDistribution
    e: EpistemicSet


class TurnedBox:
    """A box in X_e, turned along the directions in which points spread; coordinates u in [0, 1]^d inside it.

    It has a corner (d,), where u is 0, and a row of `edges` (d, d) for each edge from there; an edge may have length 0.
    """

    def __init__(self, corner: ArrayLike, edges: ArrayLike) -> None:
        self.corner, self.edges = as_numbers(corner, "corner").copy(), as_numbers(edges, "edges").copy()
        size = self.corner.size
        shapes = self.corner.shape, self.edges.shape
        if shapes != ((size,), (size, size)) or not np.isfinite([*self.corner, *self.edges.ravel()]).all():
            raise InputError(f"corner is {corner!r}, edges are {edges!r}; expected d and d by d finite numbers.")

    @classmethod
    def whole(cls, size: int) -> "TurnedBox":
        """The whole unit cube of so many inputs."""
        return cls(np.zeros(size), np.eye(size))

    @classmethod
    def around(cls, points: NDArray[np.float64]) -> "TurnedBox":
        """The smaller of two boxes that hold points (n, d), with some room: upright, or along their principal axes."""
        _, _, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
        boxes = []
        for turned in (np.eye(points.shape[1]), axes):
            along = points @ turned.T
            low, high = along.min(axis=0), along.max(axis=0)
            room = np.maximum(PADDING * (high - low), NARROWEST)
            boxes.append(cls((low - room) @ turned, (high - low + 2 * room)[:, None] * turned))
        return min(boxes, key=lambda box: box.volume)

    def widened(self, factor: float) -> "TurnedBox":
        """The box about the same centre with edges so many times as long; an upright one stays within the cube."""
        corner, edges = self.corner - (factor - 1) / 2 * self.edges.sum(axis=0), factor * self.edges
        if np.array_equal(edges, np.diag(np.diag(edges))):
            low, high = np.clip([corner, corner + np.diag(edges)], *BOUNDS)
            corner, edges = low, np.diag(high - low)
        return TurnedBox(corner, edges)

    @property
    def volume(self) -> float:
        """Share of the unit cube, or more where it reaches beyond."""
        return float(abs(np.linalg.det(self.edges)))

    def to_x_e(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """From coordinates (n, d) in the box to X_e."""
        return self.corner + u @ self.edges

    def to_u(self, x_e: NDArray[np.float64]) -> NDArray[np.float64]:
        """From X_e (n, d) to coordinates in the box; 0 along edges without length."""
        u: NDArray[Any] = np.linalg.lstsq(self.edges.T, (x_e - self.corner).T)[0]
        return u.T

    def cuts_off(self, x_e: NDArray[np.float64], edge: float) -> bool:
        """Whether some points are closer to a face of the box than a share `edge` of its width, within the cube."""
        u = self.to_u(x_e)
        outward = np.where(u < edge, -edge, np.where(u > 1 - edge, edge, 0.0))
        beyond = (x_e[:, None] + outward[:, :, None] * self.edges).reshape(-1, len(self.corner))
        return bool((in_cube(beyond) & (outward.ravel() != 0)).any())

    def sample(self, n: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coordinates u (n, d) and X_e (n, d) of points drawn uniformly from the part of the box in the unit cube."""
        check_counts(0, n=n)
        kept: list[NDArray[np.float64]] = []
        while sum(map(len, kept)) < n:
            u = rng.random((2 * n, len(self.corner)))
            kept.append(u[in_cube(self.to_x_e(u))])
        u = np.concatenate(kept)[:n] if kept else np.empty((0, len(self.corner)))
        return u, self.to_x_e(u)


def in_cube(x: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether points (n, d) lie in the unit cube."""
    low, high = BOUNDS
    inside: NDArray[np.bool_] = np.all((x >= low) & (x <= high), axis=1)
    return inside


class BoundedKernelDensity:
    """A density from draws (n, d) in [0, 1]: a Gaussian kernel about each, reflected at the bounds [1]_.

    Reflection loses no mass. The standard deviations `bandwidth` (d,) of the kernels follow Scott's rule [2]_.

    Examples
    --------
    >>> density = BoundedKernelDensity(np.random.default_rng(1).random((1000, 2)))
    >>> bool(abs(density.log_prob([[0.0, 0.0]])[0]) < 0.5)  # the uniform density, up to its corner
    True
    """

    def __init__(self, draws: ArrayLike) -> None:
        draws = as_numbers(draws, "draws")
        if draws.ndim != 2 or len(draws) < 2 or not draws.shape[1] or not in_cube(draws).all():
            raise InputError(f"draws have shape {draws.shape}; expected (n, d) with n of 2 or more, all in [0, 1].")
        self.draws = draws
        scott = len(draws) ** (-1 / (draws.shape[1] + 4))
        self.bandwidth = np.maximum(scott * draws.std(axis=0, ddof=1), SMALLEST_BANDWIDTH)

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draws (n, d): a random kernel each, and a Gaussian step from its centre, reflected into [0, 1]."""
        check_counts(0, n=n)
        centres = self.draws[rng.integers(len(self.draws), size=n)]
        return _reflect(centres + self.bandwidth * rng.standard_normal(centres.shape))

    def log_prob(self, x: ArrayLike) -> NDArray[np.float64]:
        """Log density (m,) at points (m, d); minus infinity outside [0, 1]."""
        x = check_points(x, self.draws.shape[1], "x")
        rows = max(1, PAIRS_AT_A_TIME // len(self.draws))
        density = np.concatenate([self._density(part) for part in np.split(x, range(rows, len(x), rows))])
        with np.errstate(divide="ignore"):
            return np.where(in_cube(x), np.log(density), -np.inf)

    def marginal(self, column: int, x: ArrayLike) -> NDArray[np.float64]:
        """Density (m,) of one of its dimensions at values (m,), by the same kernels."""
        check_range(0, self.draws.shape[1] - 1, "[]", column=column)
        marginal = BoundedKernelDensity(self.draws[:, [column]])
        marginal.bandwidth = self.bandwidth[[column]]
        return np.exp(marginal.log_prob(np.asarray(x, np.float64)[:, None]))

    def on_grid(self, axis: NDArray[np.float64]) -> NDArray[np.float64]:
        """Density of two dimensions at all pairs of values (m,) on one axis: (m, m), rows along the second."""
        first, second = (self._kernels(axis, column) for column in range(2))
        return second @ first.T / len(self.draws)

    def _density(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        product = np.ones((len(x), len(self.draws)))
        for column, points in enumerate(x.T):
            product *= self._kernels(points, column)
        density: NDArray[np.float64] = product.mean(axis=1)
        return density

    def _kernels(self, points: NDArray[np.float64], column: int) -> NDArray[np.float64]:
        """Density of every kernel at points (m,) along one dimension, (m, n)."""
        centres, width = self.draws[:, column], self.bandwidth[column]
        images = (centres, -centres, 2 - centres, centres - 2, centres + 2)  # more are out of a kernel's reach
        found = sum((np.exp(-0.5 * ((points[:, None] - image) / width) ** 2) for image in images), np.zeros(()))
        density: NDArray[np.float64] = found / (width * np.sqrt(2 * np.pi))
        return density


def _reflect(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values folded back at 0 and 1 as often as it takes."""
    folded: NDArray[np.float64] = 1 - np.abs(1 - np.mod(x, 2))
    return folded


class PooledDraws:
    """f_a as in the paper: a kernel density about the pooled posterior draws of X_a of all hours.

    The draws (n, d) hold a first draw for every hour, then a second for every hour, and so on. They cannot resolve a
    probability below one in the number of hours.

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
        check_counts(hours=hours)
        self.hours = int(hours)
        if len(self.density.draws) % self.hours:
            raise InputError(
                f"draws have shape {self.density.draws.shape} from {hours} hours; expected as many draws for each hour."
            )
        self.resolution = 1 / self.hours

    @property
    def identity(self) -> dict[str, str]:
        """Digest of its draws and of their number of hours."""
        return {"draws": digest(self.to_dataset())}

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draws (n, d) from the kernel density."""
        return self.density.sample(n, rng)

    def log_prob(self, x_a: ArrayLike) -> NDArray[np.float64]:
        """Log density (n,) at points (n, d); minus infinity outside [0, 1]."""
        return self.density.log_prob(x_a)

    def resample(self, rng: np.random.Generator) -> "PooledDraws":
        """A bootstrap sample: the f_a of as many hours, drawn from its own with replacement."""
        size = self.density.draws.shape[1]
        by_hour = self.density.draws.reshape(-1, self.hours, size)
        picked = by_hour[:, rng.integers(self.hours, size=self.hours)]
        return PooledDraws(picked.reshape(-1, size), self.hours)

    def to_dataset(self) -> xr.Dataset:
        """Draws x_a by draw and parameter, with the number of hours as an attribute."""
        return xr.Dataset({"x_a": (("draw", "parameter"), self.density.draws)}, attrs={"hours": self.hours})

    @classmethod
    def from_dataset(cls, kept: xr.Dataset) -> "PooledDraws":
        """The f_a that `to_dataset` described."""
        return cls(kept.x_a.values, kept.attrs["hours"])


class EpistemicBox:
    """E as a box from its low to its high corner, (d,) each in [0, 1]; where they are equal it is a point.

    Examples
    --------
    >>> box = EpistemicBox([0.26, 0.5, 0.0], [0.41, 0.6, 0.5])  # Table 2 of the paper
    >>> round(box.volume, 4)
    0.0075
    >>> EpistemicBox([0.3] * 3, [0.3] * 3).contains([[0.3, 0.3, 0.3], [0.3, 0.3, 0.4]])
    array([ True, False])
    """

    def __init__(self, low: ArrayLike, high: ArrayLike) -> None:
        low, high = as_numbers(low, "low").copy(), as_numbers(high, "high").copy()
        least, most = BOUNDS
        if low.ndim != 1 or low.shape != high.shape or not ((least <= low) & (low <= high) & (high <= most)).all():
            raise InputError(
                f"low is {low.tolist()}, high is {high.tolist()}; expected as many numbers each, in [0, 1], with low "
                "nowhere above high."
            )
        self._corners = np.array([low, high])

    @property
    def identity(self) -> dict[str, list[float]]:
        """Its corners."""
        return dict(zip(("low", "high"), self._corners.tolist(), strict=True))

    @property
    def bounding_box(self) -> NDArray[np.float64]:
        """The box itself: its low and its high corner, shape (2, d)."""
        return self._corners.copy()

    @property
    def turned_box(self) -> TurnedBox:
        """The box itself, not turned."""
        return TurnedBox(self._corners[0], np.diag(self._corners[1] - self._corners[0]))

    @property
    def volume(self) -> float:
        """Share of the unit cube; 0 for a point."""
        return float(np.prod(self._corners[1] - self._corners[0]))

    def contains(self, x_e: ArrayLike) -> NDArray[np.bool_]:
        """Whether points (n, d) lie in the box, its faces included."""
        low, high = self._corners
        x_e = check_points(x_e, len(low), "x_e")
        inside: NDArray[np.bool_] = ((x_e >= low) & (x_e <= high)).all(axis=1)
        return inside

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Points (n, d) drawn uniformly from the box."""
        check_counts(0, n=n)
        low, high = self._corners
        return rng.uniform(low, high, (n, len(low)))
