"""Designs, whoever's, held against the truth of the embedded real system."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from flowcal.decide.aleatory_plane import AleatoryPlane
from flowcal.decide.reliability import sampled_pof
from flowcal.decide.verification import compare_performance
from flowcal.report.scoring import true_uncertainty_model
from flowcal.simulate.campaign import Runner
from flowcal.simulate.simulator import Simulator

__all__ = ["REBUILT", "judge_by_truth"]

REBUILT: Mapping[str, str] = MappingProxyType({"uniform": "rebuilt, $X_a$ uniform", "f_a": "rebuilt, $X_a$ from UM1"})
"""What designs made the paper's way are called, by where their X_a come from."""


def judge_by_truth(
    designs: Mapping[str, Sequence[float]],
    best: Sequence[float],
    simulator: Simulator,
    hours: int,
    pof_calls: int,
    random_seed: int,
    runner: Runner | None = None,
) -> dict[str, dict[str, float]]:
    """Performance and probability of failure of designs at the true X_e* under the true f_a.

    Parameters
    ----------
    designs : mapping of str to sequence of float, shape (3,)
        Control points by name.
    best : sequence of float, shape (3,)
        The control point that performance is compared with.
    simulator : Simulator
    hours : int
        Behind each comparison, the same for all designs.
    pof_calls : int
        Simulations behind each probability of failure.
    random_seed : int
    runner : Runner, optional

    Returns
    -------
    dict of str to dict
        By name: 'difference', J less that of `best` [MW], with its 'difference_error'; 'pof' of the system with its
        'pof_error', both one standard error; 'pof_upper', the bound of 95 % on it.
    """
    truth = true_uncertainty_model()
    x_e, plane = truth.e.bounding_box[0], AleatoryPlane(truth.f_a)
    compared = compare_performance(
        truth.f_a, simulator, x_e, [best, *designs.values()], hours, random_seed, runner
    ).isel(design=slice(1, None))
    judged = {}
    for place, (name, x_c) in enumerate(designs.items()):
        failure = sampled_pof(plane, simulator, x_e, x_c, calls=pof_calls, random_seed=random_seed, runner=runner).sel(
            failure="system"
        )
        judged[name] = {
            "difference": compared.difference[place].item(),
            "difference_error": compared.standard_error[place].item(),
            "pof": failure.pof.item(),
            "pof_error": failure.standard_error.item(),
            "pof_upper": failure.upper.item(),
        }
    return judged
