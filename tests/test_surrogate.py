"""The paper's surrogate: sixty networks at once, what they explain, and what anything could."""

import numpy as np
import pytest
import torch

from flowcal.decide.paper import TimeStepSurrogate, determination, train_surrogate
from flowcal.errors import InputError
from flowcal.files import Weights, WeightsError
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
    broken = Weights(weights.header | {"built_with": {"width": 16, "random_seed": 1}}, weights.tensors)
    with pytest.raises(WeightsError, match="do not fit their header"):
        TimeStepSurrogate.from_weights(broken)


def test_what_does_not_fit_is_refused(weights):
    with pytest.raises(InputError, match="width is 0"):
        TimeStepSurrogate(0, 1)
    surrogate = TimeStepSurrogate.from_weights(weights)
    with pytest.raises(InputError, match=r"expected \(n, 8\)"):
        surrogate.predict(np.ones((2, 9)))
    first, second = (simulate(np.random.default_rng(seed).random((5, 8)), 1) for seed in (1, 2))
    with pytest.raises(InputError, match="expected the same"):
        determination(surrogate, first, second)
