"""Probabilities of failure: known areas, three ways that agree, honest errors, and bounds where nothing is seen."""

import numpy as np
import pytest

from flowcal.decide.failure import (
    FAILURES,
    AleatoryPlane,
    ResolutionError,
    Severity,
    crude_pof,
    failure_curves,
    failure_levels,
    measure_severity,
    sampled_pof,
)
from flowcal.errors import InputError
from flowcal.infer.families import Cluster, FamilyDistribution, Marginal
from flowcal.infer.models import PooledDraws
from flowcal.simulate.windfarm import WindFarm

X_E, X_C = (0.3, 0.6, 0.4), (0.4, 0.6, 0.5)
UNIFORM = FamilyDistribution((Cluster(1.0, (Marginal("beta", (0.0, 0.0)), Marginal("beta", (0.0, 0.0)))),))
WINDS = FamilyDistribution((Cluster(1.0, (Marginal("Weibull", (0.88, -1.26)), Marginal("Weibull", (0.59, -1.55)))),))


@pytest.fixture(scope="module")
def plane():
    return AleatoryPlane(WINDS)


@pytest.fixture(scope="module")
def curve():
    severity = measure_severity(WindFarm(), X_E, X_C, 5000, np.random.default_rng(1))
    return failure_curves([WINDS], severity)[0]


def test_probabilities_are_areas_where_all_is_uniform():
    (curve,) = failure_curves([UNIFORM], Severity(np.full(300, 0.5)))  # severity X_a1 + X_a2 / 2
    assert curve(1.25) == pytest.approx(0.5 * 0.25 / 2, rel=0.02)
    assert curve(0.75) == pytest.approx(0.5, rel=0.01)
    assert curve(1.55) == 0 or curve(1.55) < 1e-300
    assert curve.level_of(0.5) == pytest.approx(0.75, abs=0.01)


def test_integral_importance_and_crude_sampling_agree(plane, curve):
    thresholds = (1400.0, 1e9, 900.0)
    levels = failure_levels(WindFarm(), [X_E], [X_C], thresholds)
    integral = curve.pof(levels)[0]
    sampled = sampled_pof(plane, WindFarm(), X_E, X_C, 20_000, 1, thresholds=thresholds)
    crude = crude_pof(WINDS, WindFarm(), X_E, X_C, 200_000, 1, thresholds=thresholds)
    for name, value in zip(FAILURES, integral, strict=True):
        if name != "y5":
            one, other = sampled.sel(failure=name), crude.sel(failure=name)
            assert one.pof == pytest.approx(value, rel=0.06)
            assert abs(one.pof - other.pof) < 4 * np.hypot(one.standard_error, other.standard_error)


@pytest.mark.parametrize(
    ("x_c", "magnitude", "largest"),
    [((0.695, 0.381, 0.629), 2e-4, 0.02), ((0.4, 0.6, 0.5), 2e-5, 0.02), ((0.4, 0.6, 1.0), 3e-8, 0.05)],
)
def test_claimed_errors_are_true_and_small(plane, x_c, magnitude, largest):
    repeats = [sampled_pof(plane, WindFarm(), X_E, x_c, 20_000, seed).sel(failure="system") for seed in range(20)]
    pof = np.array([repeat.pof for repeat in repeats])
    claimed = np.mean([repeat.standard_error for repeat in repeats]) / pof.mean()
    spread = pof.std(ddof=1) / pof.mean()
    assert magnitude / 2 < pof.mean() < 2 * magnitude
    assert spread < largest
    assert claimed == pytest.approx(spread, rel=0.5)  # twenty repeats tell a spread within a sixth, one standard error


def test_what_is_never_seen_is_bounded(plane):
    thresholds = (1e9, 1e9, 1e9)
    for result in (
        sampled_pof(plane, WindFarm(), X_E, X_C, 3000, 1, thresholds=thresholds),
        crude_pof(WINDS, WindFarm(), X_E, X_C, 3000, 1, thresholds=thresholds),
    ):
        assert (result.pof == 0).all()
        assert (result.upper > 0).all()
    assert result.upper.sel(failure="system") == pytest.approx(3 / 3000, rel=0.01)


def test_what_always_happens_is_certain(plane):
    result = sampled_pof(plane, WindFarm(), X_E, X_C, 5000, 1, thresholds=(1e-12, 1e9, 1e9))
    assert result.pof.sel(failure="system") == pytest.approx(1, abs=0.05)
    assert result.upper.max() <= 1


def test_an_epsilon_below_resolution_is_refused(curve):
    draws = WINDS.sample(500, np.random.default_rng(1))
    severity = Severity(np.random.default_rng(1).gumbel(0.17, 0.03, 500))
    (pooled,) = failure_curves([PooledDraws(draws, 500)], severity)
    with pytest.raises(ResolutionError, match="bound none below 0.006"):
        pooled.level_of(1e-3)
    assert pooled.upper_bound([0.5, 1e-6]).tolist() == [0.5, 0.006]
    assert curve.upper_bound([1e-6]) == 1e-6
    assert curve(curve.level_of(1e-6)) == pytest.approx(1e-6)


def test_what_does_not_fit_is_refused(plane, curve):
    with pytest.raises(InputError, match="more than the 1000 pilots"):
        sampled_pof(plane, WindFarm(), X_E, X_C, 900, 1)
    with pytest.raises(InputError, match="from 1 up"):
        crude_pof(WINDS, WindFarm(), X_E, X_C, 0, 1)
    with pytest.raises(InputError, match="between 0 and 1"):
        curve.level_of(0.0)


@pytest.mark.parametrize(("threshold", "pof"), [(1e-12, 1.0), (1e12, 0.0)])
def test_thresholds_that_are_always_or_never_exceeded(plane, curve, threshold, pof):
    thresholds = (threshold,) * 3
    assert curve.pof(failure_levels(WindFarm(), [X_E], [X_C], thresholds))[0] == pytest.approx([pof] * 4)
    for method, source in ((sampled_pof, plane), (crude_pof, WINDS)):
        result = method(source, WindFarm(), X_E, X_C, calls=3000, random_seed=1, thresholds=thresholds)
        assert result.pof.values == pytest.approx([pof] * 4, abs=0.05)
        assert (result.upper > 0).all()


def test_mass_at_the_bounds_counts_in_full():
    edges = FamilyDistribution((Cluster(1.0, (Marginal("beta", (-1.5, -1.5)), Marginal("beta", (-1.0, -1.0)))),))
    plane = AleatoryPlane(edges)
    assert plane.mass[plane.x_a[:, 0] > 0.99].sum() == pytest.approx(edges.exceedance(0, 0.99), rel=1e-6)
    severity = measure_severity(WindFarm(), X_E, X_C, 3000, np.random.default_rng(1))
    integral = failure_curves([edges], severity)[0].pof(failure_levels(WindFarm(), [X_E], [X_C]))[0, -1]
    crude = crude_pof(edges, WindFarm(), X_E, X_C, 40_000, 1).sel(failure="system")
    assert integral == pytest.approx(crude.pof.item(), rel=0.05)


def test_cells_of_dependent_inputs_hold_what_is_drawn():
    joined = FamilyDistribution((Cluster(1.0, WINDS.clusters[0].marginals, "Gumbel", 0.5),))
    plane, drawn = AleatoryPlane(joined), joined.sample(200_000, np.random.default_rng(1))
    for limit in (0.2, 0.4):
        share = plane.mass[(plane.x_a > limit).all(axis=1)].sum()
        assert share == pytest.approx((drawn > limit).all(axis=1).mean(), rel=0.03)


@pytest.mark.parametrize(("failures", "poisson"), [(0, 2.996), (1, 4.744), (5, 10.513)])
def test_upper_bounds_are_those_of_counts_where_all_weigh_the_same(plane, curve, failures, poisson):
    level = np.sort(failed_levels())[::-1]
    threshold = (level[failures] + level[failures - 1]) / 2 if failures else level[0] * 2
    result = crude_pof(WINDS, WindFarm(), X_E, X_C, 1000, 3, thresholds=(1e12, 1e12, threshold)).sel(failure="y6")
    assert round(1000 * result.pof.item()) == failures
    assert 1000 * result.upper.item() == pytest.approx(poisson, abs=0.01)


def failed_levels():
    """Peaks of y6 in the hours that crude sampling draws with seed 3."""
    rng = np.random.default_rng([3, 7])
    x = np.column_stack([WINDS.sample(1000, rng), np.tile([*X_E, *X_C], (1000, 1))])
    return WindFarm().simulate(x, rng.integers(1, 2**31 - 1, 1000, endpoint=True)).max(axis=1)[:, 5]
