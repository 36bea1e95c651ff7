"""The training loop: the same result every time, killed or not, and clear words when it cannot go on."""

import numpy as np
import pytest
import torch
from torch import nn

from flowcal.errors import InputError
from flowcal.infer import train as module
from flowcal.infer.train import Trainer, Training, TrainingError, seeded, train


class Line(nn.Module):
    """A small network with dropout, which draws random numbers in training."""

    def __init__(self):
        super().__init__()
        with seeded(1):
            self.layers = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1))

    def loss(self, x, y):
        return (self.layers(x)[:, 0] - y) ** 2


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((500, 3))
    y = x @ [1.0, -2.0, 0.5] + 0.1 * rng.standard_normal(500)
    return [torch.tensor(part, dtype=torch.float32) for part in (x, y)]


TRAINING = Training(epochs=6, batch_size=50, learning_rate=1e-2)


def fitted(data, training=TRAINING, trainer=None):
    network = Line()
    return network, train(network, network.loss, data, training, trainer)


def same(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_learns(data):
    _, history = fitted(data, Training(epochs=30, batch_size=50, learning_rate=1e-2))
    assert history.held_out_loss[-1] < 0.2 * history.held_out_loss[0]
    assert len(history.training_loss) == len(history.seconds) == len(history)


def test_is_the_same_each_time_and_another_for_another_seed(data):
    first, second = fitted(data)[0], fitted(data)[0]
    assert same(first, second)
    assert not same(first, fitted(data, Training(6, 50, 1e-2, random_seed=2))[0])


def test_leaves_the_global_generator_alone(data):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fitted(data)
    assert torch.equal(torch.rand(3), expected)


class Killed(BaseException):
    """What ends a run from outside."""


@pytest.mark.parametrize("after", [1, 3])
def test_a_killed_run_goes_on_to_the_same_result(data, tmp_path, monkeypatch, after):
    whole, history = fitted(data)
    epoch = module._fit_epoch

    def killed(*arguments):
        if arguments[-1] == after:
            raise Killed
        return epoch(*arguments)

    monkeypatch.setattr(module, "_fit_epoch", killed)
    with pytest.raises(Killed):
        fitted(data, trainer=Trainer(folder=tmp_path))
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    run = []
    monkeypatch.setattr(module, "_fit_epoch", lambda *arguments: run.append(arguments[-1]) or epoch(*arguments))
    resumed, resumed_history = fitted(data, trainer=Trainer(folder=tmp_path))
    assert run == list(range(after, 6))
    assert same(whole, resumed)
    assert resumed_history.held_out_loss == history.held_out_loss
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_something_else_is_not_taken_up(data, tmp_path, monkeypatch):
    monkeypatch.setattr(module._Checkpoint, "remove", lambda self: None)
    for random_seed in (1, 2):
        fitted(data, Training(3, 50, random_seed=random_seed), Trainer(folder=tmp_path))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_checkpoint_is_run_anew(data, tmp_path, monkeypatch):
    with monkeypatch.context() as kept:
        kept.setattr(module._Checkpoint, "remove", lambda self: None)
        whole, _ = fitted(data, trainer=Trainer(folder=tmp_path))
    (checkpoint,) = tmp_path.iterdir()
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    assert same(fitted(data, trainer=Trainer(folder=tmp_path))[0], whole)


def test_stops_when_held_out_rows_gain_no_more_and_keeps_the_best(data):
    x, _ = data
    noise = torch.randn(500, generator=torch.Generator().manual_seed(1))  # nothing to learn
    network, history = fitted([x, noise], Training(epochs=200, batch_size=50, learning_rate=1e-2, patience=4))
    assert len(history) < 200
    assert len(history) == history.best + 1 + 4
    _, held_out = module._split([x, noise], Training(epochs=200, batch_size=50, learning_rate=1e-2, patience=4))
    assert module._mean_loss(network, network.loss, held_out) == pytest.approx(min(history.held_out_loss), rel=1e-5)


def test_a_loss_that_is_no_number_stops_it(data):
    x, y = data
    y[::20] = torch.nan
    with pytest.raises(TrainingError, match=r"loss is nan in batch \d+ of epoch 1.*learning rate"):
        fitted([x, y])


def test_the_learning_rate_warms_up_and_falls():
    rate = module._cosine(1.0, 0, 1000)
    rates = [rate(step) for step in range(1000)]
    assert rates[0] < 0.05
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert rates[-1] < 1e-4
    assert np.argmax(rates) < 100


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 1.5}, "batch_size is 1.5"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"learning_rate": -1}, "learning_rate is -1"),
        ({"clip": float("nan")}, "clip is nan"),
    ],
)
def test_refuses_settings(change, said):
    with pytest.raises(InputError, match=said):
        Training(**{"epochs": 1, **change})


def test_refuses_rows_that_do_not_fit(data):
    with pytest.raises(InputError, match="4 rows leave 0"):
        fitted([part[:4] for part in data])
    with pytest.raises(InputError, match="500, 499 rows"):
        fitted([data[0], data[1][1:]])


def test_a_weight_that_no_loss_reaches_does_not_hinder_going_on(data, tmp_path, monkeypatch):
    class Spare(Line):
        def __init__(self):
            super().__init__()
            self.spare = nn.Parameter(torch.ones(1))

    def run():
        network = Spare()
        train(network, network.loss, data, TRAINING, Trainer(folder=tmp_path))
        return network

    with monkeypatch.context() as kept:
        kept.setattr(module._Checkpoint, "remove", lambda self: None)
        whole = run()
    assert same(whole, run())  # from the checkpoint of its last epoch


def test_refuses_a_device_that_is_not_there():
    with pytest.raises(InputError, match="'abacus'"):
        Trainer(device="abacus").resolve()
    assert Trainer().resolve().type == ("cuda" if torch.cuda.is_available() else "cpu")
