"""Failure: one number an hour decides all peaks, known areas, three ways that agree, honest errors, and bounds."""

import numpy as np
import pytest
import small_farm
from small_farm import SmallFarm, ThreeAleatory, UniformInputs

from flowcal.challenge import PROBLEM
from flowcal.decide.failure import (
    ResolutionError,
    Severity,
    SeverityError,
    check_severity,
    crude_pof,
    failure_curves,
    failure_names,
    failure_severities,
    measure_severity,
    sampled_pof,
)
from flowcal.decide.plane import AleatoryPlane
from flowcal.errors import FlowcalError, InputError
from flowcal.infer.families import Cluster, FamilyDistribution, Marginal
from flowcal.infer.models import PooledDraws
from flowcal.simulate.windfarm import WindFarm

X_E, X_C, ROUGH = (0.3, 0.6, 0.4), (0.4, 0.6, 0.5), (0.6, 0.4, 0.7)
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
    assert curve.severity_of(0.5) == pytest.approx(0.75, abs=0.01)


def test_integral_importance_and_crude_sampling_agree(plane, curve):
    thresholds = (1400.0, 1e9, 900.0)
    severities = failure_severities(WindFarm(), [X_E], [X_C], thresholds)
    integral = curve.pof(severities)[0]
    sampled = sampled_pof(plane, WindFarm(), X_E, X_C, 20_000, 1, thresholds=thresholds)
    crude = crude_pof(WINDS, WindFarm(), X_E, X_C, 200_000, 1, thresholds=thresholds)
    for name, value in zip(failure_names(PROBLEM), integral, strict=True):
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
        pooled.severity_of(1e-3)
    assert pooled.upper_bound([0.5, 1e-6]).tolist() == [0.5, 0.006]
    assert curve.upper_bound([1e-6]) == 1e-6
    assert curve(curve.severity_of(1e-6)) == pytest.approx(1e-6)


def test_calls_and_probabilities_that_do_not_fit_are_refused(plane, curve):
    with pytest.raises(InputError, match="calls is 900; expected a whole number from 1002 up"):
        sampled_pof(plane, WindFarm(), X_E, X_C, 900, 1)
    with pytest.raises(InputError, match="from 1 up"):
        crude_pof(WINDS, WindFarm(), X_E, X_C, 0, 1)
    with pytest.raises(InputError, match=r"probability is 0.0; expected a number in \(0, 1\)"):
        curve.severity_of(0.0)


@pytest.mark.parametrize(("threshold", "pof"), [(1e-12, 1.0), (1e12, 0.0)])
def test_thresholds_that_are_always_or_never_exceeded(plane, curve, threshold, pof):
    thresholds = (threshold,) * 3
    assert curve.pof(failure_severities(WindFarm(), [X_E], [X_C], thresholds))[0] == pytest.approx([pof] * 4)
    for method, source in ((sampled_pof, plane), (crude_pof, WINDS)):
        result = method(source, WindFarm(), X_E, X_C, calls=3000, random_seed=1, thresholds=thresholds)
        assert result.pof.values == pytest.approx([pof] * 4, abs=0.05)
        assert (result.upper > 0).all()


def test_mass_at_the_bounds_counts_in_full():
    edges = FamilyDistribution((Cluster(1.0, (Marginal("beta", (-1.5, -1.5)), Marginal("beta", (-1.0, -1.0)))),))
    plane = AleatoryPlane(edges)
    assert plane.mass[plane.x_a[:, 0] > 0.99].sum() == pytest.approx(edges.exceedance(0, 0.99), rel=1e-6)
    severity = measure_severity(WindFarm(), X_E, X_C, 3000, np.random.default_rng(1))
    integral = failure_curves([edges], severity)[0].pof(failure_severities(WindFarm(), [X_E], [X_C]))[0, -1]
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
    highest = np.sort(peaks_of_y6())[::-1]
    threshold = (highest[failures] + highest[failures - 1]) / 2 if failures else highest[0] * 2
    result = crude_pof(WINDS, WindFarm(), X_E, X_C, 1000, 3, thresholds=(1e12, 1e12, threshold)).sel(failure="y6")
    assert round(1000 * result.pof.item()) == failures
    assert 1000 * result.upper.item() == pytest.approx(poisson, abs=0.01)


def peaks_of_y6():
    """Peaks of y6 in the hours that crude sampling draws with seed 3."""
    rng = np.random.default_rng([3, 7])
    x = np.column_stack([WINDS.sample(1000, rng), np.tile([*X_E, *X_C], (1000, 1))])
    return WindFarm().simulate(x, rng.integers(1, 2**31 - 1, 1000, endpoint=True)).max(axis=1)[:, 5]


class Shaken(WindFarm):
    """A black box whose seeds shake one load on their own."""

    def simulate(self, x, seed):
        y = super().simulate(x, seed)
        y[:, :, 4] *= 1 + 0.1 * (np.asarray(seed) % 7)[:, None]
        return y


def test_peaks_of_the_embedded_box_are_decided_by_severity():
    assert check_severity(WindFarm(), 300, 1e-9, np.random.default_rng(1)) < 1e-9


def test_another_box_is_refused():
    with pytest.raises(SeverityError, match="one number an hour"):
        check_severity(Shaken(), 100, 1e-3, np.random.default_rng(1))


def test_exceedance_is_the_share_of_hours_that_fail():
    severity = measure_severity(WindFarm(), [0.5] * 3, [0.5] * 3, 4000, np.random.default_rng(1))
    x_a = np.array([0.5, 0.6])
    reached = failure_severities(WindFarm(), [X_E], [ROUGH], (1600.0, 1e9, 1e9))[0, 0]
    x = np.tile([*x_a, *X_E, *ROUGH], (20_000, 1))
    peaks = WindFarm().simulate(x, np.arange(1, len(x) + 1))[:, :, 3].max(axis=1)
    share = severity.exceedance(x_a[None], reached)[0]
    assert 0.05 < share < 0.95
    assert share == pytest.approx((peaks > 1600).mean(), abs=0.03)  # errors of 4,000 and of 20,000 seeds


def test_survival_falls_from_one_to_zero_without_a_jump():
    severity = Severity(np.random.default_rng(1).gumbel(0.17, 0.03, 3000))
    survival = severity.survival(np.linspace(-0.2, 1, 2000))
    assert survival[0] == 1
    assert (np.diff(survival) <= 1e-12).all()
    assert np.abs(np.diff(survival)).max() < 0.02
    assert 0 < severity.survival(severity.noise[-1]) < 2e-3  # the tail goes on beyond the largest


def test_without_noise_severity_is_certain():
    severity = Severity(np.random.default_rng(1).random(300))
    assert severity.exceedance([[0.5, 0.0], [0.7, 0.0]], 0.6).tolist() == [0, 1]


def test_a_load_reaches_its_threshold_at_its_failure_severity():
    reached = failure_severities(WindFarm(), [X_E], [ROUGH], (800.0, 700.0, 600.0))[0]
    for load, threshold in enumerate((800.0, 700.0, 600.0)):
        y = WindFarm().simulate([[reached[load], 0, *X_E, *ROUGH]], [1])
        assert y[0, :, 3 + load].max() == pytest.approx(threshold)


def test_severities_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="expected at least 200"):
        Severity(np.ones(10))
    with pytest.raises(InputError, match="above 0"):
        failure_severities(WindFarm(), [X_E], [ROUGH], (1.0, 0.0, 1.0))
    with pytest.raises(InputError, match="runs is 100; expected a whole number from 201 up"):
        measure_severity(WindFarm(), X_E, ROUGH, 100, np.random.default_rng(1))


NAN = float("nan")


@pytest.mark.parametrize("thresholds", [(NAN,) * 3, (1.0, np.inf, 1.0), (1.0, 1.0), 1000.0, (1.0, -1.0, 1.0)])
def test_thresholds_that_are_none_are_refused_by_all(plane, thresholds):
    for method, source in ((sampled_pof, plane), (crude_pof, WINDS)):
        with pytest.raises(InputError, match="a finite number above 0 for each limited output, y4, y5, y6"):
            method(source, WindFarm(), X_E, X_C, 3000, 1, thresholds=thresholds)
    with pytest.raises(InputError, match="a finite number above 0"):
        failure_severities(WindFarm(), [X_E], [X_C], thresholds)


class Sentinel(WindFarm):
    """A black box that writes a number which is none where it did not converge."""

    def __init__(self, value, steps):
        self.value, self.steps = value, steps

    def simulate(self, x, seed):
        y = super().simulate(x, seed)
        y[y[:, :, 3:].max((1, 2)) > 900, : self.steps] = self.value
        return y


@pytest.mark.parametrize("value", [-999.0, NAN, np.inf])
@pytest.mark.parametrize(("steps", "calls"), [(60, 500), (1, 500), (60, 6000)])
def test_values_that_stand_for_no_result_never_count_as_hours_that_went_well(value, steps, calls):
    with pytest.raises(FlowcalError, match="finite numbers from 0 up|NaN or infinity"):
        crude_pof(UNIFORM, Sentinel(value, steps), X_E, X_C, calls, 1)


def test_loads_and_thresholds_are_those_of_the_problem():
    at = {"simulator": SmallFarm(), "x_e": [0.3], "x_c": [0.4, 0.6], "calls": 4000, "random_seed": 1}
    crude, sampled = crude_pof(UniformInputs(2), **at), sampled_pof(AleatoryPlane(UniformInputs(2)), **at)
    assert list(crude.failure.values) == ["far", "near", "system"] == list(failure_names(small_farm.PROBLEM))
    severity = measure_severity(SmallFarm(), [0.5], [0.5, 0.5], 1000, np.random.default_rng(1))
    (curve,) = failure_curves([UniformInputs(2)], severity)
    integral = curve.pof(failure_severities(SmallFarm(), [[0.3]], [[0.4, 0.6]]))[0]
    for name, value in zip(failure_names(small_farm.PROBLEM), integral, strict=True):
        for result in (crude, sampled):
            assert (
                abs(result.pof.sel(failure=name) - value) <= 5 * result.standard_error.sel(failure=name) + 0.05 * value
            )
    assert check_severity(SmallFarm(), 100, 1e-6, np.random.default_rng(1)) < 1e-6


def test_severity_needs_two_aleatory_inputs_and_crude_sampling_does_not():
    result = crude_pof(UniformInputs(3), ThreeAleatory(), [0.3], [0.4, 0.6], 2000, 1)
    assert result.pof.sel(failure="system") > 0
    with pytest.raises(InputError, match="3 aleatory inputs.*expected two"):
        failure_severities(ThreeAleatory(), [[0.3]], [[0.4, 0.6]])
    with pytest.raises(InputError, match="3 aleatory inputs.*expected two"):
        check_severity(ThreeAleatory(), 100, 1e-6, np.random.default_rng(1))
    with pytest.raises(InputError, match="f_a has 3 aleatory inputs; expected two"):
        AleatoryPlane(UniformInputs(3))
