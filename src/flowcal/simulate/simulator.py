"""The one protocol behind which every black box stands, and the checks all of them share."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import BOUNDS, INPUTS, SEED_MAX
from flowcal.errors import FlowcalError, InputError

__all__ = ["SimulationError", "Simulator", "check_runs"]


@runtime_checkable
class Simulator(Protocol):
    """A black box: inputs and a seed in, an hour of six outputs out.

    The same row (x, seed) gives the same hour whatever the other rows of the call, their order, or the process.
    """

    @property
    def identity(self) -> dict[str, str]:
        """What decides the outputs, such as name and version; two simulators that may differ have to differ here."""
        ...

    def simulate(self, x: ArrayLike, seed: ArrayLike) -> NDArray[np.float64]:
        """Run the hours.

        Parameters
        ----------
        x : array_like, shape (n, 8)
            Inputs in the order of `flowcal.challenge.INPUTS`, each in [0, 1].
        seed : array_like of int, shape (n,)
            Random seeds in [1, 2**31 - 1].

        Returns
        -------
        ndarray, shape (n, 60, 6)
            y1..y6 by minute; y1..y3 in MW.

        Raises
        ------
        InputError
            If x or seed has another shape, a value out of range, or is not a number.
        SimulationError
            If the hours could not be run.
        """
        ...


class SimulationError(FlowcalError, RuntimeError):
    """Some runs have no usable result.

    Parameters
    ----------
    reason : str
        What went wrong, without the rows.
    rows : sequence of int
        Positions, in the call's x and seed, of the runs concerned.
    """

    def __init__(self, reason: str, rows: ArrayLike) -> None:
        self.reason = reason
        self.rows = np.asarray(rows, dtype=np.int64)
        super().__init__(reason, self.rows)

    def __str__(self) -> str:
        return f"{self.reason} (runs concerned: {describe_rows(self.rows)})"

    def shifted(self, offset: int) -> "SimulationError":
        """The same error with its rows counted from `offset` rows earlier, as in the campaign around a batch.

        Parameters
        ----------
        offset : int

        Returns
        -------
        SimulationError
        """
        return type(self)(self.reason, self.rows + offset)


def describe_rows(rows: NDArray[np.int64], most: int = 5) -> str:
    """Row numbers as people write them, such as '0 to 99' or '3, 8, 9 and 40 more'."""
    if len(rows) > 2 and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return f"{rows[0]} to {rows[-1]}"
    shown = ", ".join(str(row) for row in rows[:most])
    return shown if len(rows) <= most else f"{shown} and {len(rows) - most} more"


def check_runs(x: ArrayLike, seed: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The runs as arrays, refused unless they are what a simulator takes.

    Parameters
    ----------
    x : array_like, shape (n, 8)
    seed : array_like of int, shape (n,)

    Returns
    -------
    x : ndarray, shape (n, 8)
    seed : ndarray of int, shape (n,)

    Raises
    ------
    InputError
        If a shape does not fit, a value is out of range or no number, or a seed is no whole number.
    """
    x, seed = _as_numbers(x, "x"), _as_numbers(seed, "seed")
    if x.ndim != 2 or x.shape[1] != len(INPUTS):
        raise InputError(f"x has shape {x.shape}; needed is (n, {len(INPUTS)}), one row a run: {', '.join(INPUTS)}.")
    if seed.shape != x.shape[:1]:
        raise InputError(f"seed has shape {seed.shape}; needed is one seed a run, ({x.shape[0]},).")
    _check_range(x, *BOUNDS, "x", "numbers in [0, 1]")
    _check_range(seed, 1, SEED_MAX, "seed", f"integers in [1, {SEED_MAX}]")
    if not np.array_equal(seed, np.trunc(seed)):
        row = np.flatnonzero(seed != np.trunc(seed))[0]
        raise InputError(f"seed of row {row} is {seed[row]}; needed are integers in [1, {SEED_MAX}].")
    return np.ascontiguousarray(x, dtype=np.float64), np.ascontiguousarray(seed, dtype=np.int64)


def _as_numbers(values: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name} holds {array.dtype} values; needed are real numbers.")
    return array


def _check_range(array: NDArray[Any], low: float, high: float, name: str, needed: str) -> None:
    fits = (array >= low) & (array <= high)
    if not fits.all():
        place = tuple(np.argwhere(~fits)[0].tolist())
        where = f"row {place[0]}" + (f", {INPUTS[place[1]]}," if len(place) > 1 else "")
        raise InputError(f"{name} of {where} is {array[place]}; needed are {needed}.")
