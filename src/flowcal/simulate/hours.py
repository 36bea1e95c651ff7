"""Simulated and observed hours as a labelled dataset: sample by minute by output."""

from functools import cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import BOUNDS, CONTROL, INPUTS, OUTPUT_UNITS, OUTPUTS, POWERS, TIME_STEPS
from flowcal.errors import InputError

__all__ = ["check_hours", "label", "labelled_hours", "peaks", "total_power"]

TIME = ("time", np.arange(TIME_STEPS), {"units": "minutes", "long_name": "time within the hour"})


def labelled_hours(y: ArrayLike, **more: tuple[Any, ...]) -> xr.Dataset:
    """Outputs y (n, 60, 6) as the dataset that every later step takes.

    Parameters
    ----------
    y : array_like, shape (n, 60, 6)
    **more : tuple
        Further variables of the dataset, as (dimensions, values) or (dimensions, values, attributes).

    Returns
    -------
    Dataset
        Variable y over sample, time and output, with a unit for each output, and the further ones.

    Examples
    --------
    >>> hours = labelled_hours(np.zeros((2, 60, 6)))
    >>> hours.unit.sel(output="y1").item()
    'MW'
    """
    return label(xr.Dataset({"y": (("sample", "time", "output"), y), **more}))


def label(hours: xr.Dataset) -> xr.Dataset:
    """The dataset with the names of its outputs and inputs, its minutes and its units.

    Parameters
    ----------
    hours : Dataset
        With dimensions among sample, time, output and input, and no coordinates.

    Returns
    -------
    Dataset
    """
    return xr.Dataset(dict(hours.variables), _coordinates("input" in hours.dims), hours.attrs)


@cache
def _coordinates(inputs: bool) -> xr.Coordinates:
    """Of all hours, made once: searches ask for hours by the thousand, and indexes take longer than these hours do."""
    names = {"time": TIME, "output": list(OUTPUTS), "unit": ("output", [OUTPUT_UNITS[name] for name in OUTPUTS])}
    return xr.Dataset(coords=names | ({"input": list(INPUTS)} if inputs else {})).coords


def total_power(hours: xr.Dataset) -> xr.DataArray:
    """Mean over the hour of y1 + y2 + y3 [MW], by sample; its expectation is the objective J of the designs.

    Parameters
    ----------
    hours : Dataset
        With y by sample, time and output.

    Returns
    -------
    DataArray
        [MW], by sample.
    """
    power = hours.y.sel(output=list(POWERS)).sum("output").mean("time")
    labelled: xr.DataArray = power.assign_attrs(units="MW", long_name="mean of y1 + y2 + y3")
    return labelled


def peaks(hours: xr.Dataset) -> xr.DataArray:
    """Largest value within the hour of each output, by sample and output.

    Parameters
    ----------
    hours : Dataset
        With y by sample, time and output.

    Returns
    -------
    DataArray
    """
    largest: xr.DataArray = hours.y.max("time").assign_attrs(long_name="largest value within the hour")
    return largest


def check_hours(y: ArrayLike, x_c: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hours y (n, 60, 6) and their control points x_c (n, 3) as arrays fit for inference.

    Parameters
    ----------
    y : array_like, shape (n, 60, 6)
    x_c : array_like, shape (n, 3)

    Returns
    -------
    y : ndarray, shape (n, 60, 6)
    x_c : ndarray, shape (n, 3)

    Raises
    ------
    InputError
        If there are no hours, a shape does not fit, a value is negative, infinite or NaN, or a control point leaves
        [0, 1].
    """
    y, x_c = np.asarray(y, np.float64), np.asarray(x_c, np.float64)
    if y.ndim != 3 or len(y) < 1 or y.shape[1:] != (TIME_STEPS, len(OUTPUTS)):
        raise InputError(f"y has shape {y.shape}; needed is (n, {TIME_STEPS}, {len(OUTPUTS)}) with at least one hour.")
    if x_c.shape != (len(y), len(CONTROL)):
        raise InputError(f"x_c has shape {x_c.shape}; needed is one control point an hour, ({len(y)}, {len(CONTROL)}).")
    bad = np.argwhere(~(np.isfinite(y) & (y >= 0)))
    if bad.size:
        hour, minute, output = bad[0].tolist()
        raise InputError(
            f"y of hour {hour}, minute {minute}, {OUTPUTS[output]}, is {y[hour, minute, output]}; needed are finite "
            "numbers from 0 up."
        )
    low, high = BOUNDS
    bad = np.argwhere(~((x_c >= low) & (x_c <= high)))
    if bad.size:
        hour, control = bad[0].tolist()
        raise InputError(
            f"x_c of hour {hour}, {CONTROL[control]}, is {x_c[hour, control]}; needed are numbers in [0, 1]."
        )
    return y, x_c
