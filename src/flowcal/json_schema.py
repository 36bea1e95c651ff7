"""JSON values held against a schema, with errors that say what does not fit and where."""

import json
from collections.abc import Mapping
from typing import Any

import jsonschema

from flowcal.errors import InputError

__all__ = ["check_schema"]

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
