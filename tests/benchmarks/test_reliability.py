"""Probabilities of failure beside OpenTURNS' subset simulation and its nonparametric adaptive importance sampling.

All estimate the probability that a load of the embedded real system exceeds its threshold, from about as many
simulations. OpenTURNS is given X_a as two standard normals; seeds are drawn as it goes, which serves its methods no
worse than a third input to which the response is all jumps. How close all come is told by a quadrature.
"""

import numpy as np
import pytest
from scipy.stats import norm

from flowcal.challenge import LOADS, OUTPUTS, THRESHOLDS
from flowcal.decide.failure import crude_pof, failure_severities, measure_severity, sampled_pof
from flowcal.decide.plane import AleatoryPlane
from flowcal.problem import SEED_MAX
from flowcal.report.truth import true_exceedance, true_uncertainty_model
from flowcal.simulate.windfarm import WindFarm

CALLS, BLOCK, STEPS = 20_000, 50, 1000
REPEATS = {"ours": 60, "theirs": 20}  # theirs take longer
DESIGNS = {"2e-4": (0.695, 0.381, 0.629), "2e-5": (0.4, 0.6, 0.5), "3e-8": (0.4, 0.6, 1.0)}
CRUDE = {"2e-4": 2_000_000}  # hours that confirm a probability by counting
TRUTH = true_uncertainty_model()
X_E = TRUTH.e.bounding_box[0]
GRID = np.linspace(0, 1, 100_001)
FALLS = [-np.log(np.maximum(true_exceedance(number, GRID), np.finfo(float).tiny)) for number in (0, 1)]


@pytest.mark.parametrize("name", DESIGNS)
def test_probabilities_at_equal_calls(name, record):
    openturns, x_c = pytest.importorskip("openturns"), DESIGNS[name]
    truth, error = reference(x_c)
    if name in CRUDE:
        counted = crude_pof(TRUTH.f_a, WindFarm(), X_E, x_c, CRUDE[name], 1).sel(failure="system")
        assert abs(counted.pof - truth) < 4 * counted.standard_error
    estimates = {"ours": [(by_study(x_c, seed), CALLS) for seed in range(REPEATS["ours"])]}
    for method, label in (("SubsetSampling", "subset simulation"), ("NAIS", "NAIS")):
        _, calls = by_openturns(openturns, method, x_c, STEPS, 0)
        each = CALLS // (calls // STEPS)  # simulations a step, of which there are as many with more
        estimates[label] = [by_openturns(openturns, method, x_c, each, seed) for seed in range(REPEATS["theirs"])]
    methods = {label: summary(np.array(values), truth) for label, values in estimates.items()}
    record(f"pof_{name}", reference=truth, reference_error=error, methods=methods)
    assert abs(methods["ours"]["bias"]) < 4 * np.hypot(methods["ours"]["bias_error"], error)
    assert all(abs(part["calls"] / CALLS - 1) < 0.3 for part in methods.values())


def reference(x_c, seeds=200_000, groups=2000, cells=2000):
    """The probability, and its standard error as a share of it.

    An hour fails if X_a1 + X_a2 Z exceeds the failure severity, with a Z that its seed decides (see
    `flowcal.decide.failure`): a quadrature over X_a for each Z, of which those next to each other are taken together.
    """
    least = failure_severities(WindFarm(), [X_E], [x_c]).min()
    noise = measure_severity(WindFarm(), X_E, x_c, seeds + 1, np.random.default_rng(1)).noise
    edges = np.linspace(0, 1, cells + 1)
    mass, middle = -np.diff(true_exceedance(1, edges)), (edges[1:] + edges[:-1]) / 2
    each = [mass @ true_exceedance(0, least - middle * z) for z in noise.reshape(groups, -1).mean(axis=1)]
    return float(np.mean(each)), float(np.std(each) / np.sqrt(seeds) / np.mean(each))


def by_study(x_c, random_seed):
    """The study's own estimate."""
    estimates = sampled_pof(AleatoryPlane(TRUTH.f_a), WindFarm(), X_E, x_c, CALLS, random_seed)
    return estimates.sel(failure="system").pof.item()


def by_openturns(openturns, method, x_c, each, random_seed):
    """The estimate of one of its methods, and how many simulations it took."""
    rng, calls = np.random.default_rng(random_seed), []

    def severity(sample):
        z = np.asarray(sample)
        calls.append(len(z))
        x_a = [np.interp(-norm.logsf(column), fall, GRID) for column, fall in zip(z.T, FALLS, strict=True)]
        x = np.column_stack([*x_a, np.tile([*X_E, *x_c], (len(z), 1))])
        y = WindFarm().simulate(x, rng.integers(1, SEED_MAX, len(z), endpoint=True))
        peaks = y.max(axis=1)[:, [OUTPUTS.index(load) for load in LOADS]]
        return (peaks / list(THRESHOLDS.values())).max(axis=1, keepdims=True)

    openturns.RandomGenerator.SetSeed(random_seed)
    function = openturns.PythonFunction(2, 1, func_sample=severity)
    output = openturns.CompositeRandomVector(function, openturns.RandomVector(openturns.Normal(2)))
    algorithm = getattr(openturns, method)(openturns.ThresholdEvent(output, openturns.Greater(), 1.0))
    algorithm.setMaximumOuterSampling(each // BLOCK)
    algorithm.setBlockSize(BLOCK)
    algorithm.run()
    return algorithm.getResult().getProbabilityEstimate(), sum(calls)


def summary(values, truth):
    """Bias and spread of estimates, as shares of the truth, from (estimate, simulations) (n, 2)."""
    share = values[:, 0] / truth
    variation = share.std(ddof=1)
    return {
        "bias": round(float(share.mean() - 1), 4),
        "bias_error": round(float(variation / np.sqrt(len(share))), 4),
        "variation": round(float(variation), 4),
        "calls": round(float(values[:, 1].mean())),
        "repeats": len(share),
    }
