"""Files that may be damaged or a stranger's: JSON of bounded size and of a stated form, and weights of networks."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pydantic
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from flowcal.errors import FlowcalError, InputError

__all__ = [
    "Record",
    "Weights",
    "WeightsError",
    "as_record",
    "parse_json",
    "read_json",
    "read_record",
    "read_weights",
    "write_json",
    "write_weights",
]

MOST_BYTES = 100_000_000  # the largest JSON file of ours has a hundredth of that
MOST_WEIGHTS = 2**30  # the study's largest network takes a hundredth of that
DEEPEST = 100  # levels of JSON, so that no later step runs out of stack
MOST_SHOWN = 200  # characters of what does not fit
HEADER = "flowcal"


class Record(pydantic.BaseModel):
    """A JSON object of a stated form: no other keys, no values of another type, no NaN and no infinity."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


R = TypeVar("R", bound=Record)


def as_record(kind: type[R], value: object, what: str) -> R:
    """A JSON value as a record, or an `InputError` that names the key that does not fit; `what` names the value.

    Examples
    --------
    >>> class Share(Record):
    ...     share: float
    >>> as_record(Share, {"share": 0.5}, "the setting").share
    0.5
    >>> as_record(Share, {}, "the setting")
    Traceback (most recent call last):
    flowcal.errors.InputError: the setting cannot be used: share: Field required.
    """
    try:
        return kind.model_validate_json(json.dumps(value))  # as JSON, where a list may stand for a tuple
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{what} cannot be used: {_first(error)}.") from error


def read_record(kind: type[R], path: Path) -> R:
    """The record in a JSON file, or an `InputError`."""
    return as_record(kind, read_json(path), path.name)


def write_json(path: Path, value: object) -> None:
    """Write a record or JSON value, in full or not at all."""
    plain = value.model_dump(mode="json") if isinstance(value, Record) else value
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(json.dumps(plain, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(draft, path)


def read_json(path: Path) -> Any:
    """The JSON value in a file, or an `InputError`."""
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
    """The JSON value that a text stands for, or an `InputError` if it is none or is nested deeper than 100 levels.

    Examples
    --------
    >>> parse_json('{"share": 0.5}')
    {'share': 0.5}
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
    return list(node.values()) if isinstance(node, Mapping) else node if isinstance(node, list) else []


def _first(error: Exception) -> str:
    """The first thing that does not fit, with its place."""
    if not isinstance(error, pydantic.ValidationError):
        return str(error)[:MOST_SHOWN]
    found = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, found["loc"])) or "the value"
    return f"{place[:MOST_SHOWN]}: {found['msg'][:MOST_SHOWN]}"


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
    """Write a safetensors file with a header in JSON, in full or not at all."""
    draft = path.with_name(f"{path.name}.draft")
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in weights.tensors.items()}
    content = safetensors.numpy.save(tensors, metadata={HEADER: json.dumps(weights.header)})
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be written: {error.strerror}.") from error


def read_weights(path: Path) -> Weights:
    """Read what `write_weights` has written, or a `WeightsError` if the file is missing or no such file."""
    try:
        if (size := path.stat().st_size) > MOST_WEIGHTS:
            raise ValueError(f"it has {size} bytes, more than {MOST_WEIGHTS}")
        with safe_open(path, "numpy") as file:
            header = (file.metadata() or {}).get(HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        for name, tensor in tensors.items():
            if tensor.dtype == bool and tensor.view(np.uint8).max(initial=0) > 1:
                raise ValueError(f"{name} holds what is neither true nor false")
        return Weights(_read_header(header), tensors)
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path} cannot be read as weights: {error}. Expected a safetensors file that the study has written."
        ) from error


def _read_header(text: str | None) -> dict[str, Any]:
    header = parse_json(text) if text is not None else None
    if not isinstance(header, dict):
        raise ValueError(f"its metadata has no {HEADER!r} that holds a JSON object")
    return header
