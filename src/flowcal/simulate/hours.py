"""Simulated and observed hours as a labelled dataset: sample by minute by output."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from flowcal.challenge import INPUTS, OUTPUT_UNITS, OUTPUTS, POWERS, TIME_STEPS

__all__ = ["label", "labelled_hours", "peaks", "total_power"]

TIME = ("time", np.arange(TIME_STEPS), {"units": "minutes", "long_name": "time within the hour"})


def labelled_hours(y: ArrayLike, **more: tuple) -> xr.Dataset:
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
    """
    return label(xr.Dataset({"y": (("sample", "time", "output"), y), **more}))


def label(hours: xr.Dataset) -> xr.Dataset:
    """The dataset with the names of its outputs and inputs, its minutes and its units."""
    names = {"time": TIME, "output": list(OUTPUTS), "unit": ("output", [OUTPUT_UNITS[name] for name in OUTPUTS])}
    if "input" in hours.dims:
        names["input"] = list(INPUTS)
    return hours.assign_coords(names)


def total_power(hours: xr.Dataset) -> xr.DataArray:
    """Mean over the hour of y1 + y2 + y3 [MW], by sample; its expectation is the objective J of the designs."""
    power = hours.y.sel(output=list(POWERS)).sum("output").mean("time")
    return power.assign_attrs(units="MW", long_name="mean of y1 + y2 + y3")


def peaks(hours: xr.Dataset) -> xr.DataArray:
    """Largest value within the hour of each output, by sample and output."""
    return hours.y.max("time").assign_attrs(long_name="largest value within the hour")
