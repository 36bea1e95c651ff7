"""A batch: some chunks of a campaign, simulated in one call wherever a worker is, with failing runs told apart.

Who runs the batches of a campaign: this process, processes of this machine, or the workers of a Dask cluster.

The quarantine of a campaign: runs that failed every time they were tried, with their inputs and errors.

Campaigns: run a design of experiments on any simulator, anywhere, and lose no finished run.

The runs are cut into chunks. As many chunks as take some seconds make a batch, which is simulated as a whole, here, in
other processes or on a Dask cluster. A chunk's result is one file that appears in full or not at all, written by the
worker where it sees the store and by this process elsewhere. Taking up a campaign again runs the chunks that are not
there yet. Runs that fail are tried apart from the others, and those that fail three times are listed in a quarantine.
Neither chunks nor workers change a result: a simulator's row knows nothing of its neighbours.
"""

import json
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from flowcal.errors import FlowcalWarning, InputError
from flowcal.files import read_json
from flowcal.simulate.simulator import SimulationError, Simulator, check_runs, label
from flowcal.simulate.store import (
    HOUR,
    CampaignError,
    MemoryResults,
    Results,
    SharedStore,
    StoredResults,
    campaign_digest,
    lock_path,
    rows_of,
)

if TYPE_CHECKING:
    import distributed
    from distributed import Client


__all__ = [
    "CampaignError",
    "CampaignIncomplete",
    "Crew",
    "CrewLost",
    "IncompleteWarning",
    "Outcome",
    "Piece",
    "Quarantine",
    "Runner",
    "TRIES",
    "WorkerKilled",
    "campaign_path",
    "gather_crew",
    "run_batch",
    "run_campaign",
    "simulate_apart",
    "simulate_checked",
    "wait_for_crew",
    "without_stored",
]

TRIES = 3
"""How often a run is tried before it is given up."""

HOPELESS = 3  # so many runs have failed for good and none has succeeded: it is no matter of single runs

Failures = dict[int, list[SimulationError]]


@dataclass(frozen=True)
class Piece:
    """The runs of a chunk that are to be made.

    Attributes
    ----------
    x : ndarray, shape (n, 8)
    seed : ndarray, shape (n,)
    whole : bool
        Whether these are all runs of the chunk.
    """

    x: NDArray[np.float64]
    seed: NDArray[np.int64]
    whole: bool


@dataclass
class Outcome:
    """What came of a batch.

    Attributes
    ----------
    y : dict of int to ndarray (n, 60, 6)
        Outputs by chunk, NaN where a run failed; chunks that the worker has stored itself are not among them.
    failures : dict of int to dict
        By chunk: what each try of a run said, by the run's place in the piece.
    runs : int
        How many runs were made.
    seconds : float
        What they took.
    """

    y: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    failures: dict[int, Failures] = field(default_factory=dict)
    runs: int = 0
    seconds: float = 0.0


def run_batch(simulator: Simulator, pieces: Mapping[int, Piece], store: SharedStore | None = None) -> Outcome:
    """Simulate pieces of a campaign, by chunk, and store whole chunks here if this machine sees the store.

    Parameters
    ----------
    simulator : Simulator
    pieces : mapping of int to Piece
        What to simulate, by chunk.
    store : SharedStore, optional
        Where whole chunks are put down if this machine sees it; all are returned if not given.

    Returns
    -------
    Outcome

    Raises
    ------
    SimulationError
        If all runs fail that are tried, three at least.
    OSError
        If the store cannot be written.
    """
    seen = store if store is not None and store.is_visible() else None
    pieces = without_stored(pieces, seen)
    if not pieces:
        return Outcome()
    start = time.perf_counter()
    x, seed = (np.concatenate([getattr(piece, name) for piece in pieces.values()]) for name in ("x", "seed"))
    y, failures = simulate_apart(partial(simulate_checked, simulator), x, seed)
    outcome = Outcome(runs=len(x), seconds=time.perf_counter() - start)
    first = 0
    for index, piece in pieces.items():
        last = first + len(piece.x)
        failed = {row - first: errors for row, errors in failures.items() if first <= row < last}
        if failed:
            outcome.failures[index] = failed
        if seen and piece.whole and not failed:
            seen.put(index, y[first:last])
        else:
            outcome.y[index] = y[first:last]
        first = last
    return outcome


def without_stored(pieces: Mapping[int, Piece], store: SharedStore | None) -> dict[int, Piece]:
    """Pieces that are still to be made: others a worker has stored, which was lost before it could say so.

    Parameters
    ----------
    pieces : mapping of int to Piece
        By chunk.
    store : SharedStore or None
        One that this machine sees; None holds nothing.

    Returns
    -------
    dict of int to Piece
    """
    return {index: piece for index, piece in pieces.items() if not (store and piece.whole and store.has(index))}


def simulate_apart(
    simulate: Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]],
    x: NDArray[np.float64],
    seed: NDArray[np.int64],
    final: type[SimulationError] | None = None,
) -> tuple[NDArray[np.float64], Failures]:
    """Simulate runs together, and where that fails in ever smaller groups; left out are only those that fail alone.

    Parameters
    ----------
    simulate : callable
        From x (k, 8) and seed (k,) to y (k, 60, 6), all or none.
    x : ndarray, shape (n, 8)
    seed : ndarray, shape (n,)
    final : type, optional
        Of errors after which a run that was alone is not tried again.

    Returns
    -------
    y : ndarray, shape (n, 60, 6)
        NaN where a run failed.
    failures : dict of int to list of SimulationError
        What each of the tries said, by row.

    Raises
    ------
    SimulationError
        If the first runs that were tried alone all fail: the last error, for all rows.
    """
    failures: Failures = {}
    y, succeeded = np.full((len(x), *HOUR), np.nan), False
    todo = [np.arange(len(x))]
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
            if len(tries) < TRIES and not (final and isinstance(error, final)):
                todo.append(rows)
            elif not succeeded and HOPELESS <= len(failures) < len(x):
                raise type(error)(error.reason, np.arange(len(x))) from error
            continue
        if len(rows) == 1:
            failures.pop(int(rows[0]), None)
    return y, failures


def simulate_checked(simulator: Simulator, x: NDArray[np.float64], seed: NDArray[np.int64]) -> NDArray[np.float64]:
    """Some runs, refused unless they are what a simulator has to return.

    Parameters
    ----------
    simulator : Simulator
    x : ndarray, shape (n, 8)
    seed : ndarray, shape (n,)

    Returns
    -------
    ndarray, shape (n, 60, 6)

    Raises
    ------
    SimulationError
        If the simulator raises anything, returns another shape, or returns NaN or infinity.
    """
    try:
        y = np.asarray(simulator.simulate(x, seed))
    except SimulationError:
        raise
    except Exception as error:  # whatever a simulator of the user's may raise concerns these runs alone
        raise SimulationError(f"{type(error).__name__}: {error}", np.arange(len(x))) from error
    if y.shape != (len(x), *HOUR):
        raise SimulationError(f"the simulator returned shape {y.shape}; expected {(len(x), *HOUR)}", np.arange(len(x)))
    if y.dtype.kind not in "iuf":
        raise SimulationError(f"the simulator returned {y.dtype} values; expected real numbers", np.arange(len(x)))
    bad = np.flatnonzero(~np.isfinite(y).all(axis=(1, 2)))
    if bad.size:
        raise SimulationError("the simulator returned NaN or infinity", bad)
    return y


def _parts(rows: NDArray[np.int64], error: SimulationError) -> list[NDArray[np.int64]]:
    """The runs that an error names and the others, which come first; halves where it names all."""
    named = np.isin(np.arange(len(rows)), error.rows)
    return [rows[named], rows[~named]] if 0 < named.sum() < len(rows) else np.array_split(rows, 2)[::-1]


PATIENCE = 600.0  # seconds to wait for a scheduler that was there and is gone
PULSE = 10.0  # seconds without a result after which to see if anybody is there
ANSWER = 10.0  # seconds that a scheduler may take to answer
PRIVATE = {"dashboard_address": "localhost:0", "worker_dashboard_address": "localhost:0"}  # web pages, on by default


class CrewLost(Exception):
    """The scheduler is gone, and with it what was under way."""


class WorkerKilled(SimulationError):
    """Runs ended every worker that they were given to."""


class Crew:
    """Those who make calls, how many there are, and what became of what they were given.

    Parameters
    ----------
    client : Client or None
        Of a Dask cluster; None runs everything in this thread.
    """

    def __init__(self, client: "Client | None") -> None:
        self._client = client

    @property
    def is_here(self) -> bool:
        """Whether all is run in this thread."""
        return self._client is None

    def width(self) -> int:
        """How many batches to have under way: two for each thread that is there at the moment.

        Returns
        -------
        int

        Raises
        ------
        CrewLost
            If the scheduler is gone.
        """
        if self._client is None:
            return 1
        with _noticing_loss():
            threads: int = sum(self._client.nthreads().values())
        return 2 * max(1, threads)

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Have a call made.

        Parameters
        ----------
        function : callable
        *args : any
            Its arguments.

        Returns
        -------
        Future
            Of what the call will return or raise.

        Raises
        ------
        CrewLost
            If the scheduler is gone.
        """
        future: Future[Any] = Future()
        if self._client is None:
            future.set_running_or_notify_cancel()
            _settle(future, partial(function, *args))
            return future
        try:
            with _noticing_loss():
                there = self._client.submit(function, *args, pure=False)
                there.add_done_callback(partial(_hand_over, future))
        except TypeError as error:  # it cannot be sent
            future.set_exception(error)
            return future
        future.add_done_callback(lambda done: there.cancel() if done.cancelled() else None)
        return future

    def wait(self, futures: Iterable[Future[Any]]) -> set[Future[Any]]:
        """Wait until some calls have ended.

        Parameters
        ----------
        futures : iterable of Future
            From `submit`.

        Returns
        -------
        set of Future
            Those that have ended.

        Raises
        ------
        CrewLost
            If the scheduler is gone.
        """
        while not (ended := wait(futures, None if self.is_here else PULSE, FIRST_COMPLETED).done):
            self._muster()
        return ended

    def _muster(self) -> None:
        """Start again processes of this machine that Dask has given up; say where a cluster has no workers."""
        if self._client is None:
            return
        if self._client.cluster is not None:
            self._client.cluster.scale(len(self._client.cluster.worker_spec))
        with _noticing_loss():
            if not self._client.nthreads():
                warnings.warn("there are no workers at the moment; waiting for some", FlowcalWarning, stacklevel=2)

    def result(self, future: Future[Any]) -> Any:
        """What a call returned, once it has; whatever it raised is raised here.

        Parameters
        ----------
        future : Future
            From `submit`.

        Returns
        -------
        any

        Raises
        ------
        CrewLost
            If the scheduler is gone, and with it the result.
        WorkerKilled
            If every worker that the call was given to ended.
        """
        self.wait([future])
        if self._client is None:
            return future.result()
        from distributed import KilledWorker
        from distributed.comm.core import CommClosedError

        try:
            return future.result()
        except (CancelledError, CommClosedError) as error:
            raise CrewLost from error
        except KilledWorker as error:
            raise WorkerKilled("every worker that it was given to ended", []) from error


@contextmanager
def gather_crew(workers: int, scheduler: str | None) -> Iterator[Crew]:
    """The crew of this many processes, which stay for the next campaign, or of the cluster whose scheduler is named.

    Parameters
    ----------
    workers : int
        Processes of this machine; 1 is this one.
    scheduler : str or None
        Address of a Dask scheduler, in place of processes.

    Yields
    ------
    Crew

    Raises
    ------
    CampaignError
        If no scheduler answers.
    """
    if scheduler is None and workers == 1:
        yield Crew(None)
        return
    try:
        client = _processes(workers) if scheduler is None else _connect(scheduler)
    except (OSError, ValueError, TypeError, RuntimeError) as error:  # the last two where certificates are missing
        raise CampaignError(f"no Dask scheduler answers at {scheduler!r}: {error}") from error
    try:
        yield Crew(client)
    finally:
        if scheduler is not None:
            client.close()


def wait_for_crew(workers: int, scheduler: str | None) -> None:
    """Wait until a scheduler that is gone has come back; processes of this machine are started anew.

    Parameters
    ----------
    workers : int
    scheduler : str or None
        As for `gather_crew`.

    Raises
    ------
    CampaignError
        If none has come back within ten minutes.
    """
    _processes.cache_clear()
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with gather_crew(workers, scheduler):
                return
        except CampaignError as error:
            if time.monotonic() > deadline:
                raise CampaignError(
                    f"the scheduler has been gone for {PATIENCE:.0f} s, and finished chunks are kept: {error}"
                ) from error
            time.sleep(1)


def _connect(address: str) -> "Client":
    from distributed import Client  # a second to import, needed on clusters only

    return Client(address, timeout=ANSWER, set_as_default=False)


@cache
def _processes(workers: int) -> "Client":
    """Processes of this machine, which end with this one."""
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):  # the blame is then found one at a time
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, **PRIVATE, memory_limit=0)
    return Client(cluster, set_as_default=False)


def _hand_over(future: Future[Any], there: "distributed.Future[Any]") -> None:
    """Pass on what became of a call on the cluster.

    Dask's own executor never does where a result is lost with its worker and the next try fails.
    """
    if future.set_running_or_notify_cancel():
        _settle(future, there.result)


def _settle(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        future.set_result(call())
    except Exception as error:
        future.set_exception(error)


@contextmanager
def _noticing_loss() -> Iterator[None]:
    from distributed.client import ClosedClientError

    try:
        yield
    except (OSError, RuntimeError, ClosedClientError) as error:  # a closed connection, loop or client
        raise CrewLost from error


@dataclass
class Quarantine:
    """Runs that failed, by row of the campaign.

    Attributes
    ----------
    path : Path or None
        JSON file that lists them; None keeps no file.
    x, seed : ndarray, shapes (n, 8) and (n,)
        All runs of the campaign.

    Raises
    ------
    CampaignError
        If the file is there and is no list of failed runs of this campaign.
    """

    path: Path | None
    x: NDArray[np.float64]
    seed: NDArray[np.int64]

    def __post_init__(self) -> None:
        self.errors: dict[int, list[str]] = {}
        self._raised: dict[int, SimulationError] = {}
        if self.path is not None and self.path.exists():
            self.errors = self._read(self.path)

    def __len__(self) -> int:
        return len(self.errors)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the campaign, in order."""
        return np.array(sorted(self.errors), dtype=np.int64)

    def failure(self, row: int) -> SimulationError:
        """What the last try of a run said.

        Parameters
        ----------
        row : int
            One of `rows`.

        Returns
        -------
        SimulationError
        """
        return self._raised.get(row) or SimulationError(self.errors[row][-1], [row])

    def settle(self, rows: NDArray[np.int64], failed: dict[int, list[SimulationError]]) -> None:
        """Take up which of some runs that were tried have failed; the others are free.

        Parameters
        ----------
        rows : ndarray of int
            Rows of the campaign that were tried.
        failed : dict of int to list of SimulationError
            What each try said, by the place in `rows` of a run that failed.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        before = set(self.errors)
        for row in rows.tolist():
            self.errors.pop(row, None)
        for place, errors in failed.items():
            row = int(rows[place])
            self.errors[row] = [f"{type(error).__name__}: {error.reason}" for error in errors]
            self._raised[row] = type(errors[-1])(errors[-1].reason, [row])
        if self.path is not None and (failed or before != set(self.errors)):
            self._write(self.path)

    def _write(self, path: Path) -> None:
        runs = [
            {"row": row, "x": self.x[row].tolist(), "seed": int(self.seed[row]), "errors": self.errors[row]}
            for row in self.rows.tolist()
        ]
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps({"runs": runs}, indent=1) + "\n")
        draft.replace(path)

    def _read(self, path: Path) -> dict[int, list[str]]:
        try:
            return {self._row(run): _texts(run["errors"]) for run in read_json(path)["runs"]}
        except (ValueError, KeyError, TypeError) as error:
            raise CampaignError(
                f"{path} is no list of failed runs: {error}. Delete the campaign's store or name another folder."
            ) from error

    def _row(self, run: dict[str, Any]) -> int:
        row = run["row"]
        if not isinstance(row, int) or not 0 <= row < len(self.seed) or run["seed"] != self.seed[row]:
            raise ValueError(f"row {row!r} is none of this campaign's")
        return row


def _texts(errors: list[str]) -> list[str]:
    if not isinstance(errors, list) or not errors or not all(isinstance(error, str) for error in errors):
        raise TypeError(f"errors are {errors!r}")
    return errors


BATCH_SECONDS = 5.0
BATCH_RUNS = 10_000


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
