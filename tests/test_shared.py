"""X_e from all hours together: small sets that hold the truth, and a warning where data fits no simulation."""

import warnings
from itertools import pairwise

import numpy as np
import pytest

from flowcal.challenge import TABLE_1
from flowcal.errors import InputError
from flowcal.infer.train import Training
from flowcal.infer.um2_epistemic import (
    EmptySet,
    EpistemicLevelSet,
    MisspecifiedWarning,
    Rounds,
    hours_by_point,
    infer_shared,
)
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
    return infer_shared(WindFarm(), observed, estimator, rounds, seed)


def test_hours_are_told_apart_by_their_control_point():
    observed = observe([0.5] * 3, TABLE_1[:2], hours=3)
    mixed = hours_by_point(observed.isel(sample=[0, 3, 1, 4, 2, 5]))
    assert list(mixed) == list(TABLE_1[:2])
    assert (mixed[TABLE_1[1]] == observed.y.values[3:]).all()


def test_rounds_close_in_on_the_truth(estimator):
    x_e = np.array([[0.7, 0.2, 0.6]])
    weights = infer(estimator, observe(x_e[0], TABLE_1[:5]), Rounds(3, 2000, TRAINING))
    e = EpistemicLevelSet.from_weights(weights)
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
        EpistemicLevelSet.from_weights(infer(estimator, observe(one, TABLE_1[:3], 5), rounds, seed)).contains([one])[0]
        for seed, one in enumerate(x_e)
    ]
    assert sum(held) >= 6


def test_rounds_go_on_while_the_frame_ends_the_set(estimator, monkeypatch):
    verdicts = iter([True, True, False])
    monkeypatch.setattr("flowcal.infer.models.Frame.ends", lambda *arguments: next(verdicts))
    rounds = Rounds(1, 500, Training(epochs=3))
    rows = infer(estimator, observe([0.4, 0.5, 0.6], TABLE_1[:3], 5), rounds).header["found"]["rounds"]
    assert [row["framed"] for row in rows] == [True, True, False]


def test_a_tolerance_of_the_control_points_widens_the_set(estimator):
    observed = observe([0.4, 0.5, 0.6], TABLE_1[:5])
    volumes = [
        EpistemicLevelSet.from_weights(
            infer(estimator, observed, Rounds(3, 2000, TRAINING, control_tolerance=tolerance))
        ).volume
        for tolerance in (0.0, 1e-3)
    ]
    assert volumes[1] > 100 * volumes[0]


def test_one_control_point_is_enough_with_responses(estimator):
    x_e = np.array([[0.4, 0.5, 0.6]])
    observed = observe(x_e[0], [(0.533, 0.666, 0.5)], hours=60)
    rounds = Rounds(3, 2500, TRAINING, hours=15, responses=True, control_tolerance=1e-3)
    e = EpistemicLevelSet.from_weights(infer(estimator, observed, rounds))
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
    assert EpistemicLevelSet.from_weights(weights).volume == before["volume"]


def test_observations_that_nothing_explains_are_refused(estimator, monkeypatch):
    def nothing(*arguments):
        raise EmptySet("no draw")

    monkeypatch.setattr(EpistemicLevelSet, "posterior_sample", nothing)
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
    "settings", [{"rounds": 0}, {"credibility": 1.0}, {"truncation": 0}, {"control_tolerance": -1.0}, {"hours": 1.5}]
)
def test_rounds_that_do_not_fit_are_refused(settings):
    with pytest.raises(InputError, match="expected a"):
        Rounds(**({"rounds": 1, "data_sets": 100, "training": TRAINING} | settings))
