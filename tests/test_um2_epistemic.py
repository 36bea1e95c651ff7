"""X_e from all hours together: small sets that hold the truth, of exact, noisy and wrong boxes."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest

from flowcal.challenge import PROBLEM, TABLE_1
from flowcal.errors import InputError
from flowcal.infer.credible_set import CredibleSet
from flowcal.infer.train import Training
from flowcal.infer.um2_aleatory import AleatoryEstimator, train_estimator
from flowcal.infer.um2_epistemic import MisspecifiedWarning, Rounds, infer_epistemic_set
from flowcal.problem import Problem
from flowcal.simulate.campaign import run_campaign
from flowcal.simulate.imperfect import NoisyBox, Perturbed
from flowcal.simulate.windfarm import WindFarm

BASELINE = [(0.533, 0.666, 0.5)]


def observe(x_e, points, hours=20, seed=1, box=None):
    """Hours of a system with a given X_e."""
    rng = np.random.default_rng(seed)
    x_c = np.repeat(points, hours, axis=0)
    x_a = rng.uniform([0.05, 0.05], [0.5, 0.4], (len(x_c), 2))
    x = np.column_stack([x_a, np.tile(x_e, (len(x_c), 1)), x_c])
    runs = run_campaign(box or WindFarm(), x, rng.integers(1, 2**31, len(x)))
    return runs[["y"]].assign(x_c=(("sample", "control"), x_c))


def infer(estimator, observed, rounds, seed=1, box=None):
    weights = infer_epistemic_set(box or WindFarm(), observed, estimator, rounds, seed)
    return CredibleSet.from_weights(weights), weights.header["found"]["rounds"]


def test_rounds_close_in_on_the_truth(estimator):
    x_e = np.array([[0.7, 0.2, 0.6]])
    e, rows = infer(estimator, observe(x_e[0], TABLE_1[:5]), Rounds(1000))
    assert e.contains(x_e)[0]
    assert e.volume < 1e-20
    assert rows[0]["simulations"] == 5 * 1000
    assert all(row["plausibility"] > 1e-3 for row in rows)
    assert all(sum(row["shares"].values()) == pytest.approx(1, abs=1e-6) for row in rows)


def test_sets_hold_the_truth_as_often_as_they_say(estimator):
    """Twelve noisy systems at a credibility of 90 %: fewer than eight would happen once in two hundred times."""
    box = NoisyBox(WindFarm(), 0.05)
    estimator = AleatoryEstimator(estimator.posterior, box.problem)
    x_e = np.random.default_rng(5).random((12, 3))
    held = [
        infer(estimator, observe(one, TABLE_1[:5], 10, seed, box), Rounds(1000, credibility=0.9), seed, box)[0]
        for seed, one in enumerate(x_e)
    ]
    assert sum(e.contains([one])[0] for e, one in zip(held, x_e, strict=True)) >= 8


def test_more_noise_and_fewer_hours_widen_the_set(estimator):
    volumes = []
    for share, hours in ((0.02, 40), (0.02, 10), (0.1, 10)):
        box = NoisyBox(WindFarm(), share)
        estimator = AleatoryEstimator(estimator.posterior, box.problem)
        observed = observe([0.4, 0.5, 0.6], TABLE_1[:5], hours, box=box)
        volumes.append(infer(estimator, observed, Rounds(1000), box=box)[0].volume)
    assert volumes[0] < volumes[1] / 3 < volumes[2] / 30


def test_a_tolerance_of_the_control_points_widens_the_set(estimator):
    observed = observe([0.4, 0.5, 0.6], TABLE_1[:5])
    e, rows = infer(estimator, observed, Rounds(1000, control_tolerance=1e-3))
    assert e.contains([[0.4, 0.5, 0.6]])[0]
    assert 1e-8 < e.volume < 1e-3
    assert rows[-1]["shares"]["control points"] > 0.3


def test_control_points_that_are_off_by_the_tolerance_are_allowed_for(estimator):
    observed = observe([0.4, 0.5, 0.6], TABLE_1[:6])
    off = np.repeat(np.random.default_rng(3).uniform(-1e-3, 1e-3, (6, 3)), 20, axis=0)
    stated = observed.assign(x_c=np.clip(observed.x_c + off, 0, 1))
    assert infer(estimator, stated, Rounds(1000, control_tolerance=1e-3))[0].contains([[0.4, 0.5, 0.6]])[0]


def test_one_control_point_tells_something(estimator):
    x_e = np.array([[0.4, 0.5, 0.6]])
    e, _ = infer(estimator, observe(x_e[0], BASELINE, hours=60), Rounds(2000, control_tolerance=1e-3))
    assert e.contains(x_e)[0]
    assert e.volume < 0.2


@dataclass(frozen=True)
class Eight:
    """A box with eight epistemic inputs and noise on its four outputs, which follow one wind."""

    problem = Problem(("wind",), tuple(f"e{i}" for i in range(8)), ("a", "b"), tuple("pqrs"), ("1",) * 4, 20)

    @property
    def identity(self):
        return {"name": "eight"}

    def simulate(self, x, seed):
        mixed = np.random.default_rng(0).normal(size=(8, 2, 4))
        x_a, x_e, x_c = np.split(x, [1, 9], axis=1)
        effect = 0.3 * np.einsum("ne,nc,eco->no", np.sin(2 * x_e), np.cos(3 * x_c), mixed)
        noise = np.stack([np.random.default_rng(int(one)).normal(size=(20, 5)) for one in seed])
        wind = np.exp(2 * x_a[:, None] + 0.3 * noise[..., :1])
        return wind * np.exp(effect)[:, None] * (1 + 0.02 * noise[..., 1:])


def test_eight_epistemic_inputs():
    box, rng = Eight(), np.random.default_rng(1)
    estimator = AleatoryEstimator.from_weights(train_estimator(box, 2000, Training(2)))
    x_e, x_c = rng.random(8), np.repeat(rng.random((8, 2)), 20, axis=0)
    x = np.column_stack([rng.uniform(0.2, 0.7, len(x_c)), np.tile(x_e, (len(x_c), 1)), x_c])
    runs = run_campaign(box, x, rng.integers(1, 2**31, len(x)))
    e, _ = infer(estimator, runs[["y"]].assign(x_c=(("sample", "control"), x_c)), Rounds(2000), box=box)
    assert e.contains([x_e])[0]
    assert e.volume < 0.3


def test_wrong_control_points_are_noticed(estimator):
    observed = observe([0.4, 0.5, 0.6], np.array(TABLE_1[:4]))
    moved = observed.assign(x_c=observed.x_c + 0.02 * np.sin(np.arange(80) // 20)[:, None])
    with pytest.warns(MisspecifiedWarning, match="Check the control points"):
        infer(estimator, moved, Rounds(1000))


def test_a_wrong_output_is_found_and_allowed_for(estimator):
    gain = (0, 0, 0, 0, 1e-3, 0)
    observed = observe([0.4, 0.5, 0.6], TABLE_1, box=Perturbed(WindFarm(), gain))
    with pytest.warns(MisspecifiedWarning, match="y5"):
        e, rows = infer(estimator, observed, Rounds(1000))
    assert e.contains([[0.4, 0.5, 0.6]])[0]
    assert e.volume < 1e-5
    assert rows[-1]["misfit"][4] == pytest.approx(1e-3, rel=2)


def test_a_misfit_that_looks_like_another_x_e_has_to_be_stated(estimator):
    observed = observe([0.4, 0.5, 0.6], TABLE_1, box=WindFarm(thrust=1.005))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MisspecifiedWarning)
        blind, _ = infer(estimator, observed, Rounds(1000))
    granted, rows = infer(estimator, observed, Rounds(1000, misfit=0.01))
    assert granted.contains([[0.4, 0.5, 0.6]])[0]
    assert not blind.contains([[0.4, 0.5, 0.6]])[0]
    assert rows[-1]["shares"]["misfit"] > 0.5


def test_right_control_points_raise_no_warning(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("error", MisspecifiedWarning)
        infer(estimator, observe([0.4, 0.5, 0.6], TABLE_1[:4]), Rounds(1000))


def test_calm_observations_say_nothing(estimator):
    observed = observe([0.5] * 3, TABLE_1[:1], hours=2)
    with pytest.raises(InputError, match="expected at least one"):
        infer(estimator, observed.assign(y=0 * observed.y), Rounds(100))


def test_one_hour_is_enough_to_say_something(estimator):
    e, _ = infer(estimator, observe([0.4, 0.5, 0.6], TABLE_1[:2], hours=1), Rounds(1000))
    assert e.contains([[0.4, 0.5, 0.6]])[0]


def test_hours_that_no_simulation_has_are_refused(estimator):
    """A simulator without wind has none of the features that the observed hours have."""

    class Calm(WindFarm):
        def simulate(self, x, seed):
            return 0 * super().simulate(x, seed)

    with pytest.raises(InputError, match="still lack features"):
        infer(estimator, observe([0.5] * 3, TABLE_1[:1], hours=2), Rounds(100), box=Calm())


def test_the_same_seed_gives_the_same_set(estimator):
    observed = observe([0.5] * 3, TABLE_1[:2], hours=3)
    first, second = (infer(estimator, observed, Rounds(300))[0].to_weights({}).tensors for _ in range(2))
    assert all((first[name] == second[name]).all() for name in first)


def test_scales_of_outputs_do_not_matter(estimator):
    """Outputs in other units, a million times as large or as small, give nearly the same set."""
    observed = observe([0.4, 0.5, 0.6], TABLE_1[:3], hours=5)
    factor = np.array([1e6, 1e-6, 1, 1, 1e6, 1e-6])

    class Scaled(WindFarm):
        problem = replace(PROBLEM, ceiling=None)

        def simulate(self, x, seed):
            return factor * super().simulate(x, seed)

    box = Scaled()
    other = AleatoryEstimator(estimator.posterior, box.problem)
    first, _ = infer(estimator, observed, Rounds(500, misfit=1e-3))
    again, _ = infer(other, observed.assign(y=observed.y * factor), Rounds(500, misfit=1e-3), box=box)
    assert again.volume == pytest.approx(first.volume, rel=0.5)
    # rounding may choose another degree or number of rounds, so a fifth of the set's width is allowed
    assert again.bounding_box == pytest.approx(first.bounding_box, abs=0.08)


@pytest.mark.parametrize(
    "settings", [{"data_sets": 10}, {"credibility": 1.0}, {"control_tolerance": -1.0}, {"misfit": 1.5}]
)
def test_rounds_that_do_not_fit_are_refused(settings):
    with pytest.raises(InputError, match="expected a"):
        Rounds(**settings)
