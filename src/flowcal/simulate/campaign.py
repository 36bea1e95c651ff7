"""Campaigns: run a design of experiments on any simulator, anywhere, and lose no finished run.

The runs are cut into chunks. As many chunks as take some seconds make a batch, which is simulated in one call: in this
process, in other processes of this machine, or on a Dask cluster. A worker that sees the store writes finished chunks
itself. Running a campaign again makes the chunks that are missing. Runs that fail are told apart from the others, and
those that fail three times are listed in a quarantine file. Neither chunks nor workers change a result.
"""

import json
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from flowcal.errors import FlowcalWarning
from flowcal.problem import check_counts, check_range
from flowcal.simulate.simulator import SimulationError, Simulator, check_runs, label, problem_of, simulate_checked
from flowcal.simulate.store import (
    CampaignError,
    Quarantine,
    Results,
    SharedStore,
    StoredResults,
    campaign_digest,
    only_user,
    rows_of,
)
from flowcal.simulate.workers import STOPPED, LostWithWorker, Workers, workers_of

__all__ = [
    "CampaignError",
    "CampaignIncomplete",
    "IncompleteWarning",
    "Runner",
    "WorkerKilled",
    "campaign_path",
    "run_campaign",
]

TRIES = 3  # how often a run is tried alone before it is given up
COSTLY_TRIES = 2  # the same for a run that takes all its time limit
HOPELESS = 3  # so many runs, or batches, have failed for good and none has succeeded
BATCH_SECONDS = 5.0
BATCH_RUNS = 10_000

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Failures = dict[int, list[SimulationError]]
"""By run, what each of its tries raised."""


class CampaignIncomplete(CampaignError):
    """Some runs of a campaign failed; `failures` are their errors, with rows counted over the whole campaign."""

    def __init__(self, failures: list[SimulationError], runs: int, listed: Path | None) -> None:
        self.failures = failures
        failed = sum(len(failure.rows) for failure in failures)
        where = f" They are listed in {listed}." if listed is not None and listed.exists() else ""
        super().__init__(
            f"{failed:,} of {runs:,} runs failed, the first by {type(failures[0]).__name__}: {failures[0]}.{where} Run "
            "the campaign again to try them once more, or allow a share of them to fail (Runner.allowed_share)."
        )


class IncompleteWarning(FlowcalWarning):
    """A campaign is used without the runs that failed."""


class WorkerKilled(SimulationError):
    """Runs ended every worker that they were given to."""


@dataclass(frozen=True)
class Runner:
    """Where runs happen and where finished ones are kept; nothing here changes a result.

    `workers` are processes on this machine; 1 runs everything in this one. A Dask `scheduler`, such as
    ``tcp://host:8786``, takes their place. Without a `folder`, which keeps each campaign in a store, results stay in
    memory. A `chunk` is so many runs that are stored as one; a batch has as many chunks as take some seconds. So large
    a share of a campaign, `allowed_share` in [0, 1), may fail where not all runs are needed.
    """

    workers: int = 1
    scheduler: str | None = None
    folder: Path | None = None
    chunk: int = 1000
    allowed_share: float = 0.0

    def __post_init__(self) -> None:
        check_counts(workers=self.workers, chunk=self.chunk)
        check_range(0, 1, "[)", allowed_share=self.allowed_share)

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
        x, seed and y by sample; stored outputs are read when needed. The attribute `incomplete` names a share left out.

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
    if runner.workers > 1 and _is_of_a_notebook(simulator):
        raise CampaignError(
            f"{type(simulator).__name__} is defined in a notebook; expected a simulator that {runner.workers} "
            "processes can import from a module. Move it to a file, or take workers=1."
        )
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


def _is_of_a_notebook(simulator: Simulator) -> bool:
    """Whether it is defined where no other process can import it: a kernel's `__main__` is no file."""
    main = sys.modules["__main__"]
    return type(simulator).__module__ == main.__name__ and not Path(getattr(main, "__file__", "")).is_file()


@contextmanager
def _told_of_the_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CampaignError(
            f"{STOPPED}: {path} cannot be read or written, {error.strerror or error}. Repair that or name another "
            "folder, and run the campaign again."
        ) from error


@dataclass(frozen=True)
class Piece:
    """The runs of a chunk that are to be made: rows of the campaign, x and seed; `whole` if they are all of it."""

    rows: Integers
    x: Array
    seed: Integers
    whole: bool


@dataclass
class Outcome:
    """What came of a batch: outputs of chunks that its worker has not stored, NaN where a run failed; errors by row."""

    y: dict[int, Array] = field(default_factory=dict)
    failures: Failures = field(default_factory=dict)
    runs: int = 0
    seconds: float = 0.0
    hopeless: int = 0  # as how many batches in which nothing succeeded it counts


def run_batch(
    simulate: Callable[..., Array],
    series: tuple[int, int],
    batch: Mapping[int, Piece],
    store: SharedStore | None,
    may_hang: bool = False,
) -> Outcome:
    """Simulate a batch, and store whole chunks here if this machine sees the store; stored chunks are not made again.

    `simulate` takes x (k, inputs) and seed (k,) to series (k, steps, outputs), or raises a `SimulationError`. Where it
    `may_hang`, the first run goes alone, so that a simulator that always hangs costs one time limit.
    """
    seen = store if store is not None and store.is_visible() else None
    batch = {index: piece for index, piece in batch.items() if not (seen and piece.whole and seen.has(index))}
    if not batch:
        return Outcome()
    start = time.perf_counter()
    rows, x, seed = (
        np.concatenate([getattr(piece, name) for piece in batch.values()]) for name in ("rows", "x", "seed")
    )
    try:
        y, failures = simulate_apart(simulate, x, seed, series, may_hang)
    except SimulationError as error:
        hopeless = HOPELESS if error.costly else 1
        return Outcome(failures={row: [error] for row in rows.tolist()}, hopeless=hopeless)
    outcome = Outcome({}, {int(rows[place]): errors for place, errors in failures.items()}, len(rows))
    outcome.seconds = time.perf_counter() - start
    parts = np.split(y, np.cumsum([len(piece.rows) for piece in batch.values()])[:-1])
    for (index, piece), part in zip(batch.items(), parts, strict=True):
        if seen and piece.whole and outcome.failures.keys().isdisjoint(piece.rows.tolist()):
            seen.put(index, part)
        else:
            outcome.y[index] = part
    return outcome


def simulate_apart(
    simulate: Callable[..., Array], x: Array, seed: Integers, series: tuple[int, int], may_hang: bool = False
) -> tuple[Array, Failures]:
    """Simulate runs together, and where that fails in smaller groups, so that only runs that fail alone are lost.

    Returns y (n, steps, outputs), NaN where a run failed, and errors by the run's place in x. If the first runs that
    were tried alone all fail, it raises the last error. Where it `may_hang`, one run is enough for that.
    """
    failures: Failures = {}
    y, succeeded = np.full((len(x), *series), np.nan), False
    everyone = np.arange(len(x))
    todo = [everyone[1:], everyone[:1]] if may_hang and len(x) > 1 else [everyone]
    while todo:
        rows = todo.pop()
        try:
            y[rows] = simulate(x[rows], seed[rows])
            succeeded = True
        except SimulationError as error:
            if len(rows) > 1:
                todo += _parts(rows, error)
                continue
            tries = failures.setdefault(int(rows[0]), [])
            tries.append(error)
            if may_hang and not succeeded and error.costly:
                raise
            if len(tries) < (COSTLY_TRIES if error.costly else TRIES):
                todo.append(rows)
            elif not succeeded and HOPELESS <= len(failures) < len(x):
                raise
            continue
        if len(rows) == 1:
            failures.pop(int(rows[0]), None)
    return y, failures


def _parts(rows: Integers, error: SimulationError) -> list[Integers]:
    """The runs that an error names and the others, which come first; halves where it names all.

    Where a time limit has passed, each run goes alone: halves would cost one time limit for each halving.
    """
    if error.costly:
        return np.array_split(rows, len(rows))[::-1]
    named = np.isin(np.arange(len(rows)), error.rows)
    return [rows[named], rows[~named]] if 0 < named.sum() < len(rows) else np.array_split(rows, 2)[::-1]


@dataclass
class _Campaign:
    """A campaign under way."""

    simulator: Simulator
    results: Results
    quarantine: Quarantine
    _hopeless: int = 0  # batches in which nothing succeeded
    _made: int = 0
    _seconds: float = 0.0
    _has_worked: bool = False  # some runs are stored

    @property
    def _is_hopeless(self) -> bool:
        return self._hopeless >= HOPELESS and not self._made

    def run(self, runner: Runner, allowed: int) -> None:
        """Make the runs that are missing, and those in quarantine unless so many are allowed to fail."""
        spared = self.quarantine.rows if len(self.quarantine.rows) <= allowed else np.empty(0, np.int64)
        todo = {index: np.setdiff1d(rows, spared) for index, rows in self.results.missing().items()}
        todo = {index: rows for index, rows in todo.items() if len(rows)}
        runs, done = len(self.results.x), len(self.results.x) - sum(map(len, todo.values()))
        self._has_worked = done > 0
        progress = tqdm(total=runs, initial=done, desc="simulating", unit="run", delay=2)
        if todo:
            with progress, workers_of(runner.workers, runner.scheduler) as workers:
                self._make(workers, todo, progress)
        failures = self.quarantine.failures
        if self._is_hopeless or len(failures) > allowed:
            raise CampaignIncomplete(failures, runs, self.quarantine.path)

    def _make(self, workers: Workers, todo: dict[int, Integers], progress: tqdm) -> None:
        """Make the rows of all chunks, few enough at a time to fit in memory.

        Chunks that are lost with their worker are submitted again. Those that are lost twice may have killed it, and
        are tried while nothing else runs, so that the blame is certain.
        """
        waiting, running = deque(todo), dict[Any, dict[int, Piece]]()
        lost, suspects = set[int](), deque[int]()
        try:
            while (waiting or running or suspects) and not self._is_hopeless:
                if suspects and not running:
                    batch = self._pieces([suspects.popleft()], todo)
                    self._settle(batch, self._make_apart(workers, batch), progress)
                    continue
                width = workers.width()
                while waiting and not suspects and len(running) < width:
                    batch = self._pieces(self._next(waiting, width), todo)
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

    def _pieces(self, chunks: list[int], todo: dict[int, Integers]) -> dict[int, Piece]:
        x, seed, chunk = self.results.x, self.results.seed, self.results.chunk
        return {
            index: Piece(rows, x[rows], seed[rows], len(rows) == len(seed[rows_of(index, chunk)]))
            for index, rows in ((index, todo[index]) for index in chunks)
        }

    def _submit(self, workers: Workers, batch: dict[int, Piece]) -> Any:
        simulate, series = partial(simulate_checked, self.simulator), problem_of(self.simulator).series
        may_hang = hasattr(self.simulator, "time_limit") and not self._has_worked
        return workers.submit(run_batch, simulate, series, batch, self.results.shared, may_hang)

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
        self._has_worked |= outcome.runs > 0
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
