"""A batch: some chunks of a campaign, simulated in one call wherever a worker is, with failing runs told apart."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flowcal.simulate.simulator import SimulationError, Simulator, problem_of
from flowcal.simulate.store import SharedStore

__all__ = ["HOPELESS", "Batch", "Failures", "Outcome", "Piece", "run_batch", "simulate_apart", "simulate_checked"]

TRIES = 3  # how often a run is tried alone before it is given up
HOPELESS = 3  # so many runs, or batches, have failed for good and none has succeeded

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Failures = dict[int, list[SimulationError]]
"""By run, what each of its tries raised."""


@dataclass(frozen=True)
class Piece:
    """The runs of a chunk that are to be made: rows of the campaign, x and seed; `whole` if they are all of it."""

    rows: Integers
    x: Array
    seed: Integers
    whole: bool


Batch = Mapping[int, Piece]
"""Pieces by the index of their chunk."""


@dataclass
class Outcome:
    """What came of a batch.

    Attributes
    ----------
    y : dict of int to ndarray
        Outputs by chunk, NaN where a run failed; chunks that the worker has stored itself are not among them.
    failures : dict of int to list of SimulationError
        By row of the campaign.
    runs : int
        How many runs were made.
    hopeless : bool
        Whether the batch was given up because nothing succeeded.
    """

    y: dict[int, Array] = field(default_factory=dict)
    failures: Failures = field(default_factory=dict)
    runs: int = 0
    seconds: float = 0.0
    hopeless: bool = False


def run_batch(
    simulate: Callable[..., Array], series: tuple[int, int], batch: Batch, store: SharedStore | None
) -> Outcome:
    """Simulate a batch, and store whole chunks here if this machine sees the store; stored chunks are not made again.

    `simulate` takes x (k, inputs) and seed (k,) to series (k, steps, outputs), or raises a `SimulationError`.
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
        y, failures = simulate_apart(simulate, x, seed, series)
    except SimulationError as error:
        return Outcome(failures={row: [error] for row in rows.tolist()}, hopeless=True)
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
    simulate: Callable[..., Array], x: Array, seed: Integers, series: tuple[int, int]
) -> tuple[Array, Failures]:
    """Simulate runs together, and where that fails in ever smaller groups, so that only runs that fail alone are lost.

    Returns
    -------
    y : ndarray, shape (n, steps, outputs)
        NaN where a run failed.
    failures : dict of int to list of SimulationError
        By the run's place in x.

    Raises
    ------
    SimulationError
        If the first runs that were tried alone all fail: the last error.
    """
    failures: Failures = {}
    y, succeeded = np.full((len(x), *series), np.nan), False
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
            if len(tries) < TRIES:
                todo.append(rows)
            elif not succeeded and HOPELESS <= len(failures) < len(x):
                raise
            continue
        if len(rows) == 1:
            failures.pop(int(rows[0]), None)
    return y, failures


def _parts(rows: Integers, error: SimulationError) -> list[Integers]:
    """The runs that an error names and the others, which come first; halves where it names all."""
    named = np.isin(np.arange(len(rows)), error.rows)
    return [rows[named], rows[~named]] if 0 < named.sum() < len(rows) else np.array_split(rows, 2)[::-1]


def simulate_checked(simulator: Simulator, x: Array, seed: Integers) -> Array:
    """Series of some runs, or a `SimulationError` whatever the simulator raises or returns."""
    expected, everyone = (len(x), *problem_of(simulator).series), np.arange(len(x))
    try:
        y = np.asarray(simulator.simulate(x, seed))
    except SimulationError:
        raise
    except Exception as error:  # whatever a simulator of the user's may raise concerns these runs alone
        raise SimulationError(f"{type(error).__name__}: {error}", everyone) from error
    if y.shape != expected:
        raise SimulationError(f"the simulator returned shape {y.shape}; expected {expected}", everyone)
    if y.dtype.kind not in "iuf":
        raise SimulationError(f"the simulator returned {y.dtype} values; expected real numbers", everyone)
    bad = np.flatnonzero(~np.isfinite(y).all(axis=(1, 2)))
    if bad.size:
        raise SimulationError("the simulator returned NaN or infinity", bad)
    return y
