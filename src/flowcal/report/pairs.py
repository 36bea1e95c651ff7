"""The stored outputs of the paired notebooks: what the quick profile printed, and nothing that machines disagree on."""

from pathlib import Path

import nbformat

from flowcal.chapters import IGNORED_OUTPUT, Chapter, Settings, executed_notebook, find_chapters, read_source

__all__ = ["store_outputs"]


def store_outputs() -> None:
    """Bring every `notebooks/*.ipynb` in step with its text and with its latest execution at the quick profile.

    Raises
    ------
    ChapterStale
        If a chapter has not been run at the quick profile, or something has changed since.
    """
    for chapter in find_chapters():
        executed = executed_notebook(chapter, Settings())
        nbformat.write(paired_notebook(chapter, executed), chapter.source.with_suffix(".ipynb"))


def paired_notebook(chapter: Chapter, executed: Path) -> nbformat.NotebookNode:
    """The chapter's text with the outputs of an executed notebook, less those that nbval does not compare."""
    outputs = {
        cell.id: cell.outputs for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"
    }
    notebook = read_source(chapter)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count  # nbval takes a cell without a count for one that was never run
        if IGNORED_OUTPUT not in cell.metadata.get("tags", []):
            cell.outputs = outputs[cell.id]
    return notebook
