"""The expected power J of designs, tabulated from the emulator: J(X_e, X_c) is a sum of one function of three levels.

References
----------
.. [1] C. Agrell, L. G. Crespo, V. Flovik, E. Vanem and S. Kenny, "The NASA and DNV Challenge on Optimization Under
   Uncertainty", 2025, https://github.com/dnv-opensource/UQ-Challenge-2025.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from torch import Tensor

from flowcal.challenge import CONTROL
from flowcal.decide.aleatory_plane import AleatoryPlane
from flowcal.decide.power_emulator import PowerEmulator
from flowcal.infer.uncertainty import AleatoryDistribution, EpistemicSet

__all__ = ["Performance", "tabulate_performance"]

Array = NDArray[np.float64]

DRAWS = 20_000  # of (X_e, X_c), whose levels the table spans
LIGHTEST = 1e-9  # share of f_a below which a cell does not count
NODES = 48  # leave an error of 5e-7 MW, as float32 does
MARGIN = 0.1  # by which the table goes beyond the levels that were seen, as a share of their range


class Performance:
    """J, the expectation over X_a and the seed of the mean over the hour of y1 + y2 + y3 [MW] [1]_.

    Parameters
    ----------
    levels : callable
        From X_e and X_c (n, 6) to the levels (n, 3) of the three powers.
    expected : callable
        From levels to expected powers [MW], elementwise.
    """

    def __init__(self, levels: Callable[[Array], Array], expected: Callable[[Array], Array]) -> None:
        self._levels, self._expected = levels, expected

    def __call__(self, x_e: ArrayLike, x_c: ArrayLike) -> Array:
        """J [MW], shape (n,), at x_e and x_c (n, 3).

        Parameters
        ----------
        x_e : array_like, shape (n, 3)
        x_c : array_like, shape (n, 3)

        Returns
        -------
        ndarray, shape (n,)
            J [MW].
        """
        j: Array = self._expected(self._levels(np.hstack([x_e, x_c]))).sum(axis=1)
        return j


def tabulate_performance(
    emulator: PowerEmulator, f_as: Sequence[AleatoryDistribution], e: EpistemicSet
) -> list[Performance]:
    """The performance under each of several f_a, such as an inferred one and its replicates.

    Parameters
    ----------
    emulator : PowerEmulator
    f_as : sequence of AleatoryDistribution
    e : EpistemicSet
        Whose X_e are to be tried.

    Returns
    -------
    list of Performance
        One for each f_a.
    """
    network = deepcopy(emulator.levels).double().cpu()

    @torch.no_grad()
    def levels(fixed: Array) -> Array:
        found: Tensor = network(torch.from_numpy(2 * fixed - 1))
        values: Array = found.numpy()
        return values

    rng = np.random.default_rng(1)
    seen = levels(np.hstack([e.sample(DRAWS, rng), rng.random((DRAWS, len(CONTROL)))]))
    room = MARGIN * np.ptp(seen)
    nodes = np.linspace(seen.min() - room, seen.max() + room, NODES)
    planes = [AleatoryPlane(f_a) for f_a in f_as]
    mass = np.array([plane.mass for plane in planes])
    heavy = mass.max(axis=0) > LIGHTEST
    responses = emulator.responses(planes[0].x_a[heavy], nodes)
    means = mass[:, heavy] @ responses / mass[:, heavy].sum(axis=1, keepdims=True)
    return [Performance(levels, CubicSpline(nodes, mean)) for mean in means]
