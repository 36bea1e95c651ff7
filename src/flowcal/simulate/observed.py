"""The embedded real system: it shows hours at few control points and keeps its truth to itself.

Only `flowcal.report.truth` may look at the truth; every method learns from the hours alone.


What the real system showed: the embedded one, the organisers' example file, or a folder of your own files.
"""

import csv
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.random import SeedSequence, default_rng
from numpy.typing import NDArray
from scipy.stats import truncweibull_min

from flowcal.challenge import BASELINE, CONTROL, TABLE_1
from flowcal.errors import FlowcalError, InputError
from flowcal.problem import BOUNDS, SEED_MAX
from flowcal.simulate.program import read_observed_hours
from flowcal.simulate.simulator import labelled_hours
from flowcal.simulate.windfarm import WindFarm

if TYPE_CHECKING:
    import pooch


__all__ = [
    "BudgetSpent",
    "FetchFailed",
    "RealSystem",
    "Source",
    "fetch_organisers_file",
    "observe",
    "organisers_file",
    "read_folder",
    "read_organisers_file",
]

_TRUE_X_E = (1 / 3, 0.59644, 0.375)
_TRUE_F_A = (
    truncweibull_min(2.40, 0, 1 / 0.283, scale=0.283),
    truncweibull_min(1.80, 0, 1 / 0.212, scale=0.212),
)
_ENTROPY = 2025


class BudgetSpent(FlowcalError):
    """The real system has been asked for as many control points as it answers for."""


class RealSystem:
    """A system with a fixed X_e* and a fixed distribution f_a of X_a, neither of which it tells.

    It answers for `POINTS` control points with `HOURS` hours each. The same point shows the same hours again, and
    asking for it again costs nothing.

    Examples
    --------
    >>> system = RealSystem()
    >>> system.observe([0.533, 0.666, 0.5]).y.shape
    (100, 60, 6)
    >>> system.points_left
    9
    """

    POINTS = 10
    HOURS = 100

    def __init__(self) -> None:
        self._shown: dict[tuple[float, ...], xr.Dataset] = {}

    @property
    def points_left(self) -> int:
        """How many new control points it still answers for."""
        return self.POINTS - len(self._shown)

    def observe(self, x_c: Sequence[float]) -> xr.Dataset:
        """Hours at one control point.

        Parameters
        ----------
        x_c : sequence of float, shape (3,)
            Control inputs in [0, 1].

        Returns
        -------
        Dataset
            y (100, 60, 6) by sample, time and output, and the control point x_c of each sample.

        Raises
        ------
        InputError
            If x_c is not three numbers in [0, 1].
        BudgetSpent
            If ten other points have been asked for.
        """
        point = check_control_point(x_c)
        if point not in self._shown:
            if not self.points_left:
                raise BudgetSpent(
                    f"the real system has shown hours at {self.POINTS} control points and shows no more; asked for was "
                    f"{point}. Points it answers for: {', '.join(map(str, self._shown))}."
                )
            self._shown[point] = self._hours(point)
        return self._shown[point].copy(deep=True)

    def _hours(self, point: tuple[float, ...]) -> xr.Dataset:
        rng = default_rng(SeedSequence([_ENTROPY, *np.array(point).view(np.uint32).tolist()]))
        x = np.column_stack(
            [
                *(marginal.rvs(self.HOURS, random_state=rng) for marginal in _TRUE_F_A),
                np.tile([*_TRUE_X_E, *point], (self.HOURS, 1)),
            ]
        )
        y = WindFarm().simulate(x, rng.integers(1, SEED_MAX, self.HOURS, endpoint=True))
        return observed_hours(y, point)


def check_control_point(x_c: Sequence[float] | Sequence[str]) -> tuple[float, ...]:
    """The control point as a tuple of three floats, or an `InputError`."""
    try:
        point = tuple(float(value) + 0.0 for value in x_c)  # the sum makes -0 the same point as 0
    except (TypeError, ValueError):
        point = ()
    low, high = BOUNDS
    if isinstance(x_c, str) or len(point) != len(CONTROL) or not all(low <= value <= high for value in point):
        raise InputError(f"x_c is {x_c!r}; expected {len(CONTROL)} numbers in [0, 1]: {', '.join(CONTROL)}.")
    return point


def observed_hours(y: NDArray[np.float64], x_c: Sequence[float]) -> xr.Dataset:
    """Observed hours y (n, 60, 6) with the control point of each, as a dataset."""
    hours = labelled_hours(y, x_c=(("sample", "control"), np.tile(x_c, (len(y), 1))))
    return hours.assign_coords(control=list(CONTROL))


ORGANISERS_FILE = "Y_out_example.csv"
ORGANISERS_HOURS = 100
ORGANISERS_SHA256 = "504a9d5009d4497658455dd716948403a2ef67eb5f81ec45c4a9cae9b2e7df52"
ORGANISERS_ADDRESS = (
    "https://raw.githubusercontent.com/dnv-opensource/UQ-Challenge-2025/3ce7facacfccc445b8bb0f2417fac6bbcc3c7733/"
)

INDEX_FILE = "control_points.csv"
INDEX_HEADER = ["file", *CONTROL]
LARGEST_INDEX = 1_000_000  # bytes; room for some ten thousand files


class FetchFailed(FlowcalError):
    """The organisers' file could not be had from their repository."""


@dataclass(frozen=True)
class Source:
    """A real system that has been, or can be, observed.

    Attributes
    ----------
    name : str
        ``embedded`` for the embedded real system, ``organisers`` for the organisers' example hours, or the path of a
        folder laid out as `read_folder` asks.

    Raises
    ------
    InputError
        If the name is neither of the two words nor a folder with an index of control points.
    """

    name: str = "embedded"

    def __post_init__(self) -> None:
        if self.name not in ("embedded", "organisers") and not os.path.isfile(Path(self.name, INDEX_FILE)):
            raise InputError(
                f"observations are {self.name!r}; expected 'embedded', 'organisers' or a folder with a {INDEX_FILE}."
            )

    @property
    def identity(self) -> dict[str, str]:
        """What decides the hours: the name, and for a folder one SHA-256 over its index and the files that it names."""
        if self.name in ("embedded", "organisers"):
            return {"observations": self.name}
        folder = Path(self.name)
        named = [name for name, _ in _read_index(folder / INDEX_FILE)]
        digests = [_sha256(folder / name) for name in (INDEX_FILE, *named)]
        return {"observations": "folder", "sha256": hashlib.sha256("".join(digests).encode()).hexdigest()}


def observe(source: Source, control_points: Sequence[Sequence[float]] = TABLE_1) -> xr.Dataset:
    """Hours of a real system with their control points.

    Parameters
    ----------
    source : Source
    control_points : sequence of control points
        Where to ask the embedded real system; the others have been observed at points of their own.

    Returns
    -------
    Dataset
        y by sample, time and output, x_c by sample and control.

    Raises
    ------
    FetchFailed
        If the organisers' hours are asked for and are not to be had.
    InputError
        If a folder's index or one of its files does not fit.

    Examples
    --------
    >>> hours = observe(Source(), TABLE_1[:2])
    >>> dict(hours.y.sizes)
    {'sample': 200, 'time': 60, 'output': 6}
    """
    if source.name == "embedded":
        system = RealSystem()
        return xr.concat([system.observe(point) for point in control_points], "sample")
    if source.name == "organisers":
        return read_organisers_file(fetch_organisers_file())
    return read_folder(Path(source.name))


def organisers_file() -> Path | None:
    """The organisers' example hours on this machine, or None where they have not been fetched.

    Returns
    -------
    Path or None

    Raises
    ------
    FetchFailed
        If the file that stands in their place is another.
    """
    path = Path(_organisers_files().abspath) / ORGANISERS_FILE
    if path.exists() and not (path.is_file() and _sha256(path) == ORGANISERS_SHA256):
        raise FetchFailed(f"{path} is not the organisers' file: its SHA-256 is not {ORGANISERS_SHA256}; delete it.")
    return path if path.exists() else None


def fetch_organisers_file() -> Path:
    """The organisers' example hours, downloaded if they are not here yet, in either case with their checksum verified.

    Returns
    -------
    Path

    Raises
    ------
    FetchFailed
        If the file is not to be had, or is not the one it should be.
    """
    files = _organisers_files()
    try:
        return Path(files.fetch(ORGANISERS_FILE))
    except (OSError, ValueError) as error:
        raise FetchFailed(
            f"{ORGANISERS_FILE} could not be fetched from {files.get_url(ORGANISERS_FILE)}: {error}. "
            "Put the file into a folder of yours and name that in the environment variable FLOWCAL_DATA."
        ) from error


def read_organisers_file(path: Path) -> xr.Dataset:
    """The organisers' 100 hours at the control point that they print for them.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Dataset
        y by sample (100), time and output, x_c by sample and control.

    Raises
    ------
    TableError
        If the file does not hold a hundred hours of that form.
    """
    return observed_hours(read_observed_hours(path, ORGANISERS_HOURS), BASELINE)


def read_folder(folder: Path) -> xr.Dataset:
    """Your own observed hours.

    Parameters
    ----------
    folder : Path
        Holds `control_points.csv`, with the header ``file,X_c1,X_c2,X_c3`` and a row for every file of hours beside it;
        each such file is laid out as the organisers' `Y_out_example.csv`, with any number of hours.

    Returns
    -------
    Dataset
        y by sample, time and output, x_c by sample and control.

    Raises
    ------
    InputError
        If the index or a file does not fit; the message names it.
    """
    rows = _read_index(folder / INDEX_FILE)
    return xr.concat([observed_hours(read_observed_hours(folder / name), point) for name, point in rows], "sample")


def _organisers_files() -> "pooch.Pooch":
    """The organisers' public file at a pinned commit; the variable FLOWCAL_DATA names another folder for it."""
    import pooch  # warns of missing widgets in every notebook that imports it, so not before it is needed

    return pooch.create(
        path=pooch.os_cache("flowcal"),
        base_url=ORGANISERS_ADDRESS,
        registry={ORGANISERS_FILE: f"sha256:{ORGANISERS_SHA256}"},
        env="FLOWCAL_DATA",
    )


def _sha256(path: Path) -> str:
    """SHA-256 of a file, however large."""
    if os.path.exists(path) and not os.path.isfile(path):  # unlike Path's own, they take a name of any length
        raise InputError(f"{path} cannot be read: it is no file; {INDEX_FILE} names it.")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; {INDEX_FILE} names it.") from error


def _read_index(path: Path) -> list[tuple[str, tuple[float, ...]]]:
    try:
        if (size := path.stat().st_size) > LARGEST_INDEX:
            raise InputError(f"{path} has {size} bytes; expected at most {LARGEST_INDEX}.")
        text = path.read_text(encoding="utf-8")
        header, *rows = [row for row in csv.reader(text.splitlines()) if row] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read: {error}. Expected a file with the header {','.join(INDEX_HEADER)}."
        ) from error
    if header != INDEX_HEADER or not rows:
        raise InputError(
            f"{path} starts with {str(header)[:100]}; expected the header {','.join(INDEX_HEADER)} and a row a file."
        )
    named = [_read_index_row(row, path) for row in rows]
    if len({name for name, _ in named}) < len(named):
        raise InputError(f"{path} names a file more than once; expected one row a file.")
    return named


def _read_index_row(row: list[str], path: Path) -> tuple[str, tuple[float, ...]]:
    name, *numbers = row
    if Path(name).name != name or name in ("", "..") or "\0" in name:
        raise InputError(f"{path} names the file {name!r}; expected the name of a file in the same folder.")
    return name, check_control_point(numbers)
