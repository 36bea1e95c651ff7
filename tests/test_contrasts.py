"""Contrasts between channels: exact where they should be, silent where nothing can be said."""

from functools import partial

import numpy as np
import pytest
import xarray as xr

from flowcal.challenge import PROBLEM, TABLE_1
from flowcal.infer import contrasts
from flowcal.infer.contrasts import hours_by_point
from flowcal.problem import Problem
from flowcal.simulate.observed import RealSystem
from flowcal.simulate.windfarm import WindFarm

output_contrasts = partial(contrasts.output_contrasts, problem=PROBLEM)


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
