"""The chapters: which there are, and which are fresh.

A chapter is `notebooks/NN_name.py`, a jupytext notebook. Its executed form lies among its artifacts, beside a record of
everything that the execution consumed. It is fresh as long as all of that is the same today, and every chapter whose
artifacts it read is fresh.
"""

import ast
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml

from flowcal.artifacts import file_digest, is_undamaged
from flowcal.code import closure_of_text, code_digest, libraries, reads_in, statements_of
from flowcal.errors import FlowcalError, InputError
from flowcal.files import read_record
from flowcal.provenance import Execution, has_own_edit
from flowcal.study import Study, chapter_files, chapter_names, find_root, split_command

__all__ = [
    "Chapter",
    "ChapterStale",
    "Settings",
    "State",
    "budget_of",
    "chapter_budget",
    "code_of",
    "earlier_chapters",
    "executed_notebook",
    "find_chapters",
    "own_state",
    "parameters_of",
    "read_source",
    "record_path",
    "select_chapters",
    "states",
    "unpaired_edits",
]

IGNORED_OUTPUT = "nbval-ignore-output"
EDITED = "holds an edit that its text lacks: 'jupytext --to py:percent' of it keeps the edit, deleting it does not."


class ChapterStale(FlowcalError):
    """A chapter's execution is missing, or something that it consumed has changed since."""


@dataclass(frozen=True)
class Settings:
    """What every chapter is run with, as `flowcal.study.Study` takes it."""

    profile: str = "quick"
    simulator: str = "windfarm"
    observations: str = "embedded"
    scheduler: str | None = None
    allowed_share: float = 0.0

    def folder(self) -> Path:
        """Where artifacts made with these settings lie."""
        return Study("", **vars(self)).folder

    def resolved(self) -> "Settings":
        """The same settings with paths that hold from every working folder."""
        kind, colon, command = self.simulator.partition(":")
        simulator = f"{kind}:{shlex.join(split_command(command))}" if colon else self.simulator
        named = self.observations in ("", "embedded", "organisers")
        observations = self.observations if named else str(Path(self.observations).absolute())
        return replace(self, simulator=simulator, observations=observations)


@dataclass(frozen=True)
class Chapter:
    """A chapter of the book: its name, such as 'sensitivity', and its text notebook, beside which the pair lies."""

    name: str
    source: Path

    def executed(self, folder: Path) -> Path:
        """Where its executed notebook lies among the artifacts in `folder`, or would lie."""
        return folder / self.name / "chapter.ipynb"

    @cached_property
    def program(self) -> str:
        """All its code cells, without the lines that only IPython understands."""
        cells = [cell.source for cell in read_source(self).cells if cell.cell_type == "code"]
        lines = "\n".join(cells).splitlines()
        program = "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))
        try:
            ast.parse(program)
        except SyntaxError as error:
            raise InputError(f"{self.source.name} is no Python program: {error}; it has {error.text!r}.") from error
        return program


@dataclass(frozen=True)
class State:
    """Whether a chapter is 'fresh', 'stale' or 'not run', why, and its execution where there is one."""

    state: str
    reason: str = ""
    execution: Execution | None = None


def find_chapters() -> list[Chapter]:
    """All chapters in the order of the book's `_toc.yml`."""
    files, root = zip(chapter_names(), chapter_files(), strict=True), find_root()
    return [Chapter(name, root / f"{file}.py") for name, file in files]


def select_chapters(names: Sequence[str]) -> list[Chapter]:
    """The named chapters in the order of the book; an `InputError` lists the names there are."""
    chapters = {chapter.name: chapter for chapter in find_chapters()}
    if unknown := sorted(set(names) - chapters.keys()):
        raise InputError(f"there is no chapter {', '.join(unknown)}; expected names among {', '.join(chapters)}.")
    return [chapter for name, chapter in chapters.items() if name in names]


def states(settings: Settings) -> dict[str, State]:
    """The state of every chapter by name, in the order of the book."""
    folder, found = settings.folder(), dict[str, State]()
    for chapter in find_chapters():
        found[chapter.name] = own = own_state(chapter, settings, folder)
        if own.state == "fresh":
            old = [name for name in earlier_chapters(chapter, own) if found[name].state != "fresh"]
            if old:
                found[chapter.name] = State("stale", f"{old[0]} is {found[old[0]].state}", own.execution)
    return found


def executed_notebook(chapter: Chapter, settings: Settings) -> Path:
    """The executed form of a chapter that is fresh; a `ChapterStale` says what to run."""
    found = states(settings)[chapter.name]
    if found.state != "fresh":
        what = "has not been run" if found.state == "not run" else f"is stale: {found.reason}"
        raise ChapterStale(f"chapter {chapter.name!r} {what}; run 'flowcal run --profile {settings.profile}' first.")
    return chapter.executed(settings.folder())


def own_state(chapter: Chapter, settings: Settings, folder: Path) -> State:
    """The state of a chapter by what it consumed itself, whatever has become of the chapters that it read from."""
    try:
        execution = read_record(Execution, record_path(chapter, folder))
    except InputError:
        return State("not run")
    notebook = chapter.executed(folder)
    if not notebook.is_file():
        return State("not run")
    reasons = _changes(chapter, settings, folder, execution, notebook)
    return State(*next(({"stale": reason}.popitem() for reason in reasons), ("fresh", "")), execution)


def _changes(chapter: Chapter, settings: Settings, folder: Path, execution: Execution, notebook: Path) -> Iterator[str]:
    """What is no longer as it was when a chapter was executed."""
    if execution.text != file_digest(chapter.source):
        yield "its text has changed"
    if execution.parameters != parameters_of(chapter, settings):
        yield "its parameters have changed"
    if execution.code != code_of(chapter):
        yield "code of the package has changed"
    if execution.libraries != libraries(find_root() / "requirements.txt"):
        yield "versions of libraries have changed"
    yield from (f"{name} has changed" for name, was in execution.used.items() if not is_undamaged(folder, name, was))
    for name, before in execution.files.items():
        if (file_digest(Path(name)) if Path(name).is_file() else None) != before:
            yield f"{name} has changed"
    if execution.notebook != file_digest(notebook):
        yield "its executed notebook has been edited"


def earlier_chapters(chapter: Chapter, state: State) -> list[str]:
    """Chapters before this one from which it reads, by its text and by what its execution consumed."""
    names = chapter_names()
    consumed = {name.split("/")[0] for name in state.execution.used} if state.execution else set()
    read = _read_by(chapter.program) | consumed
    return [name for name in names[: names.index(chapter.name)] if name in read]


@cache
def _read_by(program: str) -> frozenset[str]:
    """Names of chapters whose artifacts a program, or a function of the package that it calls, reads."""
    return frozenset(reads_in([ast.parse(program), *statements_of(closure_of_text(program))]))


def code_of(chapter: Chapter) -> str:
    """Digest of all code of the package that a chapter needs."""
    return code_digest(closure_of_text(chapter.program))


def parameters_of(chapter: Chapter, settings: Settings) -> dict[str, str]:
    """A chapter's parameters as JSON texts, less the scheduler: where runs happen changes no result."""
    given = vars(settings.resolved()) | budget_of(chapter, settings.profile)
    return {name: json.dumps(value) for name, value in given.items() if name != "scheduler"}


def chapter_budget(name: str, profile: str) -> dict[str, Any]:
    """A chapter's budgets in a profile, as its cell of parameters and the profile's file state them."""
    (chapter,) = select_chapters([name])
    return _assigned(chapter) | budget_of(chapter, profile)


def budget_of(chapter: Chapter, profile: str) -> dict[str, Any]:
    """What a profile's file sets for a chapter beyond the quick budget in the chapter's own cell of parameters."""
    if profile == "quick":
        return {}
    path = find_root() / "profiles" / f"{profile}.yml"
    try:
        found = dict((yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get(chapter.name) or {})
    except (ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        line = f", near line {mark.line + 1}" if (mark := getattr(error, "problem_mark", None)) else ""
        raise InputError(f"{path.name} cannot be read{line}; expected, by chapter, budgets by name.") from error
    if unknown := sorted(map(str, found.keys() - _assigned(chapter).keys())):
        raise InputError(
            f"{path.name} sets {', '.join(unknown)} for chapter {chapter.name!r}; expected names that its cell of "
            "parameters assigns."
        )
    return found


def _assigned(chapter: Chapter) -> dict[str, Any]:
    """What the cell of parameters assigns."""
    cells = [cell.source for cell in read_source(chapter).cells if "parameters" in cell.metadata.get("tags", [])]
    assigned = [node for node in ast.parse("\n".join(cells)).body if isinstance(node, ast.Assign)]
    return {ast.unparse(node.targets[0]): ast.literal_eval(node.value) for node in assigned}


def read_source(chapter: Chapter) -> nbformat.NotebookNode:
    """The chapter's text notebook, with cell names that are the same at every reading."""
    try:
        notebook: nbformat.NotebookNode = jupytext.read(chapter.source)
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"{chapter.source.name} cannot be read as a notebook: {str(error).splitlines()[0]}."
        ) from error
    for position, cell in enumerate(notebook.cells):
        cell["id"] = f"{chapter.name.replace('_', '-')}-{position:02d}"
    return notebook


def unpaired_edits() -> list[Path]:
    """Notebooks paired with a chapter that hold an edit which the chapter's text lacks."""
    pairs = {chapter.source.with_suffix(".ipynb"): chapter for chapter in find_chapters()}
    return [pair for pair, chapter in pairs.items() if pair.is_file() and has_own_edit(pair, read_source(chapter))]


def record_path(chapter: Chapter, folder: Path) -> Path:
    """Where the record of its execution lies."""
    return folder / chapter.name / "chapter.json"
