"""Artifacts: made once, read as long as they are true, and never mistaken for another."""

import json

import h5py
import numpy as np
import pytest
import xarray as xr

from flowcal import artifacts, code
from flowcal.artifacts import ArtifactError, Shelf, digest, file_digest
from flowcal.errors import InputError
from flowcal.files import Weights, replaced, write_json
from flowcal.simulate import sensitivity
from flowcal.simulate.sensitivity import seed_sweep
from flowcal.simulate.windfarm import WindFarm


class Counting(WindFarm):
    """The embedded simulator, counting its calls."""

    calls = []

    def simulate(self, x, seed):
        Counting.calls.append(1)
        return super().simulate(x, seed)


def another():
    """A simulator that gives other hours, and says so."""

    class Other(Counting):
        identity = {"name": "other"}

        def simulate(self, x, seed):
            return super().simulate(x, seed + 1)

    return Other()


@pytest.fixture
def shelf(tmp_path):
    Counting.calls.clear()
    return Shelf(tmp_path, "first")


def test_is_made_once(shelf):
    values = [shelf.keep("seeds", seed_sweep, simulator=Counting()) for _ in range(2)]
    assert len(Counting.calls) == 1
    assert values[0].identical(values[1])
    assert values[0].identical(seed_sweep(WindFarm()))


def test_manifest_says_how_it_was_made(shelf, tmp_path):
    shelf.keep("seeds", seed_sweep, simulator=WindFarm())
    manifest = json.loads((tmp_path / "first" / "seeds.manifest.json").read_text())
    assert manifest["function"] == "flowcal.simulate.sensitivity.seed_sweep"
    assert set(manifest["code"]) == {"flowcal.simulate.sensitivity.seed_sweep", "flowcal.simulate.windfarm.WindFarm"}
    assert manifest["read"] == {}
    assert manifest["wall_time_s"] > 0
    assert manifest["version"] == artifacts.__version__


def test_origin_follows_code_and_settings_but_not_what_came_of_them(shelf, tmp_path):
    shelf.keep("seeds", seed_sweep, simulator=Counting())
    origin = shelf.origin("first", "seeds")
    path = tmp_path / "first" / "seeds.manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"digest": "other", "wall_time_s": 1e6}))
    assert shelf.origin("first", "seeds") == origin
    shelf.keep("seeds", seed_sweep, simulator=another())
    assert shelf.origin("first", "seeds") != origin
    with pytest.raises(ArtifactError, match="run chapter 'second'"):
        shelf.origin("second", "seeds")


@pytest.fixture
def keep(shelf, monkeypatch):
    """Keep what a made-up function of the package returns."""

    def keep(value):
        monkeypatch.setattr(artifacts, "_call", lambda function, settings: (value, []))
        return shelf.keep("value", seed_sweep, simulator=WindFarm())

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
    shelf.keep("seeds", seed_sweep, simulator=Counting())
    shelf.keep("seeds", seed_sweep, simulator=another())
    assert len(Counting.calls) == 2


def test_other_code_makes_it_anew(shelf, monkeypatch):
    shelf.keep("seeds", seed_sweep, simulator=Counting())
    monkeypatch.setattr(artifacts, "code_digest", lambda definitions: "changed")
    shelf.keep("seeds", seed_sweep, simulator=Counting())
    assert len(Counting.calls) == 2


def test_other_versions_of_libraries_make_it_anew(shelf, tmp_path, monkeypatch):
    shelf.keep("seeds", seed_sweep, simulator=Counting())
    monkeypatch.setattr(code, "_installed", lambda name: "99")
    other = Shelf(tmp_path, "first")
    with pytest.raises(ArtifactError, match="other versions of libraries than today's; run chapter 'first' again"):
        other.read("first", "seeds")
    other.keep("seeds", seed_sweep, simulator=Counting())
    assert len(Counting.calls) == 2


def test_a_constant_patched_in_memory_makes_it_anew(shelf, monkeypatch):
    shelf.keep("seeds", seed_sweep, simulator=Counting())
    monkeypatch.setattr(sensitivity, "SEEDS", np.arange(11, 21))
    assert list(shelf.keep("seeds", seed_sweep, simulator=Counting()).seed) == list(range(11, 21))
    monkeypatch.undo()
    assert list(shelf.keep("seeds", seed_sweep, simulator=Counting()).seed) == list(range(1, 11))


def test_damaged_artifact_is_made_anew(shelf, tmp_path):
    shelf.keep("seeds", seed_sweep, simulator=Counting())
    file = tmp_path / "first" / "seeds.nc"
    file.write_bytes(file.read_bytes()[:1000])
    shelf.keep("seeds", seed_sweep, simulator=Counting())
    assert len(Counting.calls) == 2


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
    monkeypatch.setattr(artifacts, "code_digest", lambda definitions: "changed")
    with pytest.raises(ArtifactError, match="was made by other code than today's; run chapter 'first' again"):
        Shelf(tmp_path, "second").read("first", "seeds")


def test_reading_what_code_that_is_gone_made_is_refused(shelf, tmp_path):
    shelf.keep("seeds", seed_sweep, simulator=WindFarm())
    path = tmp_path / "first" / "seeds.manifest.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"code": {"flowcal.gone.function": "0"}}))
    with pytest.raises(ArtifactError, match="other code"):
        Shelf(tmp_path, "second").read("first", "seeds")


def test_what_was_made_from_something_since_changed_is_refused(shelf, tmp_path):
    shelf.keep("seeds", seed_sweep, simulator=WindFarm())
    second = Shelf(tmp_path, "second")
    second.read("first", "seeds")
    second.keep("more", seed_sweep, simulator=WindFarm())
    assert Shelf(tmp_path, "third").read("second", "more").sizes["seed"] == 10
    shelf.keep("seeds", seed_sweep, simulator=another())
    with pytest.raises(ArtifactError, match="second/more was made from another first/seeds; run chapter 'second'"):
        Shelf(tmp_path, "third").read("second", "more")
    second.read("first", "seeds")
    second.keep("more", seed_sweep, simulator=WindFarm())  # the same settings: taken as it is
    assert Shelf(tmp_path, "third").read("second", "more").sizes["seed"] == 10


def test_refuses_functions_from_elsewhere(shelf):
    with pytest.raises(InputError, match="expected a function or class of flowcal, got json.dumps"):
        shelf.keep("seeds", json.dumps, obj=1)


def test_weights_are_kept_as_safetensors(keep, tmp_path):
    weights = Weights({"kind": "made up", "sizes": [2, 3]}, {"a": np.arange(6.0).reshape(2, 3), "b": np.array([True])})
    kept = keep(weights)
    assert kept.header == weights.header
    assert digest(kept) == digest(weights)
    assert list(tmp_path.rglob("*.safetensors"))


def external_link(file, secret):
    """A group whose content is another file's."""
    file["elsewhere"] = h5py.ExternalLink(secret, "/y")


def external_storage(file, secret):
    """A variable whose numbers lie in another file, whatever that is."""
    file.create_dataset("y", (1,), "f8", external=[(secret, 0, 8)])


def virtual(file, secret):
    """A variable that is put together from other files."""
    layout = h5py.VirtualLayout((1,), "f8")
    layout[:] = h5py.VirtualSource(secret, "y", (1,))
    file.create_group("deep").create_virtual_dataset("y", layout)


@pytest.mark.parametrize("spoil", [external_link, external_storage, virtual])
def test_data_that_would_have_other_files_read_is_refused(shelf, tmp_path, spoil):
    """Even where its digests are right, as in artifacts that somebody else has made up."""
    shelf.keep("seeds", seed_sweep, simulator=WindFarm())
    secret, kept = tmp_path / "secret.h5", tmp_path / "first" / "seeds.nc"
    with h5py.File(secret, "w") as file:
        file["y"] = [1.0]
    with h5py.File(kept, "w") as file:
        spoil(file, str(secret))
    path = tmp_path / "first" / "seeds.manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"file": file_digest(kept)}))
    with pytest.raises(ArtifactError, match=r"first/seeds cannot be read \(.* lies in another file\); run chapter"):
        Shelf(tmp_path, "second").read("first", "seeds")


def write_half(path):
    """Fail while a file is written."""
    with replaced(path) as draft:
        draft.write_text("[")
        path.parent.write_text("no file")


def test_a_file_is_replaced_in_full_or_not_at_all(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, [1])
    with pytest.raises(IsADirectoryError):
        write_half(path)
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, [float("nan")])
    assert path.read_text() == "[\n 1\n]\n"
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "result.json").symlink_to("precious")
    write_json(tmp_path / "result.json", [1])
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "result.json").is_symlink()


def test_what_cannot_be_written_leaves_what_was_there(shelf, tmp_path, monkeypatch):
    shelf.keep("seeds", seed_sweep, simulator=Counting())
    before = {file.name: file.read_bytes() for file in (tmp_path / "first").iterdir()}

    def full(file, kind, value):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts, "_store", full)
    with pytest.raises(ArtifactError, match="seeds cannot be written: .*No space left on device"):
        shelf.keep("seeds", seed_sweep, simulator=another())
    assert {file.name: file.read_bytes() for file in (tmp_path / "first").iterdir()} == before
