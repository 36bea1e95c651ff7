"""An inferred f_a in a few numbers and curves, with what its replicates and its nearest rivals say of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowcal.infer.families import FamilyDistribution
from flowcal.infer.uncertainty import AleatoryDistribution

__all__ = ["Tail", "moments", "tail_of"]

Array = NDArray[np.float64]

DRAWS = 20_000
RIVALS = 3
BAND = (0.05, 0.95)


@dataclass(frozen=True)
class Tail:
    """Probabilities that an input exceeds each of k values.

    Attributes
    ----------
    best : ndarray, shape (k,)
        By the form that was chosen.
    band : tuple of ndarray, each of shape (k,)
        Between which the middle 90 % of the replicates lie.
    rivals : dict of str to ndarray
        By the next best forms.
    """

    best: Array
    band: tuple[Array, Array]
    rivals: dict[str, Array]


def tail_of(inferred: Mapping[str, Any], number: int, values: ArrayLike) -> Tail:
    """The tail of an input's inferred distribution.

    Parameters
    ----------
    inferred : mapping
        What `infer_population` returned.
    number : int
        0 for X_a1, 1 for X_a2.
    values : array_like, shape (k,)
        Beyond which it lies.

    Returns
    -------
    Tail
    """

    def exceedance(kept: Mapping[str, Any]) -> Array:
        return FamilyDistribution.from_dict(kept).exceedance(number, values)

    low, high = np.quantile([exceedance(kept) for kept in inferred["replicates"]], BAND, axis=0)
    rivals = inferred["candidates"][1 : RIVALS + 1]
    return Tail(
        exceedance(inferred["distribution"]),
        (low, high),
        {row["name"]: exceedance(row["distribution"]) for row in rivals},
    )


def moments(f_a: AleatoryDistribution, random_seed: int) -> Array:
    """Means and standard deviations of X_a1 and X_a2, from draws.

    Parameters
    ----------
    f_a : AleatoryDistribution
    random_seed : int

    Returns
    -------
    ndarray, shape (4,)
        The two means, then the two standard deviations.
    """
    sample = f_a.sample(DRAWS, np.random.default_rng(random_seed))
    return np.concatenate([sample.mean(axis=0), sample.std(axis=0)])
