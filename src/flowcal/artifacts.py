"""Artifacts: how results are kept, found again, and known to be still true.

An artifact is what one function returned for given settings. Its key covers the settings by content, the code behind
the function and behind the objects among the settings, and the versions of the libraries that results depend on. Beside
its file lies a manifest with that recipe and with SHA-256 sums of content and file. Asked for the same again,
`Shelf.keep` reads the file instead of calling the function. Datasets are kept as netCDF, networks' weights as
safetensors, everything else as JSON; nothing is pickled.
"""

import hashlib
import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import filelock
import numpy as np
import xarray as xr

from flowcal import __version__
from flowcal.code import Definition, closure, code_digest, libraries
from flowcal.errors import FlowcalError, FlowcalWarning, InputError
from flowcal.files import (
    Record,
    Weights,
    WeightsError,
    check_self_contained,
    read_json,
    read_record,
    read_weights,
    replaced,
    write_json,
    write_weights,
)
from flowcal.fingerprint import classes_in, digest, digest_of_json, patches

__all__ = ["ArtifactError", "Manifest", "Shelf", "digest", "file_digest", "is_undamaged", "manifest_of", "note_file"]

SUFFIXES = {"dataset": ".nc", "weights": ".safetensors", "json": ".json"}
NAME = r"[a-z][a-z0-9_]*"
SOURCE = rf"[A-Za-z0-9_-]+/{NAME}"  # chapter and artifact: nothing that could leave the folder of all chapters
RECORD = "FLOWCAL_RECORD"  # environment variable: the file in which an execution records what it consumes


class ArtifactError(FlowcalError):
    """An artifact is missing, damaged or no longer true; the message names what to run."""


class Manifest(Record):
    """What is kept beside an artifact.

    Attributes
    ----------
    key : str
        SHA-256 over function, code, settings and libraries.
    read : dict
        Digests of the earlier chapters' artifacts that the chapter had read when it last asked for this one.
    digest, file : str
        SHA-256 of the content and of the file's bytes.
    seed : int or None
        The random seed among the settings.
    notes : list of str
        What a reader of the result has to know.
    """

    function: str
    code: dict[str, str]
    libraries: dict[str, str]
    settings: str
    key: str
    read: dict[str, str]
    kind: Literal["dataset", "weights", "json"]
    digest: str
    file: str
    seed: int | None
    version: str
    wall_time_s: float
    notes: list[str]


class Shelf:
    """The artifacts of one chapter, in `root`, the folder of all chapters' artifacts of one profile."""

    def __init__(self, root: Path, chapter: str, pins: Path | None = None) -> None:
        self._root, self._chapter = root, chapter
        self._libraries = libraries(pins)
        self._read: dict[str, str] = {}  # digests of the earlier chapters' artifacts that were read so far

    def keep(self, name: str, function: Callable[..., Any], **settings: Any) -> Any:
        """The artifact `name`, made by ``function(**settings)`` unless it is there and still true.

        Settings are numbers, text, arrays, datasets, weights, sequences, mappings and dataclasses of these, functions,
        and objects that say what they are in a property `identity`. The value is a Dataset, Weights or JSON value as
        read back from its file.

        Raises
        ------
        InputError
            If the name is not of that form, the function is not at the top of a module of the package, a setting is of
            no kind named above, or what the function returned cannot be kept.
        CodeChanged
            If the code behind it has changed on disk since this process imported it.
        """
        if not re.fullmatch(NAME, name) or name == "chapter":
            raise InputError(f"name is {name!r}; expected lower-case letters, digits and underscores, not 'chapter'.")
        if "." in function.__qualname__ or function.__name__ == "<lambda>":
            raise InputError(f"function is {function.__qualname__}; expected one at the top of a module.")
        recipe = _recipe(function, settings, self._libraries)
        path = self._root / self._chapter / name
        with _locked(path):
            value, manifest = self._kept(path, recipe["key"]) or _make(path, function, settings, recipe)
            if manifest.read != self._read:
                manifest = manifest.model_copy(update={"read": dict(self._read)})
                write_json(_manifest(path), manifest)
        _say(f"{self._chapter}/{name}", manifest)
        return value

    def has(self, name: str, function: Callable[..., Any], **settings: Any) -> bool:
        """Whether `keep` would read what is there, as long as that is undamaged."""
        manifest = _read_manifest(self._root / self._chapter / name)
        return manifest is not None and manifest.key == _recipe(function, settings, self._libraries)["key"]

    def read(self, chapter: str, name: str) -> Any:
        """An artifact of an earlier chapter: a Dataset, Weights or JSON value.

        Raises
        ------
        ArtifactError
            If it is not there, is damaged, or what it was made with or from has changed since.
        """
        source = f"{chapter}/{name}"
        if not re.fullmatch(SOURCE, source):
            raise InputError(f"the artifact is {source!r}; expected the names of a chapter and of what it has kept.")
        manifest = self.fresh_manifest(source)
        value = _read(self._root / source, manifest)
        self._read[source] = manifest.digest
        _say(source, manifest)
        return value

    def origin(self, chapter: str, name: str) -> str:
        """SHA-256 of how a fresh artifact was made: the same on every machine, unlike a trained network's digits."""
        return self.fresh_manifest(f"{chapter}/{name}").key

    def fresh_manifest(self, artifact: str) -> Manifest:
        """The manifest of an artifact, or an `ArtifactError` if its code, libraries or sources have changed since."""
        checked: dict[str, Manifest] = {}
        todo = [artifact]
        while todo:
            name = todo.pop()
            again = f"run chapter {name.split('/')[0]!r} again"
            checked[name] = manifest = manifest_of(self._root, name)
            if manifest.code != _code_now(manifest.code):
                raise ArtifactError(f"{name} was made by other code than today's; {again}.")
            if manifest.libraries != self._libraries:
                raise ArtifactError(f"{name} was made with other versions of libraries than today's; {again}.")
            for source, was in manifest.read.items():
                if source not in checked and manifest_of(self._root, source).digest != was:
                    raise ArtifactError(f"{name} was made from another {source}; {again}.")
            todo += manifest.read.keys() - checked.keys()
        return checked[artifact]

    def _kept(self, path: Path, key: str) -> tuple[Any, Manifest] | None:
        """What is there, if it has this key and is undamaged."""
        manifest = _read_manifest(path)
        if manifest is None or manifest.key != key:
            return None
        try:
            return _read(path, manifest), manifest
        except ArtifactError:
            return None


def manifest_of(root: Path, artifact: str) -> Manifest:
    """The manifest of an artifact such as 'aleatory/f_a_fixed', or an `ArtifactError` where there is none."""
    manifest = _read_manifest(root / artifact) if re.fullmatch(SOURCE, artifact) else None
    if manifest is None:
        raise ArtifactError(f"{artifact} is missing; run chapter {artifact.split('/')[0]!r} first.")
    return manifest


def is_undamaged(root: Path, artifact: str, content: str) -> bool:
    """Whether an artifact's file is there, unchanged, and has the content of a given digest."""
    manifest = _read_manifest(root / artifact)
    if manifest is None or manifest.digest != content:
        return False
    file = _file(root / artifact, manifest.kind)
    return file.is_file() and file_digest(file) == manifest.file


def file_digest(file: Path) -> str:
    """SHA-256 of a file's bytes."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def note_file(path: Path) -> None:
    """Record that an execution depends on a file, or on its absence; without effect outside of `flowcal run`."""
    if record := os.environ.get(RECORD):
        _append(record, {"file": str(path.absolute()), "sha256": file_digest(path) if path.is_file() else None})


def _recipe(function: Callable[..., Any], settings: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, Any]:
    """What an artifact is made with, and the key that stands for all of it."""
    roots = {f"{function.__module__}.{function.__qualname__}", *classes_in(settings)}
    needed = closure(map(_definition, roots))
    recipe = {
        "function": f"{function.__module__}.{function.__qualname__}",
        "code": {root: code_digest([_definition(root)]) for root in sorted(roots)},
        "libraries": dict(versions),
        "settings": digest(settings),
    }
    seed = settings.get("random_seed", getattr(settings.get("training"), "random_seed", None))
    key = digest_of_json([recipe, patches(needed)])
    return recipe | {"key": key, "seed": seed if isinstance(seed, int) else None}


def _code_now(roots: Iterable[str]) -> dict[str, str]:
    """Today's digests of what an artifact was made by; without what the package no longer has."""
    found = {}
    for root in roots:
        try:
            found[root] = code_digest([_definition(root)])
        except InputError:
            continue
    return found


def _definition(root: str) -> Definition:
    module, _, name = root.rpartition(".")
    return module, name


def _make(
    path: Path, function: Callable[..., Any], settings: Mapping[str, Any], recipe: dict[str, Any]
) -> tuple[Any, Manifest]:
    start = time.perf_counter()
    value, notes = _call(function, settings)
    wall_time = time.perf_counter() - start
    kind = "dataset" if isinstance(value, xr.Dataset) else "weights" if isinstance(value, Weights) else "json"
    try:
        with replaced(_file(path, kind)) as draft:
            _store(draft, kind, value)
            value = _load(draft, kind)  # a file format may keep a list as an array, say
            kept: dict[str, Any] = {"kind": kind, "digest": digest(value), "file": file_digest(draft), "read": {}}
            _manifest(path).unlink(missing_ok=True)  # no moment may have a manifest beside another file's content
        seconds = round(wall_time, 3)
        manifest = Manifest(**recipe, **kept, version=__version__, wall_time_s=seconds, notes=notes)
        write_json(_manifest(path), manifest)
    except (TypeError, ValueError) as error:
        raise InputError(f"what {recipe['function']} returned cannot be kept as {kind}: {error}.") from error
    except (OSError, WeightsError) as error:
        raise ArtifactError(f"{path} cannot be written: {error}.") from error
    return value, manifest


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the artifact's lock; where the folder cannot be written, what is there can still be read."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path.with_suffix(".lock"))
        lock.acquire()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _call(function: Callable[..., Any], settings: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """What a function returns, and what a reader has to know of how it was made and of the data that it was given."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FlowcalWarning)
        value = function(**settings)
    given = [value for value in settings.values() if isinstance(value, xr.Dataset)]
    notes = [str(data.attrs["incomplete"]) for data in given if "incomplete" in data.attrs]
    for warning in caught:
        if issubclass(warning.category, FlowcalWarning):
            notes.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return value, sorted(set(notes))


def _say(artifact: str, manifest: Manifest) -> None:
    """Record that an execution consumed an artifact, and repeat what a reader of it has to know."""
    if record := os.environ.get(RECORD):
        _append(record, {"artifact": artifact, "digest": manifest.digest})
    for note in manifest.notes:
        warnings.warn(f"{artifact}: {note}", FlowcalWarning, stacklevel=4)


def _append(record: str, entry: Mapping[str, Any]) -> None:
    with open(record, "a", encoding="utf-8") as opened:
        opened.write(json.dumps(entry) + "\n")


def _read(path: Path, manifest: Manifest) -> Any:
    chapter, name = path.parts[-2:]
    file = _file(path, manifest.kind)
    try:
        if file_digest(file) != manifest.file:  # before HDF5, which trusts what it reads, sees any of it
            raise ArtifactError(f"{chapter}/{name} has been changed on disk; run chapter {chapter!r} again.")
        return _load(file, manifest.kind)
    except (OSError, ValueError, WeightsError) as error:
        raise ArtifactError(f"{chapter}/{name} cannot be read ({error}); run chapter {chapter!r} again.") from error


def _store(file: Path, kind: str, value: Any) -> None:
    if kind == "dataset":
        value.to_netcdf(file, engine="h5netcdf")
    elif kind == "weights":
        write_weights(file, value)
    else:
        file.write_text(json.dumps(value, indent=1, default=_plain))


def _load(file: Path, kind: str) -> Any:
    if kind == "dataset":
        check_self_contained(file)
        with xr.open_dataset(file, engine="h5netcdf") as dataset:
            return dataset.load()
    return read_weights(file) if kind == "weights" else read_json(file)


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON has them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise InputError(f"a {type(value).__name__} cannot be kept as JSON; expected numbers, text, lists and mappings.")


def _manifest(path: Path) -> Path:
    return path.with_suffix(".manifest.json")


def _file(path: Path, kind: str) -> Path:
    return path.with_suffix(SUFFIXES[kind])


def _read_manifest(path: Path) -> Manifest | None:
    """The manifest, or None where there is none that can be understood."""
    try:
        return read_record(Manifest, _manifest(path))
    except InputError:
        return None
