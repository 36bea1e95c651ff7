"""The library's own errors: everything flowcal raises on purpose derives from `FlowcalError`."""

__all__ = ["FlowcalError", "FlowcalWarning", "InputError", "visible"]


class FlowcalError(Exception):
    """Base of every error that flowcal raises on purpose."""


class InputError(FlowcalError, ValueError):
    """An argument or a file cannot be used; the message says what was wrong, what was given and what would do."""


class FlowcalWarning(UserWarning):
    """Something a reader of a result has to know; it is kept with the result and said again wherever that is read."""


def visible(text: str) -> str:
    r"""A text without what a terminal would obey: of the control characters only line ends and tabs are left.

    Examples
    --------
    >>> visible("a\x1b[2Jb\n")
    'a[2Jb\n'
    """
    return "".join(character for character in text if character.isprintable() or character in "\n\t")
