"""The two uncertainty models of a study, as its chapters have kept them."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from flowcal.errors import InputError
from flowcal.infer.families import FamilyDistribution
from flowcal.infer.level_set import EpistemicLevelSet
from flowcal.infer.uncertainty import AleatoryDistribution, EpistemicBox, PooledDraws, UncertaintyModel
from flowcal.study import Study

__all__ = ["inferred_models", "inferred_replicates"]


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
            "UM2": UncertaintyModel(
                FamilyDistribution.from_dict(study.read("shared", "f_a")["distribution"]),
                EpistemicLevelSet.from_weights(study.read("shared", "e")),
            ),
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
    kept = study.read("shared", "f_a")["replicates"]
    if most < 1:
        raise InputError(f"most is {most}; needed is a whole number from 1 up.")
    every = max(1, len(kept) // most)
    return MappingProxyType(
        {
            "UM1": [f_a.resample(rng) for _ in range(most)],
            "UM2": [FamilyDistribution.from_dict(values) for values in kept[::every][:most]],
        }
    )
