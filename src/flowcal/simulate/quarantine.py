"""The quarantine of a campaign: runs that failed every time they were tried, with their inputs and errors."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowcal.json_text import read_json
from flowcal.simulate.results import CampaignError
from flowcal.simulate.simulator import SimulationError

__all__ = ["Quarantine"]


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
