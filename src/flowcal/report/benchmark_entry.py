"""What a benchmark has kept, checked as it is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowcal.errors import InputError

__all__ = ["Entry"]

MOST = 1000  # values of an entry, and characters of a text
LARGEST = 1e15  # number that any benchmark could tell


@dataclass(frozen=True)
class Entry:
    """An object of benchmarks.json, whose values are of the kind and size that is asked for, or an `InputError`.

    Attributes
    ----------
    name : str
        By which errors call it.
    values : mapping
    """

    name: str
    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.values, dict) or not 1 <= len(self.values) <= MOST:
            raise InputError(
                f"benchmark {self.name!r} is {_short(self.values)}; needed is an object with 1 to {MOST} values."
            )

    def number(self, key: str) -> float:
        """The number of that name.

        Parameters
        ----------
        key : str

        Returns
        -------
        float

        Raises
        ------
        InputError
            If there is none, or it is of another kind or size.
        """
        return self._number(key, self._value(key))

    def positive(self, key: str) -> float:
        """The number of that name, which is above 0.

        Parameters
        ----------
        key : str

        Returns
        -------
        float

        Raises
        ------
        InputError
            If there is none, or it is of another kind or size.
        """
        if (value := self.number(key)) <= 0:
            raise self._unfit(key, "a number above 0")
        return value

    def numbers(self, key: str, count: int | None = None) -> list[float]:
        """The numbers of that name, so many, or else at least one.

        Parameters
        ----------
        key : str
        count : int, optional
            How many there have to be.

        Returns
        -------
        list of float

        Raises
        ------
        InputError
            If there is none, or it is of another kind or size.
        """
        values = self._value(key)
        if not isinstance(values, list) or not 1 <= len(values) <= MOST or count not in (None, len(values)):
            raise self._unfit(key, f"{count or 'one or more'} numbers")
        return [self._number(key, value) for value in values]

    def text(self, key: str) -> str:
        """The text of that name.

        Parameters
        ----------
        key : str

        Returns
        -------
        str

        Raises
        ------
        InputError
            If there is none, or it is of another kind or size.
        """
        value = self._value(key)
        if not isinstance(value, str) or len(value) > MOST:
            raise self._unfit(key, "a short text")
        return value

    def part(self, key: str) -> "Entry":
        """The object of that name.

        Parameters
        ----------
        key : str

        Returns
        -------
        Entry

        Raises
        ------
        InputError
            If there is none, or it is of another kind or size.
        """
        return Entry(f"{self.name}: {key}", self._value(key))

    def parts(self, key: str) -> dict[str, "Entry"]:
        """The objects in the object of that name.

        Parameters
        ----------
        key : str

        Returns
        -------
        dict of str to Entry

        Raises
        ------
        InputError
            If there is none, or it is of another kind or size.
        """
        part = self.part(key)
        return {name: part.part(name) for name in part.values}

    def _value(self, key: str) -> Any:
        if key not in self.values:
            raise InputError(f"benchmark {self.name!r} has no {key!r}; needed is an entry as 'make bench' writes it.")
        return self.values[key]

    def _number(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
            raise self._unfit(key, f"numbers up to {LARGEST:g} alone")
        return value

    def _unfit(self, key: str, needed: str) -> InputError:
        return InputError(f"benchmark {self.name!r} has {_short(self.values[key])} as {key!r}; needed is {needed}.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
