"""E as a density-level set: where a posterior of X_e, given everything observed, is at least so dense."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowcal.artifacts import digest
from flowcal.challenge import EPISTEMIC
from flowcal.errors import FlowcalError, InputError
from flowcal.infer.feature_posterior import FeaturePosterior
from flowcal.infer.frame import Frame, in_cube
from flowcal.weights import Weights, WeightsError

__all__ = ["EmptySet", "EpistemicLevelSet"]

DRAWS = 20_000  # that volume and bounding box are estimated from
RAREST = 0.05  # share of a posterior's draws that must reach the threshold, so that there is a set to speak of


class EmptySet(FlowcalError):
    """Hardly any draw of the posterior reaches the threshold of its level set."""


class EpistemicLevelSet:
    """The set E of all X_e within a frame at which a posterior density reaches a threshold.

    Parameters
    ----------
    posterior : FeaturePosterior
        Of u in the frame, given features of the observations.
    frame : Frame
    features : array_like, shape (k,)
        What was observed.
    threshold : float
        Log density in the frame that a point of the set has at least.

    Raises
    ------
    InputError
        If the frame is flat or endless.
    """

    def __init__(self, posterior: FeaturePosterior, frame: Frame, features: ArrayLike, threshold: float) -> None:
        self.posterior, self.frame, self.threshold = posterior, frame, float(threshold)
        self.features = np.asarray(features, np.float64)[None]
        if not 0 < frame.volume < np.inf:
            raise InputError(f"the frame has volume {frame.volume}; needed is one that is neither flat nor endless.")

    @property
    def identity(self) -> dict[str, str]:
        """What decides it: a digest of all its parts."""
        return {"level_set": digest(self.to_weights({}).tensors)}

    def log_prob(self, x_e: ArrayLike) -> NDArray[np.float64]:
        """Log density of the posterior, per unit of the cube's volume; minus infinity outside.

        Parameters
        ----------
        x_e : array_like, shape (n, 3)

        Returns
        -------
        ndarray, shape (n,)

        Raises
        ------
        InputError
            If x_e has another shape.
        """
        x_e = np.asarray(x_e, np.float64)
        if x_e.ndim != 2 or x_e.shape[1] != len(EPISTEMIC):
            raise InputError(f"x_e has shape {x_e.shape}; needed is (n, {len(EPISTEMIC)}).")
        density = self._density(self.frame.to_u(x_e)) - np.log(self.frame.volume)
        return np.where(in_cube(x_e), density, -np.inf)

    def contains(self, x_e: ArrayLike) -> NDArray[np.bool_]:
        """Whether points lie in the set.

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
        inside: NDArray[np.bool_] = self.log_prob(x_e) >= self.threshold - np.log(self.frame.volume)
        return inside

    def posterior_sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draws from the posterior within the set.

        Parameters
        ----------
        n : int
        rng : Generator

        Returns
        -------
        ndarray, shape (n, 3)

        Raises
        ------
        EmptySet
            If hardly any draw of the posterior lies in the set.
        """
        kept: list[NDArray[np.float64]] = []
        while sum(map(len, kept)) < n:
            u = self.posterior.sample(2 * n, self.features, rng)[:, 0]
            inside = (self._density(u) >= self.threshold) & in_cube(self.frame.to_x_e(u))
            if inside.mean() < RAREST:
                raise EmptySet(f"{inside.mean():.1%} of the draws reach the threshold {self.threshold:.3g}.")
            kept.append(u[inside])
        return self.frame.to_x_e(np.concatenate(kept)[:n])

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Points drawn uniformly from the set.

        Parameters
        ----------
        n : int
        rng : Generator

        Returns
        -------
        ndarray, shape (n, 3)

        Raises
        ------
        EmptySet
            If hardly any draw of the posterior lies in the set.
        """
        kept: list[NDArray[np.float64]] = []
        while sum(map(len, kept)) < n:
            _, x_e = self.turned_box.sample(4 * n, rng)
            kept.append(x_e[self.contains(x_e)])
        return np.concatenate(kept)[:n]

    @cached_property
    def volume(self) -> float:
        """Share of the unit cube, estimated from uniform points around the set."""
        u = np.random.default_rng(1).random((DRAWS, len(EPISTEMIC)))
        return float(self.turned_box.volume * self.contains(self.turned_box.to_x_e(u)).mean())

    @cached_property
    def bounding_box(self) -> NDArray[np.float64]:
        """Smallest and largest value of each input among many points of the set, shape (2, 3)."""
        points = self.posterior_sample(DRAWS, np.random.default_rng(1))
        return np.array([points.min(axis=0), points.max(axis=0)])

    def to_weights(self, history: Mapping[str, object]) -> Weights:
        """Everything it consists of, with the history of how it was found.

        Parameters
        ----------
        history : mapping of str to any
            JSON values.

        Returns
        -------
        Weights
        """
        weights = self.posterior.to_weights()
        parts = {"corner": self.frame.corner, "edges": self.frame.edges, "features": self.features}
        header = {
            "kind": type(self).__name__,
            "threshold": self.threshold,
            "posterior": weights.header,
            "found": dict(history),
        }
        return Weights(header, {f"posterior.{name}": value for name, value in weights.tensors.items()} | parts)

    @classmethod
    def from_weights(cls, weights: Weights, device: str = "auto") -> "EpistemicLevelSet":
        """The set that `to_weights` described.

        Parameters
        ----------
        weights : Weights
        device : str
            'cpu', 'cuda' or 'auto'.

        Returns
        -------
        EpistemicLevelSet

        Raises
        ------
        WeightsError
            If they belong to something else, or do not fit their header.
        """
        header, tensors = weights.header, weights.tensors
        if header.get("kind") != cls.__name__:
            raise WeightsError(f"the weights are of kind {header.get('kind')!r}; needed is {cls.__name__!r}.")
        try:
            parts = {
                name.removeprefix("posterior."): tensors[name] for name in tensors if name.startswith("posterior.")
            }
            posterior = FeaturePosterior.from_weights(Weights(header["posterior"], parts), device)
            frame, features = Frame(tensors["corner"], tensors["edges"]), tensors["features"]
            if features.shape != (1, posterior.layout.features) or not np.isfinite(features).all():
                raise InputError(f"features have shape {features.shape}; needed is (1, {posterior.layout.features}).")
            threshold = header["threshold"]
            if not isinstance(threshold, float) or not np.isfinite(threshold):
                raise InputError(f"threshold is {threshold!r}; needed is a finite number.")
            return cls(posterior, frame, features[0], threshold)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise WeightsError(f"the weights do not fit their header: {error}") from error

    @cached_property
    def turned_box(self) -> Frame:
        """A box around the set, turned along the directions in which it spreads."""
        return Frame.around(self.posterior_sample(DRAWS, np.random.default_rng(1)))

    def _density(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.posterior.log_prob(u[:, None], self.features)[:, 0]
