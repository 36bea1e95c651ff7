"""The embedded black box: exact, reproducible to the bit, and noisy by the stated law."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowcal.errors import InputError
from flowcal.simulate.simulator import Simulator
from flowcal.simulate.windfarm import WindFarm, _yaw_errors, turbulence

FARM = WindFarm()
REAL_X = (0.0, 0.0, 1 / 3, 0.59644, 0.375, 40 / 75, 50 / 75, 0.5)


def rebuilt(x, y):
    """The outputs that follow from the free wind that y4 shows."""
    yaw = _yaw_errors(x)[0]
    wind = np.sqrt(y[:, :, 3] / (1 + 3 * np.abs(np.sin(yaw)))[:, None])
    out = np.empty_like(y)
    WindFarm().respond(x, wind, out)
    return out


def relative_error(ours, theirs):
    present = theirs > 0
    assert np.array_equal(ours[~present], theirs[~present])
    return np.max(np.abs(ours[present] / theirs[present] - 1))


@pytest.mark.parametrize("name", ["baseline", "q1"])
def test_agrees_with_the_local_model(check_data, name):
    runs = np.loadtxt(check_data / f"local_model_{name}_input.txt", delimiter=",")
    y = np.loadtxt(check_data / f"local_model_{name}_Y_out.csv", delimiter=",")[:, :6].reshape(-1, 60, 6)
    assert relative_error(rebuilt(runs[:, :8], y), y) < 1e-10


def test_agrees_with_the_real_hours(check_data):
    y = np.loadtxt(check_data / "Y_out_example.csv", delimiter=",", skiprows=2)[:, :6].reshape(-1, 60, 6)
    assert relative_error(rebuilt(np.tile(REAL_X, (100, 1)), y), y) < 1e-6


def test_loads_of_the_specification():
    loads = FARM.simulate([[1, 0, 0, 0, 0, 0, 0, 0]], [1])[0, :, 3:]
    assert np.array_equal(loads, np.tile(loads[0], (60, 1)))
    assert [f"{load:.6f}" for load in loads[0]] == ["6136.072152", "1766.580012", "2418.190131"]


def test_loads_are_quadratic_in_the_wind():
    x = np.zeros((2, 8))
    x[:, 0] = 1, 0.25
    full, quarter = FARM.simulate(x, [1, 1])[:, 0, 3:]
    np.testing.assert_allclose(quarter, full / 16, rtol=1e-14)


@pytest.mark.parametrize(
    ("wind", "powers"),
    [
        (0.1, ["0.006406", "0.000000", "0.013614"]),
        (0.2, ["1.880383", "0.000000", "2.851364"]),
        (0.3, ["3.350000", "0.036995", "3.350000"]),
        (0.5, ["3.350000", "1.735914", "3.350000"]),
    ],
)
def test_powers_of_the_specification(wind, powers):
    y = FARM.simulate([[wind, 0, 0, 0, 0, 0, 0, 0]], [1])[0]
    assert [f"{power:.6f}" for power in y[30, :3]] == powers


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_bit_identical_in_any_batch_and_order(runs, data):
    x, seed = runs
    picked = data.draw(st.lists(st.integers(0, len(x) - 1), min_size=1, max_size=300))
    together = FARM.simulate(x, seed)
    assert np.array_equal(FARM.simulate(x[picked], seed[picked]), together[picked])


def test_bit_identical_alone(runs):
    x, seed = runs
    together = FARM.simulate(x, seed)
    for row in range(0, len(x), 13):
        assert np.array_equal(FARM.simulate(x[row : row + 1], seed[row : row + 1])[0], together[row])


def test_bit_identical_in_threads(runs):
    x, seed = runs
    parts = np.array_split(np.arange(len(x)), 16)
    with ThreadPoolExecutor(4) as pool:
        pieces = list(pool.map(lambda part: FARM.simulate(x[part], seed[part]), parts))
    assert np.array_equal(np.concatenate(pieces), FARM.simulate(x, seed))


@pytest.mark.parametrize("order", ["C", "F"])
def test_bit_identical_for_any_memory_layout(runs, order):
    x, seed = runs
    assert np.array_equal(FARM.simulate(np.array(x, order=order), seed), FARM.simulate(x, seed))


def test_noise_has_the_stated_law():
    eta = turbulence(np.arange(1, 40_001))
    stationary = 0.04**2 / (1 - 0.8**2)
    np.testing.assert_allclose(eta.std(axis=0), np.sqrt(stationary + 0.04**2), rtol=0.02)  # in every minute alike
    lags = [np.mean(eta[:, lag:] * eta[:, : 60 - lag]) / np.mean(eta**2) for lag in (1, 2, 5)]
    np.testing.assert_allclose(lags, stationary / (stationary + 0.04**2) * 0.8 ** np.array([1, 2, 5]), atol=0.01)
    assert abs(eta.mean()) < 0.001


def test_every_seed_makes_an_hour_of_its_own():
    x = np.tile(REAL_X, (5000, 1))
    x[:, :2] = 0.25, 0.2
    peaks = FARM.simulate(x, np.arange(1, 5001))[:, :, 3].max(axis=1)
    assert len(np.unique(peaks)) == 5000


def test_is_a_simulator():
    assert isinstance(FARM, Simulator)
    assert FARM.simulate(np.empty((0, 8)), np.empty(0, int)).shape == (0, 60, 6)


@pytest.mark.parametrize(
    ("x", "seed", "said"),
    [
        ([[0.5] * 7], [1], r"x has shape \(1, 7\); expected \(n, 8\)"),
        ([0.5] * 8, [1], r"x has shape \(8,\)"),
        ([[0.5] * 8], [1, 2], r"seed has shape \(2,\); expected one seed a run, \(1,\)"),
        ([[0.5] * 7 + [1.1]], [1], r"x of row 0, X_c3, is 1.1; expected numbers in \[0, 1\]"),
        ([[0.5] * 8, [np.nan] * 8], [1, 1], r"x of row 1, X_a1, is nan"),
        ([[0.5] * 8], [0], r"seed of row 0 is 0; expected integers in \[1, 2147483647\]"),
        ([[0.5] * 8], [2**31], r"seed of row 0 is 2147483648"),
        ([[0.5] * 8], [1.5], r"seed of row 0 is 1.5; expected integers"),
        ([["a"] * 8], [1], r"x holds <U1 values; expected real numbers"),
        ([[0.5j] * 8], [1], r"x holds complex128 values"),
    ],
)
def test_refuses_what_it_cannot_run(x, seed, said):
    with pytest.raises(InputError, match=said):
        FARM.simulate(x, seed)
