"""X_e from all hours together: small credible sets that hold the truth, and a warning where no simulation fits."""

import warnings
from itertools import pairwise

import numpy as np
import pytest

from flowcal.challenge import TABLE_1
from flowcal.errors import InputError
from flowcal.files import Weights, WeightsError
from flowcal.infer.models import TurnedBox
from flowcal.infer.networks import FeaturePosterior, Layout
from flowcal.infer.train import Training
from flowcal.infer.um2_epistemic import CredibleSet, EmptySet, MisspecifiedWarning, Rounds, infer_epistemic_set
from flowcal.simulate.campaign import run_campaign
from flowcal.simulate.windfarm import WindFarm

TRAINING = Training(epochs=10, batch_size=128, learning_rate=3e-3)


def observe(x_e, points, hours=20, seed=1):
    """Hours of a system with a given X_e."""
    rng = np.random.default_rng(seed)
    x_c = np.repeat(points, hours, axis=0)
    x_a = rng.uniform([0.05, 0.05], [0.5, 0.4], (len(x_c), 2))
    x = np.column_stack([x_a, np.tile(x_e, (len(x_c), 1)), x_c])
    runs = run_campaign(WindFarm(), x, rng.integers(1, 2**31, len(x)))
    return runs[["y"]].assign(x_c=(("sample", "control"), x_c))


def infer(estimator, observed, rounds, seed=1):
    return infer_epistemic_set(WindFarm(), observed, estimator, rounds, seed)


def test_rounds_close_in_on_the_truth(estimator):
    x_e = np.array([[0.7, 0.2, 0.6]])
    weights = infer(estimator, observe(x_e[0], TABLE_1[:5]), Rounds(3, 2000, TRAINING))
    e = CredibleSet.from_weights(weights)
    rows = weights.header["found"]["rounds"]
    assert e.contains(x_e)[0]
    assert e.volume < 1e-8
    assert all(later["volume"] < earlier["volume"] / 100 for earlier, later in pairwise(rows))
    assert all(row["surprise"] > 1e-3 for row in rows)
    assert rows[0]["simulations"] == 5 * (2000 + 200 + 2000)


def test_sets_hold_the_truth_as_often_as_they_say(estimator):
    """Ten systems at a credibility of 90 %: fewer than six would happen once in six hundred times."""
    x_e = np.random.default_rng(5).random((10, 3))
    rounds = Rounds(1, 2000, TRAINING, credibility=0.9)
    held = [
        CredibleSet.from_weights(infer(estimator, observe(one, TABLE_1[:3], 5), rounds, seed)).contains([one])[0]
        for seed, one in enumerate(x_e)
    ]
    assert sum(held) >= 6


def test_rounds_go_on_while_the_box_cuts_off_the_set(estimator, monkeypatch):
    verdicts = iter([True, True, False])
    monkeypatch.setattr("flowcal.infer.models.TurnedBox.cuts_off", lambda *arguments: next(verdicts))
    rounds = Rounds(1, 500, Training(epochs=3))
    rows = infer(estimator, observe([0.4, 0.5, 0.6], TABLE_1[:3], 5), rounds).header["found"]["rounds"]
    assert [row["cut_off"] for row in rows] == [True, True, False]


def test_a_tolerance_of_the_control_points_widens_the_set(estimator):
    observed = observe([0.4, 0.5, 0.6], TABLE_1[:5])
    volumes = [
        CredibleSet.from_weights(
            infer(estimator, observed, Rounds(3, 2000, TRAINING, control_tolerance=tolerance))
        ).volume
        for tolerance in (0.0, 1e-3)
    ]
    assert volumes[1] > 100 * volumes[0]


def test_one_control_point_is_enough_with_responses(estimator):
    x_e = np.array([[0.4, 0.5, 0.6]])
    observed = observe(x_e[0], [(0.533, 0.666, 0.5)], hours=60)
    rounds = Rounds(3, 2500, TRAINING, hours=15, responses=True, control_tolerance=1e-3)
    e = CredibleSet.from_weights(infer(estimator, observed, rounds))
    assert e.contains(x_e)[0]
    assert np.prod(np.ptp(e.bounding_box, axis=0)) < 1e-2


def test_wrong_control_points_are_noticed(estimator):
    observed = observe([0.4, 0.5, 0.6], np.array(TABLE_1[:4]))
    moved = observed.assign(x_c=observed.x_c + 0.02 * np.sin(np.arange(80) // 20)[:, None])
    with pytest.warns(MisspecifiedWarning, match="Check the control points"):
        infer(estimator, moved, Rounds(3, 2000, TRAINING))


def test_the_set_before_the_misfit_is_kept(estimator):
    observed = observe([0.4, 0.5, 0.6], TABLE_1[:4])
    y = observed.y.values.copy()
    y[:20, :, 4] *= 1.00002
    with pytest.warns(MisspecifiedWarning, match="The set is that of round"):
        weights = infer(estimator, observed.assign(y=(observed.y.dims, y)), Rounds(3, 2000, TRAINING))
    *_, before, last = weights.header["found"]["rounds"]
    assert last["surprise"] < 1e-3 <= before["surprise"]
    assert CredibleSet.from_weights(weights).volume == before["volume"]


def test_observations_that_nothing_explains_are_refused(estimator, monkeypatch):
    def nothing(*arguments):
        raise EmptySet("no draw")

    monkeypatch.setattr(CredibleSet, "posterior_sample", nothing)
    observed = observe([0.4, 0.5, 0.6], TABLE_1[:1], hours=2)
    with pytest.warns(MisspecifiedWarning), pytest.raises(InputError, match="no value of X_e"):
        infer(estimator, observed, Rounds(1, 100, Training(epochs=1)))


def test_right_control_points_raise_no_warning(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("error", MisspecifiedWarning)
        infer(estimator, observe([0.4, 0.5, 0.6], TABLE_1[:4]), Rounds(2, 2000, TRAINING))


def test_calm_observations_say_nothing(estimator):
    observed = observe([0.5] * 3, TABLE_1[:1], hours=2)
    with pytest.raises(InputError, match="expected at least one"):
        infer(estimator, observed.assign(y=0 * observed.y), Rounds(1, 100, TRAINING))


def test_the_same_seed_gives_the_same_set(estimator):
    observed, rounds = observe([0.5] * 3, TABLE_1[:2], hours=3), Rounds(1, 300, Training(epochs=2))
    first, second = (infer(estimator, observed, rounds).tensors for _ in range(2))
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.parametrize(
    "settings", [{"count": 0}, {"credibility": 1.0}, {"truncation": 0}, {"control_tolerance": -1.0}, {"hours": 1.5}]
)
def test_rounds_that_do_not_fit_are_refused(settings):
    with pytest.raises(InputError, match="expected a"):
        Rounds(**({"count": 1, "data_sets": 100, "training": TRAINING} | settings))


# Credible sets

SPREAD = 0.05


@pytest.fixture(scope="module")
def e():
    """The set within two standard deviations of a normal posterior about the middle of a turned box."""
    rng = np.random.default_rng(1)
    theta = rng.random((20_000, 3))
    posterior = FeaturePosterior(Layout(3, 3), random_seed=1)
    posterior.fit(theta, theta + SPREAD * rng.standard_normal(theta.shape), Training(epochs=8, batch_size=256))
    threshold = -3 * np.log(SPREAD * np.sqrt(2 * np.pi)) - 2
    return CredibleSet(posterior, turned(), [0.5, 0.5, 0.5], threshold)


def turned():
    angle = 0.5
    edges = 0.3 * np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return TurnedBox([0.4, 0.2, 0.3], edges)


def test_turned_boxes_may_be_flat_but_not_those_of_credible_sets(e):
    flat = TurnedBox([0.1, 0.2, 0.3], np.diag([0.5, 0, 0]))
    assert flat.to_u(np.array([[0.2, 0.2, 0.3]])) == pytest.approx(np.array([[0.2, 0, 0]]))
    with pytest.raises(InputError, match="one that is neither flat"):
        CredibleSet(e.posterior, flat, e.features[0], e.threshold)


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
        CredibleSet(e.posterior, turned(), [0.5] * 3, 100.0).posterior_sample(1, np.random.default_rng(1))


def test_it_is_kept_without_loss(e):
    again = CredibleSet.from_weights(e.to_weights({"rounds": []}))
    points = e.sample(100, np.random.default_rng(1))
    assert (again.log_prob(points) == e.log_prob(points)).all()
    assert again.identity == e.identity


def test_weights_of_something_else_are_refused(e):
    kept = e.to_weights({})
    with pytest.raises(WeightsError, match="expected 'CredibleSet'"):
        CredibleSet.from_weights(Weights({**kept.header, "kind": "other"}, kept.tensors))
    for part in ("edges", "features", "posterior.mean"):
        less = {name: value for name, value in kept.tensors.items() if name != part}
        with pytest.raises(WeightsError, match="do not fit"):
            CredibleSet.from_weights(Weights(kept.header, less))
