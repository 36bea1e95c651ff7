"""Particle swarms over the control inputs, as pyswarms has them.

References
----------
.. [1] J. Kennedy and R. Eberhart, "Particle swarm optimization", ICNN 1995, doi:10.1109/ICNN.1995.488968.
.. [2] L. J. V. Miranda, "PySwarms: a research toolkit for Particle Swarm Optimization in Python", JOSS 3(21), 2018,
   doi:10.21105/joss.00433.
.. [3] M. Clerc and J. Kennedy, "The particle swarm: explosion, stability, and convergence in a multidimensional complex
   space", IEEE Transactions on Evolutionary Computation 6(1), 2002, doi:10.1109/4235.985692 (the coefficients).
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowcal.challenge import BOUNDS, CONTROL

__all__ = ["Swarm", "fly"]

Array = NDArray[np.float64]

LOG_SETTINGS = "LOG_CFG"  # where pyswarms looks for a file with settings of its log
COEFFICIENTS = {"c1": 1.49445, "c2": 1.49445, "w": 0.729}


@dataclass(frozen=True)
class Swarm:
    """Where a swarm has been.

    Attributes
    ----------
    x_c : ndarray, shape (3,)
        The best control point that any particle has found.
    cost : float
        There.
    costs : list of float
        The best so far, after each iteration.
    """

    x_c: Array
    cost: float
    costs: list[float]


def fly(cost: Callable[[Array], Array], particles: int, iterations: int, random_seed: int) -> Swarm:
    """Minimise a cost over the cube of X_c with a swarm [1]_ [2]_, its coefficients as in [3]_.

    Parameters
    ----------
    cost : callable
        From control points (n, 3) to costs (n,).
    particles, iterations : int
    random_seed : int

    Returns
    -------
    Swarm

    Examples
    --------
    >>> swarm = fly(lambda x_c: np.square(x_c - 0.4).sum(axis=1), particles=20, iterations=40, random_seed=1)
    >>> swarm.x_c.round(2).tolist()
    [0.4, 0.4, 0.4]
    """
    low, high = (np.full(len(CONTROL), bound) for bound in BOUNDS)
    with _own_generator(random_seed):
        with _no_log_file():
            from pyswarms.single import GlobalBestPSO  # sets up its log when imported, and again for each swarm

            swarm = GlobalBestPSO(particles, len(CONTROL), COEFFICIENTS, bounds=(low, high), bh_strategy="nearest")
        best, x_c = swarm.optimize(cost, iterations, verbose=False)
    return Swarm(np.asarray(x_c), float(best), [float(value) for value in swarm.cost_history])


@contextmanager
def _own_generator(random_seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, the only one that pyswarms knows, and leave it as it was."""
    before = np.random.get_state()
    np.random.seed(random_seed)
    try:
        yield
    finally:
        np.random.set_state(before)


@contextmanager
def _no_log_file() -> Iterator[None]:
    """Keep pyswarms from writing report.log into the working folder and from sending all loggers to the screen."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "log.yml"
        settings.write_text("version: 1\ndisable_existing_loggers: false\n")
        before = os.environ.get(LOG_SETTINGS)
        os.environ[LOG_SETTINGS] = str(settings)
        try:
            yield
        finally:
            if before is None:
                del os.environ[LOG_SETTINGS]
            else:
                os.environ[LOG_SETTINGS] = before
