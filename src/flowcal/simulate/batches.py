"""A batch: some chunks of a campaign, simulated in one call wherever a worker is, with failing runs told apart."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from flowcal.simulate.results import HOUR, SharedStore
from flowcal.simulate.simulator import SimulationError, Simulator

__all__ = ["TRIES", "Outcome", "Piece", "run_batch", "simulate_apart", "simulate_checked", "without_stored"]

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
        raise SimulationError(f"the simulator returned shape {y.shape}; needed is {(len(x), *HOUR)}", np.arange(len(x)))
    if y.dtype.kind not in "iuf":
        raise SimulationError(f"the simulator returned {y.dtype} values; needed are real numbers", np.arange(len(x)))
    bad = np.flatnonzero(~np.isfinite(y).all(axis=(1, 2)))
    if bad.size:
        raise SimulationError("the simulator returned NaN or infinity", bad)
    return y


def _parts(rows: NDArray[np.int64], error: SimulationError) -> list[NDArray[np.int64]]:
    """The runs that an error names and the others, which come first; halves where it names all."""
    named = np.isin(np.arange(len(rows)), error.rows)
    return [rows[named], rows[~named]] if 0 < named.sum() < len(rows) else np.array_split(rows, 2)[::-1]
