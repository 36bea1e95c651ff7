"""The rule for choosing control points."""

import numpy as np
import pytest

from flowcal.errors import InputError
from flowcal.simulate.control_points import choose_levels, pair_levels, turning_point

LEVELS = np.linspace(0, 1, 11)


def valley(at):
    return (LEVELS - at) ** 2


def test_turning_point_is_exact_for_parabolas():
    response = np.column_stack([valley(0.43), 5 - valley(0.43), 3 + 0 * LEVELS])
    assert turning_point(LEVELS, response) == pytest.approx(0.43)


@pytest.mark.parametrize("response", [LEVELS, -(LEVELS**2), np.tanh(LEVELS), 0 * LEVELS])
def test_monotone_responses_do_not_turn(response):
    assert turning_point(LEVELS, response[:, None]) is None


def test_a_minority_that_turns_does_not_decide():
    assert turning_point(LEVELS, np.column_stack([valley(0.5), LEVELS, LEVELS**2])) is None


def test_levels_without_turning_point_are_even():
    assert choose_levels(LEVELS, LEVELS[:, None], 10).tolist() == np.round(np.arange(0.05, 1, 0.1), 2).tolist()


@pytest.mark.parametrize("at", [0.4, 0.5, 0.62])
def test_levels_are_mirrored_about_the_turning_point(at):
    chosen = choose_levels(LEVELS, valley(at)[:, None], 10)
    assert len(np.unique(chosen)) == 10
    assert (np.diff(chosen) > 0).all()
    assert chosen.min() > 0
    assert chosen.max() < 1
    reach = min(at, 1 - at)
    inner = chosen[np.abs(chosen - at) <= reach]
    np.testing.assert_allclose(inner + inner[::-1], 2 * at)
    assert len(inner) >= 8 * reach


def test_levels_are_denser_where_responses_vary():
    steep = np.tanh(20 * np.abs(LEVELS - 0.5) - 6)  # varies about 0.2 and 0.8 only
    offsets = np.abs(choose_levels(LEVELS, steep[:, None], 20) - 0.5)
    assert ((offsets > 0.15) & (offsets < 0.45)).mean() > 0.8


@pytest.mark.parametrize(
    ("levels", "response", "count", "said"),
    [
        (LEVELS, np.full((11, 1), np.nan), 10, "11 values that are not finite"),
        (LEVELS, valley(0.5)[:, None], 0, "count is 0; expected a whole number from 1 up"),
        (0.2 + 0.6 * LEVELS, valley(0.5)[:, None], 10, "levels run from 0.2 to 0.8; expected levels from 0 to 1"),
    ],
)
def test_refuses_what_has_no_levels(levels, response, count, said):
    with pytest.raises(InputError, match=said):
        choose_levels(levels, response, count)


def test_pairing_uses_every_level_once():
    levels = [LEVELS[:10], LEVELS[:10] ** 2, LEVELS[1:]]
    points = pair_levels(levels, np.random.default_rng(1))
    assert points.shape == (10, 3)
    assert np.array_equal(np.sort(points, axis=0), np.column_stack(levels))
    assert np.array_equal(points, pair_levels(levels, np.random.default_rng(1)))


@pytest.mark.parametrize(
    ("levels", "response", "said"),
    [
        (LEVELS[::-1], valley(0.5)[:, None], "expected rising numbers"),
        (LEVELS, valley(0.5)[1:, None], "expected a row of finite numbers for each of 11 levels"),
        (LEVELS, np.full((11, 1), np.nan), "11 values that are not finite"),
    ],
)
def test_refuses_sweeps_that_do_not_fit(levels, response, said):
    with pytest.raises(InputError, match=said):
        choose_levels(levels, response, 10)
    with pytest.raises(InputError, match=said):
        turning_point(levels, response)
