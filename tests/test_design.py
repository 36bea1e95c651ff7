"""Optimal designs: known optima are found, with their worst X_e, and what cannot be had is said."""

import numpy as np
import pytest
import small_farm
from small_farm import Segment

from flowcal.challenge import PROBLEM
from flowcal.decide.design import DesignError, DesignProblem, Effort, find_design
from flowcal.decide.worst_case import Search
from flowcal.errors import InputError
from flowcal.infer.models import EpistemicBox

EFFORT = Effort(starts=8, search=Search(screened=8, starts=1, tolerance=1e-2))
POINT = EpistemicBox([0.5] * 3, [0.5] * 3)
BOX = EpistemicBox([0.2] * 3, [0.8] * 3)


def peak(x_e, x_c):
    """Best at (0.3, 0.6, 0.5), whatever X_e."""
    return 5 - np.square(x_c - [0.3, 0.6, 0.5]).sum(axis=1)


def two_peaks(x_e, x_c):
    """Mirrored peaks along X_c1, the right one a little higher."""
    along = np.maximum(1 - 20 * np.square(x_c[:, 0] - 0.2), 1.1 - 20 * np.square(x_c[:, 0] - 0.8))
    return along - np.square(x_c[:, 1:] - 0.5).sum(axis=1)


def severities(x_e, x_c):
    """Failure severities that grow with X_c1."""
    return np.column_stack([x_c[:, 0], x_c[:, 0] + 0.1, x_c[:, 0] + 0.2])


def test_the_best_design_is_found():
    design = find_design(peak, severities, POINT, EFFORT, PROBLEM)
    assert design.x_c == pytest.approx((0.3, 0.6, 0.5), abs=1e-3)
    assert design.performance[0] == pytest.approx(5, abs=1e-5)
    assert design.failure_severity[0] == pytest.approx(0.3, abs=1e-3)
    assert design.at_bounds == ()
    assert len(design.basins) == 1


def test_all_basins_are_found_best_first():
    design = find_design(two_peaks, severities, POINT, EFFORT, PROBLEM)
    assert [basin.x_c[0] for basin in design.basins] == pytest.approx([0.8, 0.2], abs=1e-3)
    assert design.basins[0].value > design.basins[1].value


def test_a_constraint_binds_where_it_has_to():
    free = find_design(peak, severities, POINT, EFFORT, PROBLEM, required_severity=0.2)
    bound = find_design(peak, severities, POINT, EFFORT, PROBLEM, required_severity=0.5)
    assert free.x_c == pytest.approx((0.3, 0.6, 0.5), abs=1e-3)
    assert bound.x_c == pytest.approx((0.5, 0.6, 0.5), abs=1e-3)
    assert bound.failure_severity[0] >= 0.5 - 1e-5


def test_reliability_raises_the_smallest_severity_up_to_a_bound():
    design = find_design(peak, severities, POINT, EFFORT, PROBLEM, reliability=True)
    assert design.failure_severity[0] == pytest.approx(1, abs=1e-6)
    assert design.at_bounds == ("X_c1",)


def test_a_design_guards_against_the_worst_in_the_set():
    """J falls with the distance of X_c from X_e: the best guard is the box's middle, the worst X_e its corner."""

    def performance(x_e, x_c):
        return 5 - np.square(x_c - x_e).sum(axis=1)

    design = find_design(performance, severities, BOX, EFFORT, PROBLEM)
    assert design.x_c == pytest.approx((0.5, 0.5, 0.5), abs=0.02)
    assert design.performance[0] == pytest.approx(5 - 3 * 0.3**2, abs=0.02)
    assert design.performance[1] == pytest.approx(5, abs=0.02)
    assert np.abs(np.array(design.worst_for_performance) - 0.5) == pytest.approx([0.3] * 3, abs=0.02)


def test_a_severity_must_hold_for_every_x_e():
    def falling(x_e, x_c):
        return np.column_stack([x_c[:, 0] - 0.5 * x_e[:, 1]] * 3)

    design = find_design(peak, falling, BOX, EFFORT, PROBLEM, required_severity=0.3)
    assert design.x_c[0] == pytest.approx(0.3 + 0.5 * 0.8, abs=1e-2)
    assert design.failure_severity[0] >= 0.3 - 1e-3
    assert design.worst_for_severity[1] == pytest.approx(0.8, abs=1e-2)


@pytest.mark.parametrize("starts", [0, -2, 3, 2.0, "4"])
def test_starts_are_a_power_of_two(starts):
    said = "power of two" if starts == 3 else "expected a whole number from 1 up"
    with pytest.raises(InputError, match=f"starts is {starts!r}; .*{said}"):
        Effort(starts=starts)


def test_what_cannot_be_had_is_said():
    with pytest.raises(DesignError, match="falls short of it by 0.5"):
        find_design(peak, severities, POINT, EFFORT, PROBLEM, required_severity=1.5)
    with pytest.raises(InputError, match="one of them"):
        find_design(peak, severities, POINT, EFFORT, PROBLEM, required_severity=0.5, reliability=True)


def test_loads_that_never_fail_do_no_harm():
    design = find_design(
        peak, lambda x_e, x_c: np.full((len(x_c), 3), np.inf), POINT, EFFORT, PROBLEM, required_severity=0.5
    )
    assert design.x_c == pytest.approx((0.3, 0.6, 0.5), abs=1e-3)


def test_another_number_of_inputs_will_do():
    """One epistemic and two control inputs: J is best at X_c = (0.5, 0.2) whatever X_e, which is worst at 0.8."""

    def performance(x_e, x_c):
        return 1 - np.square(x_c - [0.5, 0.2]).sum(axis=1) - x_e[:, 0]

    design = find_design(performance, lambda x_e, x_c: 1 - x_c[:, 1:], Segment(), EFFORT, small_farm.PROBLEM)
    assert design.x_c == pytest.approx((0.5, 0.2), abs=1e-3)
    assert design.worst_for_performance == pytest.approx((0.8,), abs=1e-2)
    assert design.failure_severity[0] == pytest.approx(0.8, abs=1e-3)


def test_design_problems_are_one_of_three():
    for values in ({"epsilon": 0.1, "reliability": True}, {"epsilon": 0.0}, {"epsilon": 1.0}):
        with pytest.raises(InputError, match="epsilon is"):
            DesignProblem(**values)
