"""Uncertainty models and the kernel density behind the paper's f_a."""

import numpy as np
import pytest
from scipy.stats import beta

from flowcal.errors import InputError
from flowcal.infer.models import BoundedKernelDensity, EpistemicBox, PooledDraws, TurnedBox


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
    with pytest.raises(InputError, match="expected"):
        BoundedKernelDensity(draws)


def test_density_refuses_points_of_another_dimension(draws):
    with pytest.raises(InputError, match=r"expected \(n, 2\)"):
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
    with pytest.raises(InputError, match=f"hours is {hours}; expected a whole number from 1 up|from {hours} hours"):
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
        ([0.5, 0, 0], [0.4, 1, 1], "nowhere above high"),
        ([0, 0], [1, 1, 1], "as many numbers each"),
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


# Turned boxes


def turned():
    angle = 0.5
    edges = 0.3 * np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return TurnedBox([0.4, 0.2, 0.3], edges)


def test_coordinates_in_a_turned_box_and_back():
    u = np.random.default_rng(1).random((50, 3))
    assert turned().to_u(turned().to_x_e(u)) == pytest.approx(u)
    assert turned().volume == pytest.approx(0.027)


def test_a_box_around_points_holds_them_and_follows_their_axes():
    rng = np.random.default_rng(2)
    points = 0.5 + rng.standard_normal((500, 3)) @ np.diag([1e-2, 1e-4, 1e-6]) @ turned().edges
    box = TurnedBox.around(points)
    u = box.to_u(points)
    assert ((u > 0) & (u < 1)).all()
    assert box.volume < 1e-9


def test_a_box_around_points_is_upright_where_that_is_smaller():
    points = np.random.default_rng(2).random((500, 8))
    box = TurnedBox.around(points)
    assert np.array_equal(np.diag(np.diag(box.edges)), box.edges)
    wide = box.widened(2)
    assert 0.9 < wide.volume <= 1
    assert ((wide.to_u(points) > 0) & (wide.to_u(points) < 1)).all()


def test_a_widened_box_keeps_its_centre():
    wide, middle = turned().widened(2), np.full((1, 3), 0.5)
    assert wide.to_x_e(middle) == pytest.approx(turned().to_x_e(middle))
    assert wide.volume == pytest.approx(8 * turned().volume)


def test_samples_of_a_turned_box_stay_in_the_cube():
    box = TurnedBox([-0.5, 0.2, 0.3], np.eye(3) * 0.8)
    u, x_e = box.sample(1000, np.random.default_rng(1))
    assert ((x_e >= 0) & (x_e <= 1)).all()
    assert box.to_x_e(u) == pytest.approx(x_e)


@pytest.mark.parametrize("edges", [np.eye(2), np.full((3, 3), np.nan)])
def test_turned_boxes_need_numbers(edges):
    with pytest.raises(InputError, match="expected d and d by d finite numbers"):
        TurnedBox([0, 0, 0], edges)


def test_a_box_knows_what_it_cuts_off():
    box = TurnedBox([0, 0.2, 0.2], np.eye(3) * 0.5)
    middle, at_a_face, at_the_bound = [0.25, 0.45, 0.45], [0.25, 0.695, 0.45], [0.001, 0.45, 0.45]
    assert box.cuts_off(np.array([middle, at_a_face]), 0.02)
    assert not box.cuts_off(np.array([middle, at_the_bound]), 0.02)  # there it is the cube that ends
    assert not box.cuts_off(np.empty((0, 3)), 0.02)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_boxes_of_any_dimension(rng, size):
    whole = TurnedBox.whole(size)
    u, x_e = whole.sample(50, rng)
    assert whole.volume == 1
    assert np.array_equal(u, x_e)
    around = TurnedBox.around(0.4 + 0.1 * rng.random((50, size)))
    assert around.to_u(around.to_x_e(u)) == pytest.approx(u)
    assert EpistemicBox([0.2] * size, [0.7] * size).volume == pytest.approx(0.5**size)
