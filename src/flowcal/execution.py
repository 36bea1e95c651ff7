"""How papermill executes chapters: in order, two at a time, and so that each leaves a record of what it consumed."""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import filelock
import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from flowcal.artifacts import file_digest
from flowcal.chapters import (
    EDITED,
    Chapter,
    Settings,
    budget_of,
    code_of,
    earlier_chapters,
    find_chapters,
    own_state,
    parameters_of,
    read_source,
    record_path,
    select_chapters,
    states,
    unpaired_edits,
)
from flowcal.code import libraries
from flowcal.errors import FlowcalError
from flowcal.files import temporary_folder, write_json
from flowcal.kernel import AT_ONCE, end_kernels, kernel_config, let_kernels_run, socket_folder
from flowcal.pace import Pace, usual_seconds
from flowcal.provenance import Execution, collect_provenance, keep_provenance, read_consumed
from flowcal.study import chapter_lock, find_root, locked

__all__ = ["ChapterFailed", "run_chapters"]

BUSY = "another command that is running chapter {!r} in this folder"


class ChapterFailed(FlowcalError):
    """A chapter stopped with an error; the message shows its cell and where the partial notebook lies."""


def run_chapters(names: Sequence[str], settings: Settings) -> None:
    """Execute chapters with papermill, two at a time where they do not need each other.

    Parameters
    ----------
    names : sequence of str
        Chapters to run in any case, after whatever of the chapters that they read from is not fresh; if empty, all
        that are not fresh.

    Raises
    ------
    ChapterFailed
        If one stops with an error; those that are finished, and the one beside it, are kept.
    """
    let_kernels_run()
    settings = settings.resolved()
    for pair in unpaired_edits():
        print(f"note: {pair} {EDITED}")
    folder, forced = settings.folder(), {chapter.name for chapter in select_chapters(names)}
    chapters = _needed(forced, settings) if forced else find_chapters()
    with ExitStack() as locks, ThreadPoolExecutor(AT_ONCE) as pool:
        owners = {chapter_lock(folder, chapter.name): BUSY.format(chapter.name) for chapter in chapters}
        held = {path.parent.name: locks.enter_context(locked(path, owner)) for path, owner in owners.items()}
        try:
            made = _run_in_order(chapters, forced, settings, pool, held)
        except ChapterFailed:
            raise
        except BaseException:
            end_kernels()
            raise
    if not made:
        print("all chapters are fresh")


def _run_in_order(
    chapters: list[Chapter],
    forced: set[str],
    settings: Settings,
    pool: ThreadPoolExecutor,
    held: Mapping[str, filelock.BaseFileLock],
) -> int:
    """Start each chapter once all that it reads from is done, unless it is fresh then; how many were started."""
    folder, running, started = settings.folder(), dict[Future[float], str](), 0
    reads = {chapter.name: set(earlier_chapters(chapter, own_state(chapter, settings, folder))) for chapter in chapters}
    usual = {chapter.name: _usual_seconds(chapter, settings.profile) for chapter in chapters}
    pace = Pace(usual, reads)
    waiting = sorted(chapters, key=lambda chapter: -pace.to_end[chapter.name])
    while waiting or running:
        for chapter in list(waiting):
            to_come = {other.name for other in waiting} | set(running.values())
            if len(running) == AT_ONCE or reads[chapter.name] & to_come:
                continue
            waiting.remove(chapter)
            if chapter.name not in forced and states(settings)[chapter.name].state == "fresh":
                held[chapter.name].release()
                pace.finish(chapter.name)
                continue
            started += 1
            took = f", took {_worded(usual[chapter.name])} where it was published" if usual[chapter.name] else ""
            tqdm.write(f"chapter {chapter.name}: started{took}")
            running[pool.submit(_run, chapter, settings, folder, *_prepared(chapter, settings))] = chapter.name
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            name = running.pop(future)
            held[name].release()
            pace.finish(name, future.result())
            left = pace.seconds_left(AT_ONCE)
            tqdm.write(f"chapter {name}: {_worded(future.result())}{f'; about {_worded(left)} left' if left else ''}")
    return started


def _usual_seconds(chapter: Chapter, profile: str) -> float:
    published = find_root() / "book" / "published" / f"{chapter.source.stem}.ipynb"
    return usual_seconds(chapter.source.with_suffix(".ipynb"), published, profile)


def _worded(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _needed(names: set[str], settings: Settings) -> list[Chapter]:
    """The named chapters and all that they read from, directly or not, in the order of the book."""
    found, every, wanted = states(settings), find_chapters(), set(names)
    for chapter in reversed(every):
        if chapter.name in wanted:
            wanted.update(earlier_chapters(chapter, found[chapter.name]))
    return [chapter for chapter in every if chapter.name in wanted]


def _prepared(chapter: Chapter, settings: Settings) -> tuple[dict[str, Any], nbformat.NotebookNode, dict[str, Any]]:
    """The record of what an execution starts from, the notebook, and the budget.

    All of this parses Python, which CPython 3.11 cannot do in two threads at once (python/cpython#106905).
    """
    before: dict[str, Any] = {
        "text": file_digest(chapter.source),
        "code": code_of(chapter),
        "parameters": parameters_of(chapter, settings),
        "libraries": libraries(find_root() / "requirements.txt"),
    }
    return before, read_source(chapter), budget_of(chapter, settings.profile)


def _run(
    chapter: Chapter,
    settings: Settings,
    folder: Path,
    before: dict[str, Any],
    notebook: nbformat.NotebookNode,
    budget: dict[str, Any],
) -> float:
    """Execute a chapter and keep what came of it; returns the seconds that it took."""
    target = chapter.executed(folder)
    partial = target.with_name("chapter.partial.ipynb")
    record_path(chapter, folder).unlink(missing_ok=True)  # from here on, what lies there is no execution of this text
    start = time.perf_counter()
    with temporary_folder(socket_folder()) as private:
        executed = _execute(chapter, notebook, vars(settings) | budget, partial, private)
        used, files = read_consumed(private / "record")
    wall_time = round(time.perf_counter() - start, 1)
    executed = _tidied(executed, bool(budget))
    keep_provenance(executed, collect_provenance(folder, chapter.name, used, settings.profile, wall_time))
    nbformat.write(executed, partial)
    os.replace(partial, target)
    finished = time.strftime("%Y-%m-%d %H:%M")
    ended: dict[str, Any] = {"used": used, "files": files, "notebook": file_digest(target)}
    write_json(record_path(chapter, folder), Execution(**before, **ended, wall_time_s=wall_time, finished=finished))
    return wall_time


def _execute(
    chapter: Chapter, notebook: nbformat.NotebookNode, parameters: dict[str, Any], partial: Path, private: Path
) -> nbformat.NotebookNode:
    """The executed notebook; what it consumes is recorded in a file in the private folder."""
    record = private / "record"
    record.touch()
    try:
        with kernel_config(private, record, chapter.source.parent) as config:
            executed: nbformat.NotebookNode = papermill.execute_notebook(
                notebook,
                str(partial),
                parameters=parameters,
                kernel_name="python3",
                language="python",
                record_timing=False,
                progress_bar=False,
                config=config,
            )
    except PapermillExecutionError as error:
        cell = "\n".join(f"    {line}" for line in error.source.splitlines())
        why = f" in cell {error.cell_index + 1}:\n\n{cell}\n\n{error.ename}: {error.evalue}\n\n"
    except (DeadKernelError, RuntimeError) as error:  # the latter if it dies as it starts
        why = f": {error}. "
    else:
        return executed
    raise ChapterFailed(f"chapter {chapter.name!r} stopped{why}The notebook as far as it came: {partial}")


def _tidied(notebook: nbformat.NotebookNode, has_budget: bool) -> nbformat.NotebookNode:
    """Without papermill's records and progress bars; of two cells of parameters, only the one that counted is shown."""
    notebook.metadata.pop("papermill", None)
    hidden = "parameters" if has_budget else "injected-parameters"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        cell.metadata = {"tags": cell.metadata.get("tags", [])}
        if hidden in cell.metadata["tags"]:
            cell.metadata["tags"].append("remove-input")
    return notebook
