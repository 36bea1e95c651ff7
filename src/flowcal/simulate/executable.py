"""A black box that is a program: the organisers' compiled model, or any other that speaks its protocol.

The program is called with the path of an `input.txt` and leaves a `Y_out.csv` in its working folder (see
`flowcal.simulate.exchange`). `flowcal simulate` is such a program around the embedded model.
"""

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flowcal.challenge import OUTPUTS, TIME_STEPS
from flowcal.errors import InputError
from flowcal.simulate.exchange import ShortTableError, TableError, read_output, write_runs
from flowcal.simulate.simulator import SimulationError, check_runs

__all__ = [
    "Executable",
    "OutputMalformed",
    "OutputMissing",
    "OutputNotFinite",
    "OutputShort",
    "ProgramFailed",
    "ProgramTimedOut",
]

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
            raise InputError(f"command is {command!r}, with a null character; needed are names without.")
        found = shutil.which(program)
        if found is None:
            raise InputError(
                f"command names {str(program)!r}, which is no executable program; needed is a path to one."
            )
        if not time_limit > 0:
            raise InputError(f"time_limit is {time_limit}; needed are seconds above 0.")
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
