"""The study as a chapter sees it: a profile, a simulator, observations, and a shelf for what the chapter makes."""

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowcal.artifacts import Shelf, digest
from flowcal.errors import FlowcalError, InputError
from flowcal.simulate.campaign import Runner
from flowcal.simulate.executable import Executable
from flowcal.simulate.observations import Source
from flowcal.simulate.simulator import Simulator
from flowcal.simulate.windfarm import WindFarm

__all__ = ["PROFILES", "ClaimFailed", "Profile", "Study", "find_root", "split_command"]

EMBEDDED = ("windfarm", "embedded")


@dataclass(frozen=True)
class Profile:
    """How much the study spends.

    Attributes
    ----------
    sobol_base_samples : int
        Base samples of the Sobol' indices; they take 11 runs each.
    bootstrap_resamples : int
        Resamples behind every bootstrap interval.
    """

    sobol_base_samples: int
    bootstrap_resamples: int


PROFILES = {
    "quick": Profile(sobol_base_samples=2**11, bootstrap_resamples=200),
    "full": Profile(sobol_base_samples=2**14, bootstrap_resamples=1000),
}


class ClaimFailed(FlowcalError):
    """Something a chapter says of the embedded study is not so."""


class Study:
    """What a chapter works with.

    Parameters
    ----------
    chapter : str
        Name of the chapter, such as 'sensitivity'.
    profile : str
        ``quick`` or ``full``.
    simulator : str
        ``windfarm`` for the embedded black box, or ``executable:PATH`` for a program such as the organisers'.
    observations : str
        ``embedded``, ``organisers``, or a folder (see `flowcal.simulate.observations.Source`).
    scheduler : str, optional
        Address of a Dask scheduler to run campaigns on.

    Attributes
    ----------
    profile : Profile
    simulator : Simulator
    source : Source
    runner : Runner
    folder : Path
        Where the artifacts of this profile, simulator and observations lie; another simulator or other observations
        have a folder of their own.
    """

    def __init__(
        self,
        chapter: str,
        profile: str = "quick",
        simulator: str = "windfarm",
        observations: str = "embedded",
        scheduler: str | None = None,
    ) -> None:
        if profile not in PROFILES:
            raise InputError(f"profile is {profile!r}; needed is one of {', '.join(PROFILES)}.")
        self.profile = PROFILES[profile]
        self.source = Source(observations)
        self.simulator = make_simulator(simulator)
        self._is_embedded = (simulator, observations) == EMBEDDED
        artifacts = find_root() / "artifacts"
        self.runner = _make_runner(self.simulator, scheduler, artifacts / "campaigns")
        other = "" if self._is_embedded else f"-{digest([self.simulator.identity, self.source.identity])[:8]}"
        self.folder = artifacts / f"{profile}{other}"
        self._shelf = Shelf(self.folder, chapter)

    def keep(self, name: str, function: Callable[..., Any], **settings: Any) -> Any:
        """Make an artifact of this chapter, or read it where it is still true (see `flowcal.artifacts.Shelf.keep`)."""
        return self._shelf.keep(name, function, **settings)

    def read(self, chapter: str, name: str) -> Any:
        """Read an artifact of an earlier chapter (see `flowcal.artifacts.Shelf.read`)."""
        return self._shelf.read(chapter, name)

    def claim(self, statement: str, holds: bool) -> None:
        """Print a statement of the chapter with its verdict.

        Parameters
        ----------
        statement : str
            What the chapter says, with numbers rounded so far that every machine prints the same.
        holds : bool
            Whether it is so.

        Raises
        ------
        ClaimFailed
            If it is not so on the embedded simulator and observations, of which the chapters speak. With a simulator
            or observations of your own the verdict is printed only.
        """
        if self._is_embedded and not holds:
            raise ClaimFailed(f"the chapter says what is not so: {statement}")
        print(f"{'holds' if holds else 'does not hold here'}: {statement}")


def make_simulator(name: str) -> Simulator:
    """The simulator that a command line names: ``windfarm``, or ``executable:PATH`` with arguments if it takes any."""
    kind, _, path = name.partition(":")
    if name == "windfarm":
        return WindFarm()
    if kind == "executable" and path:
        return Executable(split_command(path))
    raise InputError(f"simulator is {name!r}; needed is 'windfarm' or 'executable:PATH'.")


def split_command(command: str) -> list[str]:
    """A program and its arguments, with absolute paths where they are files; a path with spaces needs no quotes."""
    try:
        parts = [command] if Path(command).is_file() else shlex.split(command)
    except ValueError as error:
        raise InputError(f"the command {command!r} cannot be split into words: {error}.") from error
    return [str(Path(part).absolute()) if Path(part).is_file() else part for part in parts]


def find_root() -> Path:
    """The project's folder: the nearest one upwards from the working folder that holds the book's `_toc.yml`."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").is_file():
            return folder
    raise InputError(f"no _toc.yml in {here} or above it; needed is a folder of the project.")


def _make_runner(simulator: Simulator, scheduler: str | None, folder: Path) -> Runner:
    """In memory for the embedded simulator, whose hours cost less than keeping them; programs' hours are kept."""
    if isinstance(simulator, WindFarm):
        return Runner(scheduler=scheduler)
    return Runner(workers=os.cpu_count() or 1, scheduler=scheduler, folder=folder, chunk=50)
