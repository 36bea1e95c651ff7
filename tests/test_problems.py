"""All design problems for one model: what is refused, what is credible, what it costs."""

import numpy as np
import pytest

from flowcal.decide.design import Effort
from flowcal.decide.failure import ResolutionError, failure_curves, measure_severity
from flowcal.decide.power import PowerEmulator, power_runs, train_power_emulator
from flowcal.decide.problems import PROBLEMS, optimal_designs, refine_emulator, required_level
from flowcal.decide.worst_case import Search
from flowcal.infer.families import Cluster, FamilyDistribution, Marginal
from flowcal.infer.models import EpistemicBox, PooledDraws, UncertaintyModel
from flowcal.infer.train import Trainer, Training
from flowcal.simulate.windfarm import WindFarm

X_E = (0.3, 0.6, 0.4)
EFFORT = Effort(starts=2, search=Search(screened=4, starts=1, tolerance=0.1))
TRAINING = Training(epochs=8, batch_size=256, learning_rate=6e-3)
BUDGET = {"effort": EFFORT, "hours": 1000, "pof_calls": 2000, "random_seed": 1}


def winds(scale):
    """An f_a, rougher with a larger scale."""
    marginals = Marginal("Weibull", (0.88, scale)), Marginal("Weibull", (0.59, -1.55))
    return FamilyDistribution((Cluster(1.0, marginals),))


@pytest.fixture(scope="module")
def severity():
    return measure_severity(WindFarm(), X_E, [0.5] * 3, 2000, np.random.default_rng(1))


@pytest.fixture(scope="module")
def model():
    return UncertaintyModel(winds(-1.26), EpistemicBox(X_E, X_E))


@pytest.fixture(scope="module")
def emulator(model):
    return train_power_emulator(WindFarm(), model, 15_000, TRAINING, trainer=Trainer("cpu"))


class Counting(WindFarm):
    """The embedded simulator, with a count of the hours that it has been asked for."""

    hours = 0

    def simulate(self, x, seed):
        self.hours += len(x)
        return super().simulate(x, seed)


@pytest.fixture(scope="module")
def simulator():
    return Counting()


@pytest.fixture(scope="module")
def found(simulator, model, emulator, severity):
    return optimal_designs(simulator, model, [winds(-1.3), winds(-1.2)], emulator, severity, **BUDGET)


def test_every_problem_is_solved_and_verified(found):
    assert set(found["designs"]) == set(PROBLEMS)
    for design in found["designs"].values():
        value, error = design["j"]
        assert abs(value - design["performance"][0]) < 4 * error + 0.1
        assert 0 <= min(design["x_c"]) <= max(design["x_c"]) <= 1
        assert design["pof"]["upper"][-1] >= design["pof"]["pof"][-1]
    most_reliable = found["designs"]["reliability"]["level"][0]
    assert all(design["level"][0] <= most_reliable + 1e-3 for design in found["designs"].values())


def test_constraints_hold_at_the_rougher_replicate_too(found, severity):
    (rough,) = failure_curves([winds(-1.2)], severity)
    for name in ("epsilon 1e-3", "epsilon 1e-4"):
        design = found["designs"][name]
        assert rough(design["level"][0]) < 1.3 * PROBLEMS[name].epsilon
        assert design["pof_over_f_a"][1] > design["pof_integral"][-1]


def test_calls_are_counted(found, simulator):
    assert found["calls"]["verification"] == len(PROBLEMS) * (BUDGET["hours"] + BUDGET["pof_calls"])
    assert found["calls"]["search"] == simulator.hours - found["calls"]["verification"] > 0


def test_the_credible_level_lies_among_the_upper_ones(severity):
    curves = failure_curves([winds(scale) for scale in np.linspace(-1.4, -1.1, 21)], severity)
    levels = [curve.level_of(1e-4) for curve in curves]
    assert np.sort(levels)[-3] <= required_level(curves, 1e-4) <= max(levels)


def test_what_a_heap_of_draws_cannot_resolve_is_refused(model, emulator, severity):
    draws = model.f_a.sample(500, np.random.default_rng(1))
    pooled = UncertaintyModel(PooledDraws(draws, 500), model.e)
    found = optimal_designs(WindFarm(), pooled, [], emulator, severity, **BUDGET)["designs"]
    assert all("bound none below 0.006" in found[name]["refused"] for name in PROBLEMS if "epsilon" in name)
    assert found["reliability"]["pof_over_e"] == [0.006, 0.006]
    with pytest.raises(ResolutionError):
        required_level(failure_curves([pooled.f_a], severity), 5e-3)


def test_an_epsilon_out_of_reach_is_refused_and_the_rest_is_kept(emulator, severity, model):
    storm = UncertaintyModel(winds(-0.3), model.e)
    found = optimal_designs(WindFarm(), storm, [], emulator, severity, **BUDGET)["designs"]
    assert "falls short" in found["epsilon 1e-6"]["refused"]
    assert "refused" not in found["reliability"]


def test_mass_at_the_bounds_does_no_harm(emulator, severity, model):
    edges = FamilyDistribution((Cluster(1.0, (Marginal("beta", (-1.5, -1.5)), Marginal("beta", (-1.0, -1.0)))),))
    found = optimal_designs(WindFarm(), UncertaintyModel(edges, model.e), [], emulator, severity, **BUDGET)["designs"]
    design = found["performance"]
    assert design["pof"]["pof"][-1] > 0.01
    assert design["pof_integral"][-1] == pytest.approx(
        design["pof"]["pof"][-1], abs=4 * design["pof"]["standard_error"][-1]
    )


def test_refinement_is_about_the_designs(model, emulator, severity, found):
    gentle = Training(epochs=8, batch_size=256, learning_rate=2e-3)
    refined = refine_emulator(WindFarm(), model, emulator, severity, EFFORT, 20_000, gentle, trainer=Trainer("cpu"))
    before, after = PowerEmulator.from_weights(emulator), PowerEmulator.from_weights(refined)
    assert after.limit == pytest.approx(before.limit.item(), rel=0.01)
    fresh = power_runs(WindFarm(), model, 4000, 5, near=[found["designs"]["performance"]["x_c"]])
    errors = [np.square(network.expected(fresh.x.values) - fresh.power.values).mean() for network in (before, after)]
    assert errors[1] < errors[0]
