"""The two uncertainty models of a study, as its chapters have kept them.

An inferred f_a in a few numbers and curves, with what its replicates and its nearest rivals say of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowcal.errors import InputError
from flowcal.infer.families import FamilyDistribution
from flowcal.infer.models import AleatoryDistribution, EpistemicBox, PooledDraws, UncertaintyModel
from flowcal.infer.um2 import UM2
from flowcal.study import Study

__all__ = [
    "Tail",
    "inferred_models",
    "inferred_replicates",
    "moments",
    "tail_of",
]


def inferred_models(study: Study) -> Mapping[str, UncertaintyModel]:
    """The two uncertainty models of a study, by name.

    Parameters
    ----------
    study : Study
        Whose chapters 'aleatory', 'epistemic' and 'shared' have been run.

    Returns
    -------
    mapping of str to UncertaintyModel
        'UM1', the paper's as published, and 'UM2', ours.

    Raises
    ------
    ArtifactError
        If one of the chapters has to be run first.
    """
    um_1 = study.read("epistemic", "um_1")
    return MappingProxyType(
        {
            "UM1": UncertaintyModel(
                PooledDraws.from_dataset(study.read("aleatory", "f_a_fixed")), EpistemicBox(um_1["low"], um_1["high"])
            ),
            "UM2": UM2.from_weights(study.read("shared", "um_2")).model,
        }
    )


def inferred_replicates(study: Study, most: int, random_seed: int) -> Mapping[str, list[AleatoryDistribution]]:
    """What other hours might have made of each model's f_a: UM1's with its hours resampled, UM2's kept replicates.

    Parameters
    ----------
    study : Study
    most : int
        Of each model, at most so many.
    random_seed : int
        For the resampling.

    Returns
    -------
    mapping of str to list of AleatoryDistribution
        By 'UM1' and 'UM2'.

    Raises
    ------
    ArtifactError
        If a chapter has to be run first.
    InputError
        If most is below 1.
    """
    f_a, rng = PooledDraws.from_dataset(study.read("aleatory", "f_a_fixed")), np.random.default_rng(random_seed)
    kept = UM2.from_weights(study.read("shared", "um_2")).replicates
    if most < 1:
        raise InputError(f"most is {most}; expected a whole number from 1 up.")
    every = max(1, len(kept) // most)
    return MappingProxyType(
        {
            "UM1": [f_a.resample(rng) for _ in range(most)],
            "UM2": list(kept[::every][:most]),
        }
    )


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
