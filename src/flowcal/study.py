"""The study as a chapter sees it: a simulator, observations, and a shelf for what the chapter makes."""

import json
import math
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from flowcal.artifacts import Shelf, note_file
from flowcal.errors import FlowcalError, FlowcalWarning, InputError
from flowcal.fingerprint import digest
from flowcal.simulate.campaign import Runner
from flowcal.simulate.observed import Source
from flowcal.simulate.program import Executable
from flowcal.simulate.simulator import Simulator
from flowcal.simulate.windfarm import WindFarm
from flowcal.simulate.workers import worker_processes

if TYPE_CHECKING:
    from flowcal.infer.train import Trainer

__all__ = [
    "ClaimFailed",
    "Study",
    "chapter_lock",
    "chapter_names",
    "find_root",
    "locked",
    "make_simulator",
    "split_command",
]

ASSIGNED = re.compile(r"^(\w+) = ", re.MULTILINE)
PARAMETERS = re.compile(r'^# %% tags=\["parameters"\]$(.*?)^# %%', re.MULTILINE | re.DOTALL)
EMBEDDED = ("windfarm", "embedded")
TIME_LIMIT = "FLOWCAL_TIME_LIMIT"  # environment variable: seconds that each call of a program may take
ADDRESS = r"([a-z]+://)?[^\s/]+:[0-9]{1,5}"
SIDE_BY_SIDE = 2  # processes that make the artifacts of one chapter


class ClaimFailed(FlowcalError):
    """Something a chapter says of the embedded study does not hold."""


class Study:
    """What a chapter works with.

    Parameters
    ----------
    chapter : str
        Name of the chapter, such as 'sensitivity'.
    profile : str
        ``quick``, or the name of a file in `profiles/`, such as ``full``.
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
    folder : Path
        Where the artifacts of this profile, simulator and observations lie.
    simulator, source, runner, trainer
        The black box, the observations, where campaigns run, and where networks are trained.
    box : dict
        Simulator and runner, as most functions take them.
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
        root = find_root()
        if profile != "quick" and not (re.fullmatch(r"[a-z]+", profile) and _profile_file(root, profile).is_file()):
            known = ["quick", *sorted(file.stem for file in (root / "profiles").glob("*.yml"))]
            raise InputError(f"profile is {profile!r}; expected one of {', '.join(known)}.")
        _refuse_unknown_parameters(root, chapter)
        self.profile, self._chapter = profile, chapter
        self.source = Source(observations)
        self.simulator = make_simulator(simulator)
        self._is_embedded = (simulator, observations) == EMBEDDED
        check_scheduler(scheduler)
        self.runner = _make_runner(self.simulator, scheduler, root / "artifacts" / "campaigns", allowed_share)
        self.box: dict[str, Any] = {"simulator": self.simulator, "runner": self.runner}
        other = "" if self._is_embedded else f"-{digest([self.simulator.identity, self.source.identity])[:8]}"
        self.folder = root / "artifacts" / f"{profile}{other}"
        self._shelf = Shelf(self.folder, chapter, root / "requirements.txt")

    @cached_property
    def trainer(self) -> "Trainer":
        """On a graphics processor where there is one, with checkpoints among the artifacts."""
        from flowcal.infer.train import Trainer  # brings PyTorch, which takes seconds to import

        return Trainer(folder=self.folder / "checkpoints")

    def keep(self, name: str, function: Callable[..., Any], **settings: Any) -> Any:
        """Make an artifact of this chapter, or read it where it is still true (see `flowcal.artifacts.Shelf.keep`)."""
        with _notes_printed():
            return self._shelf.keep(name, function, **settings)

    def keep_all(
        self, function: Callable[..., Any], each: Mapping[str, Mapping[str, Any]], **settings: Any
    ) -> dict[str, Any]:
        """Artifacts of one function that do not need each other, by name, made side by side in processes of their own.

        `each` holds the settings of its own of every artifact.
        """
        all_settings = {name: {**settings, **own} for name, own in each.items()}
        missing = [name for name, own in all_settings.items() if not self._shelf.has(name, function, **own)]
        if len(missing) > 1:
            with worker_processes(SIDE_BY_SIDE) as pool:
                made = [pool.submit(_keep, self._shelf, name, function, all_settings[name]) for name in missing]
                for future in made:
                    future.result()
        return {name: self.keep(name, function, **own) for name, own in all_settings.items()}

    def read(self, chapter: str, name: str) -> Any:
        """Read an artifact of an earlier chapter (see `flowcal.artifacts.Shelf.read`); one that is running is awaited.

        Raises
        ------
        ArtifactError
            If it is not there, is damaged, or is no longer true.
        """
        self._await(chapter)
        with _notes_printed():
            return self._shelf.read(chapter, name)

    def read_file(self, path: str | Path) -> bytes:
        """Bytes of a file of the project, named from its root; the chapter is stale once the file changes."""
        file = find_root() / path
        note_file(file)
        try:
            return file.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}; expected a file in {find_root()}.") from error

    def origin(self, chapter: str, name: str) -> str:
        """SHA-256 of how an artifact was made (see `flowcal.artifacts.Shelf.origin`)."""
        return self._shelf.origin(chapter, name)

    def claim(self, statement: str, holds: bool, at: str = "quick") -> None:
        """Print a statement of the chapter with its verdict; one `at` the full profile is left open in others.

        Raises
        ------
        ClaimFailed
            If it does not hold on the embedded simulator and observations, of which the chapters speak. With a
            simulator or observations of your own the verdict is printed only.
        """
        if at not in ("quick", self.profile):
            print(f"left to the {at} profile: {statement}")
            return
        if self._is_embedded and not holds:
            raise ClaimFailed(f"the chapter claims what does not hold: {statement}")
        print(f"{'holds' if holds else 'does not hold here'}: {statement}")

    def number(self, name: str, value: float, within: float) -> None:
        """Print a number, with a relative tolerance, for nbval to compare with the stored one of the quick profile.

        Where the two agree within the tolerance it prints the stored one, so that all machines print the same.
        """
        stored = self._stored_numbers.get(name)
        agrees = stored is not None and abs(value - stored) <= within * abs(stored)
        digits = 2 + math.ceil(-math.log10(within))
        print(f"{name}: {stored if agrees else value:.{digits}g} (± {100 * within:.2g} %)")

    @cached_property
    def _stored_numbers(self) -> dict[str, float]:
        """What `number` printed when the outputs of the paired notebook were stored; none for other profiles."""
        if self.profile != "quick" or not self._is_embedded or self._chapter not in chapter_names():
            return {}
        path = find_root() / f"{chapter_files()[chapter_names().index(self._chapter)]}.ipynb"
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.is_file() else []
        texts = ("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", []))
        found = (match for text in texts for match in re.finditer(r"^(.+): (\S+) \(± \S+ %\)$", text, re.M))
        return {match[1]: float(match[2]) for match in found}

    def _await(self, chapter: str) -> None:
        """Wait for a chapter that `flowcal run` is executing; it has to stand earlier in the book than this one."""
        names = chapter_names()
        if self._chapter in names and chapter in names[names.index(self._chapter) + 1 :]:
            raise InputError(f"chapter {self._chapter!r} reads {chapter!r}; expected one that stands before it.")
        path = chapter_lock(self.folder, chapter)
        if chapter != self._chapter and path.parent.is_dir():
            with suppress(OSError), locked(path, f"chapter {chapter!r}, which is running"):
                pass  # a folder that cannot be written is one in which nothing runs


def _keep(shelf: Shelf, name: str, function: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    """Make an artifact in another process; what a reader has to know of it is said where it is read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlowcalWarning)
        shelf.keep(name, function, **settings)


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
    if kind == "executable" and path.strip():
        return Executable(split_command(path), _time_limit())
    raise InputError(f"simulator is {name!r}; expected 'windfarm' or 'executable:PATH'.")


def _time_limit() -> float:
    text = os.environ.get(TIME_LIMIT) or "3600"
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{TIME_LIMIT} is {text!r}; expected seconds.") from None


def check_scheduler(address: str | None) -> None:
    """Refuse what cannot be the address of a Dask scheduler."""
    if address is not None and not re.fullmatch(ADDRESS, address):
        raise InputError(f"scheduler is {address!r}; expected an address such as tcp://host:8786.")


def split_command(command: str) -> list[str]:
    """A program and its arguments, with absolute paths where they are files; a path with spaces needs no quotes.

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
    """The project's folder: the nearest one upwards from the working folder whose `_toc.yml` lists chapters of ours."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if any(_is_ours(folder / f"{file}.py") for file in _chapter_files(folder)):
            return folder
    raise InputError(
        f"no _toc.yml in {here} or above it lists notebooks of this study; expected a folder of the project."
    )


def _is_ours(file: Path) -> bool:
    return file.is_file() and "flowcal" in file.read_text(encoding="utf-8", errors="replace")


def _chapter_files(root: Path) -> list[str]:
    """Files of all chapters as a `_toc.yml` lists them, without ending."""
    toc = root / "_toc.yml"
    text = toc.read_text(encoding="utf-8", errors="replace") if toc.is_file() else ""
    return re.findall(r"^\s*- file: (notebooks/\S+)$", text, re.MULTILINE)


def chapter_names() -> list[str]:
    """Names of all chapters in the order of the book, such as 'sensitivity'."""
    return [re.sub(r"^\d+_", "", Path(file).name) for file in chapter_files()]


def chapter_files() -> list[str]:
    """Files of all chapters as the book's `_toc.yml` lists them, without ending."""
    return _chapter_files(find_root())


def chapter_lock(folder: Path, chapter: str) -> Path:
    """The file that is locked while `flowcal run` executes a chapter."""
    return folder / chapter / "chapter.lock"


@contextmanager
def locked(path: Path, owner: str) -> Iterator[filelock.BaseFileLock]:
    """Hold a lock, once its owner has let it go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=1)
    except filelock.Timeout:
        print(f"waiting for {owner}", flush=True)
        lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


def _refuse_unknown_parameters(root: Path, chapter: str) -> None:
    """Refuse a parameter that papermill, which only warns, has set in this kernel and the chapter does not have."""
    ran = getattr(sys.modules["__main__"], "In", [])  # the cells of a live notebook
    given = ASSIGNED.findall("".join(cell for cell in ran if cell.startswith("# Parameters\n")))
    files = [file for file in _chapter_files(root) if given and re.sub(r"^\d+_", "", Path(file).name) == chapter]
    for cell in (cell for file in files for cell in PARAMETERS.findall((root / f"{file}.py").read_text("utf-8"))):
        known = ASSIGNED.findall(cell)
        if unknown := ", ".join(sorted(set(given) - set(known))):
            raise InputError(f"there is no parameter {unknown}; expected names among {', '.join(known)}.")


def _profile_file(root: Path, profile: str) -> Path:
    return root / "profiles" / f"{profile}.yml"


def _make_runner(simulator: Simulator, scheduler: str | None, folder: Path, allowed_share: float) -> Runner:
    """In memory for the embedded simulator, whose hours cost less than keeping them; programs' hours are kept."""
    if isinstance(simulator, WindFarm):
        return Runner(scheduler=scheduler, allowed_share=allowed_share)
    workers = os.cpu_count() or 1
    return Runner(workers=workers, scheduler=scheduler, folder=folder, chunk=20, allowed_share=allowed_share)
