"""The paper's way to designs: sixty networks at once, what they explain, swarms, and known best designs."""

import logging

import numpy as np
import pytest
import torch

from flowcal.challenge import PROBLEM
from flowcal.decide.design import DesignProblem
from flowcal.decide.paper import TimeStepSurrogate, determination, fly, published_design, train_surrogate
from flowcal.errors import InputError
from flowcal.files import Weights, WeightsError
from flowcal.infer.models import EpistemicBox
from flowcal.infer.train import Training
from flowcal.simulate.campaign import run_campaign
from flowcal.simulate.windfarm import WindFarm


def simulate(x, seed):
    return run_campaign(WindFarm(), x, np.random.default_rng(seed).integers(1, 2**31, len(x)))


@pytest.fixture(scope="module")
def weights():
    x = np.random.default_rng(1).random((4000, 8))
    return train_surrogate(simulate(x, 1), 32, Training(epochs=12, batch_size=64, learning_rate=3e-3))


def test_one_batch_is_sixty_networks_of_two_hidden_layers(weights):
    surrogate, x = TimeStepSurrogate.from_weights(weights), torch.rand(5, 8)
    with torch.no_grad():
        together = surrogate(x)
        for step in (0, 17, 59):
            hidden = 2 * x - 1
            for weight, bias in zip(surrogate.weights[:-1], surrogate.biases[:-1], strict=True):
                hidden = torch.relu(hidden @ weight[step] + bias[step])
            alone = hidden @ surrogate.weights[-1][step] + surrogate.biases[-1][step]
            assert torch.allclose(together[:, step], alone, atol=1e-5)


def test_it_explains_most_of_what_can_be_explained(weights):
    x = np.random.default_rng(2).random((1500, 8))
    result = determination(TimeStepSurrogate.from_weights(weights), simulate(x, 2), simulate(x, 3))
    assert (result.r_squared > 0.8).all()
    assert (result.r_squared < result.ceiling).all()
    assert ((result.ceiling > 0.9) & (result.ceiling < 1)).all()


def test_it_can_be_kept(weights):
    again = TimeStepSurrogate.from_weights(weights)
    x = np.random.default_rng(1).random((3, 8))
    assert (again.predict(x) == TimeStepSurrogate.from_weights(again.to_weights()).predict(x)).all()
    assert again.predict(x).shape == (3, 60, 6)
    broken = Weights(weights.header | {"built_with": weights.header["built_with"] | {"width": 16}}, weights.tensors)
    with pytest.raises(WeightsError, match="do not fit their header"):
        TimeStepSurrogate.from_weights(broken)


def test_what_does_not_fit_is_refused(weights):
    with pytest.raises(InputError, match="width is 0"):
        TimeStepSurrogate(8, 60, 6, width=0, random_seed=1)
    surrogate = TimeStepSurrogate.from_weights(weights)
    with pytest.raises(InputError, match=r"expected \(n, 8\)"):
        surrogate.predict(np.ones((2, 9)))
    first, second = (simulate(np.random.default_rng(seed).random((5, 8)), 1) for seed in (1, 2))
    with pytest.raises(InputError, match="expected the same"):
        determination(surrogate, first, second)


def bowl(x_c):
    return np.square(x_c - [0.2, 0.9, 1.0]).sum(axis=1)


def test_a_swarm_finds_the_minimum_even_at_a_bound():
    swarm = fly(bowl, 3, 20, 60, 1)
    assert np.abs(swarm.x_c - [0.2, 0.9, 1.0]).max() < 1e-3
    assert len(swarm.costs) == 60
    assert (np.diff(swarm.costs) <= 0).all()


def test_the_same_seed_flies_the_same_way():
    assert fly(bowl, 3, 10, 10, 1).costs == fly(bowl, 3, 10, 10, 1).costs != fly(bowl, 3, 10, 10, 2).costs


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state, handlers = np.random.get_state()[1].copy(), list(logging.getLogger().handlers)
    fly(bowl, 3, 5, 3, 1)
    assert (np.random.get_state()[1] == state).all()
    assert logging.getLogger().handlers == handlers
    assert not list(tmp_path.iterdir())


BOX = EpistemicBox([0.4] * 3, [0.6] * 3)
X_A = np.random.default_rng(1).random((20, 2))
BUDGET = {"problem": PROBLEM, "x_a": X_A, "epistemic_draws": 3, "particles": 12, "iterations": 25, "random_seed": 1}


class Known:
    """Powers are best at X_c = 0.3; y4 passes its threshold where X_a1 exceeds 1 - X_c1, y5 and y6 never do."""

    def predict(self, x):
        y = np.zeros((len(x), 60, 6))
        y[:, :, 0] = (3 - np.square(x[:, 5:] - 0.3).sum(axis=1))[:, None]
        y[:, :, 3] = np.where(x[:, 0] > 1 - x[:, 5], 3000, 1000)[:, None]
        return y


def test_the_best_performance_is_found():
    swarm = published_design(Known(), BOX, DesignProblem(), **BUDGET)
    assert swarm["x_c"] == pytest.approx([0.3] * 3, abs=0.03)
    assert swarm["cost"] == pytest.approx(-3, abs=0.01)


def test_reliability_is_a_share_of_draws():
    swarm = published_design(Known(), BOX, DesignProblem(reliability=True), **BUDGET)
    assert swarm["cost"] == 0  # which twenty draws cannot tell from one in twenty
    assert swarm["x_c"][0] < 0.2


def test_the_penalty_keeps_the_constraint():
    swarm = published_design(Known(), BOX, DesignProblem(epsilon=0.1), **BUDGET)
    free = published_design(Known(), BOX, DesignProblem(), **BUDGET)
    assert swarm["x_c"][0] < free["x_c"][0]
    assert swarm["cost"] > free["cost"]
