"""Campaigns: run a design of experiments on any simulator, anywhere, and lose no finished run.

The runs are cut into chunks. As many chunks as take some seconds make a batch, which is simulated as a whole, here, in
other processes or on a Dask cluster. A chunk's result is one file that appears in full or not at all, written by the
worker where it sees the store and by this process elsewhere. Taking up a campaign again runs the chunks that are not
there yet. Runs that fail are tried apart from the others, and those that fail three times are listed in a quarantine.
Neither chunks nor workers change a result: a simulator's row knows nothing of its neighbours.
"""

import json
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from flowcal.errors import FlowcalWarning, InputError
from flowcal.simulate.batches import Outcome, Piece, run_batch, simulate_apart, simulate_checked, without_stored
from flowcal.simulate.crew import Crew, CrewLost, WorkerKilled, gather_crew, wait_for_crew
from flowcal.simulate.hours import label
from flowcal.simulate.quarantine import Quarantine
from flowcal.simulate.results import (
    CampaignError,
    MemoryResults,
    Results,
    StoredResults,
    campaign_digest,
    lock_path,
    rows_of,
)
from flowcal.simulate.simulator import SimulationError, Simulator, check_runs

__all__ = ["CampaignError", "CampaignIncomplete", "IncompleteWarning", "Runner", "campaign_path", "run_campaign"]

BATCH_SECONDS = 5.0
BATCH_RUNS = 10_000
HOPELESS = 3  # batches in which nothing succeeded, before any other has: the campaign stops


class CampaignIncomplete(CampaignError):
    """Some runs of a campaign failed; all others have been made, and are kept where the runner keeps any.

    Parameters
    ----------
    failures : list of SimulationError
        What went wrong, with rows counted over the whole campaign.
    runs : int
        Of the campaign.
    listed : Path or None
        File that lists the runs that failed.

    Attributes
    ----------
    failures : list of SimulationError
        What went wrong, with rows counted over the whole campaign.
    """

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
        Folder that keeps campaigns, each in a store named by the digest of its simulator and runs; None keeps the
        result in memory only.
    chunk : int
        Runs that are stored as one; a batch has as many chunks as take some seconds.
    allowed_share : float
        Share of a campaign's runs that may fail where not all are needed, in [0, 1).

    Raises
    ------
    InputError
        If `workers` or `chunk` is below 1, or `allowed_share` leaves [0, 1).
    """

    workers: int = 1
    scheduler: str | None = None
    folder: Path | None = None
    chunk: int = 1000
    allowed_share: float = 0.0

    def __post_init__(self) -> None:
        for name in ("workers", "chunk"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; needed is a whole number from 1 up.")
        if not 0 <= self.allowed_share < 1:
            raise InputError(f"allowed_share is {self.allowed_share}; needed is a number in [0, 1).")

    @property
    def identity(self) -> dict[str, float]:
        """What can change a result: only how many runs may be missing."""
        return {"allowed_share": self.allowed_share} if self.allowed_share else {}


def run_campaign(
    simulator: Simulator, x: ArrayLike, seed: ArrayLike, runner: Runner | None = None, all_needed: bool = True
) -> xr.Dataset:
    """Simulate every row of a design of experiments.

    Parameters
    ----------
    simulator : Simulator
    x : array_like, shape (n, 8)
        Inputs in [0, 1].
    seed : array_like of int, shape (n,)
    runner : Runner, optional
        Where to run and keep; here and in memory if not given.
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
    InputError
        If x or seed does not fit.
    CampaignError
        If the store is in use by another process, holds something else or cannot be written, or a scheduler is gone.
    CampaignIncomplete
        If more runs failed than may, after all others have been made; before that where nothing succeeds.

    Examples
    --------
    >>> from flowcal.simulate.windfarm import WindFarm
    >>> hours = run_campaign(WindFarm(), [[0.1, 0.2, 0.3, 0.4, 0.5, 0.533, 0.666, 0.5]] * 2, [10, 11])
    >>> dict(hours.y.sizes)
    {'sample': 2, 'time': 60, 'output': 6}
    """
    runner = runner or Runner()
    x, seed = check_runs(x, seed)
    allowed = 0 if all_needed else int(runner.allowed_share * len(x))
    if runner.folder is None:
        campaign = _Campaign(simulator, MemoryResults(x, seed, runner.chunk), Quarantine(None, x, seed), runner)
        campaign.run(allowed)
    else:
        path = campaign_path(runner.folder, simulator, x, seed)
        with _only_user(path), _told_of_the_disk(path):
            results = StoredResults(path, simulator.identity, x, seed, runner.chunk)
            campaign = _Campaign(simulator, results, Quarantine(path.with_suffix(".failed.json"), x, seed), runner)
            campaign.run(allowed)
    hours = label(campaign.results.dataset().assign_attrs(simulator=json.dumps(simulator.identity)))
    return _without(hours, campaign.quarantine)


def _without(hours: xr.Dataset, quarantine: Quarantine) -> xr.Dataset:
    """The hours of runs that succeeded."""
    if not len(quarantine):
        return hours
    said = f"{len(quarantine):,} of {hours.sizes['sample']:,} runs failed and are left out"
    warnings.warn(said, IncompleteWarning, stacklevel=3)
    return hours.drop_isel(sample=quarantine.rows).assign_attrs(incomplete=said)


def campaign_path(folder: Path, simulator: Simulator, x: NDArray[np.float64], seed: NDArray[np.int64]) -> Path:
    """Where a runner with this folder keeps the campaign of these runs on this simulator.

    Parameters
    ----------
    folder : Path
    simulator : Simulator
    x : ndarray, shape (n, 8)
    seed : ndarray, shape (n,)

    Returns
    -------
    Path
    """
    return folder / f"{campaign_digest(simulator.identity, x, seed)[:16]}.zarr"


@dataclass
class _Campaign:
    """A campaign under way."""

    simulator: Simulator
    results: Results
    quarantine: Quarantine
    runner: Runner
    _hopeless: int = 0  # batches in which nothing succeeded
    _made: int = 0
    _seconds: float = 0.0

    @property
    def _is_hopeless(self) -> bool:
        return self._hopeless >= HOPELESS and not self._made

    def run(self, allowed: int) -> None:
        """Make the runs that are missing, and those in quarantine unless so many are allowed to fail."""
        spared = self.quarantine.rows if len(self.quarantine) <= allowed else np.empty(0, np.int64)
        todo = {index: np.setdiff1d(rows, spared) for index, rows in self.results.missing().items()}
        todo = {index: rows for index, rows in todo.items() if len(rows)}
        progress = tqdm(
            total=len(self.results.x),
            initial=len(self.results.x) - sum(map(len, todo.values())),
            desc="simulating",
            unit="run",
            delay=2,
        )
        with progress:
            while todo:
                try:
                    with gather_crew(self.runner.workers, self.runner.scheduler) as crew:
                        self._drain(crew, todo, progress)
                except CrewLost:
                    wait_for_crew(self.runner.workers, self.runner.scheduler)
        failures = [self.quarantine.failure(row) for row in self.quarantine.rows.tolist()]
        if self._is_hopeless or len(failures) > allowed:
            raise CampaignIncomplete(failures, len(self.results.x), self.quarantine.path)

    def _drain(self, crew: Crew, todo: dict[int, NDArray[np.int64]], progress: tqdm) -> None:
        """Run what is to do and take it out of `todo` as it is done, few enough at a time to fit in memory."""
        waiting = deque(todo)
        running: dict[Future[Any], dict[int, Piece]] = {}
        try:
            while waiting or running:
                width = crew.width() if waiting else 0
                while waiting and len(running) < width:
                    count = 1 if crew.is_here else self._batch_size(len(waiting), width)
                    batch = {index: self._piece(index, todo[index]) for index in _take(waiting, count)}
                    running[crew.submit(run_batch, self.simulator, batch, self.results.shared)] = batch
                lost = None
                for future in crew.wait(running):
                    batch = running.pop(future)
                    try:
                        self._settle(crew, future, batch, todo)
                    except CrewLost as error:  # others that ended may have been in time
                        lost = error
                        continue
                    progress.update(sum(len(piece.x) for piece in batch.values()))
                    for index in batch:
                        del todo[index]
                if lost:
                    raise lost
                if self._is_hopeless:
                    todo.clear()
                    return
        finally:
            for future in running:
                future.cancel()

    def _batch_size(self, waiting: int, width: int) -> int:
        """Chunks that take some seconds by what others took, and no more than leave work for everyone."""
        if not self._made:
            return 1
        affordable = BATCH_SECONDS * self._made / max(self._seconds, 1e-9)
        return int(np.clip(min(affordable, BATCH_RUNS) // self.results.chunk, 1, -(-waiting // width)))

    def _piece(self, index: int, rows: NDArray[np.int64]) -> Piece:
        whole = len(rows) == len(self.results.seed[rows_of(index, self.results.chunk)])
        return Piece(self.results.x[rows], self.results.seed[rows], whole)

    def _settle(
        self, crew: Crew, future: Future[Any], batch: dict[int, Piece], todo: dict[int, NDArray[np.int64]]
    ) -> None:
        """Keep what came of a batch."""
        try:
            outcome = self._outcome(crew, future, batch)
        except (CrewLost, OSError):
            raise
        except SimulationError as error:
            self._hopeless += 1
            for index in batch:
                rows = todo[index]
                self.quarantine.settle(rows, {place: [error] for place in range(len(rows))})
            return
        except Exception as error:
            raise CampaignError(
                f"the campaign stopped, and finished chunks are kept: {type(error).__name__}, {error}. With workers, a "
                "script has to start the campaign under `if __name__ == '__main__':`, and its simulator has to be "
                "importable."
            ) from error
        self._made += outcome.runs
        self._seconds += outcome.seconds
        for index, rows in ((index, todo[index]) for index in batch):
            self._keep(index, rows, batch[index], outcome)

    def _outcome(self, crew: Crew, future: Future[Any], batch: dict[int, Piece]) -> Outcome:
        try:
            outcome: Outcome = crew.result(future)
            return outcome
        except WorkerKilled:
            return self._without_killers(crew, batch)

    def _keep(self, index: int, rows: NDArray[np.int64], piece: Piece, outcome: Outcome) -> None:
        self.quarantine.settle(rows, outcome.failures.get(index, {}))
        if index in outcome.y:
            y = outcome.y[index]
            if not piece.whole:
                y, part = np.array(self.results.get(index)), y
                y[rows - index * self.results.chunk] = part
            self.results.put(index, y)

    def _without_killers(self, crew: Crew, batch: dict[int, Piece]) -> Outcome:
        """A batch that killed its workers, in ever smaller groups, one at a time, so that the blame is certain."""

        def simulate(x: NDArray[np.float64], seed: NDArray[np.int64]) -> NDArray[np.float64]:
            try:
                y: NDArray[np.float64] = crew.result(crew.submit(simulate_checked, self.simulator, x, seed))
                return y
            except WorkerKilled as error:
                raise WorkerKilled(error.reason, np.arange(len(x))) from error

        outcome = Outcome()
        for index, piece in without_stored(batch, self.results.shared).items():
            outcome.y[index], failures = simulate_apart(simulate, piece.x, piece.seed, final=WorkerKilled)
            if failures:
                outcome.failures[index] = failures
        return outcome


@contextmanager
def _told_of_the_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CampaignError(
            f"the campaign stopped, and finished chunks are kept: {path} cannot be read or written, "
            f"{error.strerror or error}. Mend that or name another folder, and run the campaign again."
        ) from error


def _take(waiting: deque[int], count: int) -> list[int]:
    return [waiting.popleft() for _ in range(min(count, len(waiting)))]


@contextmanager
def _only_user(path: Path) -> Iterator[None]:
    """Hold the store's lock; the system frees it if this process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(lock_path(path))
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise CampaignError(f"{path} is in use by another process; wait for it or name another folder.") from None
    try:
        yield
    finally:
        lock.release()
