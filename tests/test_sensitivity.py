"""Sweeps and Sobol' indices, against simulators whose answers are known."""

import numpy as np
import pytest

from flowcal.challenge import INPUTS, SWEEP_BASE
from flowcal.problem import SEED_MAX
from flowcal.simulate.campaign import Runner
from flowcal.simulate.sensitivity import seed_sweep, sobol, sweep_inputs
from flowcal.simulate.windfarm import WindFarm


class Known:
    """y1 is X_a1 + 2 X_c3 all hour long, y4 is X_a1 times the seed's share, y5 the seed's share, y6 nothing."""

    identity = {"name": "known"}

    def simulate(self, x, seed):
        y = np.zeros((len(x), 60, 6))
        share = (seed / SEED_MAX)[:, None]
        y[:, :, 0] = (x[:, 0] + 2 * x[:, 7])[:, None]
        y[:, :, 3] = x[:, 0, None] * share
        y[:, :, 4] = share
        return y


@pytest.fixture(scope="module")
def indices():
    return sobol(Known(), base_samples=2**12, resamples=100, random_seed=1)


def test_indices_of_a_sum(indices):
    power = indices.sel(quantity="mean power")
    expected = dict.fromkeys([*INPUTS, "seed"], 0.0) | {"X_a1": 0.2, "X_c3": 0.8}
    for kind in ("first_order", "total"):
        np.testing.assert_allclose(power[kind].sel(bound="estimate"), list(expected.values()), atol=0.02)


def test_the_seed_is_an_input_of_its_own(indices):
    peak = indices.sel(bound="estimate")
    assert peak.first_order.sel(quantity="peak of y5", source="seed") == pytest.approx(1, abs=0.02)
    product = peak.sel(quantity="peak of y4")  # first order 3/7 each, total 4/7 each
    np.testing.assert_allclose(product.first_order.sel(source=["X_a1", "seed"]), 3 / 7, atol=0.02)
    np.testing.assert_allclose(product.total.sel(source=["X_a1", "seed"]), 4 / 7, atol=0.02)


def test_intervals_hold_the_truth(indices):
    for source, truth in (("X_a1", 0.2), ("X_c3", 0.8), ("X_e1", 0.0)):
        total = indices.total.sel(quantity="mean power", source=source)
        assert total.sel(bound="low") - 0.01 <= truth <= total.sel(bound="high") + 0.01


def test_intervals_are_never_missing_for_an_input_without_effect(indices):
    unmoved = indices.sel(quantity="peak of y5", source="X_e1")
    assert np.array_equal(unmoved.total, [0, 0, 0])


def test_indices_do_not_depend_on_the_runner(tmp_path):
    settings = {"base_samples": 64, "resamples": 50, "random_seed": 2}
    assert sobol(WindFarm(), **settings).identical(
        sobol(WindFarm(), **settings, runner=Runner(folder=tmp_path, chunk=100))
    )


def test_sweeps_vary_one_input_at_a_time():
    sweeps = sweep_inputs(WindFarm())
    assert dict(sweeps.sizes) == {"input": 8, "level": 11, "time": 60, "output": 6}
    for position, name in enumerate(INPUTS):
        x = np.array(SWEEP_BASE)
        x[position] = 0.7
        assert np.array_equal(sweeps.y.sel(input=name, level=0.7), WindFarm().simulate([x], [10])[0])


def test_seed_sweep_runs_seeds_one_to_ten():
    sweep = seed_sweep(WindFarm())
    assert sweep.seed.values.tolist() == list(range(1, 11))
    assert np.array_equal(sweep.y.sel(seed=10), WindFarm().simulate([SWEEP_BASE], [10])[0])
