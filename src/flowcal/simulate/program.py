"""A black box that is a program: the organisers' compiled model, or any other that speaks its protocol.

The program is called with the path of an `input.txt`, which holds the inputs and the seed of a run in each row. It
leaves a `Y_out.csv` in its working folder: no header, a row for each step of each run with the outputs and the run's
number. Observed hours have the same rows under a header such as ``y1,…,y6,sample_no``, and may begin with a row of
zeros that means nothing. `flowcal simulate` is such a program around the embedded model.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import PROBLEM
from flowcal.errors import InputError, visible
from flowcal.files import is_special, replaced, started, temporary_folder
from flowcal.problem import BOUNDS, SEED_MAX, Problem
from flowcal.simulate.simulator import SimulationError, check_runs, expected_of, fitting
from flowcal.simulate.tables import ShortTableError, TableError, file_digest, read_table

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
    "remove_output",
    "write_output",
    "write_runs",
]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

RUN_NUMBER = "sample_no"
SEEDS = f"a whole number in [1, {SEED_MAX}]"
MOST_RUNS = 10_000_000


def write_runs(path: Path, x: Array, seed: Integers) -> None:
    """Write `input.txt`: a row of inputs and seed for each run, in digits that read back unchanged."""
    _write(path, x, seed)


def read_runs(path: Path, problem: Problem = PROBLEM) -> tuple[Array, Integers]:
    """Read inputs x (n, inputs) in [0, 1] and seed (n,) from an `input.txt`, or a `TableError`."""
    table, lines = read_table(path, MOST_RUNS, len(problem.inputs) + 1)
    low, high = np.array([BOUNDS] * len(problem.inputs) + [(1, SEED_MAX)]).T
    fits = (table >= low) & (table <= high)
    fits[:, -1] &= table[:, -1] == np.trunc(table[:, -1])
    if not fits.all():
        row, column = np.argwhere(~fits)[0].tolist()
        name, expected = [*((name, "a number in [0, 1]") for name in problem.inputs), ("seed", SEEDS)][column]
        raise TableError(
            f"{path.name}, row {lines[row]}, column {column + 1}, {name}, is {table[row, column]}; expected {expected}."
        )
    return check_runs(table[:, :-1], table[:, -1], problem)


def write_output(path: Path, y: Array) -> None:
    """Write `Y_out.csv` for y (n, steps, outputs), runs numbered from 1, in digits that read back unchanged."""
    _write(path, y.reshape(-1, y.shape[2]), np.repeat(np.arange(1, len(y) + 1), y.shape[1]))


def remove_output(path: Path, runs: Path) -> None:
    """Remove an earlier `Y_out.csv`, lest somebody takes it for the output of runs that are refused."""
    if path.exists() and runs.exists() and path.samefile(runs):
        raise InputError(f"the output is {path}, which holds the runs; expected another file.")
    if path.is_file() and not is_special(path):
        path.unlink()


def read_output(path: Path, runs: int, problem: Problem = PROBLEM) -> Array:
    """Read y (runs, steps, outputs) from a `Y_out.csv`; NaN and infinity are passed on.

    Raises `TableError` if a row is not numbers, rows are missing, left over or out of order, or a value cannot be (see
    `fitting`).
    """
    expected = runs * problem.steps
    table, lines = read_table(path, expected, len(problem.outputs) + 1, last_may_be_cut=True)
    if len(table) < expected:
        raise ShortTableError(
            f"{path.name} has {len(table)} rows; expected {expected}, {problem.steps} for each of {runs} runs.",
            np.arange(len(table) // problem.steps, runs),
        )
    return _series(table, lines, path, problem)


def read_observed_hours(path: Path, hours: int | None = None, problem: Problem = PROBLEM) -> Array:
    """Read hours (n, steps, outputs) that the real system showed, such as the organisers' `Y_out_example.csv`.

    Columns are picked by their names in the header: the outputs and ``sample_no``; there may be others. A first row of
    zeros that belongs to no hour is skipped.

    The file has to hold so many hours, or any number from one up if none is given.
    """
    names = (*problem.outputs, RUN_NUMBER)
    table, lines = read_table(path, MOST_RUNS, names)
    if not table[0].any() and (len(table) % problem.steps or table[1:2].any()):  # else a calm hour begins so
        table, lines = table[1:], lines[1:]
    found, rest = divmod(len(table), problem.steps)
    if rest or not found:
        raise TableError(
            f"{path.name} has {len(table)} rows of data, an all-zero first row not counted; expected {problem.steps} "
            "for each hour."
        )
    if hours is not None and found != hours:
        raise TableError(f"{path.name} holds {found} hours; expected {hours}.")
    y = _series(table, lines, path, problem)
    _refuse(~np.isfinite(y), y, lines, path, problem)
    return y


def _write(path: Path, numbers: Array, last: Integers) -> None:
    try:
        with replaced(path) as draft, draft.open("w", encoding="ascii") as file:
            for row, whole in zip(numbers, last.tolist(), strict=True):
                file.write(f"{','.join(map(repr, row.tolist()))},{whole}\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from error


def _series(table: Array, lines: Integers, path: Path, problem: Problem) -> Array:
    """Outputs (n, steps, outputs) of a table whose last column counts the runs from 0 or 1, if they can be."""
    blocks = table.reshape(-1, problem.steps, len(problem.outputs) + 1)
    number = blocks[:, :, -1]
    expected = np.arange(len(blocks))[:, None] + (number[0, 0] if number[0, 0] in (0, 1) else 1)
    wrong = np.argwhere(number != expected)
    if wrong.size:
        run, step = wrong[0].tolist()
        raise TableError(
            f"{path.name}, row {lines[run * problem.steps + step]}, has the run number {number[run, step]:g}; expected "
            f"{expected[run, 0]:g}: {problem.steps} rows in turn for each run, numbered upwards from 0 or 1.",
            np.arange(run, len(blocks)),
        )
    y = np.ascontiguousarray(blocks[:, :, :-1])
    _refuse(np.isfinite(y) & ~fitting(y, problem), y, lines, path, problem)
    return y


def _refuse(bad: NDArray[np.bool_], y: Array, lines: Integers, path: Path, problem: Problem) -> None:
    if bad.any():
        run, step, output = np.argwhere(bad)[0].tolist()
        name, value = problem.outputs[output], y[run, step, output]
        raise TableError(
            f"{path.name}, row {lines[run * problem.steps + step]}, {name}, is {value}; expected "
            f"{expected_of(value, name, problem)}.",
            np.flatnonzero(bad.any(axis=(1, 2))),
        )


INPUT_FILE, OUTPUT_FILE = "input.txt", "Y_out.csv"
CODE_SUFFIXES = (".so", ".dll", ".exe", ".py", ".pyc", ".jar")
MOST_COMPANIONS = 100
MOST_SECONDS = 31_536_000


class ProgramFailed(SimulationError):
    """The program could not be started or ended with a non-zero exit code."""


class ProgramTimedOut(SimulationError):
    """The program was still running at the time limit, and was killed."""

    costly = True


class OutputMissing(SimulationError):
    """The program ended well but left no `Y_out.csv`."""


class OutputShort(SimulationError):
    """`Y_out.csv` ends before the last run."""


class OutputMalformed(SimulationError):
    """`Y_out.csv` is not the table of numbers it has to be, or a value cannot be."""


class OutputNotFinite(SimulationError):
    """Some outputs are NaN or infinite."""


class Executable:
    """A program as a simulator (see `flowcal.simulate.simulator.Simulator` for the call).

    Every batch runs in a private folder that is removed afterwards, so batches may run side by side.

    The command is the program, or the program and its first arguments; the path of the input file is added last. No
    shell is involved. A batch may take so many seconds (`time_limit`).
    """

    def __init__(
        self, command: str | Path | Sequence[str], time_limit: float = 3600.0, problem: Problem = PROBLEM
    ) -> None:
        parts = [str(command)] if isinstance(command, str | Path) else list(map(str, command))
        if not parts or any("\0" in part for part in parts):
            raise InputError(f"command is {command!r}; expected a program, and no null character.")
        found = shutil.which(parts[0])
        if found is None:
            raise InputError(f"command names {parts[0]!r}, which is no executable program; expected a path to one.")
        if not 0 < time_limit <= MOST_SECONDS:
            raise InputError(f"time_limit is {time_limit}; expected seconds above 0, at most {MOST_SECONDS} (a year).")
        files = [str(Path(part).absolute()) if Path(part).is_file() else part for part in parts[1:]]
        self._command = [str(Path(found).absolute()), *files]  # the program runs in another folder
        self.time_limit = time_limit
        self.problem = problem

    @property
    def identity(self) -> dict[str, str]:
        """Path, arguments, and one SHA-256 over the program, arguments that are files, and code beside the program."""
        program, *arguments = self._command
        named = [Path(program), *filter(Path.is_file, map(Path, arguments))]
        digest = hashlib.sha256()
        for path in (*named, *_companions(Path(program))):
            digest.update(file_digest(path, "its content tells the program's campaigns from those of others").encode())
        return {
            "name": "executable",
            "program": program,
            "arguments": shlex.join(arguments),
            "sha256": digest.hexdigest(),
        }

    def simulate(self, x: ArrayLike, seed: ArrayLike) -> Array:
        """Simulate series (n, steps, outputs) at inputs x (n, inputs) in [0, 1], with integer seeds (n,).

        Raises
        ------
        ProgramFailed, ProgramTimedOut, OutputMissing, OutputShort, OutputMalformed, OutputNotFinite
            If the program does not deliver; each names the runs concerned.
        """
        x, seed = check_runs(x, seed, self.problem)
        if len(x) == 0:
            return np.empty((0, *self.problem.series))
        with temporary_folder() as folder:
            write_runs(folder / INPUT_FILE, x, seed)
            self._run(folder, len(x))
            return self._collect(folder / OUTPUT_FILE, len(x))

    def _run(self, folder: Path, runs: int) -> None:
        command, everyone = [*self._command, str(folder / INPUT_FILE)], np.arange(runs)
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        try:
            with started(command, cwd=folder, **pipes) as process:
                printed = _Tail(process)
                code = process.wait(self.time_limit)
        except OSError as error:
            raise ProgramFailed(f"{command[0]} could not be started: {error.strerror}", everyone) from error
        except subprocess.TimeoutExpired:
            reason = f"{command[0]} was still running after {self.time_limit:g} s and was killed"
            _say(reason)
            raise ProgramTimedOut(reason, everyone) from None
        if code != 0:
            said = printed.text() or "nothing"
            raise ProgramFailed(f"{command[0]} ended with exit code {code}; it said: {said}", everyone)

    def _collect(self, path: Path, runs: int) -> Array:
        if not path.exists():
            raise OutputMissing(f"the program left no {path.name}", np.arange(runs))
        try:
            y = read_output(path, runs, self.problem)
        except TableError as error:
            kind = OutputShort if isinstance(error, ShortTableError) else OutputMalformed
            raise kind(str(error), np.arange(runs) if error.bad_runs is None else error.bad_runs) from error
        bad = np.flatnonzero(~np.isfinite(y).all(axis=(1, 2)))
        if bad.size:
            raise OutputNotFinite(f"{path.name} holds NaN or infinity", bad)
        return y


@cache
def _say(reason: str) -> None:
    """Tell at once, and once, what costs a time limit: the next call may take as long."""
    print(visible(f"flowcal: {reason}"), file=sys.__stderr__, flush=True)


def _companions(program: Path) -> list[Path]:
    """Executables and libraries in a program's own folder, which it may run; none where that folder is a common one."""
    program = program.resolve()
    common = {Path(folder).resolve() for folder in os.environ.get("PATH", "").split(os.pathsep)}
    if program.parent in common:
        return []
    files = [path for path in sorted(program.parent.iterdir()) if path.is_file() and path != program]
    code = [path for path in files if path.suffix in CODE_SUFFIXES or os.access(path, os.X_OK)]
    return code if len(code) <= MOST_COMPANIONS else []


class _Tail:
    """Reads what a program prints, and keeps the last 500 bytes of it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._last = b""
        self._thread = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._thread.start()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            while part := os.read(pipe.fileno(), 1 << 16):
                self._last = (self._last + part)[-500:]

    def text(self) -> str:
        """What was printed last, once the program has ended and been killed with its children."""
        self._thread.join(5)  # a child in a session of its own may keep the pipe open
        return visible(self._last.decode(errors="replace")).strip()
