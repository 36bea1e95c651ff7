"""The study as a chapter sees it: a profile, a simulator, observations, and a shelf for what the chapter makes."""

import os
import shlex
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowcal.artifacts import Shelf, digest
from flowcal.errors import FlowcalError, FlowcalWarning, InputError
from flowcal.simulate.campaign import Runner
from flowcal.simulate.observed import Source
from flowcal.simulate.program import Executable
from flowcal.simulate.simulator import Simulator
from flowcal.simulate.windfarm import WindFarm

if TYPE_CHECKING:
    from flowcal.decide.design import Effort
    from flowcal.infer.train import Trainer, Training
    from flowcal.infer.um2_epistemic import Rounds

__all__ = [
    "PROFILES",
    "ClaimFailed",
    "Profile",
    "Study",
    "find_root",
    "split_command",
]

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
    trial_runs, trial_epochs : int
        Budget of the trials that decide what the paper leaves open.
    aleatory_runs, aleatory_epochs : int
        Simulations and most passes over them in step 1.
    epistemic_points : tuple of int
        Control points of Table 1, counted from 1, at which step 2 is made.
    epistemic_runs, epistemic_epochs : int
        Simulations at each control point, and most passes over them, in step 2.
    more_epistemic_runs, more_epistemic_epochs : int
        The same in the other reading of the paper's step 2; 0 leaves it out.
    validation_hours, validation_draws : int
        Fresh simulations that a trained posterior is tried on, and draws for each.
    interval_hours, trajectory_hours : int
        Hours behind a prediction interval over all minutes, and behind one of whole hours.
    interval_resamples : int
        Bootstrap samples of the observed hours for which bounds are taken anew.
    screened, search_hours : int
        Points of E that are tried first in the search for the worst case, and hours behind each of its values.
    estimator_runs, estimator_epochs : int
        Simulations and passes over them for the estimator of X_a.
    shared_rounds, shared_data_sets, shared_epochs : int
        Rounds in which X_e is inferred from all hours, simulated data sets in each, and passes over them.
    population_draws, population_replicates : int
        Draws for each hour that f_a is fitted to, and replicates behind its uncertainty.
    surrogate_runs, surrogate_epochs : int
        Simulations and passes over them for the paper's surrogate.
    emulator_runs, emulator_epochs : int
        The same for the emulator of power.
    severity_runs : int
        Seeds whose share in the peaks is measured.
    pof_calls, design_hours : int
        Simulations behind a verified probability of failure, and behind a verified J.
    refinement_runs, refinement_epochs : int
        Simulations about designs, and passes over them, that the emulator of power is trained on with.
    published_iterations : int
        Of the swarm that makes designs as the paper does.
    design_starts : int
        Designs spread over the cube from which optima are searched.
    landscape_points : int
        Along each control input, at which the landscape of designs is drawn.
    polishing_hours : int
        In which the simulator itself is climbed, to see what the best attainable J is.
    """

    sobol_base_samples: int
    bootstrap_resamples: int
    trial_runs: int
    trial_epochs: int
    aleatory_runs: int
    aleatory_epochs: int
    epistemic_points: tuple[int, ...]
    epistemic_runs: int
    epistemic_epochs: int
    more_epistemic_runs: int
    more_epistemic_epochs: int
    validation_hours: int
    validation_draws: int
    interval_hours: int
    trajectory_hours: int
    interval_resamples: int
    screened: int
    search_hours: int
    estimator_runs: int
    estimator_epochs: int
    shared_rounds: int
    shared_data_sets: int
    shared_epochs: int
    population_draws: int
    population_replicates: int
    surrogate_runs: int
    surrogate_epochs: int
    emulator_runs: int
    emulator_epochs: int
    severity_runs: int
    pof_calls: int
    design_hours: int
    refinement_runs: int
    refinement_epochs: int
    published_iterations: int
    design_starts: int
    landscape_points: int
    polishing_hours: int

    @property
    def estimator_training(self) -> "Training":
        """How the estimator of X_a is trained."""
        from flowcal.infer.train import Training

        return Training(epochs=self.estimator_epochs, batch_size=512, learning_rate=2e-3)

    @property
    def rounds(self) -> "Rounds":
        """How X_e is inferred from all hours."""
        from flowcal.infer.train import Training
        from flowcal.infer.um2_epistemic import Rounds

        training = Training(epochs=self.shared_epochs, batch_size=256, learning_rate=3e-3)
        return Rounds(self.shared_rounds, self.shared_data_sets, training)

    @property
    def emulator_training(self) -> "Training":
        """How the emulator of power is trained on control points from all over the cube."""
        from flowcal.infer.train import Training

        return Training(epochs=self.emulator_epochs, batch_size=512, learning_rate=6e-3)

    @property
    def refinement_training(self) -> "Training":
        """How it is trained on about designs."""
        from flowcal.infer.train import Training

        return Training(epochs=self.refinement_epochs, batch_size=512, learning_rate=2e-3)

    @property
    def effort(self) -> "Effort":
        """How designs are searched."""
        from flowcal.decide.design import Effort

        return Effort(self.design_starts)


PROFILES = {
    "quick": Profile(
        sobol_base_samples=2**11,
        bootstrap_resamples=200,
        trial_runs=1_000,
        trial_epochs=2,
        aleatory_runs=4_000,
        aleatory_epochs=6,
        epistemic_points=(2, 7, 9),
        epistemic_runs=1_000,
        epistemic_epochs=10,
        more_epistemic_runs=0,
        more_epistemic_epochs=0,
        validation_hours=300,
        validation_draws=200,
        interval_hours=10_000,
        trajectory_hours=20_000,
        interval_resamples=8,
        screened=24,
        search_hours=2_000,
        estimator_runs=60_000,
        estimator_epochs=6,
        shared_rounds=3,
        shared_data_sets=3_000,
        shared_epochs=8,
        population_draws=32,
        population_replicates=10,
        surrogate_runs=4_000,
        surrogate_epochs=6,
        emulator_runs=30_000,
        emulator_epochs=20,
        severity_runs=3_000,
        pof_calls=5_000,
        design_hours=2_000,
        refinement_runs=20_000,
        refinement_epochs=8,
        published_iterations=8,
        design_starts=8,
        landscape_points=15,
        polishing_hours=2_000,
    ),
    "full": Profile(
        sobol_base_samples=2**14,
        bootstrap_resamples=1000,
        trial_runs=6_000,
        trial_epochs=6,
        aleatory_runs=30_000,
        aleatory_epochs=15,
        epistemic_points=tuple(range(1, 11)),
        epistemic_runs=1_000,
        epistemic_epochs=30,
        more_epistemic_runs=10_000,
        more_epistemic_epochs=12,
        validation_hours=1_000,
        validation_draws=300,
        interval_hours=50_000,
        trajectory_hours=200_000,
        interval_resamples=30,
        screened=56,
        search_hours=10_000,
        estimator_runs=400_000,
        estimator_epochs=16,
        shared_rounds=3,
        shared_data_sets=10_000,
        shared_epochs=10,
        population_draws=64,
        population_replicates=100,
        surrogate_runs=20_000,
        surrogate_epochs=20,
        emulator_runs=60_000,
        emulator_epochs=40,
        severity_runs=10_000,
        pof_calls=20_000,
        design_hours=6_000,
        refinement_runs=60_000,
        refinement_epochs=15,
        published_iterations=50,
        design_starts=16,
        landscape_points=31,
        polishing_hours=20_000,
    ),
}
"""The two profiles by name: minutes for a first look, and the paper's budgets.

:meta hide-value:
"""


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
        ``embedded``, ``organisers``, or a folder (see `flowcal.simulate.observed.Source`).
    scheduler : str, optional
        Address of a Dask scheduler to run campaigns on.
    allowed_share : float
        Share of the runs of a training campaign that may fail, see `flowcal.simulate.campaign.Runner`.

    Attributes
    ----------
    profile : Profile
    simulator : Simulator
    source : Source
    runner : Runner
    trainer : Trainer
    folder : Path
        Where the artifacts of this profile, simulator and observations lie; another simulator or other observations
        have a folder of their own.

    Raises
    ------
    InputError
        If there is no such profile, simulator or source of observations, or no project around the working folder.
    """

    def __init__(
        self,
        chapter: str,
        profile: str = "quick",
        simulator: str = "windfarm",
        observations: str = "embedded",
        scheduler: str | None = None,
        allowed_share: float = 0.0,
    ) -> None:
        if profile not in PROFILES:
            raise InputError(f"profile is {profile!r}; expected one of {', '.join(PROFILES)}.")
        self.profile = PROFILES[profile]
        self.source = Source(observations)
        self.simulator = make_simulator(simulator)
        self._is_embedded = (simulator, observations) == EMBEDDED
        artifacts = find_root() / "artifacts"
        self.runner = _make_runner(self.simulator, scheduler, artifacts / "campaigns", allowed_share)
        other = "" if self._is_embedded else f"-{digest([self.simulator.identity, self.source.identity])[:8]}"
        self.folder = artifacts / f"{profile}{other}"
        self._shelf = Shelf(self.folder, chapter)

    @cached_property
    def trainer(self) -> "Trainer":
        """On a graphics processor where there is one, with checkpoints among the artifacts."""
        from flowcal.infer.train import Trainer  # brings PyTorch, seconds to import, needed where networks are

        return Trainer(folder=self.folder / "checkpoints")

    def keep(self, name: str, function: Callable[..., Any], **settings: Any) -> Any:
        """Make an artifact of this chapter, or read it where it is still true (see `flowcal.artifacts.Shelf.keep`).

        Parameters
        ----------
        name : str
        function : callable
        **settings : any

        Returns
        -------
        Dataset, Weights or any JSON value
            What the function returned, as read back from its file.

        Raises
        ------
        InputError
            If name, function or a setting does not fit.
        """
        with _notes_printed():
            return self._shelf.keep(name, function, **settings)

    def read(self, chapter: str, name: str) -> Any:
        """Read an artifact of an earlier chapter (see `flowcal.artifacts.Shelf.read`).

        Parameters
        ----------
        chapter : str
        name : str

        Returns
        -------
        Dataset, Weights or any JSON value

        Raises
        ------
        ArtifactError
            If it is not there, is damaged, or is no longer true.
        """
        with _notes_printed():
            return self._shelf.read(chapter, name)

    def origin(self, chapter: str, name: str) -> str:
        """Digest of how an artifact was made (see `flowcal.artifacts.Shelf.origin`).

        Parameters
        ----------
        chapter : str
        name : str

        Returns
        -------
        str
            SHA-256, in hexadecimal digits.

        Raises
        ------
        ArtifactError
            If it is not there or no longer true.
        """
        return self._shelf.origin(chapter, name)

    def claim(self, statement: str, holds: bool, at: str = "quick") -> None:
        """Print a statement of the chapter with its verdict.

        Parameters
        ----------
        statement : str
            What the chapter says, with numbers rounded so far that every machine prints the same.
        holds : bool
            Whether it is so.
        at : str
            The profile from which on it is judged; what needs the budgets of `full` is left open in `quick`.

        Raises
        ------
        ClaimFailed
            If it is not so on the embedded simulator and observations, of which the chapters speak. With a simulator
            or observations of your own the verdict is printed only.
        """
        if at == "full" and self.profile is not PROFILES["full"]:
            print(f"left to the full profile: {statement}")
            return
        if self._is_embedded and not holds:
            raise ClaimFailed(f"the chapter says what is not so: {statement}")
        print(f"{'holds' if holds else 'does not hold here'}: {statement}")


@contextmanager
def _notes_printed() -> Iterator[None]:
    """Print what a reader has to know of a result, for pages show what is printed and no warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FlowcalWarning)
        yield
    for warning in caught:
        if issubclass(warning.category, FlowcalWarning):
            print(f"note: {warning.message}")
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def make_simulator(name: str) -> Simulator:
    """The simulator that a command line names: ``windfarm``, or ``executable:PATH`` with arguments if it takes any."""
    kind, _, path = name.partition(":")
    if name == "windfarm":
        return WindFarm()
    if kind == "executable" and path:
        return Executable(split_command(path))
    raise InputError(f"simulator is {name!r}; expected 'windfarm' or 'executable:PATH'.")


def split_command(command: str) -> list[str]:
    """A program and its arguments, with absolute paths where they are files; a path with spaces needs no quotes.

    Parameters
    ----------
    command : str

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        If a quote is opened and not closed.

    Examples
    --------
    >>> split_command("flowcal simulate 'my runs.txt'")
    ['flowcal', 'simulate', 'my runs.txt']
    """
    try:
        parts = [command] if Path(command).is_file() else shlex.split(command)
    except ValueError as error:
        raise InputError(f"the command {command!r} cannot be split into words: {error}.") from error
    return [str(Path(part).absolute()) if Path(part).is_file() else part for part in parts]


def find_root() -> Path:
    """The project's folder: the nearest one upwards from the working folder that holds the book's `_toc.yml`.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        If there is none.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").is_file():
            return folder
    raise InputError(f"no _toc.yml in {here} or above it; expected a folder of the project.")


def _make_runner(simulator: Simulator, scheduler: str | None, folder: Path, allowed_share: float) -> Runner:
    """In memory for the embedded simulator, whose hours cost less than keeping them; programs' hours are kept."""
    if isinstance(simulator, WindFarm):
        return Runner(scheduler=scheduler)
    workers = os.cpu_count() or 1
    return Runner(workers=workers, scheduler=scheduler, folder=folder, chunk=20, allowed_share=allowed_share)
