"""Verified performance is the simulator's, whatever the emulator; comparisons use common hours."""

import numpy as np
import pytest

from flowcal.challenge import RATED_POWER
from flowcal.decide.failure import AleatoryPlane, failure_levels
from flowcal.decide.power import PowerEmulator, tabulate_performance
from flowcal.decide.problems import compare_performance, polish_design, verified_performance
from flowcal.errors import InputError
from flowcal.infer.families import Cluster, FamilyDistribution, Marginal
from flowcal.infer.models import EpistemicBox
from flowcal.simulate.windfarm import WindFarm

WINDS = FamilyDistribution((Cluster(1.0, (Marginal("Weibull", (0.88, -1.26)), Marginal("Weibull", (0.59, -1.55)))),))
X_E, X_C = (0.35, 0.6, 0.4), (0.6, 0.4, 0.6)


def test_even_an_untrained_emulator_leaves_the_value_right():
    emulator = PowerEmulator(1).eval()
    emulator.limit.fill_(RATED_POWER)  # so that it says something, though nothing right
    plane = AleatoryPlane(WINDS)
    (performance,) = tabulate_performance(emulator, [WINDS], EpistemicBox(X_E, X_E))
    assert performance([X_E], [X_C])[0] > 1
    value, error = verified_performance(emulator, performance, plane, WindFarm(), X_E, X_C, 20_000, 1)
    crude = compare_performance(WINDS, WindFarm(), X_E, [X_C], 100_000, 2)
    assert abs(value - crude.j.item()) < 4 * np.hypot(error, 3 / np.sqrt(100_000)) + 0.002 * value
    assert 0 < error < 0.05


def test_designs_are_compared_in_common_hours():
    result = compare_performance(WINDS, WindFarm(), X_E, [X_C, X_C, (0.1, 0.1, 0.1)], 5000, 1)
    assert result.difference.values[:2].tolist() == [0, 0]
    assert result.standard_error[1] == 0
    assert result.standard_error[2] < 2 / np.sqrt(5000)
    assert result.difference[2] == pytest.approx(result.j[2] - result.j[0])


def test_what_does_not_fit_is_refused():
    emulator = PowerEmulator(1)
    with pytest.raises(InputError, match="from 2 up"):
        verified_performance(emulator, lambda x_e, x_c: None, AleatoryPlane(WINDS), WindFarm(), X_E, X_C, 1, 1)


def test_climbing_the_simulator_finds_what_is_better():
    start = (0.6, 0.45, 0.55)
    x_c = polish_design(WINDS, WindFarm(), X_E, start, 2000, 1)
    fresh = compare_performance(WINDS, WindFarm(), X_E, [start, x_c], 20_000, 2)
    assert fresh.difference[1] > 3 * fresh.standard_error[1]


def test_climbing_keeps_a_level():
    level = failure_levels(WindFarm(), [X_E], [(0.5, 0.5, 0.8)]).min()
    x_c = polish_design(WINDS, WindFarm(), X_E, (0.5, 0.5, 0.8), 500, 1, level=level)
    assert failure_levels(WindFarm(), [X_E], [x_c]).min() > level - 1e-3
