"""A black box as data, and the checks of numbers that every function shares.

What a check refuses it names by the name of the caller's argument.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from flowcal.errors import InputError

__all__ = [
    "BOUNDS",
    "SEED_MAX",
    "Problem",
    "as_numbers",
    "check_counts",
    "check_point",
    "check_points",
    "check_range",
    "rng_of",
]

BOUNDS = (0.0, 1.0)
"""Smallest and largest value of every input: inputs are standardised."""

SEED_MAX = 2**31 - 1
"""The random seed of a run is an integer in [1, SEED_MAX]."""


@dataclass(frozen=True)
class Problem:
    """What every method has to know of a black box.

    Names of inputs come in the order in which the simulator takes them: the aleatory ones (X_a) vary from series to
    series, the epistemic ones (X_e) are fixed but unknown, a design sets the control ones (X_c). Each output has a
    unit, "1" where it has none. `steps` is the length of a series. The mean over the series of all that is maximised,
    summed, is the objective J; the ceiling is the largest value that such an output can take, where there is one. The
    peak of each limited output must stay below its threshold.
    """

    aleatory: tuple[str, ...]
    epistemic: tuple[str, ...]
    control: tuple[str, ...]
    outputs: tuple[str, ...]
    units: tuple[str, ...]
    steps: int
    maximised: tuple[str, ...] = ()
    limited: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()
    ceiling: float | None = None

    def __post_init__(self) -> None:
        check_counts(steps=self.steps)
        kinds = (self.aleatory, self.epistemic, self.control, self.outputs, self.maximised, self.limited)
        if not all(isinstance(kind, tuple) and len(set(kind)) == len(kind) for kind in kinds):
            raise InputError(f"expected tuples of distinct names, got {kinds}.")
        names = (*self.inputs, *self.outputs)
        if len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
            raise InputError(f"expected distinct names, got {names}.")
        if not (self.aleatory and self.outputs):
            raise InputError(f"expected at least one aleatory input and one output, got {names}.")
        if len(self.units) != len(self.outputs) or len(self.thresholds) != len(self.limited):
            raise InputError(
                f"expected a unit for each of {len(self.outputs)} outputs and a threshold for each of "
                f"{len(self.limited)} limited ones, got {self.units} and {self.thresholds}."
            )
        if unknown := {*self.maximised, *self.limited} - set(self.outputs):
            raise InputError(f"expected outputs among {', '.join(self.outputs)}, got {', '.join(sorted(unknown))}.")
        for name, threshold in zip(self.limited, self.thresholds, strict=True):
            check_range(0, np.inf, **{f"the threshold of {name}": threshold})
        check_range(0, np.inf, ceiling=1.0 if self.ceiling is None else self.ceiling)

    @property
    def inputs(self) -> tuple[str, ...]:
        """All inputs in the order in which the simulator takes them."""
        return self.aleatory + self.epistemic + self.control

    @property
    def series(self) -> tuple[int, int]:
        """Shape of a series: steps and outputs."""
        return self.steps, len(self.outputs)

    def columns(self, outputs: Sequence[str]) -> list[int]:
        """Positions of outputs in a series."""
        return [self.outputs.index(name) for name in outputs]


def as_numbers(values: ArrayLike, name: str, labels: Sequence[str] = ()) -> NDArray[np.float64]:
    """Real numbers as an array; where their last axis stands for `labels` and has labels itself, in this order.

    Raises `InputError` if they are no real numbers, some are masked, or labels are others than these.

    Examples
    --------
    >>> as_numbers(xr.DataArray([1, 2], {"input": ["b", "a"]}), "x", labels=["a", "b"])
    array([2., 1.])
    """
    given: Any = xr.DataArray(values) if hasattr(values, "axes") else values  # tables and columns of pandas have axes
    if isinstance(given, xr.DataArray) and labels:
        given = _in_order(given, name, labels)
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError):  # a dataset, or rows of unequal lengths
        raise InputError(f"{name} is a {type(values).__name__}; expected an array of real numbers.") from None
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name} holds {array.dtype} values; expected real numbers.")
    if np.ma.is_masked(given):
        raise InputError(f"{name} has masked values; expected a number in every place.")
    return array.astype(np.float64, copy=False)


def _in_order(values: xr.DataArray, name: str, labels: Sequence[str]) -> xr.DataArray:
    for dimension, index in values.indexes.items():
        if index.is_unique and set(index) == set(labels):
            # By a copy even where the order is right: its layout in memory decides how sums of hours round.
            return values.sel({dimension: list(labels)}).transpose(..., dimension)
        worded = index.dtype.kind not in "iufmM"
        if (worded and dimension == values.dims[-1]) or set(index) & set(labels):
            raise InputError(f"{name} is labelled {', '.join(map(str, index))[:200]}; expected {', '.join(labels)}.")
    return values


def check_points(x: ArrayLike, names: Sequence[str] | int, name: str, within: bool = False) -> NDArray[np.float64]:
    """Points (n, d) of finite numbers, one for each of so many names; where `within`, all in [0, 1]."""
    labels, size = ((), names) if isinstance(names, int) else (names, len(names))
    x = as_numbers(x, name, labels)
    if x.ndim != 2 or x.shape[1] != size:
        raise InputError(f"{name} has shape {x.shape}; expected (n, {size}){': ' * bool(labels)}{', '.join(labels)}.")
    fits, expected = np.isfinite(x), "finite numbers"
    if within:
        fits, expected = (x >= BOUNDS[0]) & (x <= BOUNDS[1]), "numbers in [0, 1]"
    if not fits.all():
        row, column = np.argwhere(~fits)[0].tolist()
        place = labels[column] if labels else f"column {column}"
        raise InputError(f"{name} of row {row}, {place}, is {x[row, column]}; expected {expected}.")
    return x


def check_point(x: ArrayLike, names: Sequence[str], name: str) -> NDArray[np.float64]:
    """One point (d,) in [0, 1]: a number for each of the names."""
    x = as_numbers(x, name, names)
    if x.shape != (len(names),) or not ((x >= BOUNDS[0]) & (x <= BOUNDS[1])).all():
        raise InputError(f"{name} is {x.tolist()}; expected {len(names)} numbers in [0, 1]: {', '.join(names)}.")
    return x


def check_counts(least: int = 1, /, **counts: object) -> None:
    """Whole numbers, such as `hours=100`, that are not below the least."""
    for name, count in counts.items():
        if not isinstance(count, int | np.integer) or isinstance(count, bool) or count < least:
            raise InputError(f"{name} is {count!r}; expected a whole number from {least} up.")


def check_range(low: float, high: float, ends: str = "()", /, **numbers: object) -> None:
    """Real numbers, such as `share=0.5`, between two ends, of which brackets [ and ] belong to the range."""
    for name, number in numbers.items():
        real = isinstance(number, int | float | np.number) and not isinstance(number, bool | np.complexfloating)
        value = float(number) if real else np.nan  # type: ignore[arg-type]
        if not (low < value < high or (value == low and "[" in ends) or (value == high and "]" in ends)):
            raise InputError(f"{name} is {number!r}; expected a number in {ends[0]}{low:g}, {high:g}{ends[1]}.")


def rng_of(random_seed: int, *stream: int) -> np.random.Generator:
    """Generator of a random seed, a whole number from 0 up; another stream for other further numbers."""
    check_counts(0, random_seed=random_seed)
    return np.random.default_rng([random_seed, *stream] if stream else random_seed)
