"""The embedded real system: it shows hours at few control points and keeps its truth to itself.

Only `flowcal.report.scoring` may look at the truth; every method learns from the hours alone.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.random import SeedSequence, default_rng
from numpy.typing import NDArray
from scipy.stats import truncweibull_min

from flowcal.challenge import BOUNDS, CONTROL, SEED_MAX
from flowcal.errors import FlowcalError, InputError
from flowcal.simulate.hours import labelled_hours
from flowcal.simulate.windfarm import WindFarm

__all__ = ["BudgetSpent", "RealSystem"]

_TRUE_X_E = (1 / 3, 0.59644, 0.375)
_TRUE_F_A = (
    truncweibull_min(2.40, 0, 1 / 0.283, scale=0.283),
    truncweibull_min(1.80, 0, 1 / 0.212, scale=0.212),
)
_ENTROPY = 2025


class BudgetSpent(FlowcalError):
    """The real system has been asked for as many control points as it answers for."""


class RealSystem:
    """A system with a fixed X_e* and a fixed distribution f_a of X_a, neither of which it tells.

    It answers for `POINTS` control points with `HOURS` hours each. The same point shows the same hours again, and
    asking for it again costs nothing.

    Examples
    --------
    >>> system = RealSystem()
    >>> system.observe([0.533, 0.666, 0.5]).y.shape
    (100, 60, 6)
    >>> system.points_left
    9
    """

    POINTS = 10
    HOURS = 100

    def __init__(self) -> None:
        self._shown: dict[tuple[float, ...], xr.Dataset] = {}

    @property
    def points_left(self) -> int:
        """How many new control points it still answers for."""
        return self.POINTS - len(self._shown)

    def observe(self, x_c: Sequence[float]) -> xr.Dataset:
        """Hours at one control point.

        Parameters
        ----------
        x_c : sequence of float, shape (3,)
            Control inputs in [0, 1].

        Returns
        -------
        Dataset
            y (100, 60, 6) by sample, time and output, and the control point x_c of each sample.

        Raises
        ------
        InputError
            If x_c is not three numbers in [0, 1].
        BudgetSpent
            If ten other points have been asked for.
        """
        point = check_control_point(x_c)
        if point not in self._shown:
            if not self.points_left:
                raise BudgetSpent(
                    f"the real system has shown hours at {self.POINTS} control points and shows no more; asked for was "
                    f"{point}. Points it answers for: {', '.join(map(str, self._shown))}."
                )
            self._shown[point] = self._hours(point)
        return self._shown[point].copy(deep=True)

    def _hours(self, point: tuple[float, ...]) -> xr.Dataset:
        rng = default_rng(SeedSequence([_ENTROPY, *np.array(point).view(np.uint32).tolist()]))
        x = np.column_stack(
            [
                *(marginal.rvs(self.HOURS, random_state=rng) for marginal in _TRUE_F_A),
                np.tile([*_TRUE_X_E, *point], (self.HOURS, 1)),
            ]
        )
        y = WindFarm().simulate(x, rng.integers(1, SEED_MAX, self.HOURS, endpoint=True))
        return observed_hours(y, point)


def check_control_point(x_c: Sequence[float] | Sequence[str]) -> tuple[float, ...]:
    """The control point as a tuple of three floats, or an `InputError`."""
    try:
        point = tuple(float(value) + 0.0 for value in x_c)  # the sum makes -0 the same point as 0
    except (TypeError, ValueError):
        point = ()
    low, high = BOUNDS
    if isinstance(x_c, str) or len(point) != len(CONTROL) or not all(low <= value <= high for value in point):
        raise InputError(f"x_c is {x_c!r}; needed are {len(CONTROL)} numbers in [0, 1]: {', '.join(CONTROL)}.")
    return point


def observed_hours(y: NDArray[np.float64], x_c: Sequence[float]) -> xr.Dataset:
    """Observed hours y (n, 60, 6) with the control point of each, as a dataset."""
    hours = labelled_hours(y, x_c=(("sample", "control"), np.tile(x_c, (len(y), 1))))
    return hours.assign_coords(control=list(CONTROL))
