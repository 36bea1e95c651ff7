"""A black box of another size than the challenge's, and a set E of one input: what `decide` counts on is a Problem."""

from dataclasses import replace

import numpy as np

from flowcal.problem import Problem
from flowcal.simulate.windfarm import WindFarm

PROBLEM = Problem(
    aleatory=("wind", "gusts"),
    epistemic=("bias",),
    control=("first", "second"),
    outputs=("power", "near", "far"),
    units=("MW", "1", "1"),
    steps=60,
    maximised=("power",),
    limited=("far", "near"),
    thresholds=(250.0, 500.0),
)


class SmallFarm:
    """The embedded black box with three of its inputs fixed and three of its outputs left out."""

    identity = {"name": "small farm"}
    problem = PROBLEM

    def simulate(self, x, seed):
        x = np.asarray(x)
        rows = np.column_stack([x[:, :3], np.tile([0.6, 0.4], (len(x), 1)), x[:, 3:], np.full(len(x), 0.5)])
        return WindFarm().simulate(rows, seed)[:, :, [0, 3, 4]]


class ThreeAleatory(SmallFarm):
    """The same with a third aleatory input, which is without effect."""

    problem = replace(PROBLEM, aleatory=(*PROBLEM.aleatory, "none"))

    def simulate(self, x, seed):
        return super().simulate(np.delete(np.asarray(x), 2, axis=1), seed)


class UniformInputs:
    """f_a of independent inputs, uniform up to a half."""

    resolution = 0.0

    def __init__(self, inputs):
        self.inputs = inputs

    def sample(self, n, rng):
        return 0.5 * rng.random((n, self.inputs))

    def log_prob(self, x_a):
        return np.where((np.asarray(x_a) <= 0.5).all(axis=1), self.inputs * np.log(2), -np.inf)


class Segment:
    """E of one epistemic input, between 0.2 and 0.8."""

    @property
    def turned_box(self):
        return self

    def to_x_e(self, u):
        return 0.2 + 0.6 * u

    def to_u(self, x_e):
        return (x_e - 0.2) / 0.6

    def contains(self, x_e):
        return ((x_e >= 0.2) & (x_e <= 0.8)).all(axis=1)

    def sample(self, n, rng):
        return rng.uniform(0.2, 0.8, (n, 1))
