"""Noisy and perturbed boxes: the same row gives the same series, and what is wrong is as wrong as stated."""

import numpy as np
import pytest

from flowcal.challenge import PROBLEM
from flowcal.errors import InputError
from flowcal.simulate.campaign import run_campaign
from flowcal.simulate.imperfect import NoisyBox, Perturbed
from flowcal.simulate.windfarm import WindFarm


def runs(n=40):
    rng = np.random.default_rng(1)
    return rng.uniform(0.2, 0.6, (n, 8)), rng.integers(1, 2**31, n)


def test_noise_is_relative_independent_and_of_the_stated_size():
    x, seed = runs(200)
    clean, noisy = (box.simulate(x, seed) for box in (WindFarm(), NoisyBox(WindFarm(), 0.02)))
    above = clean[..., 3:] > 0
    error = (noisy[..., 3:] / np.where(above, clean[..., 3:], 1) - 1)[above]
    assert error.std() == pytest.approx(0.02, rel=0.02)
    assert abs(np.corrcoef(error[1:], error[:-1])[0, 1]) < 0.02


def test_a_row_is_the_same_in_any_order():
    x, seed = runs()
    box, order = NoisyBox(WindFarm(), 0.05), np.random.default_rng(2).permutation(len(x))
    assert np.array_equal(box.simulate(x, seed)[order], box.simulate(x[order], seed[order]))


def test_noise_may_exceed_the_ceiling_and_campaigns_accept_it():
    x, seed = runs()
    x[:, :2] = [0.9, 0.05]
    box = NoisyBox(WindFarm(), 0.05)
    assert box.problem.ceiling is None
    assert run_campaign(box, x, seed).y.values.max() > PROBLEM.ceiling


def test_gains_are_relative_and_keep_the_ceiling():
    x, seed = runs()
    gain = (0.01, 0, 0, 0.02, -0.02, 0)
    clean, wrong = WindFarm().simulate(x, seed), Perturbed(WindFarm(), gain).simulate(x, seed)
    assert wrong[..., 3:] == pytest.approx(clean[..., 3:] * [1.02, 0.98, 1])
    assert wrong[..., 0].max() <= PROBLEM.ceiling


def test_other_wind_farms_differ_where_they_should():
    x, seed = runs()
    plain, slow, strong = (box.simulate(x, seed) for box in (WindFarm(), WindFarm(lag=0.92), WindFarm(thrust=1.02)))
    assert np.array_equal(slow[..., 3:], plain[..., 3:])
    assert not np.array_equal(slow[..., :3], plain[..., :3])
    assert np.array_equal(strong[..., 3], plain[..., 3])  # the first turbine stands in no wake
    assert np.abs(strong[..., 5] / plain[..., 5] - 1).max() > 1e-3


def test_what_differs_has_another_identity():
    boxes = [WindFarm(), WindFarm(lag=0.92), NoisyBox(WindFarm(), 0.02), NoisyBox(WindFarm(), 0.05)]
    boxes += [Perturbed(WindFarm(), (0.01,) * 6), Perturbed(WindFarm(), (0.02,) * 6), Perturbed(boxes[2], (0.01,) * 6)]
    assert len({tuple(box.identity.items()) for box in boxes}) == len(boxes)


def test_other_numbers_are_refused():
    with pytest.raises(InputError, match="sd"):
        NoisyBox(WindFarm(), 0.5)
    with pytest.raises(InputError, match="one for each of 6"):
        Perturbed(WindFarm(), (0.1,))
    with pytest.raises(InputError, match="gain of y2"):
        Perturbed(WindFarm(), (0, 2, 0, 0, 0, 0))
