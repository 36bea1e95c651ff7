"""The two uncertainty models that a study's chapters stored, and an inferred f_a in a few numbers and curves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowcal.errors import InputError
from flowcal.infer.families import FamilyDistribution
from flowcal.infer.models import AleatoryDistribution, EpistemicBox, PooledDraws, UncertaintyModel
from flowcal.infer.um2 import UM2
from flowcal.study import Study

__all__ = ["Tail", "inferred_models", "inferred_replicates", "moments", "tail_of"]

Array = NDArray[np.float64]

DRAWS = 20_000
RIVALS = 3
BAND = (0.05, 0.95)


def inferred_models(study: Study) -> dict[str, UncertaintyModel]:
    """The uncertainty models 'UM1', the rebuilt paper method, and 'UM2', ours."""
    um_1 = study.read("epistemic", "um_1")
    return {
        "UM1": UncertaintyModel(
            PooledDraws.from_dataset(study.read("aleatory", "f_a_fixed")), EpistemicBox(um_1["low"], um_1["high"])
        ),
        "UM2": UM2.from_weights(study.read("shared", "um_2")).model,
    }


def inferred_replicates(study: Study, most: int, random_seed: int) -> dict[str, list[AleatoryDistribution]]:
    """What other hours might have made of each model's f_a, at most so many per model.

    UM1's hours are resampled with the seed; UM2's replicates were stored with its f_a.
    """
    f_a, rng = PooledDraws.from_dataset(study.read("aleatory", "f_a_fixed")), np.random.default_rng(random_seed)
    stored = UM2.from_weights(study.read("shared", "um_2")).replicates
    if most < 1:
        raise InputError(f"most is {most}; expected a whole number from 1 up.")
    every = max(1, len(stored) // most)
    return {"UM1": [f_a.resample(rng) for _ in range(most)], "UM2": [*stored[::every][:most]]}


@dataclass(frozen=True)
class Tail:
    """Probabilities (k,) that an input exceeds each of k values.

    Attributes
    ----------
    best : ndarray
        By the form that was chosen.
    band : tuple of two ndarray
        Between which the middle 90 % of the replicates lie.
    rivals : dict of str to ndarray
        By the next best forms.
    """

    best: Array
    band: tuple[Array, Array]
    rivals: dict[str, Array]


def tail_of(inferred: Mapping[str, Any], number: int, values: ArrayLike) -> Tail:
    """Tail of X_a1 (number 0) or X_a2 (number 1) beyond some values, from what `infer_population` returned."""

    def exceedance(stored: Mapping[str, Any]) -> Array:
        return FamilyDistribution.from_dict(stored).exceedance(number, values)

    low, high = np.quantile([exceedance(stored) for stored in inferred["replicates"]], BAND, axis=0)
    rivals = inferred["candidates"][1 : RIVALS + 1]
    return Tail(
        exceedance(inferred["distribution"]),
        (low, high),
        {row["name"]: exceedance(row["distribution"]) for row in rivals},
    )


def moments(f_a: AleatoryDistribution, random_seed: int) -> Array:
    """The two means, then the two standard deviations of X_a1 and X_a2, from samples."""
    sample = f_a.sample(DRAWS, np.random.default_rng(random_seed))
    return np.concatenate([sample.mean(axis=0), sample.std(axis=0)])
