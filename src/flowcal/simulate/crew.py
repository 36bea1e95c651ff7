"""Who runs the batches of a campaign: this process, processes of this machine, or the workers of a Dask cluster."""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from flowcal.errors import FlowcalWarning
from flowcal.simulate.results import CampaignError
from flowcal.simulate.simulator import SimulationError

if TYPE_CHECKING:
    import distributed
    from distributed import Client

__all__ = ["Crew", "CrewLost", "WorkerKilled", "gather_crew", "wait_for_crew"]

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
