"""Campaigns: run a design of experiments on any simulator, anywhere, and lose no finished run.

The runs are cut into chunks. A chunk is simulated as a whole, here, in other processes or on a Dask cluster, and its
result is put down as one file that appears in full or not at all. Taking up a campaign again runs the chunks that are
not there yet. Neither chunks nor workers change a result: a simulator's row knows nothing of its neighbours.
"""

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from flowcal.errors import InputError
from flowcal.simulate.hours import label
from flowcal.simulate.results import (
    HOUR,
    CampaignError,
    MemoryResults,
    Results,
    StoredResults,
    campaign_digest,
    rows_of,
)
from flowcal.simulate.simulator import SimulationError, Simulator, check_runs

__all__ = ["CampaignError", "CampaignIncomplete", "Runner", "campaign_path", "run_campaign"]


class CampaignIncomplete(CampaignError):
    """Some chunks of a campaign failed; all others have been run, and are kept where the runner keeps any.

    Attributes
    ----------
    failures : list of SimulationError
        What went wrong, with rows counted over the whole campaign.
    """

    def __init__(self, failures: list[SimulationError], chunks: int) -> None:
        self.failures = failures
        super().__init__(
            f"{len(failures)} of {chunks} chunks failed, the first by {type(failures[0]).__name__}: {failures[0]}. "
            "Run the campaign again to try the failed chunks once more."
        )


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
        Runs that are simulated and stored as one.
    """

    workers: int = 1
    scheduler: str | None = None
    folder: Path | None = None
    chunk: int = 1000

    def __post_init__(self) -> None:
        for name in ("workers", "chunk"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; needed is a whole number from 1 up.")

    @property
    def identity(self) -> dict[str, str]:
        """Empty: no result depends on the runner."""
        return {}


def run_campaign(simulator: Simulator, x: ArrayLike, seed: ArrayLike, runner: Runner | None = None) -> xr.Dataset:
    """Simulate every row of a design of experiments.

    Parameters
    ----------
    simulator : Simulator
    x : array_like, shape (n, 8)
        Inputs in [0, 1].
    seed : array_like of int, shape (n,)
    runner : Runner, optional
        Where to run and keep; here and in memory if not given.

    Returns
    -------
    Dataset
        x, seed and y by sample; y is read from the store piece by piece where the runner keeps one.

    Raises
    ------
    InputError
        If x or seed does not fit.
    CampaignError
        If the store is in use by another process or holds something else.
    CampaignIncomplete
        If runs failed, after all others have been finished.
    """
    runner = runner or Runner()
    x, seed = check_runs(x, seed)
    if runner.folder is None:
        results: Results = MemoryResults(x, seed, runner.chunk)
        _run_missing(simulator, results, runner)
    else:
        path = campaign_path(runner.folder, simulator, x, seed)
        with _only_user(path):
            results = StoredResults(path, simulator.identity, x, seed, runner.chunk)
            _run_missing(simulator, results, runner)
    return label(results.dataset().assign_attrs(simulator=json.dumps(simulator.identity)))


def campaign_path(folder: Path, simulator: Simulator, x: NDArray[np.float64], seed: NDArray[np.int64]) -> Path:
    """Where a runner with this folder keeps the campaign of these runs on this simulator."""
    return folder / f"{campaign_digest(simulator.identity, x, seed)[:16]}.zarr"


def _run_missing(simulator: Simulator, results: Results, runner: Runner) -> None:
    """Run the chunks that are not finished, few enough at a time for any number to fit in memory."""
    total = -(-len(results.x) // results.chunk)
    finished = set(results.finished())
    todo = (index for index in range(total) if index not in finished)
    failures: dict[int, SimulationError] = {}
    progress = tqdm(total=len(results.x), initial=_count(finished, results), desc="simulating", unit="run", delay=2)
    with progress, _executor(runner) as (executor, width):
        running: dict[Future, int] = {}
        while True:
            for index in islice(todo, width - len(running)):
                rows = rows_of(index, results.chunk)
                running[executor.submit(_simulate, simulator, results.x[rows], results.seed[rows])] = index
            if not running:
                break
            ended = {future: running.pop(future) for future in wait(running, return_when=FIRST_COMPLETED).done}
            for future, index in sorted(ended.items(), key=lambda item: item[0].exception() is not None):
                error = future.exception()
                if error is None:
                    results.put(index, future.result())
                elif isinstance(error, SimulationError):
                    failures[index] = error.shifted(index * results.chunk)
                else:
                    raise CampaignError(
                        f"the campaign stopped, and finished chunks are kept: {type(error).__name__}, {error}. With "
                        "workers, a script has to start the campaign under `if __name__ == '__main__':`, and its "
                        "simulator has to be importable."
                    ) from error
                progress.update(_count([index], results))
    if failures:
        raise CampaignIncomplete([failures[index] for index in sorted(failures)], total)


def _simulate(simulator: Simulator, x: NDArray[np.float64], seed: NDArray[np.int64]) -> NDArray[np.float64]:
    """One chunk, refused unless it is what a simulator has to return."""
    try:
        y = np.asarray(simulator.simulate(x, seed))
    except SimulationError:
        raise
    except Exception as error:  # whatever a simulator of the user's may raise concerns this chunk alone
        raise SimulationError(f"{type(error).__name__}: {error}", np.arange(len(x))) from error
    if y.shape != (len(x), *HOUR):
        raise SimulationError(f"the simulator returned shape {y.shape}; needed is {(len(x), *HOUR)}", np.arange(len(x)))
    bad = np.flatnonzero(~np.isfinite(y).all(axis=(1, 2)))
    if bad.size:
        raise SimulationError("the simulator returned NaN or infinity", bad)
    return y


@contextmanager
def _executor(runner: Runner) -> Iterator[tuple[Executor, int]]:
    """An executor, and how many chunks to have under way."""
    if runner.scheduler is not None:
        from distributed import Client  # a second to import, needed on clusters only

        try:
            client = Client(runner.scheduler, timeout=10, set_as_default=False)
        except (OSError, ValueError) as error:
            raise CampaignError(f"no Dask scheduler answers at {runner.scheduler!r}: {error}") from error
        with client:
            yield client.get_executor(pure=False), 2 * max(1, sum(client.nthreads().values()))
    elif runner.workers > 1:
        spawning = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(runner.workers, spawning, initializer=_end_with_parent) as pool:
            try:
                yield pool, 2 * runner.workers
            finally:
                pool.shutdown(cancel_futures=True)
    else:
        yield _Here(), 1


def _end_with_parent() -> None:
    """Let a worker end as soon as the process that started it is gone, killed or not."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _Here(Executor):
    """An executor that runs a call as it is submitted, in this thread."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def _only_user(path: Path) -> Iterator[None]:
    """Hold the store's lock; the system frees it if this process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise CampaignError(f"{path} is in use by another process; wait for it or name another folder.") from None
    try:
        yield
    finally:
        lock.release()


def _count(indices: Iterable[int], results: Results) -> int:
    """How many runs these chunks hold; the last chunk may be short."""
    return sum(len(results.seed[rows_of(index, results.chunk)]) for index in indices)
