"""Artifacts: how results are kept, found again, and known to be still true.

An artifact is what one function returned for given settings. Beside its file lies a manifest with the settings, the
digest of the code that made it, the digests of the artifacts it was made from, of its content and of its file's bytes,
the package version and the wall time. A file whose bytes have changed is not opened.
Asked for the same again, `Shelf.keep` reads it instead of making it. Datasets are kept as netCDF, networks' weights as
safetensors, everything else as JSON; nothing is pickled.
"""

import ast
import hashlib
import importlib.util
import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import xarray as xr

from flowcal import __version__
from flowcal.errors import FlowcalError, FlowcalWarning, InputError
from flowcal.files import Weights, WeightsError, read_json, read_weights, write_weights

__all__ = [
    "ArtifactError",
    "Shelf",
    "code_digest",
    "digest",
    "manifest_of",
    "recorded",
]

PACKAGE = "flowcal"
SUFFIXES = {"dataset": ".nc", "weights": ".safetensors", "json": ".json"}
NAME = r"[a-z][a-z0-9_]*"
SOURCE = rf"[A-Za-z0-9_-]+/{NAME}"  # chapter and artifact: nothing that could leave the folder of all chapters
RECORD = "chapter.used"


class ArtifactError(FlowcalError):
    """An artifact is missing, damaged or no longer true; the message names what to run."""


class Shelf:
    """The artifacts of one chapter.

    Parameters
    ----------
    root : Path
        Folder of all chapters' artifacts of one profile.
    chapter : str
        The chapter whose artifacts `keep` makes.
    """

    def __init__(self, root: Path, chapter: str) -> None:
        self._root, self._chapter = root, chapter
        self._made_from: dict[str, str] = {}  # what earlier chapters' artifacts this chapter has read so far

    def keep(self, name: str, function: Callable[..., Any], **settings: Any) -> Any:
        """The artifact `name`, made by ``function(**settings)`` unless it is there and still true.

        Parameters
        ----------
        name : str
        function : callable
            A function of the package; the code of its module, and of all the package's modules that this one needs,
            decides together with the settings whether an artifact is still true.
        **settings : any
            Numbers, text, arrays, datasets, weights, sequences, mappings and dataclasses of these, or objects that say
            what they are in a property `identity`.

        Returns
        -------
        Dataset, Weights or any JSON value
            What the function returned, as read back from its file.

        Raises
        ------
        InputError
            If the name is not of that form, the function is not at the top of a module, a setting is of no kind
            named above, or what the function returned cannot be kept.
        """
        if not re.fullmatch(NAME, name) or name == "chapter":
            raise InputError(
                f"name is {name!r}; expected lower-case letters, digits and underscores, but not 'chapter'."
            )
        if "." in function.__qualname__ or function.__name__ == "<lambda>":
            raise InputError(f"function is {function.__qualname__}; expected one at the top of a module.")
        modules = {function.__module__, *_modules_of(settings)}
        recipe = {
            "function": f"{function.__module__}.{function.__qualname__}",
            "code": {module: code_digest(module) for module in sorted(modules)},
            "settings": _describe(settings),
            "made_from": dict(self._made_from),
        }
        path = self._root / self._chapter / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_suffix(".lock")):
            manifest = _read_manifest(path)
            if manifest is None or any(manifest.get(part) != value for part, value in recipe.items()):
                _make(path, function, settings, recipe)
            try:
                value = _read(path)
            except ArtifactError:  # damaged since it was made
                _make(path, function, settings, recipe)
                value = _read(path)
        self._note(f"{self._chapter}/{name}")
        return value

    def read(self, chapter: str, name: str) -> Any:
        """An artifact of an earlier chapter.

        Parameters
        ----------
        chapter : str
        name : str

        Returns
        -------
        Dataset, Weights or any JSON value
            What was kept.

        Raises
        ------
        ArtifactError
            If it is not there, is damaged, or what it was made with or from has changed since.
        """
        source = f"{chapter}/{name}"
        if not re.fullmatch(SOURCE, source):
            raise InputError(f"the artifact is {source!r}; expected the names of a chapter and of what it has kept.")
        value = _read(self._root / source)
        self._check_fresh(source)
        self._made_from[source] = digest(value)
        self._note(source)
        return value

    def origin(self, chapter: str, name: str) -> str:
        """Digest of how a fresh artifact was made: its function, that function's code, and its settings.

        It is the same on every machine, which the digits of a trained network are not.

        Parameters
        ----------
        chapter : str
        name : str

        Returns
        -------
        str
            SHA-256, in hexadecimal digits.

        Raises
        ------
        ArtifactError
            If the artifact is not there, or what it was made with or from has changed since.
        """
        manifest = self._check_fresh(f"{chapter}/{name}")
        return digest({part: manifest[part] for part in ("function", "code", "settings")})

    def _note(self, artifact: str) -> None:
        """Add an artifact to the record of what the chapter uses, where one is open (see `recorded`)."""
        record = self._root / self._chapter / RECORD
        if record.exists():
            with record.open("a", encoding="utf-8") as opened:
                opened.write(f"{artifact}\n")

    def _check_fresh(self, artifact: str) -> dict[str, Any]:
        """The manifest of an artifact, unless other code made it, or something since changed, directly or not."""
        checked: dict[str, dict[str, Any]] = {}
        todo = [artifact]
        while todo:
            name = todo.pop()
            chapter, manifest = name.split("/")[0], _read_manifest(self._root / name)
            if manifest is None or manifest["code"] != {module: _digest_now(module) for module in manifest["code"]}:
                raise ArtifactError(f"{name} was made by other code than today's; run chapter {chapter!r} again.")
            for source, was in manifest["made_from"].items():
                now = _read_manifest(self._root / source)
                if now is None or now["digest"] != was:
                    raise ArtifactError(f"{name} was made from another {source}; run chapter {chapter!r} again.")
            checked[name] = manifest
            todo += manifest["made_from"].keys() - checked.keys()
        return checked[artifact]


@contextmanager
def recorded(root: Path, chapter: str) -> Iterator[list[str]]:
    """A list that holds, once the context has ended, what the chapter kept and read in it, in whatever process.

    Parameters
    ----------
    root : Path
        Folder of all chapters' artifacts of one profile.
    chapter : str

    Yields
    ------
    list of str
        Such as 'aleatory/f_a_fixed', each once, in the order of their use.
    """
    record = root / chapter / RECORD
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text("", encoding="utf-8")
    used: list[str] = []
    try:
        yield used
        used += dict.fromkeys(record.read_text(encoding="utf-8").split())
    finally:
        record.unlink()


def manifest_of(root: Path, artifact: str) -> dict[str, Any]:
    """What is kept beside an artifact.

    Parameters
    ----------
    root : Path
        Folder of all chapters' artifacts of one profile.
    artifact : str
        Such as 'aleatory/f_a_fixed'.

    Returns
    -------
    dict
        Its manifest.

    Raises
    ------
    ArtifactError
        If it is no more.
    """
    manifest = _read_manifest(root / artifact) if re.fullmatch(SOURCE, artifact) else None
    if manifest is None:
        raise ArtifactError(f"{artifact} is missing; run chapter {artifact.split('/')[0]!r} first.")
    return manifest


def digest(value: Any) -> str:
    """SHA-256 of a value's content: the same for a dataset before and after it has been on disk.

    Parameters
    ----------
    value : any
        What `Shelf.keep` takes as a setting.

    Returns
    -------
    str
        SHA-256, in hexadecimal digits.

    Raises
    ------
    InputError
        If the value, or a part of it, is of another kind.

    Examples
    --------
    >>> digest({"level": 0.5}) == digest({"level": np.float64(0.5)})
    True
    """
    return hashlib.sha256(json.dumps(_describe(value), sort_keys=True).encode()).hexdigest()


@cache
def code_digest(module: str) -> str:
    """SHA-256 over the source of a module of the package and of all it imports from the package.

    Parameters
    ----------
    module : str
        Its full name, such as 'flowcal.simulate.windfarm'.

    Returns
    -------
    str
        SHA-256, in hexadecimal digits.

    Raises
    ------
    InputError
        If there is no such module in the package.
    """
    result = hashlib.sha256()
    for name in sorted(_needed_modules(module)):
        result.update(_source(name).read_bytes())
    return result.hexdigest()


def _make(path: Path, function: Callable[..., Any], settings: Mapping[str, Any], recipe: dict[str, Any]) -> None:
    start = time.perf_counter()
    value, notes = _call(function, settings)
    wall_time = time.perf_counter() - start
    kind = _kind(value)
    draft = path.with_suffix(".partial")
    try:
        _store(draft, kind, value)
    except (TypeError, ValueError) as error:
        raise InputError(f"what {recipe['function']} returned cannot be kept as {kind}: {error}.") from error
    as_read = _load(draft, kind)  # a file format may keep a list as an array, say
    kept: dict[str, Any] = {
        "version": __version__,
        "kind": kind,
        "digest": digest(as_read),
        "file": _file_digest(draft),
    }
    kept |= {"wall_time_s": round(wall_time, 3), "notes": notes}
    os.replace(draft, _file(path, kind))
    draft.write_text(json.dumps(recipe | kept, indent=1))
    os.replace(draft, _manifest(path))


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


def _read(path: Path) -> Any:
    chapter, name = path.parts[-2:]
    manifest = _read_manifest(path)
    if manifest is None:
        raise ArtifactError(f"{chapter}/{name} is missing; run chapter {chapter!r} first.")
    file = _file(path, manifest["kind"])
    try:
        unchanged = _file_digest(file) == manifest["file"]  # before HDF5, which trusts what it reads, sees a byte of it
        value = _load(file, manifest["kind"]) if unchanged else None
    except (OSError, ValueError, WeightsError) as error:
        raise ArtifactError(f"{chapter}/{name} cannot be read ({error}); run chapter {chapter!r} again.") from error
    if not unchanged or digest(value) != manifest["digest"]:
        raise ArtifactError(f"{chapter}/{name} has been changed on disk; run chapter {chapter!r} again.")
    for note in manifest.get("notes", []):
        warnings.warn(f"{chapter}/{name}: {note}", FlowcalWarning, stacklevel=4)
    return value


def _file_digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _kind(value: Any) -> str:
    return "dataset" if isinstance(value, xr.Dataset) else "weights" if isinstance(value, Weights) else "json"


def _store(file: Path, kind: str, value: Any) -> None:
    if kind == "dataset":
        value.to_netcdf(file, engine="h5netcdf")
    elif kind == "weights":
        write_weights(file, value)
    else:
        file.write_text(json.dumps(value, indent=1, default=_plain))


def _load(file: Path, kind: str) -> Any:
    if kind == "dataset":
        return _load_dataset(file)
    return read_weights(file) if kind == "weights" else read_json(file)


def _load_dataset(file: Path) -> xr.Dataset:
    """The dataset, unless it claims to be larger than a file without compression can hold."""
    try:
        with xr.open_dataset(file, engine="h5netcdf") as dataset:
            if dataset.nbytes > 2 * file.stat().st_size:
                raise ValueError(f"{file.name} claims {dataset.nbytes} bytes of data, more than it can hold")
            return dataset.load()
    except Exception as error:  # whatever a damaged file leads the libraries into
        raise ValueError(f"{file.name} is no netCDF of ours: {type(error).__name__}, {error}") from error


def _manifest(path: Path) -> Path:
    return path.with_suffix(".manifest.json")


def _file(path: Path, kind: str) -> Path:
    return path.with_suffix(SUFFIXES[kind])


def _read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest, or None where there is none that can be understood."""
    try:
        manifest = read_json(_manifest(path))
    except InputError:
        return None
    needed = {"function", "code", "settings", "made_from", "kind", "digest", "file", "wall_time_s"}
    if not isinstance(manifest, dict) or not needed <= manifest.keys():
        return None
    named = all(_is_text_by_text(manifest[part]) for part in ("code", "made_from"))
    inside = named and all(re.fullmatch(SOURCE, source) for source in manifest["made_from"])
    notes = manifest.get("notes", [])
    legible = isinstance(notes, list) and all(isinstance(note, str) for note in notes)
    timed = isinstance(manifest["wall_time_s"], int | float)
    return manifest if inside and legible and timed and manifest["kind"] in list(SUFFIXES) else None


def _is_text_by_text(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _describe(value: Any) -> Any:
    """A JSON value that differs wherever two values differ."""
    if isinstance(value, xr.Dataset):
        variables = {
            str(name): [list(v.dims), _describe(v.values), _describe(v.attrs)] for name, v in value.variables.items()
        }
        return {
            "variables": variables,
            "coordinates": sorted(map(str, value.coords)),
            "attributes": _describe(value.attrs),
        }
    if isinstance(value, Weights):
        return {"header": _describe(value.header), "tensors": _describe(value.tensors)}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return {"dtype": value.dtype.str, "shape": list(value.shape), "sha256": content}
    if isinstance(value, Mapping):
        return {str(name): _describe(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return _describe(value.tolist())
    if isinstance(value, list | tuple):
        return [_describe(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    if hasattr(value, "identity"):
        return {"identity": value.identity}
    if is_dataclass(value):
        return {field.name: _describe(getattr(value, field.name)) for field in fields(value)}
    raise InputError(
        f"a setting is of type {type(value).__name__}; expected numbers, text, arrays, datasets, weights, sequences, "
        "mappings or dataclasses of these, or an object with a property identity."
    )


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON has them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise InputError(f"a {type(value).__name__} cannot be kept as JSON; expected numbers, text, lists and mappings.")


def _modules_of(value: Any) -> set[str]:
    """The package's modules that the objects among the settings come from: their code decides too."""
    if getattr(value, "identity", None):
        module = type(value).__module__
        return {module} if module.split(".")[0] == PACKAGE else set()
    if is_dataclass(value):
        value = [getattr(value, field.name) for field in fields(value)]
    if isinstance(value, Mapping):
        value = list(value.values())
    return set().union(*map(_modules_of, value)) if isinstance(value, list | tuple) else set()


def _digest_now(module: str) -> str | None:
    """The digest of a module's code, or None where there is no such module any more."""
    try:
        return code_digest(module)
    except InputError:
        return None


def _needed_modules(module: str) -> set[str]:
    """The module and every module of the package that it imports, directly or not."""
    found, todo = set(), [module]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += _imports(name)
    return found


def _imports(module: str) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(_source(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [name for name in names if name.split(".")[0] == PACKAGE and _find(name) is not None]


def _find(module: str) -> Path | None:
    """The file of a module of the package, or None where the name is something else, such as a function.

    It is looked for by its name alone: a manifest may name any module, and none shall be imported for that.
    """
    package, *parts = module.split(".")
    spec = importlib.util.find_spec(PACKAGE)
    if package != PACKAGE or spec is None or spec.origin is None or not all(part.isidentifier() for part in parts):
        return None
    place = Path(spec.origin).parent.joinpath(*parts)
    files = (place / "__init__.py", place.with_name(f"{place.name}.py"))
    return next((file for file in files if os.path.isfile(file)), None)


def _source(module: str) -> Path:
    path = _find(module)
    if path is None:
        raise InputError(f"{module!r} is not a module of {PACKAGE}; only its functions make artifacts.")
    return path
