"""Tables as Markdown, and how numbers and texts stand in their cells."""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

__all__ = [
    "Text",
    "interval",
    "listed",
    "markdown_table",
    "number",
    "plain_text",
    "point",
    "probability",
    "share",
    "with_error",
    "yes_or_no",
]

MARKUP = re.compile(r"([\\`*_{}\[\]<>$|&~])")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; cells are printed as they are."""
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (header, ["---"] * len(header), *rows))


def plain_text(text: str) -> str:
    """A text from outside on one line, with every character escaped that could be markup."""
    visible = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return MARKUP.sub(r"\\\1", visible)


Text = Annotated[str, Field(max_length=1000), AfterValidator(plain_text)]
"""Field of a record for a text that somebody else wrote: it is cleaned by `plain_text` as it is read."""


def number(value: float | None, form: str) -> str:
    """A number; "0" where it is exactly that, and nothing for None."""
    if value is None:
        return ""
    return f"{value:{form}}" if value else "0"


def with_error(value: float, error: float, form: str, error_form: str | None = None) -> str:
    """A number with two standard errors."""
    return f"{value:{form}} ± {2 * error:{error_form or form}}"


def interval(low: float, high: float, form: str) -> str:
    """An interval."""
    return f"[{low:{form}}, {high:{form}}]"


def listed(values: Iterable[float], form: str = ".3f") -> str:
    """Several numbers."""
    return ", ".join(f"{value:{form}}" for value in values)


def point(values: Iterable[float]) -> str:
    """A control point."""
    return f"[{listed(values)}]"


def share(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.0f} %"


def probability(value: float, error: float | None, upper: float, form: str = ".2e", bound_form: str = ".1e") -> str:
    """A probability with two standard errors, or its upper bound where nothing was counted."""
    if value == 0:
        return f"below {upper:{bound_form}}"
    return f"{value:{form}}" if error is None else with_error(value, error, form, ".0e")


def yes_or_no(value: bool) -> str:
    """A truth value."""
    return "yes" if value else "no"
