"""Level sets and the frames they lie in."""

import numpy as np
import pytest

from flowcal.errors import InputError
from flowcal.files import Weights, WeightsError
from flowcal.infer.models import Frame
from flowcal.infer.posteriors import FeaturePosterior, Layout
from flowcal.infer.train import Training
from flowcal.infer.um2_epistemic import EmptySet, EpistemicLevelSet

SPREAD = 0.05


@pytest.fixture(scope="module")
def e():
    """The set within two standard deviations of a normal posterior about the middle of a turned frame."""
    rng = np.random.default_rng(1)
    theta = rng.random((20_000, 3))
    posterior = FeaturePosterior(Layout(3, 3), random_seed=1)
    posterior.fit(theta, theta + SPREAD * rng.standard_normal(theta.shape), Training(epochs=8, batch_size=256))
    threshold = -3 * np.log(SPREAD * np.sqrt(2 * np.pi)) - 2
    return EpistemicLevelSet(posterior, turned(), [0.5, 0.5, 0.5], threshold)


def turned():
    angle = 0.5
    edges = 0.3 * np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return Frame([0.4, 0.2, 0.3], edges)


def test_frame_and_back():
    u = np.random.default_rng(1).random((50, 3))
    assert turned().to_u(turned().to_x_e(u)) == pytest.approx(u)
    assert turned().volume == pytest.approx(0.027)


def test_frame_around_points_holds_them_and_follows_their_axes():
    rng = np.random.default_rng(2)
    points = 0.5 + rng.standard_normal((500, 3)) @ np.diag([1e-2, 1e-4, 1e-6]) @ turned().edges
    frame = Frame.around(points)
    u = frame.to_u(points)
    assert ((u > 0) & (u < 1)).all()
    assert frame.volume < 1e-9


def test_frame_samples_stay_in_the_cube():
    frame = Frame([-0.5, 0.2, 0.3], np.eye(3) * 0.8)
    u, x_e = frame.sample(1000, np.random.default_rng(1))
    assert ((x_e >= 0) & (x_e <= 1)).all()
    assert frame.to_x_e(u) == pytest.approx(x_e)


def test_frames_may_be_flat_but_not_those_of_level_sets(e):
    flat = Frame([0.1, 0.2, 0.3], np.diag([0.5, 0, 0]))
    assert flat.to_u(np.array([[0.2, 0.2, 0.3]])) == pytest.approx(np.array([[0.2, 0, 0]]))
    with pytest.raises(InputError, match="expected one that is neither flat"):
        EpistemicLevelSet(e.posterior, flat, e.features[0], e.threshold)


@pytest.mark.parametrize("edges", [np.eye(2), np.full((3, 3), np.nan)])
def test_frames_need_numbers(edges):
    with pytest.raises(InputError, match="expected 3 and 3 by 3 numbers"):
        Frame([0, 0, 0], edges)


def test_volume_is_that_of_the_ball(e):
    assert e.volume == pytest.approx(4 / 3 * np.pi * (2 * SPREAD * 0.3) ** 3, rel=0.25)


def test_samples_lie_inside_and_fill_the_set(e):
    sample = e.sample(4000, np.random.default_rng(1))
    centre, radius = turned().to_x_e(np.full((1, 3), 0.5)), 2 * SPREAD * 0.3
    assert e.contains(sample).all()
    distance = np.linalg.norm(sample - centre, axis=1) / radius
    assert np.mean(distance < 0.5) == pytest.approx(1 / 8, abs=0.04)  # uniform in a ball
    drawn = e.posterior_sample(4000, np.random.default_rng(1))
    assert np.mean(np.linalg.norm(drawn - centre, axis=1) / radius < 0.5) > 0.2  # but the posterior is not
    low, high = e.bounding_box
    assert high - low == pytest.approx([2 * radius] * 3, rel=0.3)


def test_what_is_far_is_not_contained(e):
    assert e.contains(turned().to_x_e(np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.9], [0.5, 0.5, 1.5]]))).tolist() == [
        True,
        False,
        False,
    ]
    with pytest.raises(InputError, match=r"expected \(n, 3\)"):
        e.contains([0.1, 0.2, 0.3])


def test_density_integrates_to_one(e):
    u = np.random.default_rng(1).random((40_000, 3))
    inside = turned().to_x_e(u)
    assert np.exp(e.log_prob(inside)).mean() * turned().volume == pytest.approx(1, abs=0.05)


def test_an_empty_set_is_refused(e):
    with pytest.raises(EmptySet, match="reach the threshold"):
        EpistemicLevelSet(e.posterior, turned(), [0.5] * 3, 100.0).posterior_sample(1, np.random.default_rng(1))


def test_it_is_kept_without_loss(e):
    again = EpistemicLevelSet.from_weights(e.to_weights({"rounds": []}))
    points = e.sample(100, np.random.default_rng(1))
    assert (again.log_prob(points) == e.log_prob(points)).all()
    assert again.identity == e.identity


def test_weights_of_something_else_are_refused(e):
    kept = e.to_weights({})
    with pytest.raises(WeightsError, match="expected 'EpistemicLevelSet'"):
        EpistemicLevelSet.from_weights(Weights({**kept.header, "kind": "other"}, kept.tensors))
    for part in ("edges", "features", "posterior.mean"):
        less = {name: value for name, value in kept.tensors.items() if name != part}
        with pytest.raises(WeightsError, match="do not fit"):
            EpistemicLevelSet.from_weights(Weights(kept.header, less))


def test_a_frame_knows_what_it_ends():
    frame = Frame([0, 0.2, 0.2], np.eye(3) * 0.5)
    middle, at_a_face, at_the_bound = [0.25, 0.45, 0.45], [0.25, 0.695, 0.45], [0.001, 0.45, 0.45]
    assert frame.ends(np.array([middle, at_a_face]), 0.02)
    assert not frame.ends(np.array([middle, at_the_bound]), 0.02)  # there it is the cube that ends
    assert not frame.ends(np.empty((0, 3)), 0.02)
