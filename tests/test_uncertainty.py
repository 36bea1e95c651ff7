"""Uncertainty models and the kernel density behind the paper's f_a."""

import numpy as np
import pytest
from scipy.stats import beta

from flowcal.errors import InputError
from flowcal.infer.models import BoundedKernelDensity, EpistemicBox, PooledDraws


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.fixture
def draws(rng):
    return np.column_stack([rng.beta(3, 9, 4000), rng.beta(0.7, 2, 4000)])  # the second piles up at 0


def test_density_integrates_to_one_and_to_nothing_outside(draws):
    axis = (np.arange(150) + 0.5) / 150
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    density = BoundedKernelDensity(draws)
    assert np.exp(density.log_prob(grid)).mean() == pytest.approx(1, abs=2e-3)
    assert (density.log_prob([[-0.01, 0.5], [0.5, 1.01]]) == -np.inf).all()


def test_density_comes_close_to_the_true_one(rng):
    grid = np.linspace(0.05, 0.95, 50)
    estimate = BoundedKernelDensity(rng.beta(3, 9, (20_000, 1))).log_prob(grid[:, None])
    assert np.exp(estimate) == pytest.approx(beta(3, 9).pdf(grid), abs=0.15)


def test_samples_stay_inside_and_follow_the_density(draws, rng):
    sample = BoundedKernelDensity(draws).sample(20_000, rng)
    assert ((sample >= 0) & (sample <= 1)).all()
    assert sample.mean(axis=0) == pytest.approx(draws.mean(axis=0), abs=0.01)
    assert sample.std(axis=0) == pytest.approx(draws.std(axis=0), rel=0.08)


def test_draws_that_are_all_the_same_keep_a_density():
    density = BoundedKernelDensity(np.full((10, 2), 0.3))
    assert np.isfinite(density.log_prob([[0.3, 0.3]])).all()


@pytest.mark.parametrize("draws", [np.zeros((1, 2)), np.zeros(5), np.full((5, 2), 1.1), np.full((5, 2), np.nan)])
def test_density_refuses(draws):
    with pytest.raises(InputError, match="needed is"):
        BoundedKernelDensity(draws)


def test_density_refuses_points_of_another_dimension(draws):
    with pytest.raises(InputError, match=r"expected \(m, 2\)"):
        BoundedKernelDensity(draws).log_prob([[0.1, 0.2, 0.3]])


def test_pooled_draws_say_how_far_they_reach(draws, rng):
    f_a = PooledDraws(draws, hours=400)
    assert f_a.resolution == 1 / 400
    assert f_a.sample(7, rng).shape == (7, 2)
    kept = PooledDraws.from_dataset(f_a.to_dataset())
    assert np.array_equal(kept.log_prob(draws[:9]), f_a.log_prob(draws[:9]))
    assert kept.identity == f_a.identity != PooledDraws(draws, hours=200).identity


@pytest.mark.parametrize("hours", [0, 5000])
def test_pooled_draws_refuse(draws, hours):
    with pytest.raises(InputError, match=f"from {hours} hours"):
        PooledDraws(draws, hours)


def test_box(rng):
    box = EpistemicBox([0.1, 0.2, 0.3], [0.2, 0.6, 1.0])
    assert box.volume == pytest.approx(0.1 * 0.4 * 0.7)
    inside = box.sample(1000, rng)
    assert box.contains(inside).all()
    assert inside.min(axis=0) == pytest.approx([0.1, 0.2, 0.3], abs=0.01)
    assert inside.max(axis=0) == pytest.approx([0.2, 0.6, 1.0], abs=0.01)
    assert box.contains([[0.1, 0.2, 0.3], [0.0999, 0.2, 0.3]]).tolist() == [True, False]
    assert np.array_equal(box.bounding_box, [[0.1, 0.2, 0.3], [0.2, 0.6, 1.0]])


def test_a_point_is_a_set(rng):
    point = EpistemicBox([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    assert point.volume == 0
    assert np.array_equal(point.sample(2, rng), [[0.1, 0.2, 0.3]] * 2)
    assert point.contains(point.sample(2, rng)).all()


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        ([0.5, 0, 0], [0.4, 1, 1], "empty E"),
        ([0, 0], [1, 1], "3 numbers each"),
        ([-0.1, 0, 0], [1, 1, 1], r"in \[0, 1\]"),
        ([0, 0, 0], [1, 1, np.nan], r"in \[0, 1\]"),
    ],
)
def test_box_refuses(low, high, said):
    with pytest.raises(InputError, match=said):
        EpistemicBox(low, high)


def test_box_refuses_points_of_another_dimension():
    with pytest.raises(InputError, match=r"expected \(n, 3\)"):
        EpistemicBox([0] * 3, [1] * 3).contains([0.1, 0.2, 0.3])


def test_no_mass_is_lost_with_few_wide_draws():
    axis = (np.arange(200) + 0.5) / 200
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    assert np.exp(BoundedKernelDensity([[0, 0], [1, 1]]).log_prob(grid)).mean() == pytest.approx(1, abs=1e-2)


def test_marginals_are_those_of_the_joint_density(draws):
    density = BoundedKernelDensity(draws[:500])
    axis = (np.arange(100) + 0.5) / 100
    joint = np.exp(density.log_prob(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2))).reshape(100, 100)
    assert density.marginal(0, axis) == pytest.approx(joint.mean(axis=0), rel=0.02)
    assert density.marginal(1, axis) == pytest.approx(joint.mean(axis=1), rel=0.02)


def test_a_bootstrap_sample_takes_whole_hours(rng):
    by_hour = np.repeat(rng.random((1, 50, 2)), 4, axis=0)  # four equal draws for each hour
    f_a = PooledDraws(by_hour.reshape(-1, 2), 50)
    again = f_a.resample(rng)
    assert again.hours == 50
    _, counts = np.unique(again.density.draws[:, 0], return_counts=True)
    assert set(counts % 4) == {0}
    assert len(counts) < 50
