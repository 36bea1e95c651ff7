"""Contrasts between channels: exact where they should be, silent where nothing can be said."""

import numpy as np
import pytest

from flowcal.errors import InputError
from flowcal.infer.um2_epistemic import LEVELS, load_contrasts, response_lags, response_levels
from flowcal.simulate.windfarm import WindFarm


def hours(x_a, seed=1, x_e=(0.3, 0.6, 0.4), x_c=(0.5, 0.6, 0.5)):
    """Simulated hours (n, 60, 6) at one control point."""
    x_a = np.asarray(x_a)
    x = np.column_stack([x_a, np.tile([*x_e, *x_c], (len(x_a), 1))])
    return WindFarm().simulate(x, np.random.default_rng(seed).integers(1, 2**31, len(x)))


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(3)
    return hours(rng.uniform([0.02, 0.02], [0.6, 0.5], (200, 2)))


def test_contrasts_depend_on_neither_hour_nor_wind(many):
    assert np.ptp(load_contrasts(many[:, None]), axis=0) == pytest.approx([0, 0], abs=1e-12)


def test_contrasts_see_epistemic_inputs(many):
    other = hours([[0.3, 0.1]], x_e=(0.4, 0.6, 0.4))
    assert np.abs(load_contrasts(other) - load_contrasts(many)).max() > 1e-3


def test_calm_minutes_do_not_count_and_calm_hours_say_nothing():
    windy, calm = hours([[0.3, 0.1]]), np.zeros((1, 60, 6))
    assert load_contrasts(np.concatenate([windy, calm])) == pytest.approx(load_contrasts(windy))
    assert np.isnan(load_contrasts(calm)).all()


def test_lags_are_those_that_the_powers_have(many):
    assert response_lags(many) == pytest.approx([0.9] * 3, abs=1e-4)


def test_lag_of_another_system_is_found():
    rng = np.random.default_rng(1)
    load = np.exp(rng.uniform(4, 7, (50, 60)))
    strives = 3.35 / (1 + np.exp(-3 * (np.log(load) - 5.5)))
    y = np.zeros((50, 60, 6))
    y[..., 3:] = load[..., None]
    for minute in range(1, 60):
        y[:, minute, :3] = 0.3 * y[:, minute - 1, :3] + 0.7 * strives[:, minute, None]
    assert response_lags(y) == pytest.approx([0.3] * 3, abs=1e-6)
    assert response_levels(y[None], np.full(3, 0.3))[0, :3] == pytest.approx(
        5.5 + np.log(np.array(LEVELS) / (1 - np.array(LEVELS))) / 3, abs=0.02
    )


def test_levels_do_not_depend_on_the_hours(many):
    halves = response_levels(many.reshape(2, 100, 60, 6), np.full(3, 0.9))
    assert halves.shape == (2, 9)
    assert np.abs(halves[0] - halves[1]).max() < 0.01


def test_levels_that_were_not_crossed_are_missing():
    strong = hours(np.tile([0.9, 0.01], (5, 1)))
    assert np.isnan(response_levels(strong[None], np.full(3, 0.9))[0, :3]).all()


def test_lags_need_responsive_minutes():
    with pytest.raises(InputError, match="expected at least 10"):
        response_lags(np.zeros((3, 60, 6)))
