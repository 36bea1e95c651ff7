"""Boxes in the space of X_e that are turned along the directions in which points spread."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import BOUNDS, EPISTEMIC
from flowcal.errors import InputError

__all__ = ["Frame", "in_cube"]

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
                f"corner is {corner!r}, edges are {edges!r}; needed are {size} and {size} by {size} numbers."
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
