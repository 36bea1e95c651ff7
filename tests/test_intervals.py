"""Prediction intervals and worst cases on black boxes whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from small_farm import Segment, ThreeAleatory, UniformInputs

from flowcal.challenge import BASELINE, PROBLEM
from flowcal.decide.intervals import flattened_intervals, resampled_intervals, trajectory_intervals
from flowcal.decide.worst_case import Search, find_worst_cases
from flowcal.errors import FlowcalError, InputError
from flowcal.infer.models import EpistemicBox, PooledDraws, TurnedBox, UncertaintyModel


class Uniform:
    """f_a without correlation: X_a1 and X_a2 uniform."""

    resolution = 0.0

    def sample(self, n, rng):
        return rng.random((n, 2))


class Ramp:
    """y_i goes from X_a1 to X_a1 + h in the hour, with h largest at X_e = (0.4, 0.6, any)."""

    identity = {"name": "ramp"}
    problem = replace(PROBLEM, ceiling=None)

    def simulate(self, x, seed):
        rise = 2 - (x[:, 2] - 0.4) ** 2 - (x[:, 3] - 0.6) ** 2
        y = x[:, :1] + rise[:, None] * np.linspace(0, 1, 60)
        return np.repeat(y[:, :, None], 6, axis=2)


@pytest.fixture
def model():
    return UncertaintyModel(Uniform(), EpistemicBox([0] * 3, [1] * 3))


def test_worst_cases_are_found_inside_and_at_corners():
    target = np.array([0.31, 0.62, 0.87])

    def quantities(x_e):
        return np.array([1 - ((x_e - target) ** 2).sum(), x_e.sum(), 5.0])

    worst = find_worst_cases(quantities, EpistemicBox([0] * 3, [1] * 3), Search(20, 2), np.random.default_rng(1))
    assert worst.x_e[0] == pytest.approx(target, abs=5e-3)
    assert np.array_equal(worst.x_e[1], [1, 1, 1])
    assert worst.value == pytest.approx([1, 3, 5], abs=1e-4)
    assert (worst.gap < 1e-3).all()
    assert worst.evaluations > 28  # the screen, and the climbs


def test_the_worst_case_of_a_point_takes_one_evaluation():
    point = EpistemicBox([0.2] * 3, [0.2] * 3)
    worst = find_worst_cases(lambda x_e: x_e.sum(keepdims=True), point, Search(), np.random.default_rng(1))
    assert worst.evaluations == 1
    assert worst.value == pytest.approx([0.6])


class Ball:
    """A set that is no box: a ball, squeezed along axes of its own."""

    radii = np.array([0.2, 0.02, 0.002])

    def __init__(self):
        self.axes = np.linalg.qr(np.random.default_rng(5).standard_normal((3, 3)))[0]
        self.turned_box = TurnedBox(0.5 - self.radii @ self.axes, 2 * self.radii[:, None] * self.axes)

    def contains(self, x_e):
        return (((np.asarray(x_e) - 0.5) @ self.axes.T / self.radii) ** 2).sum(axis=1) <= 1

    def sample(self, n, rng):
        _, x_e = self.turned_box.sample(20 * n, rng)
        return x_e[self.contains(x_e)][:n]


def test_worst_cases_are_found_at_the_edge_of_a_set_that_is_no_box():
    ball = Ball()
    worst = find_worst_cases(lambda x_e: x_e * 1.0, ball, Search(30, 4), np.random.default_rng(1))
    assert ball.contains(worst.x_e).all()
    reach = np.sqrt(((ball.radii[:, None] * ball.axes) ** 2).sum(axis=0))  # how far each input goes within it
    assert worst.value == pytest.approx(0.5 + reach, abs=0.01 * reach.max())
    assert worst.converged


def test_trajectory_bounds_are_the_known_ones(model):
    result = trajectory_intervals(model, Ramp(), BASELINE, (0.95, 0.9), Search(30, 1), 2000, 20_000, random_seed=1)
    upper, lower = (result.sel(side=side, output="y4") for side in ("upper", "lower"))
    assert upper.bound.values == pytest.approx([2.95, 2.9], abs=0.01)  # X_a1 + 2 at the worst X_e
    assert upper.x_e.values[:, :2] == pytest.approx(np.array([[0.4, 0.6]] * 2), abs=0.02)
    assert lower.bound.values == pytest.approx([0.05, 0.1], abs=0.01)  # X_a1, whatever X_e
    assert (result.low <= result.bound).all()
    assert (result.bound <= result.high).all()
    assert (upper.high - upper.low).values == pytest.approx(
        4 * np.sqrt([0.95 * 0.05, 0.9 * 0.1]) / np.sqrt(20_000), rel=0.3
    )


def test_flattened_bounds_are_the_known_ones(model):
    result = flattened_intervals(model, Ramp(), BASELINE, (0.9,), 20_000, random_seed=1)
    rng = np.random.default_rng(2)
    x_a, x_e, minute = rng.random(400_000), rng.random((2, 400_000)), rng.integers(0, 60, 400_000)
    rise = 2 - (x_e[0] - 0.4) ** 2 - (x_e[1] - 0.6) ** 2
    expected = np.quantile(x_a + rise * minute / 59, [0.1, 0.9])
    error = result.standard_error.sel(output="y1").values[:, 0]
    assert (error < 0.02).all()
    assert np.abs(result.bound.sel(output="y1").values[:, 0] - expected).max() < 5 * error.max()


def test_errors_of_flattened_bounds_are_those_of_repetition(model):
    results = [flattened_intervals(model, Ramp(), BASELINE, (0.95,), 2000, random_seed=seed) for seed in range(40)]
    bounds = np.array([result.bound.values for result in results])
    claimed = np.mean([result.standard_error.values for result in results], axis=0)
    assert claimed == pytest.approx(bounds.std(axis=0, ddof=1), rel=0.5)


MIDDLE = 7.0  # so far above 0 that no hour is below


class NormalHours:
    """Every output is a normal quantile of X_a1, the same all hour."""

    identity = {"name": "normal"}
    problem = replace(PROBLEM, ceiling=None)

    def simulate(self, x, seed):
        return np.tile(MIDDLE + norm.ppf(np.clip(x[:, 0], 1e-9, 1 - 1e-9))[:, None, None], (1, 60, 6))


def test_intervals_of_bounds_hold_the_true_bound_as_often_as_they_say():
    point = UncertaintyModel(Uniform(), EpistemicBox([0.5] * 3, [0.5] * 3))
    held = []
    for seed in range(100):
        result = trajectory_intervals(point, NormalHours(), BASELINE, (0.99,), Search(), 10, 1000, random_seed=seed)
        upper = result.sel(side="upper", output="y1", alpha=0.99)
        held.append(bool(upper.low <= MIDDLE + norm.ppf(0.99) <= upper.high))
    assert 0.88 <= np.mean(held) <= 1


def test_too_few_hours_bound_nothing_from_above():
    point = UncertaintyModel(Uniform(), EpistemicBox([0.5] * 3, [0.5] * 3))
    result = trajectory_intervals(point, NormalHours(), BASELINE, (0.999,), Search(), 10, 100, random_seed=1)
    assert (result.high.sel(side="upper") == np.inf).all()


@pytest.mark.parametrize("alphas", [(0.3,), (1.0,), 0.95])
def test_refuses_shares(model, alphas):
    with pytest.raises(InputError, match="between 0.5 and 1"):
        flattened_intervals(model, Ramp(), BASELINE, alphas, 10, 1)
    with pytest.raises(InputError, match="between 0.5 and 1"):
        trajectory_intervals(model, Ramp(), BASELINE, alphas, Search(), 10, 10, 1)


def test_resampling_the_hours_moves_bounds_as_fewer_hours_would():
    rng = np.random.default_rng(1)
    spread = {}
    for hours in (100, 1600):
        f_a = PooledDraws(np.column_stack([rng.random(hours), np.full(hours, 0.5)]), hours)
        replicates = [f_a.resample(rng) for _ in range(20)]
        result = resampled_intervals(replicates, [0.5] * 3, NormalHours(), BASELINE, (0.9,), 4000, random_seed=1)
        spread[hours] = result.bound.sel(side="upper", output="y1").std("resample").item()
    assert spread[100] > 1.8 * spread[1600]


@pytest.mark.parametrize(
    ("change", "said"),
    [({"screened": 0}, "screened is 0"), ({"starts": 0}, "starts is 0"), ({"tolerance": -1}, "tolerance is -1")],
)
def test_refuses_searches(change, said):
    with pytest.raises(InputError, match=said):
        Search(**change)


def test_refuses_too_few_hours(model):
    with pytest.raises(InputError, match="hours is 10; expected a whole number from 20 up"):
        flattened_intervals(model, Ramp(), BASELINE, (0.9,), 10, 1)
    with pytest.raises(InputError, match="search_hours is 0"):
        trajectory_intervals(model, Ramp(), BASELINE, (0.9,), Search(), 0, 10, 1)


def test_bounds_have_the_names_of_the_problem():
    model = UncertaintyModel(UniformInputs(3), Segment())
    at = {"simulator": ThreeAleatory(), "x_c": [0.4, 0.6], "alphas": (0.9,), "random_seed": 1}
    result = trajectory_intervals(model, search=Search(5, 1, 0.1), search_hours=100, hours=500, **at)
    assert list(result.output.values) == list(ThreeAleatory.problem.outputs)
    assert result.x_e.sizes["parameter"] == 1
    flat = flattened_intervals(model, hours=500, **at)
    assert (flat.bound <= result.bound).sel(side="upper").all()


def test_a_value_that_stands_for_no_result_is_refused(model):
    class Broken(Ramp):
        def simulate(self, x, seed):
            return super().simulate(x, seed) - 1000.0 * (np.asarray(seed) % 50 == 0)[:, None, None]

    with pytest.raises(FlowcalError, match="expected finite numbers from 0 up"):
        flattened_intervals(model, Broken(), BASELINE, (0.9,), 500, 1)
    with pytest.raises(FlowcalError, match="expected finite numbers from 0 up"):
        trajectory_intervals(model, Broken(), BASELINE, (0.9,), Search(), 500, 500, 1)
