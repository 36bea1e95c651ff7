"""Fingerprints: the same for the same value, another wherever two values or their code differ."""

import types
from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr

from flowcal.errors import InputError
from flowcal.fingerprint import classes_in, describe, digest, patches
from flowcal.infer import train
from flowcal.simulate.program import Executable
from flowcal.simulate.simulator import labelled_hours
from flowcal.simulate.windfarm import WindFarm

EQUAL_BUT_OTHER = [
    (1, 1.0),
    (1, True),
    (0.0, -0.0),
    ((1, 2), [1, 2]),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (np.float32(0.5), 0.5),
    (np.float64(0.5), 0.5),
    (np.array([1, 2]), np.array([1.0, 2.0])),
    (np.array([1, 2], np.int32), np.array([1, 2], np.int64)),
    (np.array([[1, 2]]), np.array([1, 2])),
    (np.array(["a"]), ["a"]),
]


@pytest.mark.parametrize(("one", "other"), EQUAL_BUT_OTHER)
def test_values_that_compare_equal_but_are_not_the_same_differ(one, other):
    assert np.all(one == other) or list(one) == list(other)
    assert digest(one) != digest(other)
    assert digest({"setting": one}) != digest({"setting": other})


def test_keys_of_mappings_keep_their_type():
    assert digest({1: "x"}) != digest({"1": "x"})


def test_what_is_not_a_number_is_the_same_as_itself():
    assert digest(float("nan")) == digest(float("nan"))


def test_datasets_are_their_content():
    hours = labelled_hours(np.zeros((1, 60, 6)))
    assert digest(hours) == digest(hours.copy(deep=True))
    others = [hours + 1, hours.assign_attrs(note="x"), hours.rename(y="z"), hours.assign_coords(time=hours.time + 1)]
    assert len({digest(hours), *map(digest, others)}) == 5


def test_datasets_are_the_same_after_they_were_on_disk(tmp_path):
    value = xr.Dataset({"y": ("n", np.arange(3.0))}, {"n": ["a", "b", "c"]})
    value.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as kept:
        assert digest(kept.load()) == digest(value)


def test_programs_are_described_by_their_content():
    import sys

    assert len(describe(Executable(sys.executable))["content"]["mapping"]) >= 3


def test_refuses_what_it_cannot_describe():
    with pytest.raises(InputError, match="a setting is of type Generator; expected numbers, text, arrays"):
        digest(np.random.default_rng())


def defined(text):
    """What a notebook's cell defines."""
    names = {"__name__": "__main__"}
    exec(text, names)
    return names


BOX = """
GAIN = 2
def scale(y):
    return GAIN * y
class Box:
    identity = {"name": "box"}
    def simulate(self, x):
        return scale(x) + 1
"""


@pytest.mark.parametrize("change", [("GAIN = 2", "GAIN = 3"), ("GAIN * y", "GAIN + y"), ("+ 1", "+ 2")])
def test_what_a_notebook_defines_counts_with_all_that_it_uses(change):
    first, again, other = (defined(text)["Box"]() for text in (BOX, BOX, BOX.replace(*change)))
    assert digest(first) == digest(again) != digest(other)


def test_functions_are_settings():
    assert digest(np.square.__class__) != digest(int)
    first, other = (defined(f"def f(x, power={power}):\n    return x**power")["f"] for power in (2, 3))
    assert digest(first) != digest(other)


def test_dataclasses_are_settings_and_their_objects_count():
    @dataclass
    class Pair:
        simulator: object
        sizes: tuple

    assert digest(Pair(1, (2, 3))) == digest(Pair(1, (2, 3))) != digest(Pair(1, (2, 4)))
    assert classes_in(Pair(WindFarm(), (1,))) == {"flowcal.simulate.windfarm.WindFarm"}


def test_constants_patched_in_memory_are_noticed(monkeypatch):
    needed = [("flowcal.infer.train", "WARM_UP"), ("flowcal.infer.train", "seeded")]
    assert patches(needed) == {}
    monkeypatch.setattr(train, "WARM_UP", 0.2)
    assert patches(needed) == {"flowcal.infer.train.WARM_UP": 0.2}


def test_functions_replaced_in_memory_are_noticed(monkeypatch):
    monkeypatch.setattr(train, "_cosine", types.FunctionType((lambda: 1).__code__, {}))
    assert list(patches([("flowcal.infer.train", "_cosine")])) == ["flowcal.infer.train._cosine"]
