"""JSON from files that may be damaged or not ours: of bounded size and depth, or an `InputError`.

JSON values held against a schema, with errors that say what does not fit and where.

Weights of networks as files: safetensors with a header in JSON, and nothing that could run.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from flowcal.errors import FlowcalError, InputError

__all__ = [
    "Weights",
    "WeightsError",
    "check_schema",
    "parse_json",
    "read_json",
    "read_weights",
    "write_weights",
]

MOST_BYTES = 100_000_000  # the largest file of ours has a hundredth of that
DEEPEST = 100  # so that no later step runs out of stack


def read_json(path: Path) -> Any:
    """The JSON value that a file holds.

    Parameters
    ----------
    path : Path

    Returns
    -------
    any
        What `json` makes of it.

    Raises
    ------
    InputError
        If the file cannot be read, is larger than any of ours, or does not fit `parse_json`.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
            raise InputError(f"{path.name} is no file.")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise InputError(f"{path.name} has {size} bytes; expected at most {MOST_BYTES}.")
        return parse_json(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is no UTF-8 text: {error}.") from error


def parse_json(text: str) -> Any:
    """The JSON value that a text stands for.

    Parameters
    ----------
    text : str

    Returns
    -------
    any
        What `json` makes of it.

    Raises
    ------
    InputError
        If it is none, or is nested deeper than 100 levels.

    Examples
    --------
    >>> parse_json('{"level": 0.5}')
    {'level': 0.5}
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"the text is no JSON: {error}.") from error
    except RecursionError:
        raise InputError(f"the JSON is nested too deep; expected at most {DEEPEST} levels.") from None
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [item for node in level for item in _items(node)]
        if not level:
            return value
    raise InputError(f"the JSON is nested too deep; expected at most {DEEPEST} levels.")


def _items(node: Any) -> list[Any]:
    """What an object or a list holds; nothing else holds anything."""
    return list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []


MOST_SHOWN = 200  # characters of what does not fit


def check_schema(value: object, schema: Mapping[str, Any], what: str) -> None:
    """Refuse a value that a schema does not allow, or that JSON cannot hold.

    Parameters
    ----------
    value : any
    schema : mapping
        JSON schema.
    what : str
        What the value is, for the message.

    Raises
    ------
    InputError
        If it does not fit, or holds what JSON cannot: numbers that are not finite, arrays, or nesting without end.

    Examples
    --------
    >>> check_schema({"level": 0.5}, {"required": ["level"]}, "the setting")
    >>> check_schema({}, {"required": ["level"]}, "the setting")
    Traceback (most recent call last):
    flowcal.errors.InputError: the setting cannot be used: $: 'level' is a required property.
    """
    try:
        json.dumps(value, allow_nan=False)
        jsonschema.validate(value, schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{what} cannot be used: {error}.") from error
    except jsonschema.ValidationError as error:
        raise InputError(f"{what} cannot be used: {error.json_path}: {error.message[:MOST_SHOWN]}.") from error


HEADER = "flowcal"
WEIGHTS_MOST_BYTES = 2**30  # the study's largest network takes a hundredth of that


class WeightsError(FlowcalError):
    """A file of weights is missing, damaged, or belongs to another network."""


@dataclass(frozen=True)
class Weights:
    """What a trained network consists of.

    Attributes
    ----------
    header : dict
        What the network is and how it was trained; JSON values.
    tensors : dict of str to ndarray
        Its parameters and buffers by name.
    """

    header: dict[str, Any]
    tensors: dict[str, NDArray[Any]]


def write_weights(path: Path, weights: Weights) -> None:
    """Write the file, in full or not at all.

    Parameters
    ----------
    path : Path
    weights : Weights

    Raises
    ------
    WeightsError
        If the file cannot be written.
    """
    path = Path(path)
    draft = path.with_name(f"{path.name}.draft")
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in weights.tensors.items()}
    content = safetensors.numpy.save(tensors, metadata={HEADER: json.dumps(weights.header)})
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be written: {error.strerror}.") from error


def read_weights(path: Path) -> Weights:
    """Read a file that `write_weights` has written.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Weights

    Raises
    ------
    WeightsError
        If the file is missing, is not safetensors, or has no header of ours.
    """
    try:
        if (size := path.stat().st_size) > WEIGHTS_MOST_BYTES:
            raise ValueError(f"it has {size} bytes, more than {WEIGHTS_MOST_BYTES}")
        with safe_open(path, "numpy") as file:
            header = (file.metadata() or {}).get(HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        for name, tensor in tensors.items():
            if tensor.dtype == bool and tensor.view(np.uint8).max(initial=0) > 1:
                raise ValueError(f"{name} holds what is neither true nor false")
        return Weights(_read_header(header), tensors)
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path} cannot be read as weights: {error}. Expected a safetensors file that `save` has written."
        ) from error


def _read_header(text: str | None) -> dict[str, Any]:
    header = parse_json(text) if text is not None else None
    if not isinstance(header, dict):
        raise ValueError(f"its metadata has no {HEADER!r} that holds a JSON object")
    return header
