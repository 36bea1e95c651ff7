"""The emulator of powers, and the performance that is tabulated from it, beside the simulator."""

import numpy as np
import pytest
import small_farm
from scipy.stats import kstest
from small_farm import Segment, SmallFarm, ThreeAleatory, UniformInputs

from flowcal.decide.power import PowerEmulator, power_runs, tabulate_performance, train_power_emulator
from flowcal.errors import InputError
from flowcal.files import WeightsError, read_weights, write_weights
from flowcal.infer.families import Cluster, FamilyDistribution, Marginal
from flowcal.infer.models import EpistemicBox, UncertaintyModel
from flowcal.infer.train import Training
from flowcal.simulate.windfarm import WindFarm

WINDS = FamilyDistribution((Cluster(1.0, (Marginal("Weibull", (0.88, -1.26)), Marginal("Weibull", (0.59, -1.55)))),))
MODEL = UncertaintyModel(WINDS, EpistemicBox([0.3, 0.5, 0.3], [0.4, 0.7, 0.5]))


@pytest.fixture(scope="module")
def weights():
    training = Training(epochs=30, batch_size=512, learning_rate=6e-3)
    return train_power_emulator(WindFarm(), MODEL, 30_000, training)


@pytest.fixture(scope="module")
def emulator(weights):
    return PowerEmulator.from_weights(weights)


def simulated(x, repeats, seed=1):
    """Means of y1 + y2 + y3 (n, repeats) over the hour [MW]."""
    seeds = np.random.default_rng(seed).integers(1, 2**31, len(x) * repeats)
    y = WindFarm().simulate(np.repeat(x, repeats, axis=0), seeds)
    return y[:, :, :3].sum(axis=2).mean(axis=1).reshape(len(x), repeats)


def test_conditional_means_are_explained(emulator):
    x = power_runs(WindFarm(), MODEL, 400, 5).x.values
    totals = simulated(x, 100)
    error = emulator.expected(x).sum(axis=1) - totals.mean(axis=1)
    noise = totals.var(axis=1, ddof=1).mean() / 100
    assert 1 - (np.square(error).mean() - noise) / totals.mean(axis=1).var() > 0.998


def test_the_distribution_over_the_seed_is_nearly_right(emulator):
    runs = power_runs(WindFarm(), MODEL, 2000, 6)
    low, high = emulator.cdf(runs.x.values, runs.power.sum("output").values)
    level = low + np.random.default_rng(1).random(len(low)) * (high - low)
    assert kstest(level, "uniform").statistic < 0.06  # a budget a tenth of the study's
    assert (high >= low).all()
    assert (high > low).mean() > 0.1  # no power and full power have probabilities of their own


def test_performance_is_that_of_the_simulator(emulator):
    (performance,) = tabulate_performance(emulator, [WINDS], MODEL.e)
    rng = np.random.default_rng(2)
    x_e, x_c = MODEL.e.sample(5, rng), rng.random((5, 3))
    tabulated = performance(x_e, x_c)
    for one_e, one_c, value in zip(x_e, x_c, tabulated, strict=True):
        x = np.column_stack([WINDS.sample(20_000, rng), np.tile([*one_e, *one_c], (20_000, 1))])
        assert value == pytest.approx(simulated(x, 1).mean(), rel=0.015)


def test_performance_is_a_mean_of_what_is_expected(emulator):
    (performance,) = tabulate_performance(emulator, [WINDS], MODEL.e)
    x_e, x_c = np.array([[0.35, 0.6, 0.4]]), np.array([[0.6, 0.4, 0.6]])
    x = np.column_stack([WINDS.sample(200_000, np.random.default_rng(3)), np.tile(np.hstack([x_e, x_c]), (200_000, 1))])
    assert performance(x_e, x_c)[0] == pytest.approx(emulator.expected(x).sum(axis=1).mean(), rel=0.01)


def test_an_emulator_can_be_kept(emulator, weights, tmp_path):
    write_weights(tmp_path / "emulator.safetensors", weights)
    again = PowerEmulator.from_weights(read_weights(tmp_path / "emulator.safetensors"))
    x = np.random.default_rng(1).random((5, 8))
    assert (again.expected(x) == emulator.expected(x)).all()
    assert again.identity == emulator.identity
    weights.header["kind"] = "another"
    with pytest.raises(WeightsError, match="expected 'PowerEmulator'"):
        PowerEmulator.from_weights(weights)
    weights.header["kind"] = "PowerEmulator"


def test_runs_near_designs_stay_near_them():
    runs = power_runs(WindFarm(), MODEL, 200, 1, near=[[0.05, 0.5, 0.5], [0.9, 0.5, 0.5]], reach=0.1)
    x_c = runs.x.values[:, 5:]
    assert ((np.abs(x_c[:, 0] - 0.05) <= 0.1) | (np.abs(x_c[:, 0] - 0.9) <= 0.1)).all()
    assert (np.abs(x_c[:, 1:] - 0.5) <= 0.1).all()
    assert runs.power.shape == (200, 3)


def test_what_does_not_fit_is_refused(emulator):
    with pytest.raises(InputError, match=r"expected \(n, 8\)"):
        emulator.expected(np.ones((3, 7)))
    runs = power_runs(WindFarm(), MODEL, 20, 1)
    with pytest.raises(InputError, match="expected one above"):
        PowerEmulator(2, 6, 3, random_seed=1).fit(runs.assign(power=0 * runs.power), Training(epochs=1))
    with pytest.raises(InputError, match="expected whole numbers from 1"):
        PowerEmulator(2, 6, 0, random_seed=1)


def test_sizes_are_those_of_the_problem():
    model = UncertaintyModel(UniformInputs(2), Segment())
    runs = power_runs(SmallFarm(), model, 100, 1)
    assert runs.power.shape == (100, 1)
    assert list(runs.input.values) == list(small_farm.PROBLEM.inputs)
    emulator = PowerEmulator.for_problem(small_farm.PROBLEM, 1).fit(runs, Training(epochs=1))
    assert emulator.expected(runs.x.values).shape == (100, 1)
    (performance,) = tabulate_performance(emulator, [model.f_a], model.e)
    assert performance(np.full((4, 1), 0.5), np.full((4, 2), 0.5)).shape == (4,)
    more = power_runs(ThreeAleatory(), UncertaintyModel(UniformInputs(3), Segment()), 100, 1)
    wider = PowerEmulator.for_problem(ThreeAleatory.problem, 1).fit(more, Training(epochs=1))
    with pytest.raises(InputError, match="f_a has 3 aleatory inputs; expected two"):
        tabulate_performance(wider, [UniformInputs(3)], Segment())
