"""Neural posteriors beside sbi's and lampe's, on the same simulations, with the same summary network and flow.

All three estimate the paper's first posterior, of X_a given an hour and its control point. What is held equal: the
simulations, a tenth of which are held out to choose the best epoch by; the summary network with its scaling and its
initial weights; affine couplings in number and size. What is each library's own: how the unit cube is opened, the loop,
the optimiser. A peer is trained for as many epochs as ours, and for at least as long. Time is that of the processor, on
one thread, so that other work on the machine does not count.
"""

import copy
import math
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import zuko
from test_training import training_data
from torch import nn
from torch.distributions import Normal

from flowcal.challenge import PROBLEM
from flowcal.infer.hour_posterior import HourPosterior
from flowcal.infer.networks import EDGE
from flowcal.infer.train import WARM_UP, seeded, train
from flowcal.infer.um1 import TRAINING, aleatory_flow

ALEATORY_FLOW = aleatory_flow(PROBLEM)
ROWS, EPOCHS, SEEDS, JUDGED = 3000, 6, (1, 2, 3), 4000
MORE_ROWS, MORE_EPOCHS = 12_000, 8
SBI_RATE = 2e-3  # its default of 5e-4 is for far more epochs
TRANSFORMS = 2 * ALEATORY_FLOW.coupling_layers


def ours(parts, seed, epochs):
    """The study's own training; like the peers', the log density (n,) of theta (n, 2) given hours and controls."""
    network = HourPosterior(ALEATORY_FLOW, seed)
    network.scaling.learn(parts[1])
    train(network, network.loss, parts, replace(TRAINING, epochs=epochs, random_seed=seed))
    return lambda theta, y, x_c: -network.loss(theta, y, x_c)


class Reader(nn.Module):
    """Our summary network for the peers, which want all that is observed in one row (n, 363)."""

    def __init__(self, seed, y):
        super().__init__()
        self.posterior = HourPosterior(ALEATORY_FLOW, seed)
        self.posterior.scaling.learn(y)
        del self.posterior.flow

    def forward(self, row):
        return self.posterior(row[:, :-3].unflatten(-1, (60, 6)), row[:, -3:])


def as_rows(y, x_c):
    return torch.cat([y.flatten(1), x_c], dim=-1)


def sbi(parts, seed, epochs):
    """sbi's own loop at its one learning rate, with zuko's coupling flow and the prior's bounds opened as it offers."""
    from sbi.inference import NPE
    from sbi.neural_nets import posterior_nn
    from sbi.utils import BoxUniform

    theta, y, x_c = parts
    prior = BoxUniform(torch.zeros(2), torch.ones(2))
    estimator = posterior_nn(
        "zuko_nice",
        z_score_theta="transform_to_unconstrained",
        x_dist=prior,
        z_score_x="none",  # the reader scales
        embedding_net=Reader(seed, y),
        num_transforms=TRANSFORMS,
        hidden_features=ALEATORY_FLOW.hidden,
    )
    with seeded(seed):
        inference = NPE(prior, estimator, show_progress_bars=False).append_simulations(theta, as_rows(y, x_c))
        network = inference.train(
            training_batch_size=TRAINING.batch_size,
            learning_rate=SBI_RATE,
            max_num_epochs=epochs - 1,  # it makes one more
        )
    assert inference.summary["epochs_trained"] == [epochs]
    network.eval()
    return lambda theta, y, x_c: network.log_prob(theta[None], as_rows(y, x_c))[0]


class Opened(nn.Module):
    """lampe's estimator behind our summary network, with the cube opened by normal quantiles, for which it has none."""

    def __init__(self, seed, y):
        from lampe.inference import NPE

        super().__init__()
        self.reader = Reader(seed, y)
        sizes = {"transforms": TRANSFORMS, "hidden_features": ALEATORY_FLOW.hidden}
        self.npe = NPE(2, ALEATORY_FLOW.width + 3, build=zuko.flows.NICE, **sizes)

    def forward(self, theta, row):
        opened = Normal(0, 1).icdf(theta.clamp(EDGE, 1 - EDGE))
        return self.npe(opened, self.reader(row)) - Normal(0, 1).log_prob(opened).sum(dim=-1)


def lampe(parts, seed, epochs, cycle_momentum=True):
    """The loop of lampe's tutorials, with our batches and a learning rate that rises and falls like ours.

    PyTorch's schedule moves the momentum against the learning rate, unless told to leave it, as ours does.
    """
    from lampe.data import JointDataset
    from lampe.inference import NPELoss
    from lampe.utils import GDStep

    theta, y, x_c = parts
    fitted = round(len(theta) * (1 - TRAINING.held_out))
    steps, rate = epochs * math.ceil(fitted / TRAINING.batch_size), TRAINING.learning_rate
    with seeded(seed):
        network, row, order = Opened(seed, y), as_rows(y, x_c), torch.randperm(len(theta))
        sets = [
            JointDataset(theta[o], row[o], TRAINING.batch_size, shuffle=True) for o in (order[:fitted], order[fitted:])
        ]
        loss, optimizer = NPELoss(network), torch.optim.AdamW(network.parameters(), rate)
        step, least = GDStep(optimizer, TRAINING.clip), math.inf
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, steps, pct_start=WARM_UP, cycle_momentum=cycle_momentum
        )
        for _ in range(epochs):
            network.train()
            for batch in sets[0]:
                step(loss(*batch))
                schedule.step()
            network.eval()
            with torch.no_grad():
                held_out = torch.stack([loss(*batch) for batch in sets[1]]).mean().item()
            if held_out < least:
                least, best = held_out, copy.deepcopy(network.state_dict())
    network.load_state_dict(best)
    return lambda theta, y, x_c: network(theta, as_rows(y, x_c))


PEERS = {"sbi": sbi, "lampe": lampe, "lampe with one momentum": partial(lampe, cycle_momentum=False)}


@pytest.fixture(autouse=True)
def on_one_thread_elsewhere(monkeypatch, tmp_path):
    """One thread, and a working folder of its own, into which sbi writes its log."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


pytestmark = pytest.mark.filterwarnings("ignore:Data has extreme outliers", "ignore:Maximum number of epochs")


@pytest.mark.parametrize("fit", [ours, *PEERS.values()], ids=["ours", *PEERS])
def test_what_is_compared_are_densities_on_the_unit_cube(fit):
    """Whatever each library opens the cube with: the densities of an hour add up to 1."""
    log_prob = fit(training_data(500), 1, 2)
    _, y, x_c = training_data(1, seed=2)
    u = torch.cartesian_prod(*[torch.linspace(-5, 5, 81)] * 2)
    cells, area = Normal(0, 1).cdf(u), Normal(0, 1).log_prob(u).sum(dim=-1).exp() * (10 / 80) ** 2
    with torch.no_grad():
        density = log_prob(cells, y.expand(len(cells), -1, -1), x_c.expand(len(cells), -1)).exp()
    assert (density * area).sum().item() == pytest.approx(1, abs=0.02)


def test_posteriors_at_equal_time_and_at_equal_epochs(record):
    fitted = round(ROWS * (1 - TRAINING.held_out))
    names = ("ours", *PEERS)
    speed, seconds, equal_epochs, equal_time, epochs = ({name: [] for name in names} for _ in range(5))
    for seed in SEEDS:
        for name, fit in {"ours": ours, **PEERS}.items():
            value, took = judged(fit, ROWS, seed, EPOCHS)
            seconds[name].append(took)
            speed[name].append(EPOCHS * fitted / took)
            equal_epochs[name].append(value)
            count = math.ceil(EPOCHS * seconds["ours"][-1] / took)
            epochs[name].append(count)
            equal_time[name].append(value if count == EPOCHS else judged(fit, ROWS, seed, count)[0])
    record(
        "posteriors_beside_peers",
        simulations=fitted,
        epochs=EPOCHS,
        epochs_at_equal_time=epochs,
        seconds=rounded(seconds["ours"], 1),
        simulations_per_second={name: rounded(values, 0) for name, values in speed.items()},
        at_equal_time={name: rounded(values, 3) for name, values in equal_time.items()},
        at_equal_epochs={name: rounded(values, 3) for name, values in equal_epochs.items()},
    )
    assert np.isfinite([*equal_time.values(), *equal_epochs.values()]).all()


def test_whether_what_a_peer_is_ahead_lasts(record):
    """lampe's lead at few simulations and epochs, once more with more of both."""
    compared = {"ours": ours, "lampe": lampe}
    found = {name: [judged(fit, MORE_ROWS, seed, MORE_EPOCHS) for seed in SEEDS] for name, fit in compared.items()}
    fitted = round(MORE_ROWS * (1 - TRAINING.held_out))
    record(
        "posteriors_beside_peers: more",
        simulations=fitted,
        epochs=MORE_EPOCHS,
        simulations_per_second={
            name: rounded([MORE_EPOCHS * fitted / took for _, took in rows], 0) for name, rows in found.items()
        },
        at_equal_epochs={name: rounded([value for value, _ in rows], 3) for name, rows in found.items()},
    )
    assert np.isfinite([value for rows in found.values() for value, _ in rows]).all()


def judged(fit, rows, seed, epochs):
    """Expected log posterior on hours that none has seen, after so many epochs, and the seconds they took."""
    parts = training_data(rows, seed)
    start = time.process_time()
    log_prob = fit(parts, seed, epochs)
    took = time.process_time() - start
    with torch.no_grad():
        return log_prob(*training_data(JUDGED, seed=99)).mean().item(), took


def rounded(values, digits):
    return [round(value, digits) for value in values]
