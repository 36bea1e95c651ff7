"""X_e by least squares on contrasts."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2

from flowcal.challenge import PROBLEM
from flowcal.errors import InputError
from flowcal.infer.least_squares import fit_contrasts
from flowcal.infer.models import EpistemicBox
from flowcal.report.truth import score_set, true_hours
from flowcal.simulate.simulator import labelled_hours
from flowcal.simulate.windfarm import WindFarm

POINTS = [(0.225, 0.1, 0.05), (0.65, 0.775, 0.65), (0.4, 0.55, 0.95)]


class Noisy(WindFarm):
    """Every value is off by 2 %, by a noise that the seed decides, and so powers have no ceiling."""

    problem = replace(PROBLEM, ceiling=None)

    def simulate(self, x, seed):
        y = super().simulate(x, seed)
        noise = [np.random.default_rng(int(one)).standard_normal(y.shape[1:]) for one in seed]
        return y * np.exp(0.02 * np.array(noise))


def observed_by(simulator, hours, random_seed=0):
    x, y = [], []
    for number, point in enumerate(POINTS):
        made = true_hours(simulator, point, hours, random_seed=[random_seed, number])
        x += [point] * hours
        y.append(made.y.values)
    return labelled_hours(np.concatenate(y), x_c=(("sample", "control"), np.array(x)))


def distance(fit):
    return score_set(EpistemicBox(fit.x_e, fit.x_e))["least_distance"]


@pytest.mark.parametrize("random_seed", range(5))
def test_exact_contrasts_give_x_e_to_rounding_in_a_few_hundred_hours(random_seed):
    fit = fit_contrasts(WindFarm(), observed_by(WindFarm(), 2), starts=1, random_seed=random_seed)
    assert distance(fit) < 1e-11
    assert fit.simulations < 300
    assert fit.ellipsoid_volume(0.99) == 0


def test_the_ellipsoid_holds_the_truth_as_often_as_it_says():
    """Of 40 data sets with 2 % noise, 90 % ellipsoids hold at least 32; fewer would have a probability of 0.02."""
    truth = true_hours(WindFarm(), POINTS[0], 1, random_seed=0).x.values[0, 2:5]
    held = 0
    for number in range(40):
        fit = fit_contrasts(Noisy(), observed_by(Noisy(), 20, number), hours=20, random_seed=number, starts=1)
        away = fit.x_e - truth
        held += away @ np.linalg.solve(fit.covariance, away) < chi2.ppf(0.9, 3)
    assert held >= 32


def test_one_hour_at_each_of_two_points_is_enough_where_nothing_is_noisy():
    observed = observed_by(WindFarm(), 2).isel(sample=[0, 2])
    fit = fit_contrasts(WindFarm(), observed, starts=1)
    assert distance(fit) < 1e-8
    assert fit.simulations < 100
    assert np.isnan(fit.ellipsoid_volume(0.99))


def test_calm_hours_are_left_out():
    observed = observed_by(WindFarm(), 2)
    observed["y"] = observed.y.where(observed.sample > 0, 0.0)
    assert distance(fit_contrasts(WindFarm(), observed, starts=1)) < 1e-11
    with pytest.raises(InputError, match="all observed hours are calm"):
        fit_contrasts(WindFarm(), observed.isel(sample=[0]))
