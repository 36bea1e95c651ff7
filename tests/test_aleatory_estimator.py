"""The amortised estimator of X_a beside the limit, and what it refuses."""

import numpy as np
import pytest

from flowcal.errors import InputError
from flowcal.infer.checks import coverage
from flowcal.infer.um2_aleatory import AleatoryEstimator, estimator_runs
from flowcal.simulate.campaign import run_campaign
from flowcal.simulate.windfarm import INNOVATION_SD, PHI, WHITE_SD, WindFarm


@pytest.fixture(scope="module")
def fresh():
    """Hours with all inputs uniform that nothing was trained on."""
    rng = np.random.default_rng(99)
    return run_campaign(WindFarm(), rng.random((4000, 8)), rng.integers(1, 2**31, 4000))


def likeliest(hours):
    """Maximum-likelihood X_a (n, 2) of hours without a calm minute, by the noise law and the true X_e and X_c."""
    x, minute = hours.x.values, np.arange(60)
    yaw = np.deg2rad(-30 + 75 * x[:, 5] + 1 - 3 * x[:, 2])
    wind = np.sqrt(hours.y.values[:, :, 3] / (1 + 3 * np.abs(np.sin(yaw)))[:, None]) / 50
    memory = PHI ** np.abs(minute[:, None] - minute)
    precision = np.linalg.inv(INNOVATION_SD**2 / (1 - PHI**2) * memory + WHITE_SD**2 * np.eye(60))
    level = wind @ precision.sum(axis=1) / precision.sum()
    rest = wind - level[:, None]
    return np.column_stack([level, np.sqrt(np.einsum("ni,ij,nj->n", rest, precision, rest) / 60)])


def test_errors_are_within_a_tenth_of_the_limit(estimator, fresh):
    windy = fresh.isel(sample=(fresh.y.values[:, :, 3] > 0).all(axis=1))
    x_a, x_e = windy.x.values[:, :2], windy.x.values[:, 2:5]
    estimate = estimator.sample(100, windy, x_e, np.random.default_rng(1)).mean(axis=0)
    error, limit = (np.sqrt(np.mean((guess - x_a) ** 2, axis=0)) for guess in (estimate, likeliest(windy)))
    assert limit == pytest.approx([0.0140, 0.0525], rel=0.06)
    assert (error <= 1.1 * limit).all()


def test_intervals_cover(estimator, fresh):
    rng = np.random.default_rng(2)
    draws = estimator.sample(199, fresh, fresh.x.values[:, 2:5], rng)
    rank = (np.sum(draws < fresh.x.values[:, :2], axis=0) + rng.random((4000, 2))) / 200
    assert coverage(rank, 0.9) == pytest.approx([0.9, 0.9], abs=0.02)


def test_even_draws_are_like_random_ones(estimator, fresh):
    few = fresh.isel(sample=slice(5))
    even = estimator.spread_evenly(256, few, [0.3, 0.6, 0.4], np.random.default_rng(1))
    random = estimator.sample(20_000, few, [0.3, 0.6, 0.4], np.random.default_rng(1))
    assert even.shape == (256, 5, 2)
    spread = random.std(axis=0)
    assert np.abs((even.mean(axis=0) - random.mean(axis=0)) / spread).max() < 0.05
    assert even.std(axis=0) == pytest.approx(spread, rel=0.05)


def test_density_has_its_mass_where_draws_are(estimator, fresh):
    few = fresh.isel(sample=slice(3))
    draws = estimator.sample(50, few, [0.3, 0.6, 0.4], np.random.default_rng(1))
    inside = estimator.log_prob(draws, few, [0.3, 0.6, 0.4])
    assert inside.shape == (50, 3)
    assert inside.mean() > estimator.log_prob(1 - draws, few, [0.3, 0.6, 0.4]).mean()


def test_a_value_of_x_e_for_all_or_for_each(estimator, fresh):
    few = fresh.isel(sample=slice(3))
    for x_e in ([0.3, 0.6], np.zeros((2, 3))):
        with pytest.raises(InputError, match=r"expected \(3,\) or \(3, 3\)"):
            estimator.sample(1, few, x_e, np.random.default_rng(1))


def test_runs_do_not_depend_on_how_they_are_split(monkeypatch):
    whole = estimator_runs(WindFarm(), 50, 1)
    monkeypatch.setattr("flowcal.infer.um2_aleatory.BLOCK", 17)
    assert estimator_runs(WindFarm(), 50, 1).identical(whole)


def test_it_is_kept_without_loss(estimator, fresh):
    again = AleatoryEstimator.from_weights(estimator.posterior.to_weights())
    assert again.identity == estimator.identity
