"""The two steps of the paper: what they simulate, pool and read off."""

import numpy as np
import pytest
import xarray as xr

from flowcal.challenge import PROBLEM, SWEEP_SEED, TABLE_1
from flowcal.errors import InputError
from flowcal.infer.hour_posterior import HourPosterior
from flowcal.infer.models import EpistemicBox, PooledDraws
from flowcal.infer.train import Training
from flowcal.infer.um1 import (
    UM1Settings,
    aleatory_flow,
    aleatory_runs,
    epistemic_flow,
    epistemic_runs,
    highest_density_box,
    infer_aleatory,
    infer_epistemic,
    infer_set,
    infer_um1,
    joint_mode,
    point_draws,
    score_point,
    update_points,
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


def test_draws_of_all_hours_are_pooled(hours):
    f_a = PooledDraws.from_dataset(infer_aleatory(HourPosterior(aleatory_flow(PROBLEM), 1), hours, 10, random_seed=1))
    assert f_a.density.draws.shape == (1000, 2)
    assert f_a.resolution == 0.01
    x_e = infer_epistemic(HourPosterior(epistemic_flow(PROBLEM), 1), hours, 7, random_seed=1).x_e
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


@pytest.mark.parametrize("share", [0, 1.1])
def test_highest_density_box_refuses(share):
    with pytest.raises(InputError, match=r"share is .*; expected a number in \(0, 1\]"):
        highest_density_box(np.zeros((10, 3)), share)


def test_joint_mode_is_where_most_draws_are():
    rng = np.random.default_rng(1)
    cluster = [0.2, 0.7, 0.4] + 0.02 * rng.standard_normal((600, 3))
    draws = np.concatenate([cluster, rng.random((1000, 3))])
    assert joint_mode(draws) == pytest.approx([0.2, 0.7, 0.4], abs=0.05)


def test_the_best_guess_is_the_densest_draw_of_the_set():
    rng = np.random.default_rng(1)
    wide, peak = rng.random((1000, 3)), rng.normal([0.2, 0.6, 0.4], 0.05, (2000, 3)).clip(0, 1)
    found = infer_set(np.concatenate([wide, peak]))
    assert EpistemicBox(found["low"], found["high"]).contains([found["best_guess"]])[0]
    assert found["best_guess"] == pytest.approx([0.2, 0.6, 0.4], abs=0.05)


def test_refuses_a_set_that_holds_no_draw():
    """Each input has its mode at 0.1, and no draw has all three."""
    centres = np.repeat([[0.1, 0.1, 0.9], [0.1, 0.9, 0.1], [0.9, 0.1, 0.1]], 500, axis=0)
    with pytest.raises(InputError, match="no draw of 1500 lies in all intervals; expected more draws"):
        infer_set(centres + 0.01 * np.random.default_rng(1).standard_normal(centres.shape))


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


@pytest.fixture(scope="module")
def system():
    """Hours at three control points, an f_a, and what step 2 makes of two of them."""
    real, settings = (
        RealSystem(),
        UM1Settings(runs=100, training=Training(1), trial_hours=30, trial_draws=10, draws=5),
    )
    observed = xr.concat([real.observe(point).isel(sample=slice(20)) for point in TABLE_1[:3]], "sample")
    f_a = PooledDraws(np.random.default_rng(1).random((60, 2)), hours=60)
    return observed, f_a, settings, update_points(WindFarm(), observed, f_a, settings, numbers=(1, 3))


def test_step_2_keeps_what_each_control_point_tells(system):
    *_, updates = system
    assert updates.point.values.tolist() == [1, 3]
    assert updates.x_c.values.tolist() == [list(TABLE_1[0]), list(TABLE_1[2])]
    assert dict(updates.x_e.sizes) == {"point": 2, "draw": 20 * 5, "parameter": 3}
    assert dict(updates["rank"].sizes) == {"point": 2, "seeds": 2, "sample": 30, "parameter": 3}
    assert dict(updates.held_out_loss.sizes) == {"point": 2, "epoch": 1}
    assert updates.seeds.values.tolist() == ["fixed", "fresh"]
    assert np.array_equal(point_draws(updates, [3]), updates.x_e.sel(point=3))


def test_a_control_point_does_not_depend_on_the_others(system):
    observed, f_a, settings, updates = system
    alone = update_points(WindFarm(), observed, f_a, settings, numbers=(3,))
    assert alone.drop_vars("seconds").identical(updates.drop_vars("seconds").sel(point=[3]))
    moved = update_points(WindFarm(), observed, f_a, settings, numbers=(3,), random_seed=1)
    assert not np.array_equal(moved.x_e, alone.x_e)


def test_points_with_other_numbers_of_hours_are_padded(system):
    observed, f_a, settings, _ = system
    updates = update_points(WindFarm(), observed.isel(sample=slice(10, 40)), f_a, settings, numbers=(1, 2))
    assert [len(point_draws(updates, [number])) for number in (1, 2)] == [50, 100]
    assert infer_um1(updates, points=2)["points"] == [1, 2]


def test_e_is_read_off_the_points_with_the_best_scores(system):
    *_, updates = system
    best = max((1, 3), key=lambda number: score_point(updates, number, "fixed")[0])
    um_1 = infer_um1(updates, points=1)
    assert um_1["points"] == [best]
    assert {name: um_1[name] for name in ("low", "high", "best_guess")} == infer_set(point_draws(updates, [best]))


def test_numbers_of_no_control_point_are_refused(system):
    observed, f_a, settings, _ = system
    with pytest.raises(InputError, match=r"\[4\] are not among the 3 control points"):
        update_points(WindFarm(), observed, f_a, settings, numbers=(1, 4))
