"""UM2, the uncertainty model from all observed hours at once: E first, then f_a at values of X_e from E."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from flowcal.files import Weights
from flowcal.infer.credible_set import CredibleSet
from flowcal.infer.families import FamilyDistribution
from flowcal.infer.models import UncertaintyModel
from flowcal.infer.networks import matching_header
from flowcal.infer.um2_aleatory import AleatoryEstimator, infer_population
from flowcal.infer.um2_epistemic import Rounds, infer_epistemic_set
from flowcal.problem import check_counts, rng_of
from flowcal.simulate.campaign import Runner
from flowcal.simulate.simulator import Simulator

__all__ = ["UM2", "UM2Settings", "add_f_a", "infer_um2", "infer_um2_f_a"]

VALUES_OF_X_E = 4  # posterior draws from E at which f_a is inferred


@dataclass(frozen=True)
class UM2Settings:
    """How UM2 is inferred: the rounds of E, draws of X_a for each hour, and replicates of f_a."""

    rounds: Rounds
    draws: int
    replicates: int

    def __post_init__(self) -> None:
        check_counts(draws=self.draws)
        check_counts(0, replicates=self.replicates)


@dataclass(frozen=True)
class UM2:
    """An inferred UM2: E, the best f_a, and other f_a that are as plausible given the hours.

    `inferred` is what `infer_population` returned, `rounds` what `infer_epistemic_set` found by round, and `seconds`
    the wall time of 'e' and 'f_a'.
    """

    e: CredibleSet
    f_a: FamilyDistribution
    replicates: list[FamilyDistribution]
    inferred: dict[str, Any]
    rounds: list[dict[str, Any]]
    seconds: dict[str, float]

    @property
    def model(self) -> UncertaintyModel:
        """The two together."""
        return UncertaintyModel(self.f_a, self.e)

    @classmethod
    def from_weights(cls, weights: Weights) -> "UM2":
        """What `infer_um2` returned."""
        e = CredibleSet.from_weights(weights)
        with matching_header(weights, CredibleSet.__name__) as header:
            inferred = header["f_a"]
            f_a, *replicates = map(FamilyDistribution.from_dict, (inferred["distribution"], *inferred["replicates"]))
            return cls(e, f_a, replicates, inferred, header["found"]["rounds"], header["seconds"])


def infer_um2(
    simulator: Simulator,
    observed: xr.Dataset,
    estimator: AleatoryEstimator,
    settings: UM2Settings,
    random_seed: int | Sequence[int],
    runner: Runner | None = None,
) -> Weights:
    """UM2 of all observed hours, one or more, for `UM2.from_weights`.

    The random seed may be one for all, or three: for E, for the values of X_e, and for f_a.
    """
    e_seed, *other_seeds = (random_seed,) * 3 if isinstance(random_seed, int) else random_seed
    start = time.perf_counter()
    e = infer_epistemic_set(simulator, observed, estimator, settings.rounds, e_seed, runner)
    seconds = {"e": round(time.perf_counter() - start, 1)}
    um_2 = add_f_a(e, estimator, observed, settings, other_seeds)
    return Weights(um_2.header | {"seconds": seconds | um_2.header["seconds"]}, um_2.tensors)


def add_f_a(
    e: Weights, estimator: AleatoryEstimator, observed: xr.Dataset, settings: UM2Settings, random_seeds: Sequence[int]
) -> Weights:
    """UM2 of observed hours with the E that `infer_epistemic_set` found from them, for `UM2.from_weights`.

    The weights are those of E, for `CredibleSet.from_weights`; the header has f_a, as `infer_population` returns it,
    and the seconds spent.
    """
    start = time.perf_counter()
    f_a = infer_um2_f_a(estimator, observed, CredibleSet.from_weights(e), settings, random_seeds)
    seconds = {"f_a": round(time.perf_counter() - start, 1)}
    return Weights(e.header | {"f_a": f_a, "seconds": seconds}, e.tensors)


def infer_um2_f_a(
    estimator: AleatoryEstimator,
    observed: xr.Dataset,
    e: CredibleSet,
    settings: UM2Settings,
    random_seeds: Sequence[int],
) -> dict[str, Any]:
    """f_a of observed hours at values of X_e from an E, as `infer_population` returns it.

    The hours may be fewer than those of E. The random seeds are for the values of X_e and for f_a.
    """
    x_e_seed, f_a_seed = random_seeds
    x_e = e.posterior_sample(VALUES_OF_X_E, rng_of(x_e_seed))
    return infer_population(estimator, observed, x_e, settings.draws, settings.replicates, f_a_seed)
