"""Probabilities of failure beside OpenTURNS' subset simulation on the same simulator."""

import numpy as np
import pytest

from flowcal.challenge import LOADS, OUTPUTS, SEED_MAX, THRESHOLDS
from flowcal.decide.aleatory_plane import AleatoryPlane
from flowcal.decide.reliability import sampled_pof
from flowcal.report.scoring import true_uncertainty_model
from flowcal.simulate.windfarm import WindFarm

CALLS, REPEATS = 20_000, 10
DESIGNS = {"2e-4": (0.695, 0.381, 0.629), "2e-5": (0.4, 0.6, 0.5), "3e-8": (0.4, 0.6, 1.0)}


@pytest.mark.parametrize("name", DESIGNS)
def test_subset_simulation_agrees_and_costs_more(name, record):
    """Inputs of both: X_a and the seed. Errors are compared at the same number of simulations."""
    openturns = pytest.importorskip("openturns")
    truth, x_c = true_uncertainty_model(), DESIGNS[name]
    x_e, plane = truth.e.bounding_box[0], AleatoryPlane(truth.f_a)
    ours = [
        sampled_pof(plane, WindFarm(), x_e, x_c, CALLS, seed).sel(failure="system").pof.item()
        for seed in range(REPEATS)
    ]
    theirs, calls = zip(*(subset_simulation(openturns, plane, x_e, x_c, seed) for seed in range(REPEATS)), strict=True)
    spread, other = (float(np.std(values, ddof=1) / np.mean(values)) for values in (ours, theirs))
    ratio = other * np.sqrt(np.mean(calls) / CALLS) / spread
    record(
        f"pof_{name}",
        importance_sampling={"mean": float(np.mean(ours)), "variation": round(spread, 4), "calls": CALLS},
        subset_simulation={"mean": float(np.mean(theirs)), "variation": round(other, 3), "calls": int(np.mean(calls))},
        variation_at_equal_calls=round(float(ratio), 1),
    )
    assert abs(np.mean(theirs) / np.mean(ours) - 1) < 4 * other / np.sqrt(REPEATS)
    assert ratio > 1


def subset_simulation(openturns, plane, x_e, x_c, random_seed):
    """OpenTURNS' estimate and its number of simulations; X_a by the plane's cells, all inputs from uniform ones."""
    first = plane.mass.reshape(len(np.unique(plane.x_a[:, 0])), -1)
    marginal = np.append(0, np.cumsum(first.sum(axis=1)))
    conditional = np.cumsum(first, axis=1) / np.maximum(first.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    edges = np.linspace(0, 1, len(marginal))

    def severity(sample):
        u = np.asarray(sample)
        x_a1 = np.interp(u[:, 0], marginal / marginal[-1], edges)
        row = np.minimum((x_a1 * len(first)).astype(int), len(first) - 1)
        steps = np.linspace(0, 1, first.shape[1] + 1)
        x_a2 = [
            np.interp(share, np.append(0, conditional[place]), steps) for share, place in zip(u[:, 1], row, strict=True)
        ]
        x = np.column_stack([x_a1, x_a2, np.tile([*x_e, *x_c], (len(u), 1))])
        y = WindFarm().simulate(x, np.maximum(1, u[:, 2] * SEED_MAX).astype(np.int64))
        peaks = y.max(axis=1)[:, [OUTPUTS.index(load) for load in LOADS]]
        return (peaks / np.array(list(THRESHOLDS.values()))).max(axis=1, keepdims=True)

    openturns.RandomGenerator.SetSeed(random_seed)
    function = openturns.PythonFunction(3, 1, func_sample=severity)
    inputs = openturns.RandomVector(openturns.JointDistribution([openturns.Uniform(0, 1)] * 3))
    event = openturns.ThresholdEvent(openturns.CompositeRandomVector(function, inputs), openturns.Greater(), 1.0)
    algorithm = openturns.SubsetSampling(event)
    algorithm.setMaximumOuterSampling(100)
    algorithm.setBlockSize(50)
    algorithm.run()
    result = algorithm.getResult()
    return result.getProbabilityEstimate(), result.getOuterSampling() * result.getBlockSize()
