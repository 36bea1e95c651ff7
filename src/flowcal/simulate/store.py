"""Where a campaign's outputs are kept: in memory, or in a zarr store whose chunks appear in full or not at all.

Beside the store, a quarantine file lists the runs that failed every time they were tried.
"""

import hashlib
import json
import reprlib
import shutil
import sys
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import filelock
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from pydantic import Field
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.errors import BaseZarrError

from flowcal.errors import FlowcalError, InputError
from flowcal.files import Record, read_record, write_json
from flowcal.simulate.simulator import LARGEST, SimulationError

__all__ = [
    "CampaignError",
    "Quarantine",
    "Results",
    "SharedStore",
    "StoredResults",
    "campaign_digest",
    "only_user",
    "rows_of",
]

CODECS = (BytesCodec(), Crc32cCodec())

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class CampaignError(FlowcalError):
    """A campaign cannot be run as it was asked for."""


class Results:
    """Outputs y (n, steps, outputs) in memory of runs x (n, inputs) and seed (n,), cut into chunks of `chunk` runs."""

    shared: "SharedStore | None" = None
    """The store as workers see it, where there is one."""

    def __init__(self, x: Array, seed: Integers, chunk: int, series: tuple[int, int]) -> None:
        self.x, self.seed, self.chunk = x, seed, chunk
        self._y: Any = np.full((len(x), *series), np.nan)

    def missing(self) -> dict[int, Integers]:
        """Rows of the campaign, by chunk, that have no outputs yet: all of them, as nothing outlives the process."""
        return {index: self._rows(index) for index in range(-(-len(self.x) // self.chunk))}

    def put(self, index: int, y: Array) -> None:
        """Keep the outputs of a chunk."""
        self._y[rows_of(index, self.chunk)] = y

    def get(self, index: int) -> Array:
        """The outputs of a chunk, NaN where there are none; a `ValueError` if its checksum or length is wrong."""
        return np.asarray(self._y[rows_of(index, self.chunk)])

    def dataset(self) -> xr.Dataset:
        """x, seed and y by sample; stored outputs are read chunk by chunk when they are needed."""
        y = (("sample", "time", "output"), self._y)
        return xr.Dataset({"x": (("sample", "input"), self.x), "seed": ("sample", self.seed), "y": y})

    def _rows(self, index: int) -> Integers:
        return np.arange(index * self.chunk, min((index + 1) * self.chunk, len(self.x)))


class StoredResults(Results):
    """Results in a zarr store with a checksum on every chunk, which only this process may open (see `only_user`).

    A store that does not exist is created. It holds so many runs (`chunk`) in one file; an existing one keeps its own
    number. Raises `CampaignError` if the path holds something else, or another campaign.
    """

    def __init__(
        self, path: Path, identity: dict[str, str], x: Array, seed: Integers, chunk: int, series: tuple[int, int]
    ) -> None:
        self.x, self.seed, self._path = x, seed, path.absolute()
        manifest = {"format": 1, "simulator": identity, "digest": campaign_digest(identity, x, seed)}
        if not path.exists():
            self._create(manifest, max(1, min(chunk, len(x))), series)
        try:
            found = dict(zarr.open_group(self._path, mode="r", zarr_format=3).attrs)
            self._y = _open_outputs(self._path)
        except (OSError, KeyError, ValueError, TypeError, AttributeError, BaseZarrError) as error:
            raise CampaignError(f"{path} is not a campaign's store: {error}; delete it or name another.") from error
        if found != manifest:
            raise CampaignError(
                f"{path} holds another campaign: {reprlib.repr(found)}; expected {reprlib.repr(manifest)}."
            )
        self.chunk = self._y.chunks[0]
        self.shared = SharedStore(self._path, uuid.uuid4().hex)
        _token_path(self._path).write_text(self.shared.token)

    def _create(self, manifest: dict[str, Any], chunk: int, series: tuple[int, int]) -> None:
        """Create the store under another name, so that it never exists without its runs and its manifest."""
        draft = self._path.with_suffix(".partial")
        shutil.rmtree(draft, ignore_errors=True)
        group = zarr.create_group(draft, attributes=manifest, zarr_format=3)
        group.create_array("x", data=self.x, dimension_names=("sample", "input"))
        group.create_array("seed", data=self.seed, dimension_names=("sample",))
        group.create_array(
            "y",
            shape=(len(self.x), *series),
            chunks=(chunk, *series),
            dtype=np.float64,
            fill_value=np.nan,
            serializer=CODECS[0],
            compressors=CODECS[1:],
            dimension_names=("sample", "time", "output"),
        )
        draft.rename(self._path)

    def missing(self) -> dict[int, Integers]:
        """Rows of the campaign, by chunk, that have no outputs yet; damaged chunks are deleted with a warning."""
        found = {index: self._missing_rows(index) for index in range(self._y.nchunks)}
        return {index: rows for index, rows in found.items() if len(rows)}

    def _missing_rows(self, index: int) -> Integers:
        file, rows = _chunk_file(self._path, self._y, index), self._rows(index)
        if not file.exists():
            return rows
        try:
            y = self.get(index)
            return rows[~((y >= 0) & (y <= LARGEST)).all(axis=(1, 2))]
        except ValueError:  # checksum or length
            warnings.warn(f"chunk {index} of {self._path} is damaged and is run again", stacklevel=2)
            file.unlink()
            return rows

    def dataset(self) -> xr.Dataset:
        """x, seed and y by sample; y is read chunk by chunk when it is needed."""
        stored: xr.Dataset = xr.open_zarr(
            self._path, consolidated=False, chunks={}, mask_and_scale=False, zarr_format=3, drop_variables=["x", "seed"]
        )
        runs = {"x": (("sample", "input"), self.x), "seed": ("sample", self.seed)}
        return stored[["y"]].drop_attrs().assign(runs)


@dataclass(frozen=True)
class SharedStore:
    """A campaign's store as workers see it if they are on the same file system.

    The campaign's process writes `token` beside the store, so that a store of the same name on another machine is told
    apart.
    """

    path: Path
    token: str

    def is_visible(self) -> bool:
        """Whether this machine sees the store."""
        try:
            return _token_path(self.path).read_text() == self.token
        except (OSError, UnicodeDecodeError):
            return False

    def has(self, index: int) -> bool:
        """Whether the chunk is stored."""
        return _chunk_file(self.path, self._y, index).exists()

    def put(self, index: int, y: Array) -> None:
        """Store the outputs of a chunk, in full or not at all."""
        self._y[rows_of(index, self._y.chunks[0])] = y

    @cached_property
    def _y(self) -> "zarr.Array[Any]":
        return _open_outputs(self.path)


class _FailedRun(Record):
    row: int
    x: tuple[float, ...]
    seed: int
    errors: Annotated[tuple[str, ...], Field(min_length=1)]


class _FailedRuns(Record):
    runs: tuple[_FailedRun, ...]


class Quarantine:
    """Runs that failed every time they were tried, by row of the campaign x and seed, listed in a JSON file if named.

    Raises `CampaignError` if the file exists and is no list of failed runs of this campaign.
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

    def settle(self, rows: Integers, failures: Mapping[int, list[SimulationError]]) -> None:
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


@contextmanager
def only_user(path: Path) -> Iterator[None]:
    """Hold a store's lock, once no other process does; the system frees it if this process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        print(f"{path} is in use by another process; waiting until that has finished", file=sys.stderr, flush=True)
        lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        lock.release()


def campaign_digest(identity: dict[str, str], x: Array, seed: Integers) -> str:
    """SHA-256 over a simulator's identity and the runs, in hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(x).data)
    digest.update(np.ascontiguousarray(seed).data)
    return digest.hexdigest()


def rows_of(index: int, chunk: int) -> slice:
    """The rows of the chunk with this index, of `chunk` runs.

    Examples
    --------
    >>> rows_of(2, chunk=1000)
    slice(2000, 3000, None)
    """
    return slice(index * chunk, (index + 1) * chunk)


def _open_outputs(path: Path) -> "zarr.Array[Any]":
    y = zarr.open_array(path / "y", mode="r+", zarr_format=3)
    if (codecs := getattr(y.metadata, "codecs", None)) != CODECS:
        raise ValueError(f"its outputs are stored by {codecs}; expected {CODECS}")
    return y


def _token_path(store: Path) -> Path:
    return store.with_suffix(".token")


def _chunk_file(path: Path, y: "zarr.Array[Any]", index: int) -> Path:
    return path / "y" / y.metadata.encode_chunk_key((index, 0, 0))
