"""The one protocol behind which every black box stands, its checks, and its series as labelled datasets."""

from functools import cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import PROBLEM
from flowcal.errors import FlowcalError, InputError
from flowcal.problem import SEED_MAX, Problem, as_numbers, check_counts, check_points

__all__ = [
    "SimulationError",
    "Simulator",
    "check_hours",
    "check_runs",
    "check_series",
    "expected_of",
    "fitting",
    "fresh_seeds",
    "hours_of",
    "label",
    "labelled_hours",
    "objective",
    "peaks",
    "problem_of",
    "simulate_checked",
]

CEILING_TOLERANCE = 1e-6  # relative; writers round
SERIES = ("sample", "time", "output")
LARGEST = 1e15  # no output is larger; numbers that stand for missing values are


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

    costly = False  # whether it took a whole time limit

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
    check_counts(0, count=count)
    return rng.integers(1, SEED_MAX, count, endpoint=True)


def check_runs(
    x: ArrayLike, seed: ArrayLike, problem: Problem = PROBLEM
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Inputs x (n, inputs) and seeds (n,) as arrays, or an `InputError` naming what does not fit."""
    x, seed = check_points(x, problem.inputs, "x", within=True), as_numbers(seed, "seed")
    if seed.shape != x.shape[:1]:
        raise InputError(f"seed has shape {seed.shape}; expected one seed a run, ({x.shape[0]},).")
    for row in np.flatnonzero(~((seed >= 1) & (seed <= SEED_MAX) & (seed == np.trunc(seed))))[:1]:
        raise InputError(f"seed of row {row} is {seed[row]:.12g}; expected integers in [1, {SEED_MAX}].")
    return np.ascontiguousarray(x), np.ascontiguousarray(seed, dtype=np.int64)


def fitting(y: NDArray[np.float64], problem: Problem) -> NDArray[np.bool_]:
    """Which values of series y (..., outputs) can be: finite, from 0 up, and below the ceiling of what is maximised.

    It is the one rule for what simulators return, what programs write, and what files of observed hours hold.
    """
    fits: NDArray[np.bool_] = (y >= 0) & (y <= _largest(problem))
    return fits


@cache
def _largest(problem: Problem) -> NDArray[np.float64]:
    """Largest value (outputs,) that each output can take."""
    ceiling = LARGEST if problem.ceiling is None else problem.ceiling * (1 + CEILING_TOLERANCE)
    return np.where(np.isin(problem.outputs, problem.maximised), ceiling, LARGEST)


def expected_of(value: float, output: str, problem: Problem) -> str:
    """What was expected instead of a value of an output that does not fit."""
    if 0 <= value < np.inf and problem.ceiling is not None and output in problem.maximised:
        return f"at most the ceiling, {problem.ceiling}"
    return f"finite numbers from 0 to {LARGEST:g}" if LARGEST < value < np.inf else "finite numbers from 0 up"


def check_series(
    y: NDArray[np.float64], problem: Problem, error: type[FlowcalError] = InputError
) -> NDArray[np.float64]:
    """Series y (..., steps, outputs), or an error, with the rows concerned if it is a `SimulationError`."""
    if y.shape[-2:] != problem.series:
        raise InputError(f"y has shape {y.shape}; expected (..., {problem.steps}, {len(problem.outputs)}).")
    fits = fitting(y, problem)
    if fits.all():
        return y
    *rows, step, output = place = tuple(np.argwhere(~fits)[0].tolist())
    name, hour = problem.outputs[output], ", ".join(map(str, rows))
    reason = f"y of hour {hour}, minute {step}, {name}, is {y[place]}; expected {expected_of(y[place], name, problem)}"
    if error is SimulationError:
        raise SimulationError(reason, np.flatnonzero(~fits.all(axis=(1, 2))))
    raise error(f"{reason}.")


def simulate_checked(simulator: Simulator, x: NDArray[np.float64], seed: NDArray[np.int64]) -> NDArray[np.float64]:
    """Series of some runs, or a `SimulationError` whatever the simulator raises or returns."""
    problem, everyone = problem_of(simulator), np.arange(len(x))
    expected = (len(x), *problem.series)
    try:
        y = as_numbers(simulator.simulate(x, seed), "the output y", problem.outputs)
    except SimulationError:
        raise
    except InputError as error:
        raise SimulationError(str(error).removesuffix("."), everyone) from error
    except Exception as error:  # whatever a simulator of the user's may raise concerns these runs alone
        raise SimulationError(f"{type(error).__name__}: {error}", everyone) from error
    if y.shape != expected:
        raise SimulationError(f"the simulator returned shape {y.shape}; expected {expected}", everyone)
    return check_series(y, problem, SimulationError)


def labelled_hours(y: ArrayLike, problem: Problem = PROBLEM, **more: tuple[Any, ...]) -> xr.Dataset:
    """Outputs y (n, steps, outputs) as the dataset that every later step takes, with further variables.

    Examples
    --------
    >>> hours = labelled_hours(np.zeros((2, 60, 6)))
    >>> hours.unit.sel(output="y1").item()
    'MW'
    """
    y = as_numbers(y, "y", problem.outputs)
    if y.ndim != 3 or y.shape[1:] != problem.series:
        raise InputError(f"y has shape {y.shape}; expected (n, {problem.steps}, {len(problem.outputs)}).")
    return label(xr.Dataset({"y": (SERIES, y), **more}), problem)


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
    total = hours.y.sel(output=list(problem.maximised)).sum("output", skipna=False).mean("time", skipna=False)
    unit = problem.units[problem.columns(problem.maximised)[0]] if problem.maximised else "1"
    labelled: xr.DataArray = total.assign_attrs(units=unit, long_name=f"mean of {' + '.join(problem.maximised)}")
    return labelled


def peaks(hours: xr.Dataset) -> xr.DataArray:
    """Largest value within the series of each output, by sample and output."""
    largest: xr.DataArray = hours.y.max("time", skipna=False).assign_attrs(long_name="largest value within the hour")
    return largest


def check_hours(
    y: ArrayLike, x_c: ArrayLike, problem: Problem = PROBLEM
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hours y (n, steps, outputs) and control points x_c (n, controls) as arrays fit for inference.

    Raises `InputError` if there are no hours, a shape does not fit, a value cannot be (see `fitting`), or a control
    point leaves [0, 1].
    """
    y = as_numbers(y, "y", problem.outputs)
    x_c = check_points(x_c, problem.control, "x_c", within=True) if problem.control else np.empty((len(y), 0))
    steps, outputs = problem.series
    if y.ndim != 3 or len(y) < 1 or y.shape[1:] != problem.series:
        raise InputError(f"y has shape {y.shape}; expected (n, {steps}, {outputs}) with at least one hour.")
    if len(x_c) != len(y):
        raise InputError(f"x_c has shape {x_c.shape}; expected one control point an hour, {len(y)}.")
    return check_series(y, problem), x_c


def hours_of(hours: xr.Dataset, problem: Problem) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Series y and control points x_c of observed or simulated hours, in the order of their names, by `check_hours`."""
    if "y" not in hours or (problem.control and not {"x_c", "x"} & set(hours)) or set(hours.y.dims) != set(SERIES):
        raise InputError(
            f"the hours have {', '.join(map(str, hours))} by {', '.join(map(str, hours.dims))}; expected y by sample, "
            "time and output, and x_c or x by sample."
        )
    y = hours.y.transpose(*SERIES)
    if not problem.control:
        return check_hours(y, [], problem)
    x_c = hours.x_c if "x_c" in hours else hours.x.sel(input=list(problem.control)).rename(input="control")
    return check_hours(y, x_c.transpose("sample", "control"), problem)
