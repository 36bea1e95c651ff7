"""E as a set: all X_e at which what was observed is plausible."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowcal.errors import FlowcalError, InputError
from flowcal.files import Weights
from flowcal.fingerprint import digest
from flowcal.infer.models import TurnedBox, in_cube
from flowcal.infer.networks import matching_header
from flowcal.infer.polynomials import basis, count_terms
from flowcal.problem import as_numbers, check_counts, check_points, check_range

__all__ = ["CredibleSet", "EmptySet"]

Array = NDArray[np.float64]

SET_DRAWS = 20_000  # points that find the set, and that its volume and bounding box are estimated from
ENOUGH = 500  # of them that a box is laid around
SEARCHES = 100
MOST_DRAWS = 100 * SET_DRAWS  # where few of them are in the unit cube
FILLED = 0.8  # share of a box that the box around its nearest points takes up where they fill it
MOST_DEGREE = 12


class EmptySet(FlowcalError):
    """No X_e reaches the threshold of a credible set."""


@dataclass(frozen=True)
class _Search:
    """A box around a set in coordinates u, points (n, e) in it, their distances (n,), and how many were `drawn`.

    The points are uniform where box and unit cube overlap; those drawn outside are left out.
    """

    around: TurnedBox
    u: Array
    distance: Array
    drawn: int


class CredibleSet:
    """The X_e within a turned box at which the squared distance of s from mu(u) is at most a threshold.

    s (e,) is the observed summary, u are coordinates in the box, and mu has `coefficients` (terms, e) for polynomials
    up to a degree; s and mu are scaled so that the errors of s have unit covariance.
    """

    def __init__(
        self, box: TurnedBox, observed: ArrayLike, coefficients: ArrayLike, degree: int, threshold: float
    ) -> None:
        check_range(0, np.inf, threshold=threshold)
        self.box, self.degree, self.threshold = box, degree, float(threshold)
        self.observed, self.coefficients = as_numbers(observed, "observed"), as_numbers(coefficients, "coefficients")
        check_counts(degree=degree)
        size = len(box.corner)
        expected = (size,), (count_terms(size, min(degree, MOST_DEGREE)), size)
        if (self.observed.shape, self.coefficients.shape) != expected:
            raise InputError(
                f"observed and coefficients have shapes {self.observed.shape} and {self.coefficients.shape}; expected "
                f"{expected[0]} and {expected[1]}."
            )
        if not 0 < box.volume < np.inf or not np.isfinite([*self.observed, *self.coefficients.ravel()]).all():
            raise InputError(f"the box has volume {box.volume}; expected one that is neither flat nor endless.")

    @property
    def identity(self) -> dict[str, str]:
        """Digest of all its parts."""
        weights = self.to_weights({})
        return {"credible_set": digest([weights.header, weights.tensors])}

    def distance(self, x_e: ArrayLike) -> Array:
        """Squared distance (n,) of the observed summary from what X_e (n, e) lets expect; endless outside the box."""
        x_e = check_points(x_e, len(self.box.corner), "x_e")
        return np.where(in_cube(x_e), self._distance(self.box.to_u(x_e)), np.inf)

    def contains(self, x_e: ArrayLike) -> NDArray[np.bool_]:
        """Whether points (n, e) lie in the set."""
        inside: NDArray[np.bool_] = self.distance(x_e) <= self.threshold
        return inside

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Points (n, e) drawn uniformly from the set."""
        return self._draw(n, rng, lambda distance: distance <= self.threshold)

    def posterior_sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draws (n, e) within the set, each as likely as it makes the observed summary."""
        least = self._distance(self.centre[None])[0]

        def likely(distance: Array) -> NDArray[np.bool_]:
            kept: NDArray[np.bool_] = rng.random(len(distance)) < np.exp((least - distance) / 2)
            return kept & (distance <= self.threshold)

        return self._draw(n, rng, likely)

    @cached_property
    def volume(self) -> float:
        """Share of the unit cube, estimated from uniform points around the set."""
        return self.box.volume * self._search.around.volume * len(self._inside) / self._search.drawn

    @cached_property
    def bounding_box(self) -> Array:
        """Smallest and largest value of each input among many points of the set, shape (2, e)."""
        points = self.box.to_x_e(self._inside)
        return np.array([points.min(axis=0), points.max(axis=0)])

    @property
    def centre(self) -> Array:
        """Coordinates (e,) in the box at which the observed summary is least surprising."""
        nearest: Array = self._search.u[self._search.distance.argmin()]
        return nearest

    @property
    def turned_box(self) -> TurnedBox:
        """A box around the set, turned along the directions in which it spreads."""
        around = self._search.around
        return TurnedBox(self.box.to_x_e(around.corner[None])[0], around.edges @ self.box.edges)

    @cached_property
    def _inside(self) -> Array:
        """Coordinates (n, e) of points drawn uniformly from the set."""
        u, distance = self._search.u, self._search.distance
        if not len(inside := u[distance <= self.threshold]):
            raise EmptySet(f"no X_e comes closer than {distance.min():.3g}; the threshold is {self.threshold:.3g}.")
        return inside

    @cached_property
    def _search(self) -> "_Search":
        """Points around the set.

        Each box surrounds the nearest points of the last one, until enough of them are as near as those of the set, or
        they fill it: in many dimensions a set takes up a small part of any box around it.
        """
        rng, around = np.random.default_rng(1), TurnedBox.whole(len(self.box.corner))
        for _ in range(SEARCHES):
            found = self._look(around, rng)
            near = np.argsort(found.distance)[:ENOUGH]
            closer = TurnedBox.around(found.u[near])
            enough = found.distance[near[-1]] <= found.distance[near[0]] + self.threshold
            if enough or closer.volume > FILLED * around.volume:
                break
            around = closer
        return found

    def _look(self, around: TurnedBox, rng: np.random.Generator) -> "_Search":
        """Points drawn in a box, more where few of them are in the unit cube."""
        kept, drawn = np.empty((0, len(around.corner))), 0
        while len(kept) < ENOUGH and drawn < MOST_DRAWS:
            u = around.to_x_e(rng.random((SET_DRAWS, len(around.corner))))
            kept = np.concatenate([kept, u[in_cube(u) & in_cube(self.box.to_x_e(u))]])
            drawn += SET_DRAWS
        if not len(kept):
            raise EmptySet(f"none of {drawn} points around the set lies in the unit cube.")
        return _Search(around, kept, self._distance(kept), drawn)

    def _draw(self, n: int, rng: np.random.Generator, accepted: Callable[[Array], NDArray[np.bool_]]) -> Array:
        """Points (n, e) of the set, those that a function of their distances accepts."""
        around, size = TurnedBox.around(self._inside), len(self.box.corner)
        kept = np.empty((0, size))
        while len(kept) < n:
            u = around.to_x_e(rng.random((4 * n, size)))
            u = u[in_cube(u) & in_cube(self.box.to_x_e(u))]
            kept = np.concatenate([kept, u[accepted(self._distance(u))]])
        return self.box.to_x_e(kept[:n])

    def _distance(self, u: Array) -> Array:
        """Squared distance (n,) at coordinates u (n, e), endless outside the box."""
        squared = np.square(self.observed - basis(u, self.degree) @ self.coefficients).sum(axis=1)
        return np.where(in_cube(u), squared, np.inf)

    def to_weights(self, found: Mapping[str, object]) -> Weights:
        """All its parts, with JSON values that say how it was found."""
        header = {
            "kind": "CredibleSet",
            "degree": self.degree,
            "threshold": self.threshold,
            "found": dict(found),
        }
        parts = {"observed": self.observed, "coefficients": self.coefficients}
        return Weights(header, parts | {"corner": self.box.corner, "edges": self.box.edges})

    @classmethod
    def from_weights(cls, weights: Weights) -> "CredibleSet":
        """The set that `to_weights` described."""
        with matching_header(weights, "CredibleSet") as header:
            tensors = weights.tensors
            box = TurnedBox(tensors["corner"], tensors["edges"])
            return cls(box, tensors["observed"], tensors["coefficients"], header["degree"], header["threshold"])
