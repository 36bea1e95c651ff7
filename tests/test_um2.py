"""UM2 in one call, and all of inference on black boxes with other numbers of inputs, outputs and steps."""

from dataclasses import dataclass

import numpy as np
import pytest

from flowcal.challenge import TABLE_1
from flowcal.files import Weights, WeightsError, read_weights, write_weights
from flowcal.infer.checks import calibrate, calibrate_estimator, predict_hours, predictive_levels
from flowcal.infer.credible_set import CredibleSet
from flowcal.infer.hour_posterior import HourPosterior, train_posterior
from flowcal.infer.models import EpistemicBox, PooledDraws
from flowcal.infer.train import Training
from flowcal.infer.um1 import UM1Settings, aleatory_flow, aleatory_runs, infer_aleatory, infer_um1, update_points
from flowcal.infer.um2 import UM2, UM2Settings, infer_um2, infer_um2_f_a
from flowcal.infer.um2_aleatory import AleatoryEstimator, train_estimator
from flowcal.infer.um2_epistemic import Rounds, infer_epistemic_set
from flowcal.problem import Problem
from flowcal.simulate.campaign import run_campaign
from flowcal.simulate.windfarm import WindFarm

SETTINGS = UM2Settings(Rounds(1000), draws=8, replicates=3)


@dataclass(frozen=True)
class Toy:
    """Limited outputs in proportions that X_e and X_c decide; a maximised one, if any, follows the first of them."""

    problem: Problem

    @property
    def identity(self):
        return {"name": "toy", "inputs": ", ".join(self.problem.inputs)}

    def simulate(self, x, seed):
        p, x, step = self.problem, np.asarray(x), np.arange(self.problem.steps)
        a, e = len(p.aleatory), len(p.epistemic)
        x_a, x_e, x_c = x[:, :a], x[:, a : a + e], x[:, a + e :]
        noise = np.modf(43758.5453 * np.sin(np.asarray(seed)[:, None] * 12.9898 + step * 78.233))[0]
        spread = x_a[:, [1]] if a > 1 else 0.2
        slope = x_a[:, [2]] if a > 2 else 0.0
        load = np.exp(2 * x_a[:, [0]] + spread * noise + slope * step / p.steps)
        angle = 3 * x_c.sum(axis=1)
        turn = x_e[:, 0] * np.cos(angle) + x_e[:, -1] * np.sin(angle)
        y = np.empty((len(x), *p.series))
        for place, output in enumerate(p.limited):
            y[:, :, p.outputs.index(output)] = load * np.exp(place * turn)[:, None]
        for output in p.maximised:
            y[:, :, p.outputs.index(output)] = p.ceiling / (1 + (2.5 / load) ** 4)
        return y


TOYS = {
    "one aleatory input": Toy(
        Problem(
            ("wind",), ("tilt", "rough"), ("blade",), ("push", "bend"), ("N", "N m"), 10, (), ("push", "bend"), (9, 9)
        )
    ),
    "three aleatory inputs": Toy(
        Problem(
            ("wind", "gust", "trend"),
            ("tilt",),
            ("blade", "yaw"),
            ("power", "push", "bend"),
            ("W", "N", "N m"),
            12,
            ("power",),
            ("push", "bend"),
            (9, 9),
            ceiling=5.0,
        )
    ),
}


def observe(toy, hours=20, seed=1):
    """Hours at three control points with X_e = 0.4, 0.4, and so on."""
    p, rng = toy.problem, np.random.default_rng(seed)
    x_c = np.repeat(np.linspace(0.1, 0.9, 3 * len(p.control)).reshape(3, -1), hours, axis=0)
    x_a = rng.beta(3, 5, (len(x_c), len(p.aleatory)))
    x = np.column_stack([x_a, np.full((len(x_c), len(p.epistemic)), 0.4), x_c])
    return run_campaign(toy, x, rng.integers(1, 2**31, len(x)))[["y"]].assign(x_c=(("sample", "control"), x_c))


@pytest.fixture(scope="module", params=TOYS)
def toy(request):
    return TOYS[request.param]


@pytest.fixture(scope="module")
def observed(toy):
    return observe(toy)


@pytest.fixture(scope="module")
def um_2(toy, observed):
    weights = train_estimator(toy, 4000, Training(epochs=4, batch_size=256, learning_rate=2e-3))
    estimator = AleatoryEstimator.from_weights(weights)
    return estimator, infer_um2(toy, observed, estimator, SETTINGS, 1)


def test_um1_of_another_black_box(toy, observed):
    p, runs = toy.problem, aleatory_runs(toy, 300, "fresh", 1)
    weights = train_posterior(runs, aleatory_flow(p), Training(epochs=1, batch_size=64))
    posterior = HourPosterior.from_weights(weights)
    assert calibrate(posterior, runs, 10, 1).parameter.values.tolist() == list(p.aleatory)
    f_a = PooledDraws.from_dataset(infer_aleatory(posterior, observed, 10, 1))
    assert f_a.sample(7, np.random.default_rng(1)).shape == (7, len(p.aleatory))
    updates = update_points(
        toy, observed, f_a, UM1Settings(runs=100, training=Training(1), trial_hours=20, trial_draws=5)
    )
    assert updates.point.values.tolist() == [1, 2, 3]
    found = infer_um1(updates, points=2)
    assert EpistemicBox(found["low"], found["high"]).contains([found["best_guess"]])[0]
    assert len(found["low"]) == len(p.epistemic)


def test_um2_of_another_black_box(toy, observed, um_2):
    p, (estimator, weights) = toy.problem, um_2
    found = UM2.from_weights(weights)
    assert found.e.contains(np.full((1, len(p.epistemic)), 0.4))[0]
    assert found.e.volume < 0.05
    assert found.f_a.sample(5, np.random.default_rng(1)).shape == (5, len(p.aleatory))
    assert len(found.replicates) == 3
    hours = predict_hours(found.model, toy, observed.x_c.values[0], 100, random_seed=1)
    assert hours.y.shape == (100, *p.series)
    levels = predictive_levels(observed.isel(sample=slice(20)), hours, np.random.default_rng(1))
    assert levels.output.values.tolist() == list(p.outputs)
    fresh = aleatory_runs(toy, 50, "fresh", 2)
    assert calibrate_estimator(estimator, fresh, 10, 1).parameter.values.tolist() == list(p.aleatory)


def test_um2_is_saved_without_loss(um_2, tmp_path):
    write_weights(tmp_path / "kept", um_2[1])
    first, again = (UM2.from_weights(weights) for weights in (um_2[1], read_weights(tmp_path / "kept")))
    assert again.f_a == first.f_a
    assert again.rounds == first.rounds
    assert again.e.identity == first.e.identity
    assert again.seconds.keys() == {"e", "f_a"}


def test_weights_of_a_set_alone_are_refused(um_2):
    header = {name: value for name, value in um_2[1].header.items() if name != "f_a"}
    with pytest.raises(WeightsError, match="do not fit"):
        UM2.from_weights(Weights(header, um_2[1].tensors))


def test_e_of_um2_is_that_of_its_rounds_and_seed(observed, toy, um_2):
    e = CredibleSet.from_weights(infer_epistemic_set(toy, observed, um_2[0], SETTINGS.rounds, 1))
    assert e.identity == UM2.from_weights(um_2[1]).e.identity


def test_f_a_is_inferred_at_values_from_e(observed, um_2, monkeypatch):
    estimator, e = um_2[0], UM2.from_weights(um_2[1]).e
    monkeypatch.setattr("flowcal.infer.um2.infer_population", lambda *arguments: arguments)
    *_, x_e, draws, replicates, seed = infer_um2_f_a(estimator, observed, e, SETTINGS, (7, 8))
    assert np.array_equal(x_e, e.posterior_sample(4, np.random.default_rng(7)))
    assert (draws, replicates, seed) == (8, 3, 8)


def test_um2_of_the_challenge(estimator):
    rng = np.random.default_rng(1)
    x_c = np.repeat(TABLE_1[:3], 10, axis=0)
    x = np.column_stack([rng.uniform(0.05, 0.5, (30, 2)), np.tile([0.4, 0.5, 0.6], (30, 1)), x_c])
    runs = run_campaign(WindFarm(), x, rng.integers(1, 2**31, 30))
    observed = runs[["y"]].assign(x_c=(("sample", "control"), x_c))
    settings = UM2Settings(Rounds(1000), draws=8, replicates=2)
    found = UM2.from_weights(infer_um2(WindFarm(), observed, estimator, settings, [1, 2, 3]))
    assert found.e.contains([[0.4, 0.5, 0.6]])[0]
    assert len(found.f_a.clusters[0].marginals) == 2
