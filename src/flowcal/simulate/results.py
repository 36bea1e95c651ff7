"""Where a campaign's chunks are put down: in memory, or in a store where a chunk is there in full or not at all."""

import hashlib
import json
import shutil
import warnings
from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.codecs import BytesCodec, Crc32cCodec

from flowcal.challenge import OUTPUTS, TIME_STEPS
from flowcal.errors import FlowcalError

__all__ = ["HOUR", "CampaignError", "MemoryResults", "Results", "StoredResults", "campaign_digest", "rows_of"]

HOUR = (TIME_STEPS, len(OUTPUTS))


class CampaignError(FlowcalError):
    """A campaign cannot be run as it was asked for."""


class Results(Protocol):
    """The chunks of a campaign: its runs x (n, 8) and seed (n,), cut into pieces of `chunk`."""

    x: NDArray[np.float64]
    seed: NDArray[np.int64]
    chunk: int

    def finished(self) -> list[int]:
        """Chunks that are there and undamaged."""
        ...

    def put(self, index: int, y: NDArray[np.float64]) -> None:
        """Put down the outputs of a chunk."""
        ...

    def dataset(self) -> xr.Dataset:
        """x, seed and y by sample."""
        ...


class MemoryResults:
    """Results in one array."""

    def __init__(self, x: NDArray[np.float64], seed: NDArray[np.int64], chunk: int) -> None:
        self.x, self.seed, self.chunk = x, seed, chunk
        self._y = np.full((len(x), *HOUR), np.nan)

    def finished(self) -> list[int]:
        """No chunk outlives the process."""
        return []

    def put(self, index: int, y: NDArray[np.float64]) -> None:
        """Put down the outputs of a chunk."""
        self._y[rows_of(index, self.chunk)] = y

    def dataset(self) -> xr.Dataset:
        """x, seed and y by sample."""
        y = (("sample", "time", "output"), self._y)
        return xr.Dataset({"x": (("sample", "input"), self.x), "seed": ("sample", self.seed), "y": y})


class StoredResults:
    """Results in a zarr store with a checksum on every chunk."""

    def __init__(
        self, path: Path, identity: dict[str, str], x: NDArray[np.float64], seed: NDArray[np.int64], chunk: int
    ) -> None:
        self.x, self.seed, self._path = x, seed, path
        manifest = {"format": 1, "simulator": identity, "digest": campaign_digest(identity, x, seed)}
        if not path.exists():
            self._create(manifest, chunk)
        self._y = self._open(manifest)
        self.chunk = self._y.chunks[0]

    def _create(self, manifest: dict, chunk: int) -> None:
        """Make the store under another name, so that it never exists without its runs and its manifest."""
        draft = self._path.with_suffix(".partial")
        shutil.rmtree(draft, ignore_errors=True)
        group = zarr.create_group(draft, attributes=manifest)
        group.create_array("x", data=self.x, dimension_names=("sample", "input"))
        group.create_array("seed", data=self.seed, dimension_names=("sample",))
        group.create_array(
            "y",
            shape=(len(self.x), *HOUR),
            chunks=(max(1, min(chunk, len(self.x))), *HOUR),
            dtype=np.float64,
            fill_value=np.nan,
            serializer=BytesCodec(),
            compressors=[Crc32cCodec()],
            dimension_names=("sample", "time", "output"),
        )
        draft.rename(self._path)

    def _open(self, manifest: dict) -> zarr.Array:
        try:
            group = zarr.open_group(self._path, mode="r+")
            found, y = dict(group.attrs), group["y"]
        except (OSError, KeyError, ValueError, TypeError, zarr.errors.BaseZarrError) as error:
            raise CampaignError(
                f"{self._path} is not a campaign's store: {error}. Delete it or name another."
            ) from error
        if found != manifest or y.shape != (len(self.x), *HOUR):
            raise CampaignError(f"{self._path} holds another campaign: {found}; asked for was {manifest}.")
        return y

    def finished(self) -> list[int]:
        """Chunks that are there and undamaged."""
        present = [index for index in range(self._y.nchunks) if self._file(index).exists()]
        return [index for index in present if self._readable(index)]

    def _file(self, index: int) -> Path:
        return self._path / "y" / self._y.metadata.encode_chunk_key((index, 0, 0))

    def _readable(self, index: int) -> bool:
        try:
            self._y[rows_of(index, self.chunk)]
        except ValueError:  # checksum or length
            warnings.warn(f"chunk {index} of {self._path} is damaged and is run again", stacklevel=2)
            return False
        return True

    def put(self, index: int, y: NDArray[np.float64]) -> None:
        """Put down the outputs of a chunk, which appears in full or not at all."""
        self._y[rows_of(index, self.chunk)] = y

    def dataset(self) -> xr.Dataset:
        """x, seed and y by sample, read chunk by chunk when they are needed."""
        return xr.open_zarr(self._path, consolidated=False, chunks={}, mask_and_scale=False).drop_attrs()


def campaign_digest(identity: dict[str, str], x: NDArray[np.float64], seed: NDArray[np.int64]) -> str:
    """SHA-256 over a simulator's identity and the runs."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(x).data)
    digest.update(np.ascontiguousarray(seed).data)
    return digest.hexdigest()


def rows_of(index: int, chunk: int) -> slice:
    """The rows of a chunk."""
    return slice(index * chunk, (index + 1) * chunk)
