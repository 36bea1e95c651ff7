"""Artifacts: made once, read as long as they are true, and never mistaken for another."""

import importlib
import json
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr

from flowcal import artifacts
from flowcal.artifacts import ArtifactError, Shelf, code_digest, digest
from flowcal.errors import InputError
from flowcal.files import Weights
from flowcal.simulate.program import Executable
from flowcal.simulate.sensitivity import seed_sweep
from flowcal.simulate.simulator import labelled_hours
from flowcal.simulate.windfarm import WindFarm


class Counting(WindFarm):
    """The embedded simulator, counting its calls."""

    calls = 0

    def simulate(self, x, seed):
        Counting.calls += 1
        return super().simulate(x, seed)


@pytest.fixture
def shelf(tmp_path):
    Counting.calls = 0
    return Shelf(tmp_path, "first")


def test_is_made_once(shelf):
    values = [shelf.keep("seeds", seed_sweep, simulator=Counting()) for _ in range(2)]
    assert Counting.calls == 1
    assert values[0].identical(values[1])
    assert values[0].identical(seed_sweep(WindFarm()))


def test_manifest_says_how_it_was_made(shelf, tmp_path):
    shelf.keep("seeds", seed_sweep, simulator=WindFarm())
    manifest = json.loads((tmp_path / "first" / "seeds.manifest.json").read_text())
    assert manifest["function"] == "flowcal.simulate.sensitivity.seed_sweep"
    assert manifest["settings"]["simulator"]["identity"] == {"name": "windfarm", "version": "1"}
    assert manifest["made_from"] == {}
    assert manifest["wall_time_s"] > 0
    assert manifest["version"] == artifacts.__version__


def test_origin_follows_code_and_settings_but_not_what_came_of_them(shelf, tmp_path):
    shelf.keep("seeds", seed_sweep, simulator=Counting())
    origin = shelf.origin("first", "seeds")
    path = tmp_path / "first" / "seeds.manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"digest": "other", "wall_time_s": 1e6}))
    assert shelf.origin("first", "seeds") == origin

    class Another(Counting):
        identity = {"name": "another"}

    shelf.keep("seeds", seed_sweep, simulator=Another())
    assert shelf.origin("first", "seeds") != origin
    with pytest.raises(ArtifactError, match="run chapter 'second'"):
        shelf.origin("second", "seeds")


@pytest.fixture
def keep(shelf):
    """Keep what a made-up function of the package returns."""

    def keep(value):
        def made_up():
            return value

        made_up.__module__, made_up.__qualname__ = "flowcal.simulate.sensitivity", "made_up"
        return shelf.keep("value", made_up)

    return keep


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, "x"], "b": {"c": True}}, [0.1, 0.2], 3.5, "text"])
def test_json_values_are_kept(keep, value):
    assert keep(value) == value


def test_numpy_numbers_are_kept_as_plain_ones(keep):
    assert keep({"n": np.int64(3), "x": np.array([1.0, 2.0])}) == {"n": 3, "x": [1.0, 2.0]}


def test_datasets_are_kept_as_the_format_has_them(keep):
    """What a file format changes (a list to an array, a byte order) does not make an artifact look damaged."""
    value = xr.Dataset({"y": ("n", np.array([1.0, 2.0], ">f8"))}, attrs={"levels": [1, 2]})
    assert np.array_equal(keep(value).y, [1.0, 2.0])


@pytest.mark.parametrize("value", [{"x": object()}, xr.Dataset({"y": ("n", np.array([object()]))})])
def test_what_cannot_be_kept_is_refused(keep, value):
    with pytest.raises(InputError, match="cannot be kept as"):
        keep(value)


@pytest.mark.parametrize("name", ["../out", "a.b", "chapter", "", "Upper", "a/b"])
def test_refuses_names_that_are_none(shelf, name):
    with pytest.raises(InputError, match="expected lower-case letters, digits and underscores"):
        shelf.keep(name, seed_sweep, simulator=WindFarm())


def test_refuses_functions_without_a_name_of_their_own(shelf):
    with pytest.raises(InputError, match="expected one at the top of a module"):
        shelf.keep("seeds", Counting().simulate, x=[], seed=[])


def test_other_settings_make_it_anew(shelf):
    class Other(Counting):
        identity = {"name": "other"}

    shelf.keep("seeds", seed_sweep, simulator=Counting())
    shelf.keep("seeds", seed_sweep, simulator=Other())
    assert Counting.calls == 2


def test_other_code_makes_it_anew(shelf, monkeypatch):
    shelf.keep("seeds", seed_sweep, simulator=Counting())
    monkeypatch.setattr(artifacts, "code_digest", lambda module: "changed")
    shelf.keep("seeds", seed_sweep, simulator=Counting())
    assert Counting.calls == 2


def test_code_digest_covers_what_a_module_needs(tmp_path, monkeypatch):
    package = tmp_path / "flowcal_copy"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "top.py").write_text("from flowcal_copy.below import thing\n")
    (package / "below.py").write_text("thing = 1\n")
    (package / "aside.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(artifacts, "PACKAGE", "flowcal_copy")

    def current():
        code_digest.cache_clear()
        importlib.invalidate_caches()
        return code_digest("flowcal_copy.top")

    try:
        first = current()
        (package / "aside.py").write_text("changed = 1\n")
        assert current() == first
        (package / "below.py").write_text("thing = 2\n")
        assert current() != first
    finally:
        code_digest.cache_clear()


def test_a_changed_simulator_changes_what_it_made():
    covered = artifacts._needed_modules("flowcal.simulate.windfarm")
    assert {"flowcal.simulate.windfarm", "flowcal.simulate.simulator", "flowcal.challenge"} <= covered
    assert "flowcal.report.figures" not in covered
    assert artifacts._modules_of({"a": [WindFarm()], "b": 1}) == {"flowcal.simulate.windfarm"}


def test_damaged_artifact_is_made_anew(shelf, tmp_path):
    shelf.keep("seeds", seed_sweep, simulator=Counting())
    file = tmp_path / "first" / "seeds.nc"
    file.write_bytes(file.read_bytes()[:1000])
    shelf.keep("seeds", seed_sweep, simulator=Counting())
    assert Counting.calls == 2


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "seeds.manifest.json").unlink(), "first/seeds is missing; run chapter 'first' first"),
        (lambda folder: (folder / "seeds.manifest.json").write_text("[]"), "first/seeds is missing"),
        (lambda folder: (folder / "seeds.nc").write_bytes(b"no netCDF"), "first/seeds has been changed on disk"),
        (lambda folder: (folder / "seeds.nc").unlink(), "first/seeds cannot be read"),
        (
            lambda folder: xr.Dataset({"y": ("n", [1.0])}).to_netcdf(folder / "seeds.nc", engine="h5netcdf"),
            "first/seeds has been changed on disk; run chapter 'first' again",
        ),
    ],
)
def test_reading_what_is_not_there_names_the_chapter(shelf, tmp_path, spoil, said):
    shelf.keep("seeds", seed_sweep, simulator=WindFarm())
    spoil(tmp_path / "first")
    with pytest.raises(ArtifactError, match=said):
        Shelf(tmp_path, "second").read("first", "seeds")


def test_reading_what_other_code_made_is_refused(shelf, tmp_path, monkeypatch):
    shelf.keep("seeds", seed_sweep, simulator=WindFarm())
    monkeypatch.setattr(artifacts, "code_digest", lambda module: "changed")
    with pytest.raises(ArtifactError, match="was made by other code than today's; run chapter 'first' again"):
        Shelf(tmp_path, "second").read("first", "seeds")


def test_a_manifest_whose_module_has_too_long_a_name_is_refused(shelf, tmp_path):
    shelf.keep("seeds", seed_sweep, simulator=WindFarm())
    manifest = tmp_path / "first" / "seeds.manifest.json"
    kept = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(kept | {"code": {"flowcal." + "x" * 300: "0"}}))
    with pytest.raises(ArtifactError, match="other code"):
        Shelf(tmp_path, "second").read("first", "seeds")


def test_reading_what_another_simulator_code_made_is_refused(shelf, tmp_path, monkeypatch):
    shelf.keep("seeds", seed_sweep, simulator=WindFarm())
    today = artifacts.code_digest
    changed = {"flowcal.simulate.windfarm": "changed"}
    monkeypatch.setattr(artifacts, "code_digest", lambda module: changed.get(module) or today(module))
    with pytest.raises(ArtifactError, match="was made by other code than today's; run chapter 'first' again"):
        Shelf(tmp_path, "second").read("first", "seeds")


def test_what_was_made_from_something_since_changed_is_refused(shelf, tmp_path):
    class Other(WindFarm):
        identity = {"name": "other"}

        def simulate(self, x, seed):
            return super().simulate(x, seed + 1)

    shelf.keep("seeds", seed_sweep, simulator=WindFarm())
    second = Shelf(tmp_path, "second")
    second.read("first", "seeds")
    second.keep("more", seed_sweep, simulator=WindFarm())
    assert Shelf(tmp_path, "third").read("second", "more").sizes["seed"] == 10
    shelf.keep("seeds", seed_sweep, simulator=Other())
    with pytest.raises(ArtifactError, match="second/more was made from another first/seeds; run chapter 'second'"):
        Shelf(tmp_path, "third").read("second", "more")


def test_digest_is_of_content():
    hours = labelled_hours(np.zeros((1, 60, 6)))
    assert digest(hours) == digest(hours.copy(deep=True))
    others = [hours + 1, hours.assign_attrs(note="x"), hours.rename(y="z"), hours.assign_coords(time=hours.time + 1)]
    assert len({digest(hours), *map(digest, others)}) == 5
    assert digest([1, 2]) != digest([12])


def test_refuses_settings_it_cannot_describe(shelf):
    with pytest.raises(InputError, match="a setting is of type Generator; expected numbers, text, arrays"):
        shelf.keep("seeds", seed_sweep, simulator=np.random.default_rng())


def test_refuses_functions_from_elsewhere(shelf):
    with pytest.raises(InputError, match="only its functions make artifacts"):
        shelf.keep("seeds", json.dumps, obj=1)


def test_describes_text_in_arrays_of_any_shape():
    assert artifacts._describe(np.array(["a", "b"])) == ["a", "b"]
    assert artifacts._describe(np.array("upper")) == "upper"


def test_describes_programs_by_their_digest():
    described = artifacts._describe(Executable(sys.executable))
    assert len(described["identity"]["sha256"]) == 64


def test_weights_are_kept_as_safetensors(keep, tmp_path):
    weights = Weights({"kind": "made up", "sizes": [2, 3]}, {"a": np.arange(6.0).reshape(2, 3), "b": np.array([True])})
    kept = keep(weights)
    assert kept.header == weights.header
    assert digest(kept) == digest(weights)
    assert list(tmp_path.rglob("*.safetensors"))


def test_dataclasses_are_settings_and_their_objects_count(shelf, tmp_path):
    @dataclass
    class Pair:
        simulator: object
        sizes: tuple

    assert digest(Pair(1, (2, 3))) == digest({"simulator": 1, "sizes": [2, 3]}) != digest(Pair(1, (2, 4)))
    assert artifacts._modules_of(Pair(WindFarm(), (1,))) == {"flowcal.simulate.windfarm"}
