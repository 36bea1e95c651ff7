"""Where a campaign's chunks are put down: in memory, or in a store where a chunk is there in full or not at all."""

import hashlib
import json
import reprlib
import shutil
import uuid
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.errors import BaseZarrError
from zarr.storage import MemoryStore

from flowcal.challenge import OUTPUTS, TIME_STEPS
from flowcal.errors import FlowcalError

__all__ = [
    "CampaignError",
    "HOUR",
    "MemoryResults",
    "Results",
    "SharedStore",
    "StoredResults",
    "campaign_digest",
    "lock_path",
    "rows_of",
]

HOUR = (TIME_STEPS, len(OUTPUTS))
"""Shape of the outputs of one run."""


class CampaignError(FlowcalError):
    """A campaign cannot be run as it was asked for."""


class Results(Protocol):
    """The chunks of a campaign: its runs x (n, 8) and seed (n,), cut into pieces of `chunk`."""

    x: NDArray[np.float64]
    seed: NDArray[np.int64]
    chunk: int

    @property
    def shared(self) -> "SharedStore | None":
        """Where workers may put chunks themselves, None where only this process can."""
        ...

    def missing(self) -> dict[int, NDArray[np.int64]]:
        """Rows of the campaign, by chunk, that have no outputs yet or damaged ones.

        Returns
        -------
        dict of int to ndarray of int
        """
        ...

    def put(self, index: int, y: NDArray[np.float64]) -> None:
        """Put down the outputs of a chunk.

        Parameters
        ----------
        index : int
            Of the chunk.
        y : ndarray, shape (k, 60, 6)
        """
        ...

    def get(self, index: int) -> NDArray[np.float64]:
        """The outputs of a chunk that is there.

        Parameters
        ----------
        index : int
            Of the chunk.

        Returns
        -------
        ndarray, shape (k, 60, 6)
        """
        ...

    def dataset(self) -> xr.Dataset:
        """x, seed and y by sample.

        Returns
        -------
        Dataset
        """
        ...


class MemoryResults:
    """Results in one array.

    Parameters
    ----------
    x : ndarray, shape (n, 8)
    seed : ndarray, shape (n,)
    chunk : int
        Runs that are put down as one.
    """

    shared = None

    def __init__(self, x: NDArray[np.float64], seed: NDArray[np.int64], chunk: int) -> None:
        self.x, self.seed, self.chunk = x, seed, chunk
        self._y = np.full((len(x), *HOUR), np.nan)

    def missing(self) -> dict[int, NDArray[np.int64]]:
        """All rows, by chunk: no output outlives the process.

        Returns
        -------
        dict of int to ndarray of int
        """
        rows = np.arange(len(self.x))
        return {first // self.chunk: rows[first : first + self.chunk] for first in range(0, len(rows), self.chunk)}

    def put(self, index: int, y: NDArray[np.float64]) -> None:
        """Put down the outputs of a chunk.

        Parameters
        ----------
        index : int
            Of the chunk.
        y : ndarray, shape (k, 60, 6)
        """
        self._y[rows_of(index, self.chunk)] = y

    def get(self, index: int) -> NDArray[np.float64]:
        """The outputs of a chunk that is there.

        Parameters
        ----------
        index : int
            Of the chunk.

        Returns
        -------
        ndarray, shape (k, 60, 6)
        """
        return self._y[rows_of(index, self.chunk)]

    def dataset(self) -> xr.Dataset:
        """x, seed and y by sample.

        Returns
        -------
        Dataset
        """
        y = (("sample", "time", "output"), self._y)
        return xr.Dataset({"x": (("sample", "input"), self.x), "seed": ("sample", self.seed), "y": y})


@dataclass(frozen=True)
class SharedStore:
    """A campaign's store as a worker sees it, if it is on the same file system.

    Attributes
    ----------
    path : Path
    token : str
        What the campaign's process has written into its lock, so that no other store of the same name is taken for it.
    """

    path: Path
    token: str

    def is_visible(self) -> bool:
        """Whether this machine sees the store.

        Returns
        -------
        bool
        """
        try:
            return lock_path(self.path).read_text() == self.token
        except (OSError, UnicodeDecodeError):
            return False

    def has(self, index: int) -> bool:
        """Whether the chunk is there.

        Parameters
        ----------
        index : int
            Of the chunk.

        Returns
        -------
        bool
        """
        return _chunk_file(self.path, self._y, index).exists()

    def put(self, index: int, y: NDArray[np.float64]) -> None:
        """Put down the outputs of a chunk, which appears in full or not at all.

        Parameters
        ----------
        index : int
            Of the chunk.
        y : ndarray, shape (k, 60, 6)

        Raises
        ------
        OSError
            If the store cannot be written.
        """
        self._y[rows_of(index, self._y.chunks[0])] = y

    @cached_property
    def _y(self) -> "zarr.Array[Any]":
        return zarr.open_array(self.path / "y", mode="r+", zarr_format=3)


class StoredResults:
    """Results in a zarr store with a checksum on every chunk, whose lock this process holds.

    Parameters
    ----------
    path : Path
        Of the store, which is made where there is none.
    identity : dict of str to str
        The simulator's.
    x : ndarray, shape (n, 8)
    seed : ndarray, shape (n,)
    chunk : int
        Runs that are stored as one; a store that is there keeps its own.

    Raises
    ------
    CampaignError
        If the path holds something else, or another campaign.
    """

    def __init__(
        self, path: Path, identity: dict[str, str], x: NDArray[np.float64], seed: NDArray[np.int64], chunk: int
    ) -> None:
        self.x, self.seed, self._path = x, seed, path.absolute()
        manifest = {"format": 1, "simulator": identity, "digest": campaign_digest(identity, x, seed)}
        if not path.exists():
            self._create(manifest, chunk)
        self._y = self._open(manifest)
        self.chunk = self._y.chunks[0]
        self.shared = SharedStore(self._path, uuid.uuid4().hex)
        lock_path(self._path).write_text(self.shared.token)

    def _create(self, manifest: dict[str, Any], chunk: int) -> None:
        """Make the store under another name, so that it never exists without its runs and its manifest."""
        draft = self._path.with_suffix(".partial")
        shutil.rmtree(draft, ignore_errors=True)
        group = zarr.create_group(draft, attributes=manifest)
        group.create_array("x", data=self.x, dimension_names=("sample", "input"))
        group.create_array("seed", data=self.seed, dimension_names=("sample",))
        _create_y(draft, len(self.x), max(1, min(chunk, len(self.x))))
        draft.rename(self._path)

    def _open(self, manifest: dict[str, Any]) -> "zarr.Array[Any]":
        try:
            group = zarr.open_group(self._path, mode="r+", zarr_format=3)
            found, y = dict(group.attrs), zarr.open_array(self._path / "y", mode="r+", zarr_format=3)
            ours = _create_y(MemoryStore(), len(self.x), y.chunks[0])
            fits = y.metadata.to_dict() == ours.metadata.to_dict()
        except (OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError, BaseZarrError) as error:
            raise CampaignError(
                f"{self._path} is not a campaign's store: {error}; delete it or name another."
            ) from error
        if found != manifest:
            raise CampaignError(
                f"{self._path} holds another campaign: {reprlib.repr(found)}; asked for was {reprlib.repr(manifest)}."
            )
        if not fits:
            raise CampaignError(f"{self._path} keeps its outputs in a way that is not ours. Delete it or name another.")
        return y

    def missing(self) -> dict[int, NDArray[np.int64]]:
        """Rows of the campaign, by chunk, that have no outputs yet or damaged ones.

        Returns
        -------
        dict of int to ndarray of int
        """
        everyone = np.arange(len(self.x))
        rows = {index: everyone[rows_of(index, self.chunk)] for index in range(self._y.nchunks)}
        bad = {index: rows[index][self._unusable(index)] for index in rows}
        return {index: found for index, found in bad.items() if len(found)}

    def _unusable(self, index: int) -> NDArray[np.bool_] | slice:
        """Which rows of a chunk are to be run."""
        if not _chunk_file(self._path, self._y, index).exists():
            return slice(None)
        try:
            whole: NDArray[np.bool_] = np.all(np.isfinite(self.get(index)), axis=(1, 2))
            return ~whole
        except ValueError:  # checksum or length
            warnings.warn(f"chunk {index} of {self._path} is damaged and is run again", stacklevel=2)
            _chunk_file(self._path, self._y, index).unlink()
            return slice(None)

    def put(self, index: int, y: NDArray[np.float64]) -> None:
        """Put down the outputs of a chunk, which appears in full or not at all.

        Parameters
        ----------
        index : int
            Of the chunk.
        y : ndarray, shape (k, 60, 6)

        Raises
        ------
        OSError
            If the store cannot be written.
        """
        self._y[rows_of(index, self.chunk)] = y

    def get(self, index: int) -> NDArray[np.float64]:
        """The outputs of a chunk that is there.

        Parameters
        ----------
        index : int
            Of the chunk.

        Returns
        -------
        ndarray, shape (k, 60, 6)

        Raises
        ------
        ValueError
            If the chunk's checksum or length is wrong.
        """
        return np.asarray(self._y[rows_of(index, self.chunk)])

    def dataset(self) -> xr.Dataset:
        """x, seed and y by sample; y is read chunk by chunk when it is needed.

        Returns
        -------
        Dataset
        """
        stored: xr.Dataset = xr.open_zarr(
            self._path,
            consolidated=False,
            chunks={},
            mask_and_scale=False,
            zarr_format=3,
            drop_variables=["x", "seed"],
        )
        runs = {"x": (("sample", "input"), self.x), "seed": ("sample", self.seed)}
        return stored.drop_attrs().assign(runs)


def _create_y(store: Store | Path, runs: int, chunk: int) -> "zarr.Array[Any]":
    """The array of a campaign's outputs: a checksum on every chunk, NaN where there is none."""
    return zarr.create_array(
        store,
        name="y",
        shape=(runs, *HOUR),
        chunks=(chunk, *HOUR),
        dtype=np.float64,
        fill_value=np.nan,
        serializer=BytesCodec(),
        compressors=[Crc32cCodec()],
        dimension_names=("sample", "time", "output"),
        zarr_format=3,
    )


def lock_path(store: Path) -> Path:
    """The lock of a store.

    Parameters
    ----------
    store : Path

    Returns
    -------
    Path
    """
    return store.with_suffix(".lock")


def _chunk_file(path: Path, y: "zarr.Array[Any]", index: int) -> Path:
    return path / "y" / y.metadata.encode_chunk_key((index, 0, 0))


def campaign_digest(identity: dict[str, str], x: NDArray[np.float64], seed: NDArray[np.int64]) -> str:
    """SHA-256 over a simulator's identity and the runs.

    Parameters
    ----------
    identity : dict of str to str
        The simulator's.
    x : ndarray, shape (n, 8)
    seed : ndarray, shape (n,)

    Returns
    -------
    str
        In hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(x).data)
    digest.update(np.ascontiguousarray(seed).data)
    return digest.hexdigest()


def rows_of(index: int, chunk: int) -> slice:
    """The rows of a chunk.

    Parameters
    ----------
    index : int
        Of the chunk.
    chunk : int
        Runs of a chunk.

    Returns
    -------
    slice

    Examples
    --------
    >>> rows_of(2, chunk=1000)
    slice(2000, 3000, None)
    """
    return slice(index * chunk, (index + 1) * chunk)
