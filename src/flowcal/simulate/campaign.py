"""Campaigns: run a design of experiments on any simulator, anywhere, and lose no finished run.

The runs are cut into chunks. As many chunks as take some seconds make a batch, which is simulated in one call: in this
process, in other processes of this machine, or on a Dask cluster. A worker that sees the store writes finished chunks
itself. Running a campaign again makes the chunks that are missing. Runs that fail are told apart from the others, and
those that fail three times are listed in a quarantine file. Neither chunks nor workers change a result.
"""

import json
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from tqdm import tqdm

from flowcal.errors import FlowcalWarning, InputError
from flowcal.files import Record, read_record, write_json
from flowcal.simulate.batch import HOPELESS, Failures, Outcome, Piece, run_batch, simulate_checked
from flowcal.simulate.simulator import SimulationError, Simulator, check_runs, label, problem_of
from flowcal.simulate.store import CampaignError, Results, StoredResults, campaign_digest, only_user, rows_of
from flowcal.simulate.workers import LostWithWorker, Workers, workers_of

__all__ = [
    "CampaignError",
    "CampaignIncomplete",
    "IncompleteWarning",
    "Quarantine",
    "Runner",
    "WorkerKilled",
    "campaign_path",
    "run_campaign",
]

BATCH_SECONDS = 5.0
BATCH_RUNS = 10_000

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class CampaignIncomplete(CampaignError):
    """Some runs of a campaign failed; `failures` are their errors, with rows counted over the whole campaign."""

    def __init__(self, failures: list[SimulationError], runs: int, listed: Path | None) -> None:
        self.failures = failures
        failed = sum(len(failure.rows) for failure in failures)
        where = f" They are listed in {listed}." if listed is not None and listed.exists() else ""
        super().__init__(
            f"{failed:,} of {runs:,} runs failed, the first by {type(failures[0]).__name__}: {failures[0]}.{where} Run "
            "the campaign again to try them once more; what is trained on its runs can do without a share of them, see "
            "Runner.allowed_share."
        )


class IncompleteWarning(FlowcalWarning):
    """A campaign is used without the runs that failed."""


class WorkerKilled(SimulationError):
    """Runs ended every worker that they were given to."""


@dataclass(frozen=True)
class Runner:
    """Where runs happen and where finished ones are kept; nothing here changes a result.

    Attributes
    ----------
    workers : int
        Processes on this machine; 1 runs everything in this one.
    scheduler : str or None
        Address of a Dask scheduler, such as ``tcp://host:8786``; takes the place of `workers`.
    folder : Path or None
        Folder that keeps campaigns, each in its own store; None keeps the result in memory only.
    chunk : int
        Runs that are stored as one; a batch has as many chunks as take some seconds.
    allowed_share : float
        Share of a campaign's runs in [0, 1) that may fail where not all are needed.
    """

    workers: int = 1
    scheduler: str | None = None
    folder: Path | None = None
    chunk: int = 1000
    allowed_share: float = 0.0

    def __post_init__(self) -> None:
        for name in ("workers", "chunk"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected a whole number from 1 up.")
        if not 0 <= self.allowed_share < 1:
            raise InputError(f"allowed_share is {self.allowed_share}; expected a number in [0, 1).")

    @property
    def identity(self) -> dict[str, float]:
        """What can change a result: only how many runs may be missing."""
        return {"allowed_share": self.allowed_share} if self.allowed_share else {}


def run_campaign(
    simulator: Simulator, x: ArrayLike, seed: ArrayLike, runner: Runner | None = None, all_needed: bool = True
) -> xr.Dataset:
    """Simulate every row of a design of experiments x (n, inputs) in [0, 1] with seeds (n,).

    Parameters
    ----------
    runner : Runner, optional
        Without, runs happen in this process and their outputs stay in memory.
    all_needed : bool
        Whether every run counts. Where not, as in training, those that failed may be left out up to the runner's
        `allowed_share`, with an `IncompleteWarning`.

    Returns
    -------
    Dataset
        x, seed and y by sample; y is read from the store piece by piece where the runner keeps one. The attribute
        `incomplete` says which runs are left out where any are.

    Raises
    ------
    CampaignError
        If the store holds something else or cannot be written, or the scheduler or its workers cannot be used.
    CampaignIncomplete
        If more runs failed than may, after all others have been made; before that where nothing succeeds.

    Examples
    --------
    >>> from flowcal.simulate.windfarm import WindFarm
    >>> hours = run_campaign(WindFarm(), [[0.1, 0.2, 0.3, 0.4, 0.5, 0.533, 0.666, 0.5]] * 2, [10, 11])
    >>> dict(hours.y.sizes)
    {'sample': 2, 'time': 60, 'output': 6}
    """
    runner, problem, identity = runner or Runner(), problem_of(simulator), simulator.identity
    x, seed = check_runs(x, seed, problem)
    allowed = 0 if all_needed else int(runner.allowed_share * len(x))
    if runner.folder is None:
        campaign = _Campaign(simulator, Results(x, seed, runner.chunk, problem.series), Quarantine(None, x, seed))
        campaign.run(runner, allowed)
    else:
        path = campaign_path(runner.folder, simulator, x, seed)
        with _told_of_the_disk(path), only_user(path):
            results = StoredResults(path, identity, x, seed, runner.chunk, problem.series)
            campaign = _Campaign(simulator, results, Quarantine(path.with_suffix(".failed.json"), x, seed))
            campaign.run(runner, allowed)
    hours = label(campaign.results.dataset().assign_attrs(simulator=json.dumps(identity)), problem)
    if not campaign.quarantine.errors:
        return hours
    said = f"{len(campaign.quarantine.errors):,} of {len(x):,} runs failed and are left out"
    warnings.warn(said, IncompleteWarning, stacklevel=2)
    return hours.drop_isel(sample=campaign.quarantine.rows).assign_attrs(incomplete=said)


def campaign_path(folder: Path, simulator: Simulator, x: Array, seed: Integers) -> Path:
    """Where a runner with this folder keeps the campaign of these runs on this simulator."""
    return folder / f"{campaign_digest(simulator.identity, x, seed)[:16]}.zarr"


@contextmanager
def _told_of_the_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CampaignError(
            f"the campaign stopped, and finished chunks are kept: {path} cannot be read or written, "
            f"{error.strerror or error}. Mend that or name another folder, and run the campaign again."
        ) from error


class _FailedRun(Record):
    row: int
    x: tuple[float, ...]
    seed: int
    errors: Annotated[tuple[str, ...], Field(min_length=1)]


class _FailedRuns(Record):
    runs: tuple[_FailedRun, ...]


class Quarantine:
    """Runs that failed every time they were tried, by row of the campaign x and seed, listed in a JSON file if named.

    Raises
    ------
    CampaignError
        If the file exists and is no list of failed runs of this campaign.
    """

    def __init__(self, path: Path | None, x: Array, seed: Integers) -> None:
        self.path, self._x, self._seed = path, x, seed
        self.errors: dict[int, tuple[str, ...]] = {}
        self._raised: dict[int, SimulationError] = {}
        if path is not None and path.exists():
            self.errors = self._read(path)

    @property
    def rows(self) -> Integers:
        """Rows of the campaign, in order."""
        return np.array(sorted(self.errors), dtype=np.int64)

    @property
    def failures(self) -> list[SimulationError]:
        """What the last try of each run raised, in order of their rows."""
        rows = self.rows.tolist()
        return [self._raised.get(row) or SimulationError(self.errors[row][-1], [row]) for row in rows]

    def settle(self, rows: Integers, failures: Failures) -> None:
        """Note which of the rows that were tried have failed; the others are free."""
        before = set(self.errors)
        for row in rows.tolist():
            self.errors.pop(row, None)
            if row in failures:
                self.errors[row] = tuple(f"{type(error).__name__}: {error.reason}" for error in failures[row])
                self._raised[row] = type(failures[row][-1])(failures[row][-1].reason, [row])
        if self.path is not None and (before & set(rows.tolist()) or before != set(self.errors)):
            runs = [
                _FailedRun(row=row, x=tuple(self._x[row].tolist()), seed=int(self._seed[row]), errors=self.errors[row])
                for row in self.rows.tolist()
            ]
            write_json(self.path, _FailedRuns(runs=tuple(runs)))

    def _read(self, path: Path) -> dict[int, tuple[str, ...]]:
        try:
            runs = read_record(_FailedRuns, path).runs
            if not all(0 <= run.row < len(self._seed) and run.seed == self._seed[run.row] for run in runs):
                raise InputError("it lists runs of another campaign.")
        except InputError as error:
            raise CampaignError(
                f"{path} is no list of failed runs: {error} Delete the campaign's store or name another folder."
            ) from error
        return {run.row: run.errors for run in runs}


@dataclass
class _Campaign:
    """A campaign under way."""

    simulator: Simulator
    results: Results
    quarantine: Quarantine
    _hopeless: int = 0  # batches in which nothing succeeded
    _made: int = 0
    _seconds: float = 0.0

    @property
    def _is_hopeless(self) -> bool:
        return self._hopeless >= HOPELESS and not self._made

    def run(self, runner: Runner, allowed: int) -> None:
        """Make the runs that are missing, and those in quarantine unless so many are allowed to fail."""
        spared = self.quarantine.rows if len(self.quarantine.rows) <= allowed else np.empty(0, np.int64)
        todo = {index: np.setdiff1d(rows, spared) for index, rows in self.results.missing().items()}
        pieces = {index: self._piece(index, rows) for index, rows in todo.items() if len(rows)}
        runs = len(self.results.x)
        made = runs - sum(len(piece.rows) for piece in pieces.values())
        progress = tqdm(total=runs, initial=made, desc="simulating", unit="run", delay=2)
        if pieces:
            with progress, workers_of(runner.workers, runner.scheduler) as workers:
                self._make(workers, pieces, progress)
        failures = self.quarantine.failures
        if self._is_hopeless or len(failures) > allowed:
            raise CampaignIncomplete(failures, runs, self.quarantine.path)

    def _piece(self, index: int, rows: Integers) -> Piece:
        whole = len(rows) == len(self.results.seed[rows_of(index, self.results.chunk)])
        return Piece(rows, self.results.x[rows], self.results.seed[rows], whole)

    def _make(self, workers: Workers, pieces: dict[int, Piece], progress: tqdm) -> None:
        """Make all pieces, few enough at a time to fit in memory.

        Chunks that are lost with their worker are submitted again. Those that are lost twice may have killed it, and
        are tried while nothing else runs, so that the blame is certain.
        """
        waiting, running = deque(pieces), dict[Any, dict[int, Piece]]()
        lost, suspects = set[int](), deque[int]()
        try:
            while (waiting or running or suspects) and not self._is_hopeless:
                if suspects and not running:
                    batch = {suspects[0]: pieces[suspects.popleft()]}
                    self._settle(batch, self._make_apart(workers, batch), progress)
                    continue
                width = workers.width()
                while waiting and not suspects and len(running) < width:
                    batch = {index: pieces[index] for index in self._next(waiting, width)}
                    running[self._submit(workers, batch)] = batch
                for future in workers.wait(running):
                    batch = running.pop(future)
                    try:
                        self._settle(batch, workers.result(future), progress)
                    except LostWithWorker:
                        suspects.extend(index for index in batch if index in lost)
                        waiting.extendleft(index for index in batch if index not in lost)
                        lost.update(batch)
        finally:
            if running:
                workers.stop()

    def _next(self, waiting: deque[int], width: int) -> list[int]:
        """Chunks that take some seconds by what others took, and no more than leave work for everyone."""
        count = 1
        if self._made and width > 1:
            affordable = BATCH_SECONDS * self._made / max(self._seconds, 1e-9)
            count = int(np.clip(min(affordable, BATCH_RUNS) // self.results.chunk, 1, -(-len(waiting) // width)))
        return [waiting.popleft() for _ in range(count)]

    def _submit(self, workers: Workers, batch: dict[int, Piece]) -> Any:
        simulate, series = partial(simulate_checked, self.simulator), problem_of(self.simulator).series
        return workers.submit(run_batch, simulate, series, batch, self.results.shared)

    def _make_apart(self, workers: Workers, batch: dict[int, Piece]) -> Outcome:
        """A batch that may have killed its workers, in ever smaller groups, one at a time."""

        def simulate(x: Array, seed: Integers) -> Array:
            try:
                y: Array = workers.result(workers.submit(simulate_checked, self.simulator, x, seed))
                return y
            except LostWithWorker as error:
                raise WorkerKilled("every worker that it was given to ended", np.arange(len(x))) from error

        return run_batch(simulate, problem_of(self.simulator).series, batch, self.results.shared)

    def _settle(self, batch: dict[int, Piece], outcome: Outcome, progress: tqdm) -> None:
        """Keep what came of a batch."""
        self._hopeless += outcome.hopeless
        self._made += outcome.runs
        self._seconds += outcome.seconds
        for index, piece in batch.items():
            self.quarantine.settle(piece.rows, outcome.failures)
            if index in outcome.y:
                y = outcome.y[index]
                if not piece.whole:
                    y, part = np.array(self.results.get(index)), y
                    y[piece.rows - index * self.results.chunk] = part
                self.results.put(index, y)
            progress.update(len(piece.rows))
