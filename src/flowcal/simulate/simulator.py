"""The one protocol behind which every black box stands, its checks, and its series as labelled datasets."""

from functools import cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import PROBLEM
from flowcal.errors import FlowcalError, InputError
from flowcal.problem import BOUNDS, SEED_MAX, Problem

__all__ = [
    "SimulationError",
    "Simulator",
    "check_hours",
    "check_runs",
    "fresh_seeds",
    "label",
    "labelled_hours",
    "objective",
    "peaks",
    "problem_of",
]


@runtime_checkable
class Simulator(Protocol):
    """A black box: inputs and a seed in, a series of outputs out.

    The same row (x, seed) gives the same series whatever the other rows of the call, their order, or the process.
    A simulator of another problem than the challenge's says so in an attribute `problem`.
    """

    @property
    def identity(self) -> dict[str, str]:
        """What decides the outputs, such as name and version; two simulators that may differ must differ here."""
        ...

    def simulate(self, x: ArrayLike, seed: ArrayLike) -> NDArray[np.float64]:
        """Simulate series (n, steps, outputs) at inputs x (n, inputs) in [0, 1], with integer seeds (n,).

        Raises
        ------
        InputError
            If x or seed has another shape, a value out of range, or is not a number.
        SimulationError
            If some series could not be simulated.
        """
        ...


class SimulationError(FlowcalError, RuntimeError):
    """Some runs have no usable result; `rows` are their positions in the call, `reason` is what went wrong."""

    def __init__(self, reason: str, rows: ArrayLike) -> None:
        self.reason = reason
        self.rows = np.asarray(rows, dtype=np.int64)
        super().__init__(reason, self.rows)

    def __str__(self) -> str:
        return f"{self.reason} (runs concerned: {describe_rows(self.rows)})"


def problem_of(simulator: Simulator) -> Problem:
    """The problem of a simulator; one that states none has the challenge's."""
    return getattr(simulator, "problem", PROBLEM)


def describe_rows(rows: NDArray[np.int64], most: int = 5) -> str:
    """Row numbers as people write them, such as '0 to 99' or '3, 8, 9 and 40 more'."""
    if len(rows) > 2 and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return f"{rows[0]} to {rows[-1]}"
    shown = ", ".join(str(row) for row in rows[:most])
    return shown if len(rows) <= most else f"{shown} and {len(rows) - most} more"


def fresh_seeds(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Random seeds (count,), one for each run."""
    return rng.integers(1, SEED_MAX, count, endpoint=True)


def check_runs(
    x: ArrayLike, seed: ArrayLike, problem: Problem = PROBLEM
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Inputs x (n, inputs) and seeds (n,) as arrays, or an `InputError` naming what does not fit."""
    x, seed = _as_numbers(x, "x"), _as_numbers(seed, "seed")
    names = problem.inputs
    if x.ndim != 2 or x.shape[1] != len(names):
        raise InputError(f"x has shape {x.shape}; expected (n, {len(names)}), one row a run: {', '.join(names)}.")
    if seed.shape != x.shape[:1]:
        raise InputError(f"seed has shape {seed.shape}; expected one seed a run, ({x.shape[0]},).")
    _check_range(x, *BOUNDS, "x", "numbers in [0, 1]", names)
    _check_range(seed, 1, SEED_MAX, "seed", f"integers in [1, {SEED_MAX}]", names)
    if not np.array_equal(seed, np.trunc(seed)):
        row = np.flatnonzero(seed != np.trunc(seed))[0]
        raise InputError(f"seed of row {row} is {seed[row]}; expected integers in [1, {SEED_MAX}].")
    return np.ascontiguousarray(x, dtype=np.float64), np.ascontiguousarray(seed, dtype=np.int64)


def _as_numbers(values: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name} holds {array.dtype} values; expected real numbers.")
    return array


def _check_range(
    array: NDArray[Any], low: float, high: float, name: str, expected: str, inputs: tuple[str, ...]
) -> None:
    fits = (array >= low) & (array <= high)
    if not fits.all():
        place = tuple(np.argwhere(~fits)[0].tolist())
        where = f"row {place[0]}" + (f", {inputs[place[1]]}," if len(place) > 1 else "")
        raise InputError(f"{name} of {where} is {array[place]}; expected {expected}.")


def labelled_hours(y: ArrayLike, problem: Problem = PROBLEM, **more: tuple[Any, ...]) -> xr.Dataset:
    """Outputs y (n, steps, outputs) as the dataset that every later step takes, with further variables.

    Examples
    --------
    >>> hours = labelled_hours(np.zeros((2, 60, 6)))
    >>> hours.unit.sel(output="y1").item()
    'MW'
    """
    return label(xr.Dataset({"y": (("sample", "time", "output"), y), **more}), problem)


def label(hours: xr.Dataset, problem: Problem = PROBLEM) -> xr.Dataset:
    """A dataset over sample, time, output and input with the names and units of its problem."""
    return xr.Dataset(dict(hours.variables), _coordinates(problem, "input" in hours.dims), hours.attrs)


@cache
def _coordinates(problem: Problem, inputs: bool) -> xr.Coordinates:
    """Coordinates of all hours, made once: searches ask for hours by the thousand, and indexes take longer to make."""
    time = ("time", np.arange(problem.steps), {"units": "minutes", "long_name": "time within the hour"})
    names = {"time": time, "output": list(problem.outputs), "unit": ("output", list(problem.units))}
    return xr.Dataset(coords=names | ({"input": list(problem.inputs)} if inputs else {})).coords


def objective(hours: xr.Dataset, problem: Problem = PROBLEM) -> xr.DataArray:
    """Mean over the series of the sum of what is maximised, by sample; its expectation is the objective J."""
    total = hours.y.sel(output=list(problem.maximised)).sum("output").mean("time")
    unit = problem.units[problem.columns(problem.maximised)[0]] if problem.maximised else "1"
    labelled: xr.DataArray = total.assign_attrs(units=unit, long_name=f"mean of {' + '.join(problem.maximised)}")
    return labelled


def peaks(hours: xr.Dataset) -> xr.DataArray:
    """Largest value within the series of each output, by sample and output."""
    largest: xr.DataArray = hours.y.max("time").assign_attrs(long_name="largest value within the hour")
    return largest


def check_hours(
    y: ArrayLike, x_c: ArrayLike, problem: Problem = PROBLEM
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hours y (n, steps, outputs) and control points x_c (n, controls) as arrays fit for inference.

    Raises
    ------
    InputError
        If there are no hours, a shape does not fit, a value is negative, infinite or NaN, or a control point leaves
        [0, 1].
    """
    y, x_c = np.asarray(y, np.float64), np.asarray(x_c, np.float64)
    steps, outputs = problem.series
    controls = len(problem.control)
    if y.ndim != 3 or len(y) < 1 or y.shape[1:] != problem.series:
        raise InputError(f"y has shape {y.shape}; expected (n, {steps}, {outputs}) with at least one hour.")
    if x_c.shape != (len(y), controls):
        raise InputError(f"x_c has shape {x_c.shape}; expected one control point an hour, ({len(y)}, {controls}).")
    bad = np.argwhere(~(np.isfinite(y) & (y >= 0)))
    if bad.size:
        hour, minute, output = bad[0].tolist()
        raise InputError(
            f"y of hour {hour}, minute {minute}, {problem.outputs[output]}, is {y[hour, minute, output]}; expected "
            "finite numbers from 0 up."
        )
    low, high = BOUNDS
    bad = np.argwhere(~((x_c >= low) & (x_c <= high)))
    if bad.size:
        hour, control = bad[0].tolist()
        raise InputError(
            f"x_c of hour {hour}, {problem.control[control]}, is {x_c[hour, control]}; expected numbers in [0, 1]."
        )
    return y, x_c
