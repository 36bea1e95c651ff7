"""Calibration, coverage and predictive checks: they pass what is right and fail what is wrong."""

import numpy as np
import pytest
import scipy.stats
import xarray as xr

from flowcal.challenge import PROBLEM, TABLE_1
from flowcal.errors import InputError
from flowcal.infer.checks import (
    calibrate,
    coverage,
    energy_distance,
    predict_hours,
    predictive_levels,
    probability_box,
    share_beyond_chance,
    uniform_band,
)
from flowcal.infer.hour_posterior import HourPosterior
from flowcal.infer.models import EpistemicBox, PooledDraws, UncertaintyModel
from flowcal.infer.um1 import aleatory_flow, aleatory_runs
from flowcal.simulate.windfarm import WindFarm


@pytest.fixture
def rng():
    return np.random.default_rng(1)


class Normals:
    """A posterior known in closed form: theta = 0.5 + 0.1 u, seen with noise of spread 0.1; or one too narrow."""

    architecture = aleatory_flow(PROBLEM)

    def __init__(self, theta, rng, width=1.0):
        seen = theta + 0.1 * rng.standard_normal(theta.shape)
        self.mean, self.spread = (seen + 0.5) / 2, width * 0.1 / np.sqrt(2)

    def sample(self, shape, hours, rng):
        return self.mean + self.spread * rng.standard_normal((*shape, *self.mean.shape))

    def log_prob(self, theta, hours):
        return scipy.stats.norm(self.mean, self.spread).logpdf(theta).sum(axis=-1)


def runs_with(theta):
    x = np.column_stack([theta, np.zeros((len(theta), 6))])
    names = ["X_a1", "X_a2", "X_e1", "X_e2", "X_e3", "X_c1", "X_c2", "X_c3"]
    return xr.Dataset({"x": (("sample", "input"), x)}, {"input": names})


@pytest.mark.parametrize(("width", "right"), [(1.0, True), (0.6, False)])
def test_calibration_tells_a_right_posterior_from_a_narrow_one(rng, width, right):
    theta = 0.5 + 0.1 * rng.standard_normal((2000, 2))
    result = calibrate(Normals(theta, rng, width), runs_with(theta), 200, 1)
    assert result["rank"].shape == (2000, 2)
    for values in (*result["rank"].values.T, result.credibility.values):
        assert (scipy.stats.kstest(values, "uniform").pvalue > 0.01) == right
    assert (np.abs(coverage(result["rank"], 0.9) - 0.9) < 0.02).all() == right
    assert result.log_prob.shape == (2000,)


def test_coverage_counts_central_intervals():
    assert coverage([[0.04], [0.06], [0.5], [0.96]], 0.9) == pytest.approx([0.5])


def test_uniform_band_holds_as_a_whole_as_often_as_it_says(rng):
    at = np.linspace(0.02, 0.98, 49)
    low, high = uniform_band(300, at, rng)
    values = np.sort(rng.random((2000, 300)), axis=1)
    shares = np.array([np.searchsorted(row, at, side="right") for row in values]) / 300
    assert ((shares >= low) & (shares <= high)).all(axis=1).mean() == pytest.approx(0.95, abs=0.02)


def test_energy_distance_is_the_known_one(rng):
    first, second = rng.normal(0, 1, (800, 1)), rng.normal(0.5, 1, (900, 1))
    # SciPy has the root, and pairs of a draw with itself, which lower it by the mean distances over the sizes.
    biased = scipy.stats.energy_distance(first[:, 0], second[:, 0]) ** 2
    assert energy_distance(first, second) == pytest.approx(biased - 1.13 / 800 - 1.13 / 900, abs=3e-4)


def test_energy_distance_vanishes_for_one_distribution(rng):
    values = [energy_distance(rng.random((300, 2)), rng.random((300, 2))) for _ in range(50)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(50)


@pytest.fixture
def model(rng):
    return UncertaintyModel(PooledDraws(rng.random((1000, 2)), 1000), EpistemicBox([0] * 3, [1] * 3))


def test_predicted_hours_follow_the_model(model):
    hours = predict_hours(model, WindFarm(), TABLE_1[0], 500, random_seed=1)
    assert (hours.x.values[:, 5:] == TABLE_1[0]).all()
    assert len(np.unique(hours.seed)) == 500
    assert hours.x.values[:, :5].mean(axis=0) == pytest.approx(0.5, abs=0.06)
    with pytest.raises(InputError, match="hours is 0"):
        predict_hours(model, WindFarm(), TABLE_1[0], 0, random_seed=1)


def test_predictive_levels_are_uniform_for_the_right_model_only(model, rng):
    predicted = predict_hours(model, WindFarm(), TABLE_1[0], 20_000, random_seed=1)
    right = predictive_levels(predict_hours(model, WindFarm(), TABLE_1[0], 400, random_seed=2), predicted, rng)
    assert right.dims == ("quantity", "sample", "output")
    assert all(
        scipy.stats.kstest(column, "uniform").pvalue > 1e-3
        for column in right.values.transpose(0, 2, 1).reshape(12, -1)
    )
    narrow = UncertaintyModel(PooledDraws(0.1 + 0.2 * rng.random((500, 2)), 500), model.e)
    wrong = predictive_levels(predict_hours(narrow, WindFarm(), TABLE_1[0], 400, random_seed=2), predicted, rng)
    assert scipy.stats.kstest(wrong.sel(quantity="mean", output="y4"), "uniform").pvalue < 1e-6


def test_calibration_of_a_real_flow_has_its_names():
    result = calibrate(HourPosterior(aleatory_flow(PROBLEM), 1), aleatory_runs(WindFarm(), 20, "fresh", 1), 10, 1)
    assert result.parameter.values.tolist() == ["X_a1", "X_a2"]


def test_a_probability_box_holds_the_tail_of_blurred_values():
    """In nearly all of a hundred repetitions, at all places at once; and no tighter than the number of hours allows."""
    rng, at = np.random.default_rng(1), np.linspace(0, 1, 21)
    held = 0
    for _ in range(100):
        x = rng.beta(2, 5, 200)
        centre = x + rng.normal(0, 0.05, 200)
        draws = centre + rng.normal(0, 0.05, (100, 200))
        low, high = probability_box(draws, at, level=0.9)
        truth = scipy.stats.beta(2, 5).sf(at)
        held += bool(np.all((low <= truth) & (truth <= high)))
        assert np.all(high - low >= 0)
    assert held >= 90
    assert high[-1] == pytest.approx(np.sqrt(np.log(20) / 400) + 2 / 101)


@pytest.mark.parametrize(
    ("draws", "at", "level"), [([0.5], [0.5], 0.9), ([[0.5]], [[0.5]], 0.9), ([[0.5]], [0.5], 1.0), ([[]], [0.5], 0.9)]
)
def test_a_probability_box_of_nothing_is_refused(draws, at, level):
    with pytest.raises(InputError):
        probability_box(draws, at, level)


def test_bars_beyond_chance_are_counted():
    rng = np.random.default_rng(1)
    uniform = xr.DataArray(rng.random((2, 500, 6)), dims=("quantity", "sample", "output"))
    assert share_beyond_chance(uniform) < 0.12
    assert share_beyond_chance(uniform**2) > 0.5
