"""Training throughput beside PyTorch's own encoder and zuko's own coupling flow of the same sizes."""

import time

import numpy as np
import torch
import zuko
from test_simulator import quartiles
from torch import nn
from torch.distributions import Normal

from flowcal.challenge import PROBLEM
from flowcal.infer.hour_posterior import HourPosterior, SeriesScaling, _positions
from flowcal.infer.networks import EDGE
from flowcal.infer.train import Training, seeded, train
from flowcal.infer.um1 import aleatory_flow, aleatory_runs
from flowcal.simulate.windfarm import WindFarm

ALEATORY_FLOW = aleatory_flow(PROBLEM)


class Plain(nn.Module):
    """The same network from the libraries' own parts, which drop attention weights and hidden units as well."""

    def __init__(self):
        super().__init__()
        with seeded(1):
            layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.1, batch_first=True)
            self.scaling, self.embedding = SeriesScaling(ALEATORY_FLOW.scaling, 6), nn.Linear(6, 64)
            self.encoder = nn.TransformerEncoder(layer, 2)
            self.flow = zuko.flows.NICE(2, 64 + 3, transforms=12, hidden_features=(64, 64))
        self.register_buffer("positions", _positions(60, 64))

    def loss(self, theta, y, x_c):
        summary = self.encoder(self.embedding(self.scaling(y)) + self.positions).mean(dim=1)
        opened = Normal(0, 1).icdf(theta.clamp(EDGE, 1 - EDGE))
        density = self.flow(torch.cat([summary, 2 * x_c - 1], dim=-1)).log_prob(opened)
        return -(density - Normal(0, 1).log_prob(opened).sum(dim=-1))


def make(kind, data):
    network = HourPosterior(ALEATORY_FLOW, 1) if kind == "ours" else Plain()
    network.scaling.learn(data[1])
    return network


def training_data(size, seed=1):
    runs = aleatory_runs(WindFarm(), size, "fresh", seed)
    parts = (runs.x.values[:, :2], runs.y.values, runs.x.values[:, 5:])
    return [torch.tensor(part, dtype=torch.float32) for part in parts]


def test_training_is_faster_than_the_plain_parts_at_equal_loss(record):
    batch_size = 64
    data, loss, rates = training_data(6000), {}, {"ours": [], "plain": []}
    for kind in ("ours", "plain"):
        network = make(kind, data)
        loss[kind] = min(train(network, network.loss, data, Training(8, batch_size, 5e-3)).held_out_loss)
    part = [tensor[:2000] for tensor in data]
    networks = {kind: make(kind, data) for kind in rates}
    for _ in range(6):
        for kind, network in networks.items():
            start = time.perf_counter()
            train(network, network.loss, part, Training(1, batch_size))
            rates[kind].append(1800 / (time.perf_counter() - start))
    ratio = quartiles(np.array(rates["ours"]) / np.array(rates["plain"]))
    record(
        "training_over_plain",
        quartiles=ratio,
        target=1.3,
        simulations_per_second={kind: round(float(np.median(values))) for kind, values in rates.items()},
        held_out_loss={kind: round(value, 3) for kind, value in loss.items()},
    )
    assert ratio[1] >= 1.3
    assert loss["ours"] <= loss["plain"] + 0.1


def test_hours_are_read_fast(record):
    """Posterior draws for 100,000 hours, which are read a thousand at a time."""
    runs = aleatory_runs(WindFarm(), 100_000, "fresh", 1)
    posterior = HourPosterior(ALEATORY_FLOW, 1)
    start = time.perf_counter()
    draws = posterior.sample((10,), runs, np.random.default_rng(1))
    rate = len(runs.sample) / (time.perf_counter() - start)
    record("hours_read_per_second", measured=round(rate), target=500, draws_an_hour=10)
    assert draws.shape == (10, 100_000, 2)
    assert rate >= 500
