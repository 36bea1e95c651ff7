"""The library's own errors: everything flowcal raises on purpose derives from `FlowcalError`."""

__all__ = ["FlowcalError", "FlowcalWarning", "InputError"]


class FlowcalError(Exception):
    """Base of every error that flowcal raises on purpose."""


class InputError(FlowcalError, ValueError):
    """An argument or a file cannot be used; the message says what was wrong, what was given and what would do."""


class FlowcalWarning(UserWarning):
    """Something a reader of a result has to know; it is kept with the result and said again wherever that is read."""
