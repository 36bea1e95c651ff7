"""All design problems for one model: what is refused, what is credible, what it costs, and how designs are verified."""

import json
from dataclasses import replace

import numpy as np
import pytest
from small_farm import Segment, SmallFarm, UniformInputs

from flowcal.challenge import RATED_POWER
from flowcal.decide.design import DESIGN_PROBLEMS, Effort
from flowcal.decide.failure import ResolutionError, failure_curves, failure_severities, measure_severity
from flowcal.decide.power import PowerEmulator, power_runs, tabulate_performance, train_power_emulator
from flowcal.decide.problems import (
    DesignSettings,
    SolvedDesigns,
    compare_performance,
    designs_for,
    optimal_designs,
    polish_design,
    refine_emulator,
    required_severity,
    verified_performance,
)
from flowcal.decide.worst_case import Search
from flowcal.errors import InputError
from flowcal.files import WeightsError, read_weights, write_weights
from flowcal.infer.families import Cluster, FamilyDistribution, Marginal
from flowcal.infer.models import EpistemicBox, PooledDraws, UncertaintyModel
from flowcal.infer.train import Trainer, Training
from flowcal.simulate.windfarm import WindFarm

X_E = (0.3, 0.6, 0.4)
EFFORT = Effort(starts=2, search=Search(screened=4, starts=1, tolerance=0.1))
TRAINING = Training(epochs=8, batch_size=256, learning_rate=6e-3)
GENTLE = Training(epochs=8, batch_size=256, learning_rate=2e-3)
SETTINGS = DesignSettings(15_000, TRAINING, 20_000, GENTLE, 2000, EFFORT, hours=1000, pof_calls=2000)


def winds(scale):
    """An f_a, rougher with a larger scale."""
    marginals = Marginal("Weibull", (0.88, scale)), Marginal("Weibull", (0.59, -1.55))
    return FamilyDistribution((Cluster(1.0, marginals),))


WINDS, OTHER_X_E, X_C = winds(-1.26), (0.35, 0.6, 0.4), (0.6, 0.4, 0.6)


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
    return optimal_designs(simulator, model, [winds(-1.3), winds(-1.2)], emulator, severity, SETTINGS, 1)


def test_every_problem_is_solved_and_verified(found):
    assert set(found["designs"]) == set(DESIGN_PROBLEMS)
    for design in found["designs"].values():
        value, error = design["j"]
        assert abs(value - design["performance"][0]) < 4 * error + 0.1
        assert 0 <= min(design["x_c"]) <= max(design["x_c"]) <= 1
        assert design["pof"]["upper"][-1] >= design["pof"]["pof"][-1]
    most_reliable = found["designs"]["reliability"]["failure_severity"][0]
    assert all(design["failure_severity"][0] <= most_reliable + 1e-3 for design in found["designs"].values())


def test_constraints_hold_at_the_rougher_replicate_too(found, severity):
    (rough,) = failure_curves([winds(-1.2)], severity)
    for name in ("epsilon 1e-3", "epsilon 1e-4"):
        design = found["designs"][name]
        assert rough(design["failure_severity"][0]) < 1.3 * DESIGN_PROBLEMS[name].epsilon
        assert design["pof_over_f_a"][1] > design["pof_integral"][-1]


def test_calls_are_counted(found, simulator):
    assert found["calls"]["verification"] == len(DESIGN_PROBLEMS) * (SETTINGS.hours + SETTINGS.pof_calls)
    assert found["calls"]["search"] == simulator.hours - found["calls"]["verification"] > 0


def test_the_credible_severity_lies_among_the_upper_ones(severity):
    curves = failure_curves([winds(scale) for scale in np.linspace(-1.4, -1.1, 21)], severity)
    severities = [curve.severity_of(1e-4) for curve in curves]
    assert np.sort(severities)[-3] <= required_severity(curves, 1e-4) <= max(severities)


def test_what_a_heap_of_draws_cannot_resolve_is_refused(model, emulator, severity):
    draws = model.f_a.sample(500, np.random.default_rng(1))
    pooled = UncertaintyModel(PooledDraws(draws, 500), model.e)
    found = optimal_designs(WindFarm(), pooled, [], emulator, severity, SETTINGS, 1)["designs"]
    assert all("bound none below 0.006" in found[name]["refused"] for name in DESIGN_PROBLEMS if "epsilon" in name)
    assert found["reliability"]["pof_over_e"] == [0.006, 0.006]
    with pytest.raises(ResolutionError):
        required_severity(failure_curves([pooled.f_a], severity), 5e-3)


def test_an_epsilon_out_of_reach_is_refused_and_the_rest_is_kept(emulator, severity, model):
    storm = UncertaintyModel(winds(-0.3), model.e)
    found = optimal_designs(WindFarm(), storm, [], emulator, severity, SETTINGS, 1)["designs"]
    assert "falls short" in found["epsilon 1e-6"]["refused"]
    assert "refused" not in found["reliability"]


def test_mass_at_the_bounds_does_no_harm(emulator, severity, model):
    edges = FamilyDistribution((Cluster(1.0, (Marginal("beta", (-1.5, -1.5)), Marginal("beta", (-1.0, -1.0)))),))
    found = optimal_designs(WindFarm(), UncertaintyModel(edges, model.e), [], emulator, severity, SETTINGS, 1)[
        "designs"
    ]
    design = found["performance"]
    assert design["pof"]["pof"][-1] > 0.01
    assert design["pof_integral"][-1] == pytest.approx(
        design["pof"]["pof"][-1], abs=4 * design["pof"]["standard_error"][-1]
    )


def test_refinement_is_about_the_designs(model, emulator, severity, found):
    refined = refine_emulator(WindFarm(), model, emulator, severity, SETTINGS, trainer=Trainer("cpu"))
    before, after = PowerEmulator.from_weights(emulator), PowerEmulator.from_weights(refined)
    assert after.limit == pytest.approx(before.limit.item(), rel=0.01)
    fresh = power_runs(WindFarm(), model, 4000, 5, near=[found["designs"]["performance"]["x_c"]])
    errors = [np.square(network.expected(fresh.x.values) - fresh.power.values).mean() for network in (before, after)]
    assert errors[1] < errors[0]


@pytest.fixture(scope="module")
def small():
    """All problems for a black box of another size, solved from its own emulator."""
    settings = DesignSettings(3000, TRAINING, 2000, GENTLE, 500, EFFORT, hours=300, pof_calls=1500)
    model = UncertaintyModel(UniformInputs(2), Segment())
    return designs_for(SmallFarm(), model, [], settings, random_seed=1, trainer=Trainer("cpu"))


def test_one_call_solves_all_problems_whatever_the_numbers_of_inputs_and_outputs(small):
    solved = SolvedDesigns.from_weights(small)
    assert set(solved.designs) == set(DESIGN_PROBLEMS)
    assert solved.result["failures"] == ["far", "near", "system"]
    for design in solved.designs.values():
        if "refused" not in design:
            assert len(design["x_c"]) == 2
            assert len(design["pof"]["pof"]) == 3
            value, error = design["j"]
            assert abs(value - design["performance"][0]) < 4 * error + 0.1
    assert "refused" not in solved.designs["performance"]


def test_one_call_does_what_its_pieces_do(model, emulator, found):
    settings = replace(SETTINGS, severity_seed=7)
    solved = SolvedDesigns.from_weights(designs_for(WindFarm(), model, [], settings, 1, emulator, None, Trainer("cpu")))
    severity = measure_severity(WindFarm(), [0.5] * 3, [0.5] * 3, 2000, np.random.default_rng(7))
    refined = refine_emulator(WindFarm(), model, emulator, severity, settings, trainer=Trainer("cpu"))
    assert solved.emulator.identity == PowerEmulator.from_weights(refined).identity
    assert (solved.severity.noise == severity.noise).all()
    apart = optimal_designs(WindFarm(), model, [], refined, severity, settings, 1)
    assert solved.result | {"seconds": 0} == apart | {"seconds": 0}


def test_solved_designs_can_be_kept(small, tmp_path):
    write_weights(tmp_path / "designs.safetensors", small)
    again = SolvedDesigns.from_weights(read_weights(tmp_path / "designs.safetensors"))
    solved = SolvedDesigns.from_weights(small)
    assert json.dumps(again.designs) == json.dumps(solved.designs)
    assert again.emulator.identity == solved.emulator.identity
    assert (again.severity.noise == solved.severity.noise).all()
    for broken in (
        replace(small, header=small.header | {"kind": "PowerEmulator"}),
        replace(small, header={"kind": "SolvedDesigns"}),
        replace(small, tensors={name: part for name, part in small.tensors.items() if name != "severity.noise"}),
    ):
        with pytest.raises(WeightsError):
            SolvedDesigns.from_weights(broken)


def test_even_an_untrained_emulator_leaves_the_value_right():
    emulator = PowerEmulator(2, 6, 3, random_seed=1).eval()
    emulator.limit.fill_(RATED_POWER)  # so that it says something, though nothing right
    (performance,) = tabulate_performance(emulator, [WINDS], EpistemicBox(OTHER_X_E, OTHER_X_E))
    assert performance([OTHER_X_E], [X_C])[0] > 1
    value, error = verified_performance(emulator, performance, WINDS, WindFarm(), OTHER_X_E, X_C, 20_000, 1)
    crude = compare_performance(WINDS, WindFarm(), OTHER_X_E, [X_C], 100_000, 2)
    assert abs(value - crude.j.item()) < 4 * np.hypot(error, 3 / np.sqrt(100_000)) + 0.002 * value
    assert 0 < error < 0.05


def test_designs_are_compared_in_common_hours():
    result = compare_performance(WINDS, WindFarm(), OTHER_X_E, [X_C, X_C, (0.1, 0.1, 0.1)], 5000, 1)
    assert result.difference.values[:2].tolist() == [0, 0]
    assert result.standard_error[1] == 0
    assert result.standard_error[2] < 2 / np.sqrt(5000)
    assert result.difference[2] == pytest.approx(result.j[2] - result.j[0])


def test_one_hour_verifies_nothing():
    emulator = PowerEmulator(2, 6, 3, random_seed=1)
    with pytest.raises(InputError, match="from 2 up"):
        verified_performance(emulator, lambda x_e, x_c: None, WINDS, WindFarm(), OTHER_X_E, X_C, 1, 1)


def test_climbing_the_simulator_finds_what_is_better():
    start = (0.6, 0.45, 0.55)
    x_c = polish_design(WINDS, WindFarm(), OTHER_X_E, start, 2000, 1)
    fresh = compare_performance(WINDS, WindFarm(), OTHER_X_E, [start, x_c], 20_000, 2)
    assert fresh.difference[1] > 3 * fresh.standard_error[1]


def test_climbing_keeps_a_failure_severity():
    least = failure_severities(WindFarm(), [OTHER_X_E], [(0.5, 0.5, 0.8)]).min()
    x_c = polish_design(WINDS, WindFarm(), OTHER_X_E, (0.5, 0.5, 0.8), 500, 1, required_severity=least)
    assert failure_severities(WindFarm(), [OTHER_X_E], [x_c]).min() > least - 1e-3
