"""Contrasts between channels: exact where they should be, silent where nothing can be said."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import xarray as xr

from flowcal.challenge import PROBLEM, TABLE_1
from flowcal.errors import InputError
from flowcal.infer import contrasts
from flowcal.infer.contrasts import RESPONSE_SHARES, hours_by_point
from flowcal.problem import Problem
from flowcal.simulate.observed import RealSystem
from flowcal.simulate.windfarm import WindFarm

output_contrasts = partial(contrasts.output_contrasts, problem=PROBLEM)
response_lags = partial(contrasts.response_lags, problem=PROBLEM)
response_loads = partial(contrasts.response_loads, problem=PROBLEM)


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
    assert np.ptp(output_contrasts(many[:, None]), axis=0) == pytest.approx([0, 0], abs=1e-12)


def test_contrasts_see_epistemic_inputs(many):
    other = hours([[0.3, 0.1]], x_e=(0.4, 0.6, 0.4))
    assert np.abs(output_contrasts(other) - output_contrasts(many)).max() > 1e-3


def test_calm_minutes_do_not_count_and_calm_hours_say_nothing():
    windy, calm = hours([[0.3, 0.1]]), np.zeros((1, 60, 6))
    assert output_contrasts(np.concatenate([windy, calm])) == pytest.approx(output_contrasts(windy))
    assert np.isnan(output_contrasts(calm)).all()


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
    assert response_loads(y[None], np.full(3, 0.3))[0, :3] == pytest.approx(
        5.5 + np.log(np.array(RESPONSE_SHARES) / (1 - np.array(RESPONSE_SHARES))) / 3, abs=0.02
    )


def test_loads_of_responses_do_not_depend_on_the_hours(many):
    halves = response_loads(many.reshape(2, 100, 60, 6), np.full(3, 0.9))
    assert halves.shape == (2, 9)
    assert np.abs(halves[0] - halves[1]).max() < 0.01


def test_responses_that_were_not_crossed_are_missing():
    strong = hours(np.tile([0.9, 0.01], (5, 1)))
    assert np.isnan(response_loads(strong[None], np.full(3, 0.9))[0, :3]).all()


@pytest.mark.parametrize("value", [0.0, 1.0, 3.35])
def test_constant_hours_have_no_lags(value):
    assert np.isnan(response_lags(np.full((3, 60, 6), value))).all()


def test_calm_points_leave_the_lags_of_others(many):
    lags = np.array([response_lags(many), response_lags(0 * many)])
    assert contrasts.median_of(lags) == pytest.approx([0.9] * 3, abs=1e-4)


def test_responses_need_what_responds():
    for change in ({"maximised": ()}, {"limited": (), "thresholds": ()}, {"ceiling": None}):
        with pytest.raises(InputError, match="responses need"):
            contrasts.response_lags(np.ones((3, 60, 6)), replace(PROBLEM, **change))


def test_outputs_are_those_of_the_problem():
    """Three outputs, of which the last two are limited."""
    outputs = ("power", "first", "second")
    problem = Problem(("a",), ("e",), (), outputs, ("1",) * 3, 4, outputs[:1], limited=outputs[1:], thresholds=(1, 1))
    y = np.ones((5, 4, 3)) * [7, 2, 6]
    assert contrasts.output_contrasts(y, problem) == pytest.approx([np.log(3)])


def test_hours_are_told_apart_by_their_control_point():
    system = RealSystem()
    observed = xr.concat([system.observe(point).isel(sample=slice(3)) for point in TABLE_1[:2]], "sample")
    mixed = hours_by_point(observed.isel(sample=[0, 3, 1, 4, 2, 5]))
    assert list(mixed) == list(TABLE_1[:2])
    assert (mixed[TABLE_1[1]] == observed.y.values[3:]).all()
