"""JSON from files that may be damaged or not ours: of bounded size and depth, or an `InputError`."""

import json
import os
from pathlib import Path
from typing import Any

from flowcal.errors import InputError

__all__ = ["parse_json", "read_json"]

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
            raise InputError(f"{path.name} has {size} bytes; needed are at most {MOST_BYTES}.")
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
        raise InputError(f"the JSON is nested too deep; needed are at most {DEEPEST} levels.") from None
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [item for node in level for item in _items(node)]
        if not level:
            return value
    raise InputError(f"the JSON is nested too deep; needed are at most {DEEPEST} levels.")


def _items(node: Any) -> list[Any]:
    """What an object or a list holds; nothing else holds anything."""
    return list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
