"""Tables of numbers in text files, read strictly; errors name the file, and the row and column counted from 1."""

import csv
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowcal.errors import InputError

__all__ = ["ShortTableError", "TableError", "file_digest", "open_text", "parse_number", "read_table"]

BYTES_PER_NUMBER = 40  # no writer needs more; larger files are not what they claim to be
LONGEST_LINE = 10_000  # characters


class TableError(InputError):
    """A text file is not what its reader expects; `bad_runs` are the positions of runs that it gives wrongly or not."""

    def __init__(self, reason: str, bad_runs: ArrayLike | None = None) -> None:
        super().__init__(reason)
        self.bad_runs = None if bad_runs is None else np.asarray(bad_runs, dtype=np.int64)


class ShortTableError(TableError):
    """A table ends before its last run."""


@contextmanager
def open_text(path: Path, most_bytes: int) -> Iterator[TextIO]:
    """A text file to read, with or without a byte order mark; what is no file, or too large a one, is refused."""
    if "\0" in str(path):
        raise TableError(f"{path!s:.100} cannot be read: its name holds a null character.")
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            raise TableError(f"{path} cannot be read: it is no file.")
        if not 0 < found.st_size <= most_bytes:
            size = f"has {found.st_size} bytes; expected at most {most_bytes}" if found.st_size else "is empty"
            raise TableError(f"{path.name} {size}.")
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            yield file
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror}.") from error


def read_table(
    path: Path, most_rows: int, columns: int | Sequence[str], last_may_be_cut: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Numbers (rows, columns) of a text file, and the line (rows,) of each row in the file.

    `columns` says how many there are, without a header, or names those in a header that are wanted. A last line that
    its writer did not finish is left out if it may be cut, as where the caller counts the rows.
    """
    width = columns if isinstance(columns, int) else len(columns)
    with open_text(path, (most_rows + 2) * width * BYTES_PER_NUMBER) as file:
        if isinstance(columns, int):
            rows = _rows(file, path, list(range(width)), width, 1, last_may_be_cut)
        else:
            rows = _rows(file, path, *_read_header(file, path, columns), 2, last_may_be_cut)
        table: Any = np.fromiter(islice(rows, most_rows + 1), np.dtype((float, width + 1)))
    if not 0 < len(table) <= most_rows:
        wrong = f"more than the {most_rows} rows it may have" if len(table) else "no rows of numbers"
        raise TableError(f"{path.name} has {wrong}.")
    return table[:, 1:], table[:, 0].astype(np.int64)


def _read_header(file: TextIO, path: Path, names: Sequence[str]) -> tuple[list[int], int]:
    """Positions of the named columns, and how many columns there are."""
    try:
        header = _cells(file.readline(LONGEST_LINE))
    except ValueError as error:
        raise TableError(f"{path.name}, row 1, {error}.") from error
    if any(header.count(name) != 1 for name in names):
        raise TableError(
            f"{path.name} starts with {','.join(header)[:100]!r}; expected a header with the columns {','.join(names)}."
        )
    return [header.index(name) for name in names], len(header)


def _rows(
    file: TextIO, path: Path, picked: list[int], columns: int, first: int, last_may_be_cut: bool
) -> Iterator[tuple[float, ...]]:
    """Line and numbers of each row of a file from line `first` on; blank lines are skipped."""
    for line, text in enumerate(iter(lambda: file.readline(LONGEST_LINE), ""), first):
        if text.isspace():
            continue
        try:
            numbers = _parse(_cells(text), picked, columns)
        except ValueError as error:
            if last_may_be_cut and not text.endswith("\n"):
                return
            raise TableError(f"{path.name}, row {line}, {error}.") from error
        yield line, *numbers


def _cells(text: str) -> list[str]:
    """The cells of a line between commas, in quotation marks or not."""
    if '"' not in text:
        return [cell.strip() for cell in text.split(",")]
    try:
        return [cell.strip() for cell in next(csv.reader([text.strip()], skipinitialspace=True, strict=True))]
    except csv.Error:
        raise ValueError("has a quotation mark without its other; expected numbers between commas") from None


def _parse(cells: list[str], picked: list[int], columns: int) -> list[float]:
    if len(cells) != columns:
        raise ValueError(f"has {len(cells)} columns; expected {columns}, separated by commas")
    numbers = []
    for column in picked:
        try:
            numbers.append(parse_number(cells[column]))
        except ValueError:
            raise ValueError(f"column {column + 1}, is {cells[column][:40]!r}; expected a number") from None
    return numbers


def parse_number(text: str) -> float:
    """The number that a cell of a text file holds, or a `ValueError`.

    Examples
    --------
    >>> parse_number(" 1e-3 ")
    0.001
    >>> parse_number("1_0")
    Traceback (most recent call last):
    ValueError: '1_0' is no number
    """
    if "_" in text or not text.isascii():  # Python takes underscores and the digits of all scripts
        raise ValueError(f"{text!r} is no number")
    return float(text)


def file_digest(path: Path, why: str) -> str:
    """SHA-256 of a file, however large, or an `InputError` that says why it is read."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # unlike Path's own, they take a name of any length
            raise InputError(f"{path} cannot be read: it is no file; {why}.")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; {why}.") from error
