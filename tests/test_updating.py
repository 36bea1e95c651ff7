"""The two steps of the paper: what they simulate, pool and read off."""

import numpy as np
import pytest

from flowcal.challenge import SWEEP_SEED, TABLE_1
from flowcal.errors import InputError
from flowcal.infer.models import EpistemicBox, PooledDraws
from flowcal.infer.posteriors import HourPosterior
from flowcal.infer.um1 import (
    ALEATORY_FLOW,
    EPISTEMIC_FLOW,
    aleatory_runs,
    epistemic_runs,
    highest_density_box,
    infer_aleatory,
    infer_epistemic,
    infer_set,
    joint_mode,
)
from flowcal.simulate.observed import RealSystem
from flowcal.simulate.windfarm import WindFarm


@pytest.fixture(scope="module")
def hours():
    return RealSystem().observe(TABLE_1[0])


def test_step_1_draws_every_input_and_fixes_the_seed():
    runs = aleatory_runs(WindFarm(), 500, "fixed", random_seed=1)
    assert (runs.seed == SWEEP_SEED).all()
    assert runs.x.shape == (500, 8)
    assert runs.x.values.mean(axis=0) == pytest.approx(0.5, abs=0.06)
    assert np.array_equal(runs.y.values, WindFarm().simulate(runs.x.values, runs.seed.values))


def test_fresh_seeds_change_the_seeds_alone():
    fixed, fresh = (aleatory_runs(WindFarm(), 500, seeds, random_seed=1) for seeds in ("fixed", "fresh"))
    assert len(np.unique(fresh.seed)) == 500
    assert np.array_equal(fixed.x, fresh.x)


def test_step_2_uses_every_draw_of_step_1_as_often():
    x_a = np.random.default_rng(1).random((100, 2))
    runs = epistemic_runs(WindFarm(), x_a, TABLE_1[3], 250, "fixed", random_seed=1)
    assert (runs.x.values[:, 5:] == TABLE_1[3]).all()
    _, counts = np.unique(runs.x.values[:, 0], return_counts=True)
    assert len(counts) == 100
    assert set(counts) == {2, 3}
    assert runs.x.values[:, 2:5].mean(axis=0) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(("size", "seeds", "said"), [(0, "fixed", "size is 0"), (5, "random", "'fixed' or 'fresh'")])
def test_refuses(size, seeds, said):
    with pytest.raises(InputError, match=said):
        aleatory_runs(WindFarm(), size, seeds, 1)
    with pytest.raises(InputError, match=said):
        epistemic_runs(WindFarm(), [[0.1, 0.2]], TABLE_1[0], size, seeds, 1)


def test_draws_of_all_hours_make_one_heap(hours):
    f_a = PooledDraws.from_dataset(infer_aleatory(HourPosterior(ALEATORY_FLOW, 1), hours, 10, random_seed=1))
    assert f_a.density.draws.shape == (1000, 2)
    assert f_a.resolution == 0.01
    x_e = infer_epistemic(HourPosterior(EPISTEMIC_FLOW, 1), hours, 7, random_seed=1).x_e
    assert x_e.shape == (700, 3)


def test_highest_density_box_is_the_shortest_that_holds_the_share():
    rng = np.random.default_rng(1)
    draws = np.column_stack([rng.beta(2, 8, 20_000), rng.random(20_000), 1 - rng.beta(1, 20, 20_000)])
    box = highest_density_box(draws, 0.9)
    low, high = box.bounding_box
    held = ((draws >= low) & (draws <= high)).mean(axis=0)
    assert held == pytest.approx(0.9, abs=1e-3)
    assert low[0] < np.quantile(draws[:, 0], 0.05)  # moved towards the mode from the central interval
    assert high[2] == draws[:, 2].max()
    assert (high - low)[1] == pytest.approx(0.9, abs=0.01)
    assert np.array_equal(highest_density_box(draws, 1).bounding_box, [draws.min(axis=0), draws.max(axis=0)])


@pytest.mark.parametrize("level", [0, 1.1])
def test_highest_density_box_refuses(level):
    with pytest.raises(InputError, match="share above 0"):
        highest_density_box(np.zeros((10, 3)), level)


def test_joint_mode_is_where_most_draws_are():
    rng = np.random.default_rng(1)
    cluster = [0.2, 0.7, 0.4] + 0.02 * rng.standard_normal((600, 3))
    draws = np.concatenate([cluster, rng.random((1000, 3))])
    assert joint_mode(draws) == pytest.approx([0.2, 0.7, 0.4], abs=0.05)


def test_the_set_holds_its_best_guess_even_where_the_density_is_largest_outside():
    rng = np.random.default_rng(1)
    spike = 1 - 0.005 * rng.random((100, 3))  # less than a tenth of the draws, and far from all others
    draws = np.concatenate([0.6 * rng.random((1400, 3)), spike])
    kept = infer_set(draws, 0.9)
    box = EpistemicBox(kept["low"], kept["high"])
    assert not box.contains([joint_mode(draws)])[0]
    assert box.contains([kept["best_guess"]])[0]


def test_refuses_a_set_that_holds_no_draw():
    with pytest.raises(InputError, match="larger"):
        infer_set([[0.1, 0.1, 0.9], [0.1, 0.9, 0.1], [0.9, 0.1, 0.1]], 0.3)


def test_joint_mode_hears_every_hour():
    """Draws lie hour by hour beside each other; the mode may belong to any of the hours."""
    rng = np.random.default_rng(1)
    by_hour = rng.random((300, 100, 3))
    by_hour[:, 47] = [0.2, 0.7, 0.4] + 0.02 * rng.standard_normal((300, 3))
    assert joint_mode(by_hour.reshape(-1, 3)) == pytest.approx([0.2, 0.7, 0.4], abs=0.06)


def test_refuses_draws_that_are_none():
    with pytest.raises(InputError, match="at least one draw"):
        epistemic_runs(WindFarm(), np.empty((0, 2)), TABLE_1[0], 5, "fixed", 1)
    with pytest.raises(InputError, match="at least one draw"):
        highest_density_box(np.empty((0, 3)), 0.9)
