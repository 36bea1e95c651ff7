"""How an executed chapter came about: version, profile, times, and the digests of what it made and was made from.

It is kept in the metadata of the executed notebook, so that it goes wherever the notebook goes.


The chapters: which there are, which are up to date, and how papermill runs them.

A chapter is `notebooks/NN_name.py`, a jupytext notebook. Its executed form and a manifest lie among its artifacts.
"""

import hashlib
import json
import os
import re
import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm
from traitlets.config import Config

from flowcal import __version__
from flowcal.artifacts import NAME, SOURCE, manifest_of, recorded
from flowcal.errors import FlowcalError, InputError
from flowcal.files import check_schema, read_json
from flowcal.simulate.observed import organisers_file
from flowcal.study import Study, find_root, split_command

__all__ = [
    "Chapter",
    "ChapterFailed",
    "ChapterStale",
    "Made",
    "Provenance",
    "Settings",
    "collect_provenance",
    "executed_notebook",
    "find_chapters",
    "keep_provenance",
    "read_provenance",
    "run_chapters",
    "select_chapters",
    "state_of",
]

KEY = "flowcal"  # among the notebook's metadata
MOST_CHARACTERS = 100_000
DIGEST = {"type": "string", "pattern": r"^[0-9a-f]{64}\Z"}
SECONDS = {"type": "number", "minimum": 0, "maximum": 1e9}
SEED = {"type": ["integer", "null"], "minimum": 0, "maximum": 2**63}
MADE = {
    "type": "object",
    "properties": {"sha256": DIGEST, "seed": SEED, "wall_time_s": SECONDS},
    "required": ["sha256", "seed", "wall_time_s"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {
        "version": {"type": "string", "pattern": r"^[0-9A-Za-z.+-]{1,40}\Z"},
        "profile": {"type": "string", "pattern": r"^[a-z]{1,20}\Z"},
        "wall_time_s": SECONDS,
        "made": {"type": "object", "patternProperties": {rf"^{NAME}\Z": MADE}, "additionalProperties": False},
        "made_from": {"type": "object", "patternProperties": {rf"^{SOURCE}\Z": DIGEST}, "additionalProperties": False},
    },
    "required": ["version", "profile", "wall_time_s", "made", "made_from"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Made:
    """An artifact that a chapter made.

    Attributes
    ----------
    sha256 : str
        Digest of its content, 64 hexadecimal digits.
    seed : int or None
        The seed among the settings that it was made with, if they had one.
    wall_time_s : float
        Seconds that making it took, whenever that was.
    """

    sha256: str
    seed: int | None
    wall_time_s: float


@dataclass(frozen=True)
class Provenance:
    """How an execution of a chapter came about.

    Attributes
    ----------
    version : str
        Of flowcal.
    profile : str
    wall_time_s : float
        Seconds of the execution, which takes artifacts that are still true as they are.
    made : mapping of str to Made
        The chapter's own artifacts by name.
    made_from : mapping of str to str
        Digests of the artifacts of other chapters that it read, by chapter and name.
    """

    version: str
    profile: str
    wall_time_s: float
    made: Mapping[str, Made]
    made_from: Mapping[str, str]


def collect_provenance(root: Path, chapter: str, used: Sequence[str], profile: str, wall_time_s: float) -> Provenance:
    """The provenance of an execution that has just ended.

    Parameters
    ----------
    root : Path
        Folder of all chapters' artifacts of the profile.
    chapter : str
    used : sequence of str
        The artifacts that it kept and read, see `flowcal.artifacts.recorded`.
    profile : str
    wall_time_s : float

    Returns
    -------
    Provenance

    Raises
    ------
    ArtifactError
        If one of them is no longer there.
    """
    manifests = {artifact: manifest_of(root, artifact) for artifact in used}
    own = f"{chapter}/"
    return Provenance(
        version=__version__,
        profile=profile,
        wall_time_s=wall_time_s,
        made={name.removeprefix(own): _made(kept) for name, kept in manifests.items() if name.startswith(own)},
        made_from={name: kept["digest"] for name, kept in manifests.items() if not name.startswith(own)},
    )


def keep_provenance(notebook: NotebookNode, provenance: Provenance) -> None:
    """Write the provenance into a notebook's metadata.

    Parameters
    ----------
    notebook : NotebookNode
        An executed chapter.
    provenance : Provenance
        How it was made.
    """
    notebook.metadata[KEY] = asdict(provenance)


def read_provenance(notebook: NotebookNode) -> Provenance | None:
    """The provenance among a notebook's metadata; None where its execution kept none.

    Parameters
    ----------
    notebook : NotebookNode
        An executed chapter.

    Returns
    -------
    Provenance or None

    Raises
    ------
    InputError
        If what stands there is larger than any of ours, or of another form.
    """
    kept = notebook.metadata.get(KEY)
    if kept is None:
        return None
    what = "the notebook's provenance"
    check_schema(kept, SCHEMA, what)
    if (length := len(json.dumps(kept))) > MOST_CHARACTERS:
        raise InputError(f"{what} cannot be used: {length} characters; expected at most {MOST_CHARACTERS}.")
    made = {name: Made(**values) for name, values in kept["made"].items()}
    return Provenance(**{**kept, "made": made})


def _made(manifest: Mapping[str, Any]) -> Made:
    settings = manifest["settings"]
    training = settings.get("training") or {}
    return Made(manifest["digest"], settings.get("random_seed", training.get("random_seed")), manifest["wall_time_s"])


IGNORED_OUTPUT = "nbval-ignore-output"


class ChapterFailed(FlowcalError):
    """A chapter stopped with an error; the message shows its cell and where the partial notebook lies."""


class ChapterStale(FlowcalError):
    """A chapter's execution is missing, or older than what it is made from."""


@dataclass(frozen=True)
class Settings:
    """What every chapter is run with.

    Attributes
    ----------
    profile : str
    simulator : str
    observations : str
    scheduler : str or None
    allowed_share : float
        As `flowcal.study.Study` takes them.
    """

    profile: str = "quick"
    simulator: str = "windfarm"
    observations: str = "embedded"
    scheduler: str | None = None
    allowed_share: float = 0.0

    def folder(self) -> Path:
        """Where artifacts made with these settings lie.

        Returns
        -------
        Path
        """
        return Study("", **vars(self)).folder

    def resolved(self) -> "Settings":
        """The same settings with paths that hold from every working folder.

        Returns
        -------
        Settings
        """
        kind, colon, command = self.simulator.partition(":")
        simulator = f"{kind}:{shlex.join(split_command(command))}" if colon else self.simulator
        named = self.observations in ("embedded", "organisers")
        observations = self.observations if named else str(Path(self.observations).absolute())
        return replace(self, simulator=simulator, observations=observations)


@dataclass(frozen=True)
class Chapter:
    """A chapter of the book.

    Attributes
    ----------
    name : str
        Such as 'sensitivity'.
    source : Path
        Its text notebook; the paired `.ipynb` lies beside it.
    """

    name: str
    source: Path

    def executed(self, folder: Path) -> Path:
        """Its executed notebook among the artifacts in `folder`.

        Parameters
        ----------
        folder : Path
            What `Settings.folder` returns.

        Returns
        -------
        Path
            Where it lies, or would lie had the chapter been run.
        """
        return folder / self.name / "chapter.ipynb"


def find_chapters() -> list[Chapter]:
    """All chapters in the order of the book's `_toc.yml`.

    Returns
    -------
    list of Chapter
    """
    root = find_root()
    files = re.findall(r"^\s*- file: (notebooks/\S+)$", (root / "_toc.yml").read_text(encoding="utf-8"), re.MULTILINE)
    return [Chapter(re.sub(r"^\d+_", "", Path(file).name), root / f"{file}.py") for file in files]


def select_chapters(names: Sequence[str]) -> list[Chapter]:
    """The named chapters in the order of the book.

    Parameters
    ----------
    names : sequence of str

    Returns
    -------
    list of Chapter

    Raises
    ------
    InputError
        If there is no chapter of some name; the message lists the names there are.
    """
    chapters = {chapter.name: chapter for chapter in find_chapters()}
    unknown = sorted(set(names) - chapters.keys())
    if unknown:
        raise InputError(f"there is no chapter {', '.join(unknown)}; expected names among {', '.join(chapters)}.")
    return [chapter for name, chapter in chapters.items() if name in names]


def state_of(chapter: Chapter, settings: Settings) -> dict[str, Any]:
    """Whether a chapter has been run, and what it is made from has stayed the same since.

    Parameters
    ----------
    chapter : Chapter
    settings : Settings

    Returns
    -------
    dict
        'state' is 'fresh', 'stale' or 'not run'; where run, with 'wall_time_s', the time [s] that it took, and
        'finished', the date.
    """
    folder = settings.folder()
    manifest = _read_manifest(chapter, folder)
    if manifest is None or not chapter.executed(folder).exists():
        return {"state": "not run"}
    fresh = manifest["key"] == _keys(settings)[chapter.name]
    return manifest | {"state": "fresh" if fresh else "stale"}


def executed_notebook(chapter: Chapter, settings: Settings) -> Path:
    """The executed form of a chapter that is fresh.

    Parameters
    ----------
    chapter : Chapter
    settings : Settings

    Returns
    -------
    Path

    Raises
    ------
    ChapterStale
        If it has not been run, or something has changed since; the message says what to run.
    """
    state = state_of(chapter, settings)["state"]
    if state != "fresh":
        what = "has not been run" if state == "not run" else "is stale"
        raise ChapterStale(f"chapter {chapter.name!r} {what}; run 'flowcal run --profile {settings.profile}' first.")
    return chapter.executed(settings.folder())


def run_chapters(names: Sequence[str], settings: Settings) -> None:
    """Execute chapters with papermill.

    Parameters
    ----------
    names : sequence of str
        Chapters to run in any case; if empty, all that are not fresh.
    settings : Settings

    Raises
    ------
    InputError
        If there is no such chapter.
    ChapterFailed
        If one stops with an error; those before it are finished and kept.
    """
    settings = settings.resolved()
    folder = settings.folder()
    every = find_chapters()
    chosen = select_chapters(names) or [c for c in every if state_of(c, settings)["state"] != "fresh"]
    if not chosen:
        print("all chapters are fresh")
        return
    earlier = [c for c in every[: every.index(chosen[-1])] if c not in chosen]
    stale = [c.name for c in earlier if state_of(c, settings)["state"] == "stale"]
    if stale:
        print(
            f"note: {', '.join(stale)} are stale, and what is run now reads what they have made; 'flowcal run' runs all"
        )
    for position, chapter in enumerate(chosen, 1):
        tqdm.write(f"chapter {position} of {len(chosen)}: {chapter.name}")
        _run(chapter, settings, folder)


def _run(chapter: Chapter, settings: Settings, folder: Path) -> None:
    target = chapter.executed(folder)
    partial = target.with_name("chapter.partial.ipynb")
    target.parent.mkdir(parents=True, exist_ok=True)
    key = _keys(settings)[chapter.name]
    start = time.perf_counter()
    try:
        with recorded(folder, chapter.name) as used, tempfile.TemporaryDirectory(prefix="flowcal-") as private:
            executed = papermill.execute_notebook(
                read_source(chapter),
                str(partial),
                parameters=vars(settings),
                cwd=str(chapter.source.parent),
                kernel_name="python3",
                language="python",
                record_timing=False,
                config=_kernel_config(Path(private)),
            )
    except PapermillExecutionError as error:
        raise ChapterFailed(
            f"chapter {chapter.name!r} stopped in cell {error.cell_index + 1}:\n\n{_indented(error.source)}\n\n"
            f"{error.ename}: {error.evalue}\n\nThe notebook as far as it came: {partial}"
        ) from None
    except DeadKernelError as error:
        raise ChapterFailed(
            f"chapter {chapter.name!r} stopped: {error}. The notebook as far as it came: {partial}"
        ) from None
    wall_time = round(time.perf_counter() - start, 1)
    executed = _tidied(executed)
    keep_provenance(executed, collect_provenance(folder, chapter.name, used, settings.profile, wall_time))
    nbformat.write(executed, partial)
    os.replace(partial, target)
    manifest = {
        "key": key,
        "settings": vars(settings),
        "version": __version__,
        "wall_time_s": wall_time,
        "finished": time.strftime("%Y-%m-%d %H:%M"),
    }
    _manifest(chapter, folder).write_text(json.dumps(manifest, indent=1))


def _kernel_config(private: Path) -> Config:
    """Talk to the kernel through files in a folder of ours where the system can, not through ports open to others."""
    if os.name != "posix":
        return Config()
    return Config({"KernelManager": {"transport": "ipc", "ip": str(private / "kernel")}})


def read_source(chapter: Chapter) -> nbformat.NotebookNode:
    """The chapter's text notebook, with cell names that are the same at every reading."""
    notebook: nbformat.NotebookNode = jupytext.read(chapter.source)
    for position, cell in enumerate(notebook.cells):
        cell["id"] = f"{chapter.name.replace('_', '-')}-{position:02d}"
    return notebook


def _tidied(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without papermill's own records and progress bars, and with the injected parameters out of the reader's sight."""
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        cell.metadata = {"tags": cell.metadata.get("tags", [])}
        if "injected-parameters" in cell.metadata["tags"]:
            cell.metadata["tags"].append("remove-input")
    return notebook


def _keys(settings: Settings) -> dict[str, str]:
    """What each chapter's result depends on: its text and those before it, settings, code, pins, and data at hand."""
    decisive = vars(settings.resolved()) | {"scheduler": None}  # where runs happen changes no result
    running = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
    running.update(str(organisers_file()).encode())
    for path in (*sorted(Path(__file__).parent.rglob("*.py")), find_root() / "requirements.txt"):
        running.update(path.read_bytes() if path.exists() else b"")
    keys = {}
    for chapter in find_chapters():
        running.update(chapter.source.read_bytes())
        keys[chapter.name] = running.hexdigest()
    return keys


def _manifest(chapter: Chapter, folder: Path) -> Path:
    return folder / chapter.name / "chapter.json"


def _read_manifest(chapter: Chapter, folder: Path) -> dict[str, Any] | None:
    """The manifest, or None where there is none that can be understood."""
    try:
        manifest = read_json(_manifest(chapter, folder))
    except InputError:
        return None
    kinds = {"key": str, "finished": str, "wall_time_s": float}
    fits = isinstance(manifest, dict) and all(isinstance(manifest.get(name), kind) for name, kind in kinds.items())
    return manifest if fits else None


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
