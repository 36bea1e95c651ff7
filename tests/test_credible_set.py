"""Credible sets: balls in turned boxes, whose volume and points are known."""

import numpy as np
import pytest

from flowcal.errors import InputError
from flowcal.files import Weights, WeightsError
from flowcal.infer.credible_set import ENOUGH, CredibleSet, EmptySet
from flowcal.infer.models import TurnedBox

SPREAD = 0.05  # standard deviation of the summary, in coordinates of the box
RADIUS = 2 * SPREAD * 0.3  # of the ball


def turned():
    angle = 0.5
    edges = 0.3 * np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return TurnedBox([0.4, 0.2, 0.3], edges)


def ball(threshold=4.0, box=None, spread=SPREAD):
    """The points within two standard deviations of the middle of a box: the summary is u, with normal errors."""
    coefficients = np.vstack([np.full(3, 0.5), np.eye(3) / 2]) / spread
    return CredibleSet(box or turned(), np.full(3, 0.5) / spread, coefficients, 1, threshold)


def test_volume_is_that_of_the_ball():
    assert ball().volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.05)


@pytest.mark.parametrize("spread", [1e-4, 1e-8])
def test_tiny_sets_in_large_boxes_are_found(spread):
    e = ball(box=TurnedBox.whole(3), spread=spread)
    assert e.volume == pytest.approx(4 / 3 * np.pi * (2 * spread) ** 3, rel=3 / np.sqrt(ENOUGH))
    assert e.contains(e.sample(100, np.random.default_rng(1))).all()


def test_a_set_in_a_box_that_is_mostly_outside_the_cube_is_found():
    size = 8
    coefficients = np.vstack([np.full(size, 0.5), np.eye(size) / 2]) / 0.1
    e = CredibleSet(TurnedBox([-0.5] * size, 2 * np.eye(size)), np.full(size, 5.0), coefficients, 1, 4.0)
    ball = np.pi**4 / 24  # of radius 1 in eight dimensions
    assert e.volume == pytest.approx(ball * (2 * 2 * 0.1) ** size, rel=0.1)
    assert e.contains(e.sample(50, np.random.default_rng(1))).all()


def test_two_separate_pieces_are_both_found():
    """The summary is (2 u - 1)^2, so that two points explain it."""
    coefficients = np.array([[1 / 3], [0.0], [2 / 3]]) * 1e3
    e = CredibleSet(TurnedBox.whole(1), [0.36e3], coefficients, 2, 4.0)
    points = e.sample(400, np.random.default_rng(1))
    assert 0.3 < np.mean(points < 0.5) < 0.7
    assert e.bounding_box.ravel() == pytest.approx([0.2, 0.8], abs=0.01)


def test_samples_lie_inside_and_fill_the_set():
    e = ball()
    sample, centre = e.sample(4000, np.random.default_rng(1)), turned().to_x_e(np.full((1, 3), 0.5))
    assert e.contains(sample).all()
    distance = np.linalg.norm(sample - centre, axis=1) / RADIUS
    assert np.mean(distance < 0.5) == pytest.approx(1 / 8, abs=0.04)  # uniform in a ball
    drawn = e.posterior_sample(4000, np.random.default_rng(1))
    assert np.mean(np.linalg.norm(drawn - centre, axis=1) / RADIUS < 0.5) > 0.2  # but the posterior is not
    low, high = e.bounding_box
    assert high - low == pytest.approx([2 * RADIUS] * 3, rel=0.1)
    assert (np.abs(e.turned_box.to_u(sample) - 0.5) <= 0.5).all()


def test_what_is_far_or_outside_the_box_is_not_contained():
    e = ball()
    points = turned().to_x_e(np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.9], [0.5, 0.5, 1.5]]))
    assert e.contains(points).tolist() == [True, False, False]
    assert e.distance(points)[:2] == pytest.approx([0, (0.4 / SPREAD) ** 2], abs=1e-9)
    with pytest.raises(InputError, match=r"expected \(n, 3\)"):
        e.contains([0.1, 0.2, 0.3])


def test_sets_end_at_the_cube():
    e = ball(threshold=1e4, box=TurnedBox([-0.2, 0, 0], np.eye(3)))
    assert e.volume == pytest.approx(0.8, abs=0.02)
    assert (e.sample(500, np.random.default_rng(1)) >= 0).all()


def test_an_empty_set_is_refused():
    e = CredibleSet(turned(), [9.0, 9, 9], np.vstack([np.zeros(3), np.eye(3)]), 1, 1.0)
    with pytest.raises(EmptySet, match="no X_e comes closer"):
        e.sample(1, np.random.default_rng(1))
    assert e.centre == pytest.approx([1, 1, 1], abs=0.1)


def test_flat_boxes_and_other_shapes_are_refused():
    with pytest.raises(InputError, match="neither flat"):
        ball(box=TurnedBox([0.1, 0.2, 0.3], np.diag([0.5, 0, 0])))
    with pytest.raises(InputError, match="have shapes"):
        CredibleSet(turned(), [0.5] * 3, np.zeros((3, 3)), 1, 1.0)
    with pytest.raises(InputError, match="threshold"):
        ball(threshold=-1.0)


def test_it_is_kept_without_loss():
    e = ball()
    again = CredibleSet.from_weights(e.to_weights({"rounds": []}))
    points = e.sample(100, np.random.default_rng(1))
    assert (again.distance(points) == e.distance(points)).all()
    assert again.identity == e.identity != ball(threshold=4.5).identity


def test_weights_of_something_else_are_refused():
    kept = ball().to_weights({})
    with pytest.raises(WeightsError, match="expected 'CredibleSet'"):
        CredibleSet.from_weights(Weights({**kept.header, "kind": "other"}, kept.tensors))
    for part in ("edges", "observed"):
        less = {name: value for name, value in kept.tensors.items() if name != part}
        with pytest.raises(WeightsError, match="do not fit"):
            CredibleSet.from_weights(Weights(kept.header, less))
