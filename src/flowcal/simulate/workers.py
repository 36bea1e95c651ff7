"""Who makes the calls of a campaign: this thread, processes of this machine, or the workers of a Dask cluster.

Workers make a call only by the same code that this process runs. Processes of this machine listen on no port.
"""

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from typing import Any

from flowcal.code import running_digest
from flowcal.errors import FlowcalError, FlowcalWarning
from flowcal.simulate.store import CampaignError

__all__ = ["Cluster", "LostWithWorker", "Processes", "Workers", "make_call", "worker_processes", "workers_of"]

ANSWER = 10.0  # seconds that a scheduler may take to answer
CLEANING_UP = 5.0  # seconds that a process has for it
PULSE = 10.0  # seconds without a result after which to see if a cluster has workers
STOPPED = "the campaign stopped, and what a runner's folder holds is kept"
GUARD = (
    "With workers, a script has to start the campaign under `if __name__ == '__main__':`, and its simulator has to be "
    "importable"
)


class LostWithWorker(Exception):
    """A call was lost with the process that made it."""


class Workers:
    """The present thread, which makes each call as it is submitted; other workers are derived from it."""

    def width(self) -> int:
        """How many calls to have under way."""
        return 1

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Have a call made; returns its future."""
        future: Future[Any] = Future()
        future.set_result(function(*args))
        return future

    def wait(self, running: Collection[Any]) -> Iterable[Any]:
        """The futures that are done, once there are some."""
        return wait(running, return_when=FIRST_COMPLETED).done

    def result(self, future: Any) -> Any:
        """What a call returned; `LostWithWorker` if its worker ended before."""
        return future.result()

    def stop(self) -> None:
        """Give up calls that are under way."""


class Processes(Workers):
    """Processes of this machine, which stay for the next campaign and end with this one."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def width(self) -> int:
        """Two for each process."""
        return 2 * self._workers

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Have a call made, by new processes where one has been killed."""
        call = _make_call_in_process, running_digest(), function, *args
        try:
            return _pool(self._workers).submit(*call)
        except BrokenProcessPool:
            self.stop()
            return _pool(self._workers).submit(*call)

    def result(self, future: Any) -> Any:
        """What a call returned."""
        return _result(future, BrokenProcessPool)

    def stop(self) -> None:
        """End all processes."""
        pool = _pool(self._workers)
        _pool.cache_clear()
        for process in list((pool._processes or {}).values()):  # Python 3.14 has a public method for this
            process.terminate()
        pool.shutdown(cancel_futures=True)


class Cluster(Workers):
    """The workers of a Dask cluster."""

    def __init__(self, address: str) -> None:
        from distributed import Client  # a second to import, needed on clusters only

        try:
            self._client = Client(address, timeout=ANSWER, set_as_default=False)
        except (OSError, ValueError, TypeError, RuntimeError) as error:  # the last two where certificates are missing
            raise CampaignError(f"no Dask scheduler answers at {address!r}: {error}") from error
        self._address = address

    def width(self) -> int:
        """Two for each thread that is there at the moment."""
        with self._noticing_loss(OSError, RuntimeError):
            return 2 * max(1, self._threads())

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        """Have a call made."""
        with self._noticing_loss(OSError, RuntimeError):
            try:
                return self._client.submit(make_call, running_digest(), function, *args, pure=False)
            except TypeError as error:
                raise CampaignError(f"{STOPPED}: the simulator cannot be sent to workers, {error.args[0]}.") from error

    def wait(self, running: Collection[Any]) -> Iterable[Any]:
        """The futures that are done, once there are some."""
        import distributed

        while True:
            with self._noticing_loss(RuntimeError), self._client.as_current():
                try:
                    done: set[Any] = distributed.wait(list(running), PULSE, FIRST_COMPLETED).done
                    return done
                except TimeoutError:
                    pass
            with self._noticing_loss(OSError, RuntimeError):
                if not self._threads():
                    warnings.warn("there are no workers at the moment; waiting for some", FlowcalWarning, stacklevel=2)

    def result(self, future: Any) -> Any:
        """What a call returned."""
        from distributed import KilledWorker

        with self._noticing_loss():
            return _result(future, KilledWorker)

    def _threads(self) -> int:
        return sum(self._client.nthreads().values())

    def close(self) -> None:
        """Leave the cluster, which gives up calls that are under way."""
        self._client.close()

    @contextmanager
    def _noticing_loss(self, *also: type[Exception]) -> Iterator[None]:
        from distributed.client import ClosedClientError
        from distributed.comm.core import CommClosedError

        lost: tuple[type[Exception], ...] = (CancelledError, ClosedClientError, CommClosedError, *also)
        try:
            yield
        except lost as error:
            raise CampaignError(
                f"{STOPPED}: the Dask scheduler at {self._address!r} is gone. Start it again; running the campaign "
                "again makes what is missing."
            ) from error


@contextmanager
def workers_of(workers: int, scheduler: str | None) -> Iterator[Workers]:
    """So many processes (1 is the present one), or the workers of the cluster whose scheduler is named."""
    if scheduler is None:
        yield Workers() if workers == 1 else Processes(workers)
        return
    cluster = Cluster(scheduler)
    try:
        yield cluster
    finally:
        cluster.close()


@cache
def _pool(workers: int) -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin)
    try:
        pool.submit(int).result()
    except BrokenProcessPool as error:
        raise CampaignError(f"{STOPPED}: its processes do not start. {GUARD}.") from error
    return pool


def _result(future: Any, lost: type[Exception]) -> Any:
    try:
        return future.result()
    except lost as error:
        raise LostWithWorker from error
    except (FlowcalError, OSError, CancelledError):
        raise
    except Exception as error:  # the call or its result cannot be passed on
        raise CampaignError(f"{STOPPED}: {type(error).__name__}, {error}. {GUARD} by the workers.") from error


@contextmanager
def worker_processes(workers: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes of this machine, one per processor if not told otherwise, that end if this one does."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin)
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Let this process end with its parent, after the simulator has cleaned up: it may run a program."""
    parent = multiprocessing.parent_process()

    def leave(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # so that another one does not interrupt the cleaning up
        sys.exit(1)

    def follow() -> None:
        if parent is not None:
            parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(CLEANING_UP)
        os._exit(1)

    if os.name == "posix":
        os.setsid()  # a signal to the parent's group, such as Ctrl-C, is for the parent to deal with
    signal.signal(signal.SIGTERM, leave)
    threading.Thread(target=follow, daemon=True).start()


def _make_call_in_process(code: str, function: Callable[..., Any], *args: Any) -> Any:
    try:
        return make_call(code, function, *args)
    except SystemExit:  # of the signal, or of a simulator; the pool would take it for a result
        os._exit(1)


def make_call(code: str, function: Callable[..., Any], *args: Any) -> Any:
    """Make a call in a process that runs the code with this digest."""
    if running_digest() != code:
        raise CampaignError(
            f"{STOPPED}: the worker on {socket.gethostname()}, process {os.getpid()}, has another version of flowcal "
            "than the process of the campaign; restart the older one with the present version."
        )
    return function(*args)
