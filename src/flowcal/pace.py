"""How long chapters take: which of them to start first, and about how long all will take."""

from collections.abc import Collection, Mapping
from pathlib import Path

import nbformat

from flowcal.errors import InputError
from flowcal.provenance import read_provenance

__all__ = ["SECONDS", "Pace", "usual_seconds"]

SECONDS = "flowcal_seconds"
"""Among the metadata of a paired notebook: how long its chapter took at the quick profile."""


def usual_seconds(pair: Path, published: Path, profile: str) -> float:
    """Seconds that a chapter took where its outputs were stored or published; 0 where that is not known."""
    try:
        if profile == "quick":
            return float(nbformat.read(pair, as_version=4).metadata[SECONDS])
        provenance = read_provenance(nbformat.read(published, as_version=4))
        return provenance.wall_time_s if provenance and provenance.profile == profile else 0.0
    except (OSError, ValueError, TypeError, KeyError, AttributeError, InputError):  # only an estimate is lost
        return 0.0


class Pace:
    """The pace of a run, from the usual seconds of its chapters and from which chapters each reads."""

    def __init__(self, usual: Mapping[str, float], reads: Mapping[str, Collection[str]]) -> None:
        self.to_end: dict[str, float] = {}  # of each chapter and the longest chain of chapters that need it
        for name in reversed(list(usual)):
            later = [self.to_end[other] for other in self.to_end if name in reads[other]]
            self.to_end[name] = usual[name] + max(later, default=0)
        self._usual, self._left = usual, set(usual)
        self._expected = self._taken = 0.0

    def finish(self, name: str, seconds: float | None = None) -> None:
        """Take note that a chapter is done; without seconds it was fresh."""
        self._left.remove(name)
        if seconds is not None and self._usual[name]:
            self._expected += self._usual[name]
            self._taken += seconds

    def seconds_left(self, at_once: int) -> float | None:
        """About how long the others take here; None as long as nothing is known of them, or of this machine."""
        if not self._expected or not all(self._usual[name] for name in self._left):
            return None
        work = sum(self._usual[name] for name in self._left) / at_once
        return max([work, *(self.to_end[name] for name in self._left)]) * self._taken / self._expected
