"""The paper's way to designs, on a surrogate whose best design is known."""

import numpy as np
import pytest

from flowcal.decide.paper import published_design
from flowcal.errors import InputError
from flowcal.infer.models import EpistemicBox

BOX = EpistemicBox([0.4] * 3, [0.6] * 3)
X_A = np.random.default_rng(1).random((20, 2))
BUDGET = {"x_a": X_A, "epistemic_draws": 3, "particles": 12, "iterations": 25, "random_seed": 1}


class Known:
    """Powers are best at X_c = 0.3; y4 passes its threshold where X_a1 exceeds 1 - X_c1, y5 and y6 never do."""

    def predict(self, x):
        y = np.zeros((len(x), 60, 6))
        y[:, :, 0] = (3 - np.square(x[:, 5:] - 0.3).sum(axis=1))[:, None]
        y[:, :, 3] = np.where(x[:, 0] > 1 - x[:, 5], 3000, 1000)[:, None]
        return y


def test_the_best_performance_is_found():
    swarm = published_design(Known(), BOX, "performance", **BUDGET)
    assert swarm["x_c"] == pytest.approx([0.3] * 3, abs=0.03)
    assert swarm["cost"] == pytest.approx(-3, abs=0.01)


def test_reliability_is_a_share_of_draws():
    swarm = published_design(Known(), BOX, "reliability", **BUDGET)
    assert swarm["cost"] == 0  # which twenty draws cannot tell from one in twenty
    assert swarm["x_c"][0] < 0.2


def test_the_penalty_keeps_the_constraint():
    swarm = published_design(Known(), BOX, "epsilon", epsilon=0.1, **BUDGET)
    free = published_design(Known(), BOX, "performance", **BUDGET)
    assert swarm["x_c"][0] < free["x_c"][0]
    assert swarm["cost"] > free["cost"]


@pytest.mark.parametrize(("problem", "epsilon"), [("performance", 0.1), ("epsilon", None), ("risk", None)])
def test_what_does_not_fit_is_refused(problem, epsilon):
    with pytest.raises(InputError, match="needed is"):
        published_design(Known(), BOX, problem, epsilon=epsilon, **BUDGET)
