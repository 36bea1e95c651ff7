"""What the real system showed: the embedded one, the organisers' example file, or a folder of your own files.

The embedded real system shows hours at few control points and keeps its truth to itself. Only `flowcal.report.truth`
may look at the truth; every method learns from the hours alone.
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

from flowcal.artifacts import note_file
from flowcal.challenge import BASELINE, CONTROL, PROBLEM, TABLE_1
from flowcal.errors import FlowcalError, InputError
from flowcal.problem import BOUNDS, Problem, check_counts, check_point, check_points
from flowcal.simulate.program import read_observed_hours
from flowcal.simulate.simulator import fresh_seeds, labelled_hours
from flowcal.simulate.tables import file_digest, open_text, parse_number
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
    "observed_hours",
    "organisers_file",
    "read_folder",
    "read_organisers_file",
]

_TRUE_X_E = (1 / 3, 0.59644, 0.375)
_TRUE_F_A = (truncweibull_min(2.40, 0, 1 / 0.283, scale=0.283), truncweibull_min(1.80, 0, 1 / 0.212, scale=0.212))
_ENTROPY = 2025

ORGANISERS_FILE = "Y_out_example.csv"
ORGANISERS_HOURS = 100
ORGANISERS_SHA256 = "504a9d5009d4497658455dd716948403a2ef67eb5f81ec45c4a9cae9b2e7df52"
ORGANISERS_ADDRESS = (
    "https://raw.githubusercontent.com/dnv-opensource/UQ-Challenge-2025/3ce7facacfccc445b8bb0f2417fac6bbcc3c7733/"
)

INDEX_FILE = "control_points.csv"
LARGEST_INDEX = 1_000_000  # bytes; room for some ten thousand files


class BudgetSpent(FlowcalError):
    """The real system has been asked for as many control points as it answers for."""


class FetchFailed(FlowcalError):
    """The organisers' file could not be downloaded, or another file is in its place."""


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
        """Hours y (100, 60, 6) at one control point (3,) in [0, 1], with that point as x_c of each sample.

        Raises `BudgetSpent` if ten other points have been asked for.
        """
        point = tuple((check_point(x_c, CONTROL, "x_c") + 0.0).tolist())  # the sum makes -0 the same point as 0
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
        x_a = [marginal.rvs(self.HOURS, random_state=rng) for marginal in _TRUE_F_A]
        x = np.column_stack([*x_a, np.tile([*_TRUE_X_E, *point], (self.HOURS, 1))])
        return observed_hours(WindFarm().simulate(x, fresh_seeds(self.HOURS, rng)), point)


def observed_hours(y: NDArray[np.float64], x_c: Sequence[float], problem: Problem = PROBLEM) -> xr.Dataset:
    """Observed hours y (n, steps, outputs) at one control point (controls,) as a dataset."""
    point = check_point(x_c, problem.control, "x_c")
    hours = labelled_hours(y, problem, x_c=(("sample", "control"), np.tile(point, (len(y), 1))))
    return hours.assign_coords(control=list(problem.control))


@dataclass(frozen=True)
class Source:
    """A real system that has been, or can be, observed.

    Its name is ``embedded`` for the embedded real system, ``organisers`` for the organisers' example hours, or the path
    of a folder laid out as `read_folder` asks.
    """

    name: str = "embedded"

    def __post_init__(self) -> None:
        is_folder = bool(self.name) and os.path.isfile(Path(str(self.name), INDEX_FILE))
        if self.name not in ("embedded", "organisers") and not is_folder:
            raise InputError(
                f"observations are {self.name!r}; expected 'embedded', 'organisers' or a folder with a {INDEX_FILE}."
            )

    @property
    def identity(self) -> dict[str, str]:
        """What decides the hours: the name, and for a folder one SHA-256 over its index and the files that it names."""
        if self.name in ("embedded", "organisers"):
            return {"observations": self.name}
        folder = Path(self.name)
        names = [INDEX_FILE, *(name for name, _ in _read_index(folder / INDEX_FILE, PROBLEM))]
        digests = [file_digest(folder / name, f"{INDEX_FILE} names it") for name in names]
        return {"observations": "folder", "sha256": hashlib.sha256("".join(digests).encode()).hexdigest()}


def observe(source: Source, control_points: Sequence[Sequence[float]] = TABLE_1) -> xr.Dataset:
    """Hours of a real system, y by sample, time and output, with their control points, x_c by sample and control.

    The control points are where to ask the embedded real system; the others have been observed at points of their own.

    Examples
    --------
    >>> hours = observe(Source(), TABLE_1[:2])
    >>> dict(hours.y.sizes)
    {'sample': 200, 'time': 60, 'output': 6}
    """
    if source.name == "embedded":
        system, points = RealSystem(), check_points(control_points, CONTROL, "control_points", within=True)
        check_counts(**{"the number of control_points": len(points)})
        return xr.concat([system.observe(point) for point in points.tolist()], "sample")
    if source.name == "organisers":
        return read_organisers_file(fetch_organisers_file())
    return read_folder(Path(source.name))


def organisers_file() -> Path | None:
    """The organisers' example hours on this machine, or None where they have not been fetched.

    Raises `FetchFailed` if another file is in their place.
    """
    path = Path(_organisers_files().abspath) / ORGANISERS_FILE
    note_file(path)
    if not path.exists():
        return None
    if not path.is_file() or file_digest(path, "it is the organisers'") != ORGANISERS_SHA256:
        raise FetchFailed(f"{path} is not the organisers' file: its SHA-256 is not {ORGANISERS_SHA256}; delete it.")
    return path


def fetch_organisers_file() -> Path:
    """The organisers' example hours, downloaded if they are not here yet, with their checksum verified.

    Raises `FetchFailed` if the file cannot be downloaded, or is not the one it should be.
    """
    files = _organisers_files()
    try:
        return Path(files.fetch(ORGANISERS_FILE))
    except (OSError, ValueError) as error:
        raise FetchFailed(
            f"{ORGANISERS_FILE} could not be fetched from {files.get_url(ORGANISERS_FILE)}: {error}. "
            "Put the file into a folder of yours and name that in the environment variable FLOWCAL_DATA."
        ) from error


def _organisers_files() -> "pooch.Pooch":
    """The organisers' public file at a pinned commit; the variable FLOWCAL_DATA names another folder for it."""
    import pooch  # warns of missing widgets in every notebook that imports it, so not before it is needed

    return pooch.create(
        path=pooch.os_cache("flowcal"),
        base_url=ORGANISERS_ADDRESS,
        registry={ORGANISERS_FILE: f"sha256:{ORGANISERS_SHA256}"},
        env="FLOWCAL_DATA",
    )


def read_organisers_file(path: Path) -> xr.Dataset:
    """The organisers' 100 hours at the control point that they print for them."""
    return observed_hours(read_observed_hours(path, ORGANISERS_HOURS), BASELINE)


def read_folder(folder: Path, problem: Problem = PROBLEM) -> xr.Dataset:
    """Your own observed hours, y by sample, time and output, and x_c by sample and control.

    The folder holds `control_points.csv`, with the header ``file,X_c1,X_c2,X_c3`` and a row for every file of hours
    beside it; each such file is laid out as the organisers' `Y_out_example.csv`, with any number of hours.
    """
    rows = _read_index(folder / INDEX_FILE, problem)
    hours = [observed_hours(read_observed_hours(folder / name, None, problem), x_c, problem) for name, x_c in rows]
    return xr.concat(hours, "sample")


def _read_index(path: Path, problem: Problem) -> list[tuple[str, tuple[float, ...]]]:
    """Names of files and their control points."""
    header = ["file", *problem.control]
    try:
        with open_text(path, LARGEST_INDEX) as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{path.name} cannot be read: {error}.") from error
    first, cells = rows[0] if rows else (1, [])
    if [cell.strip() for cell in cells] != header:
        raise InputError(
            f"{path.name}, row {first}, is {','.join(cells)[:100]!r}; expected the header {','.join(header)}."
        )
    if len(rows) < 2:
        raise InputError(f"{path.name} has no row below its header; expected one for every file of hours.")
    found = [_parse_index_row(f"{path.name}, row {line}", row, header) for line, row in rows[1:]]
    if len({name for name, _ in found}) < len(found):
        raise InputError(f"{path.name} names a file more than once; expected one row per file.")
    return found


def _parse_index_row(where: str, row: list[str], header: list[str]) -> tuple[str, tuple[float, ...]]:
    if len(row) != len(header):
        raise InputError(f"{where}, has {len(row)} columns; expected {len(header)}: {', '.join(header)}.")
    if Path(row[0]).name != row[0] or row[0] in ("", "..") or "\0" in row[0]:
        raise InputError(f"{where}, names the file {row[0][:100]!r}; expected the name of a file in the same folder.")
    return row[0], tuple(_parse_control(f"{where}, column {i}", cell) for i, cell in enumerate(row[1:], 2))


def _parse_control(where: str, cell: str) -> float:
    low, high = BOUNDS
    try:
        number = parse_number(cell) + 0.0
    except ValueError:
        number = np.nan
    if not low <= number <= high:
        raise InputError(f"{where}, is {cell[:40]!r}; expected a number in [{low:g}, {high:g}].")
    return number
