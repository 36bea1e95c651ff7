"""Scores: exact on what is known exactly."""

import numpy as np
import pytest

from flowcal.challenge import PUBLISHED, TABLE_1
from flowcal.decide.problems import compare_performance
from flowcal.infer.models import EpistemicBox, PooledDraws
from flowcal.report.truth import (
    direct_distances_by_hours,
    score_aleatory,
    score_box,
    score_set,
    true_hours,
    true_performance,
    true_uncertainty_model,
)
from flowcal.simulate.observed import RealSystem
from flowcal.simulate.windfarm import WindFarm


@pytest.fixture(scope="module")
def truth():
    return true_uncertainty_model()


def test_the_truth_is_a_model_whose_set_is_a_point(truth):
    assert truth.e.volume == 0
    found = score_set(truth.e, truth.e.bounding_box[0])
    assert found == {"contains": True, "volume": 0.0, "least_distance": 0.0, "best_guess_distance": 0.0}
    axis = (np.arange(300) + 0.5) / 300
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    assert np.exp(truth.f_a.log_prob(grid)).mean() == pytest.approx(1, abs=1e-3)


def test_true_hours_are_like_the_observed_ones():
    known = true_hours(WindFarm(), TABLE_1[0], 2000, random_seed=1)
    observed = RealSystem().observe(TABLE_1[0])
    medians = [hours.y.sel(output="y4").mean("time").median().item() for hours in (known, observed)]
    assert medians[0] == pytest.approx(medians[1], rel=0.25)
    # At one control point the quotient of two loads depends on X_e alone: here it is the real system's.
    ratios = [(hours.y.sel(output="y5") / hours.y.sel(output="y4")).median().item() for hours in (known, observed)]
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-9)


def test_a_perfect_f_a_scores_as_such_and_another_does_not(truth):
    rng = np.random.default_rng(1)
    perfect = score_aleatory(truth.f_a, random_seed=1)
    assert abs(perfect["energy_distance"]) < 5 * perfect["energy_distance_error"]
    assert perfect["mean"]["estimate"] == pytest.approx(perfect["mean"]["truth"], abs=0.005)
    assert perfect["correlation"]["truth"] == pytest.approx(0, abs=0.02)
    uniform = score_aleatory(PooledDraws(rng.random((2000, 2)), 2000), random_seed=1)
    assert uniform["energy_distance"] > 100 * perfect["energy_distance_error"]


def test_distance_falls_as_one_over_the_number_of_hours():
    distances = np.mean(direct_distances_by_hours([10, 100], repeats=20, random_seed=1), axis=1)
    assert distances[0] / distances[1] == pytest.approx(10, rel=0.5)


def test_a_box_that_misses_says_so(truth):
    x_e = truth.e.bounding_box[0]
    assert not score_set(EpistemicBox(x_e * 0.5, x_e * 0.9))["contains"]
    assert score_set(EpistemicBox(x_e * 0.5, x_e * 1.1))["contains"]


def test_distances_from_a_box_are_those_of_its_nearest_point(truth):
    x_e = truth.e.bounding_box[0]
    beside = x_e + np.array([0.3, 0.0, -0.2])
    assert score_set(EpistemicBox(x_e - 0.1, x_e + 0.1))["least_distance"] == 0
    assert score_set(EpistemicBox(beside - 0.1, beside + 0.1))["least_distance"] == pytest.approx(np.hypot(0.2, 0.1))


def test_distances_from_a_set_without_edges_are_those_of_its_nearest_sample(truth):
    x_e = truth.e.bounding_box[0]

    class Pair:
        volume = 0.1

        def contains(self, x_e):
            return np.zeros(len(x_e), bool)

        def sample(self, n, rng):
            return np.array([x_e + 0.4, x_e + np.array([0.0, 0.0, 0.4])])

    assert score_set(Pair())["least_distance"] == pytest.approx(0.4)


def test_published_boxes_are_scored():
    paper, other = (score_box(PUBLISHED[team]) for team in ("Wang et al.", "Roy Sarkar et al."))
    assert paper["contains"]
    assert paper["volume"] == pytest.approx(0.0075)
    assert paper["best_guess_distance"] == pytest.approx(0.1545, abs=1e-4)
    assert not other["contains"]
    assert other["least_distance"] == pytest.approx(0.1512, abs=1e-4)
    assert other["best_guess_distance"] is None


def test_j_under_the_truth_is_that_of_many_hours(truth):
    x_c, x_e = [0.6, 0.4, 0.7], truth.e.bounding_box[0].tolist()
    j, error = true_performance(x_c, WindFarm(), repeats=20, random_seed=1)
    sampled = compare_performance(truth.f_a, WindFarm(), x_e, [x_c], 40_000, 2)
    assert error < 0.01
    assert j == pytest.approx(sampled.j.item(), abs=0.05)  # five standard errors of the samples
