"""The text files that the organisers' program and the real system exchange, read strictly.

`input.txt` holds a run a row: the eight inputs and the seed. `Y_out.csv` has no header and 60 rows a run: the six
outputs and the run's number. Observed hours have the same rows under the header ``y1,…,y6,sample_no``, and may begin
with a row of zeros that means nothing.


A black box that is a program: the organisers' compiled model, or any other that speaks its protocol.

The program is called with the path of an `input.txt` and leaves a `Y_out.csv` in its working folder (see
`flowcal.simulate.program`). `flowcal simulate` is such a program around the embedded model.
"""

import hashlib
import os
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import INPUTS, OUTPUTS, POWERS, RATED_POWER, TIME_STEPS
from flowcal.errors import InputError
from flowcal.simulate.simulator import SimulationError, check_runs

__all__ = [
    "Executable",
    "OutputMalformed",
    "OutputMissing",
    "OutputNotFinite",
    "OutputShort",
    "ProgramFailed",
    "ProgramTimedOut",
    "ShortTableError",
    "TableError",
    "read_observed_hours",
    "read_output",
    "read_runs",
    "write_output",
    "write_runs",
]

OBSERVED_HEADER = ",".join([*OUTPUTS, "sample_no"])
BYTES_PER_NUMBER = 40  # no writer needs more; larger files are not what they claim to be
MOST_RUNS = 10_000_000


class TableError(InputError):
    """A table is not what its reader expects.

    Parameters
    ----------
    reason : str
        What is wrong, with the file's name.
    first_bad : int
        Position of the first run that the file does not give, or gives wrongly.
    """

    def __init__(self, reason: str, first_bad: int = 0) -> None:
        super().__init__(reason)
        self.first_bad = first_bad


class ShortTableError(TableError):
    """A table ends before its last run."""


def write_runs(path: Path, x: NDArray[np.float64], seed: NDArray[np.int64]) -> None:
    """Write `input.txt`: x (n, 8) and seed (n,) as rows of nine numbers that read back unchanged.

    Parameters
    ----------
    path : Path
    x : ndarray, shape (n, 8)
    seed : ndarray, shape (n,)

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    _write(path, x, seed)


def read_runs(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read `input.txt`.

    Parameters
    ----------
    path : Path

    Returns
    -------
    x : ndarray, shape (n, 8)
    seed : ndarray, shape (n,)

    Raises
    ------
    TableError
        If the file cannot be read or is no table of nine numbers a row.
    InputError
        If an input leaves [0, 1], or a seed is none.
    """
    table = _read_numbers(path, columns=len(INPUTS) + 1, most_rows=MOST_RUNS)
    return check_runs(table[:, :-1], table[:, -1])


def write_output(path: Path, y: NDArray[np.float64]) -> None:
    """Write `Y_out.csv` for y (n, 60, 6), runs numbered from 1, in numbers that read back unchanged.

    Parameters
    ----------
    path : Path
    y : ndarray, shape (n, 60, 6)

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    _write(path, y.reshape(-1, len(OUTPUTS)), np.repeat(np.arange(1, len(y) + 1), TIME_STEPS))


def read_output(path: Path, runs: int) -> NDArray[np.float64]:
    """Read `Y_out.csv` of a given number of runs into y (runs, 60, 6).

    Parameters
    ----------
    path : Path
    runs : int

    Returns
    -------
    ndarray, shape (runs, 60, 6)

    Raises
    ------
    TableError
        If a row is not seven numbers, rows are missing or left over, or runs are out of order. Values are not judged.
    """
    table = _read_numbers(path, columns=len(OUTPUTS) + 1, most_rows=runs * TIME_STEPS, last_may_be_cut=True)
    if len(table) < runs * TIME_STEPS:
        raise ShortTableError(
            f"{path.name} has {len(table)} rows; expected {runs * TIME_STEPS}, {TIME_STEPS} for each of {runs} runs.",
            first_bad=len(table) // TIME_STEPS,
        )
    return _split_runs(table, path)


def read_observed_hours(path: Path, hours: int | None = None) -> NDArray[np.float64]:
    """Read hours that the real system showed, such as the organisers' `Y_out_example.csv`.

    Parameters
    ----------
    path : Path
        File with the header ``y1,…,y6,sample_no``, a row of zeros that is skipped (it may be left out, unless the
        first minute is all zero itself), and 60 rows an hour.
    hours : int, optional
        How many hours the file has to hold; any number from one up if not given.

    Returns
    -------
    ndarray, shape (hours, 60, 6)

    Raises
    ------
    TableError
        If the header, the number or order of rows, or a value (not finite, negative, power above rated) is off.
    """
    _size(path)
    with _opened(path, errors="replace") as file:
        header = file.readline(200).strip()
    if header != OBSERVED_HEADER:
        raise TableError(f"{path.name} starts with {header[:60]!r}; expected the header {OBSERVED_HEADER!r}.")
    table = _read_numbers(path, columns=len(OUTPUTS) + 1, most_rows=MOST_RUNS, header=1)
    if len(table) and not table[0].any():
        table = table[1:]
    if len(table) % TIME_STEPS or len(table) == 0:
        raise TableError(
            f"{path.name} has {len(table)} rows of data, an all-zero first row not counted; expected {TIME_STEPS} "
            "for each hour.",
            first_bad=len(table) // TIME_STEPS,
        )
    if hours is not None and len(table) != hours * TIME_STEPS:
        raise TableError(f"{path.name} holds {len(table) // TIME_STEPS} hours; expected {hours}.")
    y = _split_runs(table, path)
    _check_values(y, path)
    return y


def _write(path: Path, numbers: NDArray[np.float64], last: NDArray[np.int64]) -> None:
    """Rows of numbers, each in the fewest digits that read back unchanged, and a whole number at the end of each."""
    try:
        with path.open("w", encoding="ascii") as file:
            for row, whole in zip(numbers, last.tolist(), strict=True):
                file.write(f"{','.join(map(repr, row.tolist()))},{whole}\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from error


def _opened(path: Path, errors: str = "strict") -> TextIO:
    try:
        return path.open(encoding="utf-8", errors=errors)
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror}.") from error


def _read_numbers(
    path: Path, columns: int, most_rows: int, header: int = 0, last_may_be_cut: bool = False
) -> NDArray[np.float64]:
    """A table of numbers, refused before it is read where it is larger than `most_rows` can be.

    A last line that its writer did not finish is left out where the caller counts the rows, and refused elsewhere.
    """
    size = _size(path)
    if size > (most_rows + 1) * columns * BYTES_PER_NUMBER:
        raise TableError(f"{path.name} has {size} bytes, more than {most_rows} rows of {columns} numbers take.")
    if size == 0:
        raise TableError(f"{path.name} is empty.")
    try:
        table = _load(path, header, most_rows + 1, last_may_be_cut)
    except ValueError as error:
        raise TableError(f"{path.name} is not a table of {columns} numbers a row: {error}.") from error
    if len(table) and table.shape[1] != columns:
        raise TableError(f"{path.name} has {table.shape[1]} columns; expected {columns}.")
    if len(table) > most_rows:
        raise TableError(f"{path.name} has more than the {most_rows} rows it may have.")
    return table


def _load(path: Path, header: int, rows: int, last_may_be_cut: bool) -> NDArray[np.float64]:
    try:
        return _load_opened(path, rows, header)
    except ValueError:
        with path.open("rb") as file:
            finished = sum(line.endswith(b"\n") for line in file) - header
        if not last_may_be_cut or not 0 < finished < rows:
            raise
        return _load_opened(path, finished, header)


def _load_opened(path: Path, rows: int, header: int) -> NDArray[np.float64]:
    """The rows of a file opened by us: by its name, NumPy would unpack what ends in .gz, to any size."""
    with _opened(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of lines without numbers
        return np.loadtxt(file, delimiter=",", ndmin=2, comments=None, skiprows=header, max_rows=rows)


def _size(path: Path) -> int:
    """Bytes of a file; what is none, such as a folder or a pipe that would be waited for, is refused."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # a name with a null character is no name
        reason = error.strerror if isinstance(error, OSError) else error
        raise TableError(f"{path} cannot be read: {reason}.") from error
    if not stat.S_ISREG(found.st_mode):
        raise TableError(f"{path} cannot be read: it is no file.")
    return found.st_size


def _split_runs(table: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    """The outputs (n, 60, 6) of a table whose last column has to count the runs from 0 or 1."""
    blocks = table.reshape(-1, TIME_STEPS, len(OUTPUTS) + 1)
    number = blocks[:, :, -1]
    first = number[0, 0] if number[0, 0] in (0, 1) else 1
    wrong = np.flatnonzero((number != first + np.arange(len(blocks))[:, None]).any(axis=1))
    if wrong.size:
        raise TableError(
            f"{path.name} gives run {wrong[0]} (counted from 0) the numbers {np.unique(number[wrong[0]])[:4]}; needed "
            f"are {TIME_STEPS} rows in turn for each run, numbered upwards from 0 or 1.",
            first_bad=int(wrong[0]),
        )
    return np.ascontiguousarray(blocks[:, :, :-1])


def _check_values(y: NDArray[np.float64], path: Path) -> None:
    powers = y[:, :, : len(POWERS)]
    for what, bad in (
        ("a value that is not finite", ~np.isfinite(y)),
        ("a negative value", y < 0),
        (f"a power above the rated {RATED_POWER} MW", powers > RATED_POWER * (1 + 1e-9)),
    ):
        if bad.any():
            hour, minute, output = np.argwhere(bad)[0].tolist()
            raise TableError(
                f"{path.name} has {what} in hour {hour}, minute {minute}, {OUTPUTS[output]}: {y[hour, minute, output]}",
                first_bad=hour,
            )


INPUT_FILE, OUTPUT_FILE, LOG_FILE = "input.txt", "Y_out.csv", "program.log"


class ProgramFailed(SimulationError):
    """The program could not be started or ended with a non-zero exit code."""


class ProgramTimedOut(SimulationError):
    """The program was still running at the time limit, and was killed."""


class OutputMissing(SimulationError):
    """The program ended well but left no `Y_out.csv`."""


class OutputShort(SimulationError):
    """`Y_out.csv` ends before the last run."""


class OutputMalformed(SimulationError):
    """`Y_out.csv` is not the table of numbers it has to be."""


class OutputNotFinite(SimulationError):
    """Some outputs are NaN or infinite."""


class Executable:
    """A program as a simulator (see `flowcal.simulate.simulator.Simulator` for the call).

    Every batch runs in a private folder that is removed afterwards, so batches may run side by side.

    Parameters
    ----------
    command : str, Path or sequence of str
        The program, or the program and its first arguments; the path of the input file is added last. No shell is
        involved.
    time_limit : float
        Seconds a batch may take.

    Raises
    ------
    InputError
        If there is no such program or the time limit is not positive.
    """

    def __init__(self, command: str | Path | Sequence[str], time_limit: float = 3600.0) -> None:
        program, *arguments = [command] if isinstance(command, str | Path) else list(command)
        if any("\0" in str(part) for part in (program, *arguments)):
            raise InputError(f"command is {command!r}, with a null character; expected names without.")
        found = shutil.which(program)
        if found is None:
            raise InputError(f"command names {str(program)!r}, which is no executable program; expected a path to one.")
        if not time_limit > 0:
            raise InputError(f"time_limit is {time_limit}; expected seconds above 0.")
        files = [str(Path(part).absolute()) if Path(part).is_file() else str(part) for part in arguments]
        self._command = [str(Path(found).absolute()), *files]  # the program runs in another folder
        self._time_limit = time_limit

    @cached_property
    def identity(self) -> dict[str, str]:
        """Arguments, and one SHA-256 over the program and those of its arguments that are files.

        Raises
        ------
        InputError
            If one of them cannot be read.
        """
        digest = hashlib.sha256()
        for path in filter(Path.is_file, map(Path, self._command)):
            try:
                digest.update(path.read_bytes())
            except OSError as error:
                raise InputError(
                    f"command names {str(path)!r}, which cannot be read, {error.strerror}; its content tells its "
                    "campaigns from those of others."
                ) from error
        return {"name": "executable", "arguments": shlex.join(self._command[1:]), "sha256": digest.hexdigest()}

    def simulate(self, x: ArrayLike, seed: ArrayLike) -> NDArray[np.float64]:
        """Run the hours.

        Parameters
        ----------
        x : array_like, shape (n, 8)
            Inputs in [0, 1].
        seed : array_like of int, shape (n,)

        Returns
        -------
        ndarray, shape (n, 60, 6)

        Raises
        ------
        InputError
            If x or seed does not fit.
        ProgramFailed, ProgramTimedOut, OutputMissing, OutputShort, OutputMalformed, OutputNotFinite
            If the program does not deliver; each names the runs concerned.
        """
        x, seed = check_runs(x, seed)
        if len(x) == 0:
            return np.empty((0, TIME_STEPS, len(OUTPUTS)))
        with tempfile.TemporaryDirectory(prefix="flowcal-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            write_runs(folder / INPUT_FILE, x, seed)
            self._run(folder, len(x))
            return _collect(folder / OUTPUT_FILE, len(x))

    def _run(self, folder: Path, runs: int) -> None:
        command = [*self._command, str(folder / INPUT_FILE)]
        everyone = np.arange(runs)
        # What the program prints goes to a file: a pipe could be kept open by a child that outlives it.
        with open(folder / LOG_FILE, "wb") as log:
            try:
                process = subprocess.Popen(
                    command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            except OSError as error:
                raise ProgramFailed(f"{command[0]} could not be started: {error.strerror}", everyone) from error
            try:
                code = process.wait(self._time_limit)
            except subprocess.TimeoutExpired:
                raise ProgramTimedOut(
                    f"{command[0]} was still running after {self._time_limit:g} s and was killed", everyone
                ) from None
            finally:
                _kill_group(process)
        if code != 0:
            said = _last_bytes(folder / LOG_FILE, 500).decode(errors="replace").strip() or "nothing"
            raise ProgramFailed(f"{command[0]} ended with exit code {code}; it said: {said}", everyone)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the program, and every child that it has left behind, which may still write."""
    if os.name == "posix":
        with suppress(ProcessLookupError):  # nobody is left
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _last_bytes(path: Path, most: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - most))
        return file.read(most)


def _collect(path: Path, runs: int) -> NDArray[np.float64]:
    if not path.exists():
        raise OutputMissing(f"the program left no {path.name}", np.arange(runs))
    try:
        y = read_output(path, runs)
    except TableError as error:
        kind = OutputShort if isinstance(error, ShortTableError) else OutputMalformed
        raise kind(str(error), np.arange(error.first_bad, runs)) from error
    bad = np.flatnonzero(~np.isfinite(y).all(axis=(1, 2)))
    if bad.size:
        raise OutputNotFinite(f"{path.name} holds NaN or infinity", bad)
    return y
