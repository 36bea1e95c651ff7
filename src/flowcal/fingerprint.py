"""Fingerprints: what a value is, by its content, and what of the package runs otherwise than its source says."""

import ast
import hashlib
import inspect
import json
import os
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import xarray as xr

from flowcal.code import PACKAGE, Definition, statements_of
from flowcal.errors import InputError
from flowcal.files import Weights

__all__ = ["classes_in", "describe", "digest", "digest_of_json", "patches"]


def digest(value: Any) -> str:
    """SHA-256 of a value's content: the same for a dataset or weights before and after they have been on disk.

    Examples
    --------
    >>> digest({"share": 0.5}) == digest({"share": 0.5})
    True
    >>> digest(1) == digest(1.0)
    False
    """
    return digest_of_json(describe(value))


def describe(value: Any) -> Any:
    """A JSON value that differs wherever two values differ, those of unlike types included."""
    if isinstance(value, xr.Dataset):
        parts = {str(name): (v.dims, v.values, dict(v.attrs)) for name, v in sorted(value.variables.items(), key=str)}
        return {"variables": describe(parts), "coordinates": sorted(map(str, value.coords)), **_attributes(value)}
    if isinstance(value, Weights):
        return {"header": describe(value.header), "tensors": describe(dict(sorted(value.tensors.items())))}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return {"dtype": value.dtype.str, "shape": list(value.shape), "sha256": content}
    if isinstance(value, np.ndarray):
        return {"array": describe(value.tolist())}
    if isinstance(value, np.generic):
        return {"dtype": value.dtype.str, "value": describe(value.item())}
    if isinstance(value, Mapping):
        return {"mapping": [[describe(key), describe(item)] for key, item in value.items()]}
    if isinstance(value, list):
        return [describe(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [describe(item) for item in value]}
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, types.FunctionType | type):
        return _describe_code(value, set())
    return _describe_object(value)


def _attributes(value: xr.Dataset) -> dict[str, Any]:
    return {"attributes": describe(dict(value.attrs))}


def _describe_object(value: Any) -> Any:
    if hasattr(value, "identity"):
        content = describe(value.identity)
    elif is_dataclass(value):
        content = {field.name: describe(getattr(value, field.name)) for field in fields(value)}
    else:
        raise InputError(
            f"a setting is of type {type(value).__name__}; expected numbers, text, arrays, datasets, weights, "
            "sequences, mappings or dataclasses of these, functions, or an object with a property identity."
        )
    return {"class": _describe_code(type(value), set()), "content": content}


def _describe_code(thing: Any, seen: set[int]) -> Any:
    """A function or class by name, and by its code where it comes from a notebook or a file of the user's."""
    name = f"{thing.__module__}.{thing.__qualname__}"
    if id(thing) in seen or not _is_users(thing.__module__):
        return name
    seen.add(id(thing))
    if isinstance(thing, type):
        parts = {key: inspect.unwrap(_function_of(part)) for key, part in vars(thing).items()}
        own = {key: part for key, part in parts.items() if isinstance(part, types.FunctionType)}
        values = {key: part for key, part in vars(thing).items() if isinstance(part, str | int | float | tuple)}
        inherited = [_describe_code(base, seen) for base in thing.__bases__]
        methods = {key: _describe_code(part, seen) for key, part in own.items()}
        return {"class": name, "bases": inherited, "methods": methods, "values": _describe_known(values, seen)}
    code, around = thing.__code__, inspect.getclosurevars(thing)
    return {
        "function": name,
        "code": _describe_bytecode(code),
        "defaults": _describe_known({"by place": thing.__defaults__, **(thing.__kwdefaults__ or {})}, seen),
        "uses": _describe_known({**around.globals, **around.nonlocals}, seen),
    }


def _function_of(part: Any) -> Any:
    """The function behind a method, property or class method."""
    for attribute in ("__func__", "fget", "func"):
        part = getattr(part, attribute, part)
    return part


def _describe_bytecode(code: types.CodeType) -> Any:
    constants = [_describe_bytecode(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), constants, list(code.co_names)]


def _describe_known(values: Mapping[str, Any], seen: set[int]) -> dict[str, Any]:
    """What a function of the user's refers to, as far as it can be described."""
    found = {}
    for name, value in values.items():
        if isinstance(value, types.FunctionType | type):
            found[name] = _describe_code(value, seen)
        elif isinstance(value, types.ModuleType):
            found[name] = value.__name__
        else:
            try:
                found[name] = describe(value)
            except InputError:
                found[name] = type(value).__name__
    return found


def _is_users(module: str) -> bool:
    """Whether a module is a notebook's or a file of the user's, neither installed nor of this package."""
    found = sys.modules.get(module)
    file = getattr(found, "__file__", None)
    if module == "__main__" or found is None:
        return True
    installed = (sys.prefix, sys.base_prefix, os.path.dirname(os.__file__))
    return module.partition(".")[0] != PACKAGE and file is not None and not file.startswith(installed)


def classes_in(value: Any) -> set[str]:
    """The package's classes that the objects among the settings are of: their code decides too."""
    found = {
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in type(value).__mro__
        if kind.__module__.partition(".")[0] == PACKAGE and "." not in kind.__qualname__
    }
    if isinstance(value, types.FunctionType) and value.__module__.partition(".")[0] == PACKAGE:
        found.add(f"{value.__module__}.{value.__qualname__}")
    if is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name) for field in fields(value)]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return found.union(*map(classes_in, parts))


def patches(needed: Iterable[Definition]) -> dict[str, Any]:
    """Constants and functions of the package that this process holds otherwise than their source says."""
    found = {}
    for module, name in sorted(needed):
        loaded, statements = sys.modules.get(module), list(statements_of([(module, name)]))
        if loaded is None or not statements or not hasattr(loaded, name):
            continue
        current, source = getattr(loaded, name), statements[-1]
        if isinstance(source, ast.FunctionDef):
            current = inspect.unwrap(_function_of(current))
            if isinstance(current, types.FunctionType) and current.__code__.co_filename != loaded.__file__:
                found[f"{module}.{name}"] = _describe_code(current, set())
        elif isinstance(source, ast.Assign | ast.AnnAssign) and source.value is not None and len(statements) == 1:
            changed = _changed(current, source, vars(loaded))
            found.update({f"{module}.{name}": describe(current)} if changed else {})
    return found


def _changed(current: Any, source: ast.Assign | ast.AnnAssign, names: Mapping[str, Any]) -> bool:
    """Whether a constant is another than its line gives; False where the values cannot be compared."""
    targets = source.targets if isinstance(source, ast.Assign) else [source.target]
    if not isinstance(targets[0], ast.Name) or source.value is None:
        return False
    try:
        expected = eval(compile(ast.Expression(source.value), "<constant>", "eval"), dict(names))  # noqa: S307, our own
        return digest(expected) != digest(current)
    except Exception:
        return False


def digest_of_json(value: Any) -> str:
    """SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
